/** When x87, MMX and SSE may be used, which exceptions they report by which vector, and FXSAVE with FXRSTOR. */
import test from 'ava';
import { emulateInstruction } from '../../../src/actors/vcpu/emulate.ts';
import { setX87Register } from '../../../src/actors/vcpu/fxsave.ts';
import { OUTCOME_FAULT, OUTCOME_OK, type Vcpu } from '../../../src/actors/vcpu/vcpu.ts';
import { CPU } from '../../../src/shared/layout/cpu.ts';
import { drive, type Path } from '../../../src/shared/sync/point.ts';
import {
  CR0_EM,
  CR0_MP,
  CR0_NE,
  CR0_TS,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
} from '../../../src/shared/x86/control-registers.ts';
import { RAX, RBX } from '../../../src/shared/x86/registers.ts';
import { VECTOR_GP, VECTOR_MF, VECTOR_NM, VECTOR_UD, VECTOR_XM } from '../../../src/shared/x86/vectors.ts';
import { CODE_GPA, GuestMachine, VICTIM_GPA } from '../../support/guest-machine.ts';

const ADDPS = [0x0f, 0x58, 0xc1];
const DIVPS = [0x0f, 0x5e, 0xc1];
const PADDB_MM = [0x0f, 0xfc, 0xc1];
const CVTPI2PS = [0x0f, 0x2a, 0xc1];
const FADD = [0xd8, 0xc1];
const FWAIT = [0x9b];
const FNSTSW_AX = [0xdf, 0xe0];
const FXSAVE_RBX = [0x48, 0x0f, 0xae, 0x03];
const FXRSTOR_RBX = [0x48, 0x0f, 0xae, 0x0b];

function machine(): { guest: GuestMachine; vcpu: Vcpu } {
  const guest = new GuestMachine();
  const vcpu = guest.vcpus[0]!;
  vcpu.set64('CR0', vcpu.get64('CR0') | CR0_NE);
  vcpu.set64('CR4', vcpu.get64('CR4') | CR4_OSFXSR | CR4_OSXMMEXCPT);
  return { guest, vcpu };
}

/** Executes one instruction by itself: null, or the vector of its fault. */
function run({ guest, vcpu }: ReturnType<typeof machine>, code: readonly number[]): number | null {
  guest.load(code);
  vcpu.set64('RIP', BigInt(CODE_GPA));
  let outcome = -1;
  function* once(): Path<void> {
    yield* vcpu.enterSrcu();
    outcome = yield* emulateInstruction(vcpu);
    yield* vcpu.leaveSrcu();
  }
  drive(vcpu.actor, once());
  if (outcome === OUTCOME_OK) return null;
  if (outcome !== OUTCOME_FAULT) throw new Error(`outcome ${outcome}`);
  return vcpu.fault.vector;
}

const set = (vcpu: Vcpu, register: 'CR0' | 'CR4', bits: bigint): void =>
  vcpu.set64(register, vcpu.get64(register) | bits);
const clear = (vcpu: Vcpu, register: 'CR0' | 'CR4', bits: bigint): void =>
  vcpu.set64(register, vcpu.get64(register) & ~bits);

test('EM, TS, MP and OSFXSR keep each kind from running by the vector of the manual', (t) => {
  const cases: readonly (readonly [string, readonly number[], (vcpu: Vcpu) => void, number | null])[] = [
    ['sse', ADDPS, () => undefined, null],
    ['sse, EM', ADDPS, (v) => set(v, 'CR0', CR0_EM), VECTOR_UD],
    ['sse, TS', ADDPS, (v) => set(v, 'CR0', CR0_TS), VECTOR_NM],
    ['sse, EM and TS', ADDPS, (v) => set(v, 'CR0', CR0_EM | CR0_TS), VECTOR_UD],
    ['sse, no OSFXSR', ADDPS, (v) => clear(v, 'CR4', CR4_OSFXSR), VECTOR_UD],
    ['mmx, no OSFXSR', PADDB_MM, (v) => clear(v, 'CR4', CR4_OSFXSR), null],
    ['mmx, EM', PADDB_MM, (v) => set(v, 'CR0', CR0_EM), VECTOR_UD],
    ['mmx, TS', PADDB_MM, (v) => set(v, 'CR0', CR0_TS), VECTOR_NM],
    ['both, no OSFXSR', CVTPI2PS, (v) => clear(v, 'CR4', CR4_OSFXSR), VECTOR_UD],
    ['x87, EM', FADD, (v) => set(v, 'CR0', CR0_EM), VECTOR_NM],
    ['x87, TS', FADD, (v) => set(v, 'CR0', CR0_TS), VECTOR_NM],
    ['x87, no OSFXSR', FADD, (v) => clear(v, 'CR4', CR4_OSFXSR), null],
    ['fwait, EM', FWAIT, (v) => set(v, 'CR0', CR0_EM), null],
    ['fwait, TS alone', FWAIT, (v) => v.set64('CR0', (v.get64('CR0') & ~CR0_MP) | CR0_TS), null],
    ['fwait, TS and MP', FWAIT, (v) => set(v, 'CR0', CR0_TS | CR0_MP), VECTOR_NM],
    ['fxsave, TS', FXSAVE_RBX, (v) => set(v, 'CR0', CR0_TS), VECTOR_NM],
  ];
  for (const [name, code, prepare, vector] of cases) {
    const bed = machine();
    bed.vcpu.setGpr(RBX, BigInt(VICTIM_GPA));
    prepare(bed.vcpu);
    t.is(run(bed, code), vector, name);
  }
});

test('an unmasked x87 exception is reported by the next instruction that waits', (t) => {
  const bed = machine();
  const { vcpu } = bed;
  vcpu.set32('FCW', 0x37e); // invalid operation is not masked
  t.is(run(bed, FADD), null, 'of two empty registers: noted, and on');
  t.is(vcpu.get32('FSW') & 0x80c1, 0x80c1, 'B, ES, SF and IE');
  t.is(run(bed, FADD), VECTOR_MF);
  t.is(run(bed, FWAIT), VECTOR_MF);
  t.is(run(bed, PADDB_MM), VECTOR_MF);
  t.is(run(bed, FNSTSW_AX), null);
  t.is(vcpu.gpr(RAX) & 0xffffn, BigInt(vcpu.get32('FSW')));
  clear(vcpu, 'CR0', CR0_NE);
  for (const code of [FWAIT, PADDB_MM]) t.is(run(bed, code), null, 'without NE there is nobody to tell');
});

test('an unmasked SSE exception is #XM, or #UD where the system has not asked for it', (t) => {
  for (const [asked, vector] of [
    [true, VECTOR_XM],
    [false, VECTOR_UD],
  ] as const) {
    const bed = machine();
    const { vcpu } = bed;
    if (!asked) clear(vcpu, 'CR4', CR4_OSXMMEXCPT);
    vcpu.set32('MXCSR', 0x1d80); // division by zero is not masked
    vcpu.mem.u64.fill(0x3f80_0000_3f80_0000n, (vcpu.cpu + CPU.at.XMM) / 8, (vcpu.cpu + CPU.at.XMM) / 8 + 2);
    t.is(run(bed, DIVPS), vector);
    t.is(vcpu.get32('MXCSR'), 0x1d84);
    t.is(vcpu.mem.u64[(vcpu.cpu + CPU.at.XMM) / 8], 0x3f80_0000_3f80_0000n, 'nothing is stored');
  }
});

test('fxsave writes 416 bytes with ST0 first, and fxrstor takes them back', (t) => {
  const bed = machine();
  const { guest, vcpu } = bed;
  const area = guest.ram(VICTIM_GPA, 512);
  area.fill(0xee);
  vcpu.setGpr(RBX, BigInt(VICTIM_GPA));
  vcpu.set32('FSW', 3 << 11);
  vcpu.set32('FTW', 0b1000);
  setX87Register(vcpu, 3, 0x4000c90fdaa22168c235n);
  for (let i = 0; i < 32; i++) vcpu.mem.u64[(vcpu.cpu + CPU.at.XMM) / 8 + i] = BigInt(i + 1);
  t.is(run(bed, FXSAVE_RBX), null);
  const image = new DataView(area.slice().buffer);
  t.is(image.getUint16(0, true), 0x37f);
  t.is(image.getUint16(2, true), 3 << 11);
  t.is(image.getUint16(4, true), 0b1000);
  t.is(image.getUint32(24, true), 0x1f80);
  t.is(image.getUint32(28, true), 0xffff);
  t.is(image.getBigUint64(32, true), 0xc90fdaa22168c235n);
  t.is(image.getBigUint64(40, true), 0x4000n);
  for (let i = 0; i < 32; i++) t.is(image.getBigUint64(160 + 8 * i, true), BigInt(i + 1));
  t.true(area.slice(416).every((byte) => byte === 0xee));

  vcpu.mem.u64.fill(0n, (vcpu.cpu + CPU.at.XMM) / 8, (vcpu.cpu + CPU.at.MXCSR) / 8);
  vcpu.set32('FSW', 0);
  t.is(run(bed, FXRSTOR_RBX), null);
  t.is(vcpu.get32('FSW'), 3 << 11);
  t.is(vcpu.mem.u64[(vcpu.cpu + CPU.at.ST) / 8 + 6], 0xc90fdaa22168c235n, 'R3 is ST0');
  t.is(vcpu.mem.u64[(vcpu.cpu + CPU.at.XMM) / 8 + 31], 32n);
  area[27] = 1;
  t.is(run(bed, FXRSTOR_RBX), VECTOR_GP, 'a bit that MXCSR has not');
  vcpu.setGpr(RBX, BigInt(VICTIM_GPA + 8));
  t.is(run(bed, FXSAVE_RBX), VECTOR_GP, 'not aligned');
});
