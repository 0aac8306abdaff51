/** Host operations, one by one, as bytes of machine code in the bed of test/support/system-bed.ts. */
import test from 'ava';
import { ENCODINGS } from '../../../scripts/native-oracle/encodings.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../../src/actors/introspector/kvmi/constants.ts';
import { setMm, setXmm } from '../../../src/actors/vcpu/fpu-access.ts';
import { executeHostOp } from '../../../src/actors/vcpu/host-ops.ts';
import { HOST_OPS } from '../../../src/actors/vcpu/isa/insn.ts';
import { resetMsrs } from '../../../src/actors/vcpu/msr-file.ts';
import { insert, lookup } from '../../../src/actors/vcpu/tlb.ts';
import {
  OUTCOME_DEAD,
  OUTCOME_FAULT,
  OUTCOME_OK,
  OUTCOME_RETRY,
  type Outcome,
  type Vcpu,
} from '../../../src/actors/vcpu/vcpu.ts';
import { CPU, CPU_JUMP_CACHE, JUMP_ENTRIES, JUMP_ENTRY_BYTES } from '../../../src/shared/layout/cpu.ts';
import { VCPU_EXITED, VCPU_HALTED } from '../../../src/shared/layout/vcpu.ts';
import {
  ABSENT_CODE,
  ABSENT_DATA,
  BASED,
  CODE32,
  CONFORMING,
  EXECUTE_ONLY,
  fault,
  GDT,
  IDT,
  KCODE,
  KDATA,
  KERNEL_CODE,
  KERNEL_DATA,
  KERNEL_STACK,
  LDT_SEL,
  PAGE,
  READ_ONLY,
  SystemBed,
  TSS,
  TSS_SEL,
  TSS2_SEL,
  UCODE,
  UCODE_FRESH,
  UDATA,
  USER,
} from '../../support/system-bed.ts';

const UD = { vector: 6, errorCode: -1 };
const NP = 11;
const SS = 12;
const GP = 13;
const GP0 = { vector: GP, errorCode: 0 };

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RSI = 6;
const RDI = 7;

const IF = 1n << 9n;
const NOT_CANONICAL = 0x8000_0000_0000n;

const executed = new Set<string>();

/** Executes one instruction at RIP. Checks what holds of all: RIP moves only with OUTCOME_OK, and so do registers. */
function exec(bed: SystemBed, ...bytes: number[]): Outcome {
  const insn = bed.insn(...bytes);
  executed.add(insn.op);
  const before = bed.cpuState();
  const outcome = bed.run(executeHostOp(bed.vcpu, insn));
  if (outcome === OUTCOME_FAULT || outcome === OUTCOME_RETRY) {
    const after = bed.cpuState();
    if (!Buffer.from(before).equals(Buffer.from(after)))
      throw new Error(`${insn.op} faulted and changed the state`);
  }
  return outcome;
}

/** Executes, expects OUTCOME_OK and the next instruction. */
function step(bed: SystemBed, ...bytes: number[]): Vcpu {
  const rip = bed.vcpu.get64('RIP');
  const outcome = exec(bed, ...bytes);
  const { vcpu } = bed;
  if (outcome !== OUTCOME_OK)
    throw new Error(`outcome ${outcome}, ${JSON.stringify(fault(vcpu), (_k, v) => String(v))}`);
  if (vcpu.get64('RIP') !== rip + BigInt(bytes.length))
    throw new Error(`RIP ${vcpu.get64('RIP').toString(16)}`);
  return vcpu;
}

/** Executes and gives the fault. */
function faults(bed: SystemBed, ...bytes: number[]): ReturnType<typeof fault> {
  const outcome = exec(bed, ...bytes);
  if (outcome !== OUTCOME_FAULT) throw new Error(`outcome ${outcome}, a fault was expected`);
  return fault(bed.vcpu);
}

function inUser(): SystemBed {
  const bed = new SystemBed();
  bed.enterUser();
  return bed;
}

const CPUID = [0x0f, 0xa2] as const;
const HLT = [0xf4] as const;
const RDTSC = [0x0f, 0x31] as const;
const RDTSCP = [0x0f, 0x01, 0xf9] as const;
const RDMSR = [0x0f, 0x32] as const;
const WRMSR = [0x0f, 0x30] as const;
const LGDT = [0x0f, 0x01, 0x10] as const;
const LIDT = [0x0f, 0x01, 0x18] as const;
const SGDT = [0x0f, 0x01, 0x00] as const;
const SIDT = [0x0f, 0x01, 0x08] as const;
const LLDT = [0x0f, 0x00, 0xd0] as const;
const LTR = [0x0f, 0x00, 0xd8] as const;
const SLDT = [0x0f, 0x00, 0xc0] as const;
const STR = [0x0f, 0x00, 0xc8] as const;
const INVLPG = [0x0f, 0x01, 0x38] as const;
const WBINVD = [0x0f, 0x09] as const;
const CLTS = [0x0f, 0x06] as const;
const LMSW = [0x0f, 0x01, 0xf0] as const;
const SWAPGS = [0x0f, 0x01, 0xf8] as const;
const SYSCALL = [0x0f, 0x05] as const;
const SYSRETQ = [0x48, 0x0f, 0x07] as const;
const IRETQ = [0x48, 0xcf] as const;
const JMPF = [0x48, 0xff, 0x28] as const;
const CALLF = [0x48, 0xff, 0x18] as const;
const RETFQ = [0x48, 0xcb] as const;
const MOV_FROM_CR = (cr: number): number[] =>
  cr === 8 ? [0x44, 0x0f, 0x20, 0xc0] : [0x0f, 0x20, 0xc0 | (cr << 3)];
const MOV_TO_CR = (cr: number): number[] =>
  cr === 8 ? [0x44, 0x0f, 0x22, 0xc0] : [0x0f, 0x22, 0xc0 | (cr << 3)];
const MOV_FROM_DR = (dr: number): number[] => [0x0f, 0x21, 0xc0 | (dr << 3)];
const MOV_TO_DR = (dr: number): number[] => [0x0f, 0x23, 0xc0 | (dr << 3)];
/** mov sreg, ax and mov eax, sreg. */
const MOV_TO_SEG = (seg: number): number[] => [0x8e, 0xc0 | (seg << 3)];
const MOV_FROM_SEG = (seg: number): number[] => [0x8c, 0xc0 | (seg << 3)];

// ── privilege ───────────────────────────────────────────────────────────────────────────────────

test('what only ring 0 may do is #GP(0) in ring 3', (t) => {
  const privileged: readonly (readonly number[])[] = [
    HLT,
    RDMSR,
    WRMSR,
    LGDT,
    LIDT,
    LLDT,
    LTR,
    INVLPG,
    WBINVD,
    CLTS,
    LMSW,
    SWAPGS,
    SYSRETQ,
    ...[0, 2, 3, 4, 8].flatMap((cr) => [MOV_FROM_CR(cr), MOV_TO_CR(cr)]),
    ...[0, 6, 7].flatMap((dr) => [MOV_FROM_DR(dr), MOV_TO_DR(dr)]),
    [0xfa],
    [0xfb],
  ];
  for (const bytes of privileged)
    t.deepEqual(faults(inUser(), ...bytes), GP0, bytes.map((b) => b.toString(16)).join(' '));
});

test('what the machine does not have is #UD at every level', (t) => {
  const undefinedOps = [
    [0x0f, 0x0b],
    [0x0f, 0x01, 0xca],
    [0x0f, 0x01, 0xcb],
  ];
  for (const bytes of undefinedOps) {
    t.deepEqual(faults(new SystemBed(), ...bytes), UD);
    t.deepEqual(faults(inUser(), ...bytes), UD);
  }
});

// ── machine ─────────────────────────────────────────────────────────────────────────────────────

test('hlt sleeps at the next instruction', (t) => {
  const bed = new SystemBed();
  step(bed, ...HLT);
  t.is(bed.vm.mem.load(bed.vcpu.word('STATE')), VCPU_HALTED);
});

test('wbinvd and invlpg go through in ring 0', (t) => {
  const bed = new SystemBed();
  step(bed, ...WBINVD);
  step(bed, ...INVLPG);
  t.pass();
});

/** Is anything left in the TLB or in the jump cache? */
function cached(vcpu: Vcpu): boolean {
  const { mem, cpu } = vcpu;
  const jumps = mem.i32.subarray(
    (cpu + CPU_JUMP_CACHE) >>> 2,
    (cpu + CPU_JUMP_CACHE + JUMP_ENTRIES * JUMP_ENTRY_BYTES) >>> 2,
  );
  const hit = [false, true].some((user) =>
    [1, 2, 4].some((access) => lookup(mem, cpu, user, access, 0x5000n) >= 0),
  );
  return hit || jumps.some((word) => word !== -1);
}

function fillCaches({ mem, cpu }: Vcpu): void {
  for (const user of [false, true]) {
    for (const access of [1, 2, 4])
      insert(mem, cpu, { user, access, gva: 0x5000n, host: 0, gfn: 5, level: 0, slow: false });
  }
  mem.i32[(cpu + CPU_JUMP_CACHE + 5 * JUMP_ENTRY_BYTES) >>> 2] = 0x77;
  mem.i32[(cpu + CPU.at.JUMPS_EMPTY) >>> 2] = 0;
}

test('what changes translations empties the TLB and the jump cache, and only that', (t) => {
  const flushes = (rax: (vcpu: Vcpu) => bigint, ...bytes: number[]): boolean => {
    const bed = new SystemBed();
    fillCaches(bed.vcpu);
    bed.vcpu.setGpr(RAX, rax(bed.vcpu));
    step(bed, ...bytes);
    return !cached(bed.vcpu);
  };
  t.true(flushes(() => 0x5000n, ...INVLPG));
  t.true(flushes(() => 0x2000n, ...MOV_TO_CR(3)));
  t.true(
    flushes((vcpu) => vcpu.get64('CR0') ^ (1n << 16n), ...MOV_TO_CR(0)),
    'WP',
  );
  t.false(
    flushes((vcpu) => vcpu.get64('CR0') | 8n, ...MOV_TO_CR(0)),
    'TS',
  );
  t.true(
    flushes((vcpu) => vcpu.get64('CR4') ^ (1n << 7n), ...MOV_TO_CR(4)),
    'PGE',
  );
  t.false(
    flushes((vcpu) => vcpu.get64('CR4') ^ 4n, ...MOV_TO_CR(4)),
    'TSD',
  );
  t.false(flushes(() => 0x1234n, ...MOV_TO_CR(2)));
  const nxe = new SystemBed();
  fillCaches(nxe.vcpu);
  nxe.vcpu.setGpr(RCX, 0xc000_0080n);
  nxe.vcpu.setGpr(RAX, 0x501n);
  step(nxe, ...WRMSR);
  t.false(cached(nxe.vcpu), 'NXE');
});

function cpuidOf(leaf: number, ecx = 0n): { eax: number; ebx: number; ecx: number; edx: number } {
  const bed = new SystemBed();
  bed.vcpu.setGpr(RAX, 0xffff_ffff_0000_0000n | BigInt(leaf));
  bed.vcpu.setGpr(RCX, ecx);
  const vcpu = step(bed, ...CPUID);
  return {
    eax: Number(vcpu.gpr(RAX)),
    ebx: Number(vcpu.gpr(RBX)),
    ecx: Number(vcpu.gpr(RCX)),
    edx: Number(vcpu.gpr(RDX)),
  };
}

const text = (...words: number[]): string => {
  const bytes = new DataView(new ArrayBuffer(words.length * 4));
  for (const [i, word] of words.entries()) bytes.setUint32(i * 4, word, true);
  return new TextDecoder().decode(bytes.buffer).replace(/\0+$/, '');
};

test('cpuid: vendors, brand and widths', (t) => {
  const vendor = cpuidOf(0);
  t.is(text(vendor.ebx, vendor.edx, vendor.ecx), 'GenuineIntel');
  t.is(vendor.eax, 0xd);
  const hypervisor = cpuidOf(0x4000_0000);
  t.is(text(hypervisor.ebx, hypervisor.ecx, hypervisor.edx), 'FaultlineVM');
  const brand = [2, 3, 4].map((n) => cpuidOf(0x8000_0000 + n));
  t.is(text(...brand.flatMap((r) => [r.eax, r.ebx, r.ecx, r.edx])), 'Faultline x86-64 vCPU');
  t.is(cpuidOf(0x8000_0000).eax, 0x8000_0008);
  t.is(cpuidOf(0x8000_0008).eax, 40 | (48 << 8));
  t.deepEqual(cpuidOf(0x1234), cpuidOf(0xd), 'beyond the last leaf the last one answers');
  t.deepEqual(cpuidOf(0x4000_0001), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('cpuid offers what works and nothing of what does not', (t) => {
  const bit = (word: number, n: number): boolean => ((word >>> n) & 1) === 1;
  const one = cpuidOf(1);
  for (const n of [0, 3, 4, 5, 6, 8, 13, 15, 16, 19, 23, 24, 25, 26]) t.true(bit(one.edx, n), `1.edx ${n}`);
  // VME, DE, MCE, APIC, SEP, MTRR, MCA, HTT
  for (const n of [1, 2, 7, 9, 11, 12, 14, 28]) t.false(bit(one.edx, n), `1.edx ${n}`);
  for (const n of [0, 9, 13, 19, 20, 22, 23, 26, 30, 31]) t.true(bit(one.ecx, n), `1.ecx ${n}`);
  // PCLMUL, MONITOR, VMX, FMA, x2APIC, AES, OSXSAVE (until CR4 has it), AVX
  for (const n of [1, 3, 5, 12, 21, 25, 27, 28]) t.false(bit(one.ecx, n), `1.ecx ${n}`);
  t.is(
    cpuidOf(7).ebx,
    1 | (1 << 7) | (1 << 13) | (1 << 19),
    'FSGSBASE, SMEP, no FCS and FDS, ADX: no BMI1, SMAP',
  );
  const extended = cpuidOf(0x8000_0001);
  t.is(extended.edx, (1 << 11) | (1 << 20) | (1 << 26) | (1 << 27) | (1 << 29));
  t.is(extended.ecx, 1 | (1 << 5) | (1 << 8));
});

test('cpuid faulting holds outside ring 0 once it is switched on', (t) => {
  const bed = new SystemBed();
  bed.vcpu.set64('MISC_FEATURES', 1n);
  step(bed, ...CPUID);
  bed.enterUser();
  t.deepEqual(faults(bed, ...CPUID), GP0);
  bed.vcpu.set64('MISC_FEATURES', 0n);
  step(bed, ...CPUID);
});

test('rdtsc is retired instructions and an offset, and TSD keeps ring 3 out', (t) => {
  const bed = new SystemBed();
  bed.vcpu.set64('RETIRED', 0x1_0000_0005n);
  bed.vcpu.set64('TSC_OFFSET', 0xffff_ffff_ffff_ffffn);
  bed.vcpu.set64('TSC_AUX', 7n);
  bed.vcpu.setGpr(RDX, ~0n & 0xffff_ffff_ffff_ffffn);
  step(bed, ...RDTSC);
  t.deepEqual([bed.vcpu.gpr(RAX), bed.vcpu.gpr(RDX)], [4n, 1n]);
  step(bed, ...RDTSCP);
  t.is(bed.vcpu.gpr(RCX), 7n);
  bed.enterUser();
  step(bed, ...RDTSC);
  bed.vcpu.set64('CR4', bed.vcpu.get64('CR4') | 4n);
  t.deepEqual(faults(bed, ...RDTSC), GP0);
  t.deepEqual(faults(bed, ...RDTSCP), GP0);
});

test('rdrand gives numbers of its seed, sized, with CF set and the other flags clear', (t) => {
  const numbers = (): bigint[] => {
    const bed = new SystemBed();
    return Array.from({ length: 4 }, () => step(bed, 0x48, 0x0f, 0xc7, 0xf0).gpr(RAX));
  };
  t.deepEqual(numbers(), numbers());
  t.is(new Set(numbers()).size, 4);
  const bed = new SystemBed();
  bed.vcpu.flags.setRflags(2n | 0x8d4n | IF);
  bed.vcpu.setGpr(RAX, 0xffff_ffff_ffff_ffffn);
  step(bed, 0x66, 0x0f, 0xc7, 0xf0);
  t.is(bed.vcpu.gpr(RAX) >> 16n, 0xffff_ffff_ffffn);
  t.is(bed.vcpu.flags.rflags(), 2n | 1n | IF);
  step(bed, 0x0f, 0xc7, 0xf0);
  t.is(bed.vcpu.gpr(RAX) >> 32n, 0n);
});

test('vmcall and vmmcall: no hypercalls, and none of ring 3', (t) => {
  t.is(BigInt.asIntN(64, step(new SystemBed(), 0x0f, 0x01, 0xc1).gpr(RAX)), -1000n);
  t.is(BigInt.asIntN(64, step(new SystemBed(), 0x0f, 0x01, 0xd9).gpr(RAX)), -1000n);
  t.is(BigInt.asIntN(64, step(inUser(), 0x0f, 0x01, 0xc1).gpr(RAX)), -1n);
});

// ── extended state ──────────────────────────────────────────────────────────────────────────────

const XGETBV = [0x0f, 0x01, 0xd0] as const;
const XSETBV = [0x0f, 0x01, 0xd1] as const;
/** [rax] */
const XSAVE = [0x0f, 0xae, 0x20] as const;
const XRSTOR = [0x0f, 0xae, 0x28] as const;
const OSFXSR = 1n << 9n;
const OSXSAVE = 1n << 18n;
const AREA = BigInt(KERNEL_DATA);

function withXsave(): SystemBed {
  const bed = new SystemBed();
  bed.vcpu.set64('XCR0', 1n);
  bed.vcpu.set32('FCW', 0x37f);
  bed.vcpu.set32('MXCSR', 0x1f80);
  bed.vcpu.set64('CR4', bed.vcpu.get64('CR4') | OSXSAVE);
  return bed;
}

/** EDX:EAX says which components; RAX is the address as well, so that its low half may name both. */
function atArea(bed: SystemBed, components: bigint, at = AREA): SystemBed {
  bed.vcpu.setGpr(RAX, at | components);
  bed.vcpu.setGpr(RDX, 0n);
  return bed;
}

/** [rax − 3]: the address without the components in it. */
const minus3 = (bytes: readonly number[]): number[] => [bytes[0]!, bytes[1]!, bytes[2]! | 0x40, 0xfd];

function setXcr0(bed: SystemBed, value: bigint, xcr = 0n): Outcome {
  bed.vcpu.setGpr(RCX, xcr);
  bed.vcpu.setGpr(RAX, value & 0xffff_ffffn);
  bed.vcpu.setGpr(RDX, value >> 32n);
  return exec(bed, ...XSETBV);
}

test('xsave and its kin are #UD while CR4.OSXSAVE is clear, which CPUID shows', (t) => {
  for (const bytes of [XGETBV, XSETBV, XSAVE, XRSTOR]) {
    t.deepEqual(faults(new SystemBed(), ...bytes), UD);
    t.deepEqual(faults(inUser(), ...bytes), UD);
  }
  const bed = withXsave();
  bed.vcpu.setGpr(RAX, 1n);
  t.is((step(bed, ...CPUID).gpr(RCX) >> 26n) & 3n, 3n);
  const area = cpuidOf(0xd);
  t.deepEqual(area, { eax: 3, ebx: 576, ecx: 576, edx: 0 });
  t.deepEqual(cpuidOf(0xd, 1n), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('maskmovdqu and maskmovq store the bytes whose sign is set in the mask, and no others', (t) => {
  for (const mmx of [false, true]) {
    const bed = new SystemBed();
    const { vcpu, vm } = bed;
    const ram = vm.mem.u8.subarray(vm.layout.ram + KERNEL_DATA, vm.layout.ram + KERNEL_DATA + 16);
    ram.fill(0xee);
    vcpu.setGpr(RDI, AREA);
    const count = mmx ? 8 : 16;
    const value = BigInt(mmx ? '0x0807060504030201' : '0x100f0e0d0c0b0a090807060504030201');
    const mask = BigInt(mmx ? '0x807f00ff00818000' : '0xff808080808080808080808080817f00');
    const bytes = mmx ? [0x0f, 0xf7, 0xca] : [0x66, 0x0f, 0xf7, 0xca];
    if (!mmx) {
      t.is(faults(bed, ...bytes).vector, 6, 'without CR4.OSFXSR');
      vcpu.set64('CR4', vcpu.get64('CR4') | OSFXSR);
    }
    const set = mmx ? setMm : setXmm;
    set(vcpu, 1, value);
    set(vcpu, 2, mask);
    step(bed, ...bytes);
    for (let i = 0; i < 16; i++) {
      const stored = i < count && ((mask >> BigInt(8 * i + 7)) & 1n) === 1n;
      t.is(ram[i], stored ? i + 1 : 0xee, `${mmx ? 'mm' : 'xmm'} byte ${i}`);
    }
    t.is(vcpu.get32('FTW'), mmx ? 0xff : 0);
  }
});

test('xsetbv takes x87 alone or with SSE, in ring 0; xgetbv shows it everywhere', (t) => {
  const bed = withXsave();
  for (const value of [3n, 1n]) {
    t.is(setXcr0(bed, value), OUTCOME_OK);
    bed.vcpu.setGpr(RCX, 0xffff_ffff_0000_0000n);
    t.is(step(bed, ...XGETBV).gpr(RAX), value);
    t.is(bed.vcpu.gpr(RDX), 0n);
  }
  for (const value of [0n, 2n, 5n, 7n, 1n | (1n << 63n)]) {
    t.is(setXcr0(bed, value), OUTCOME_FAULT, String(value));
    t.deepEqual(fault(bed.vcpu), GP0);
  }
  t.is(setXcr0(bed, 1n, 1n), OUTCOME_FAULT);
  bed.vcpu.setGpr(RCX, 1n);
  t.deepEqual(faults(bed, ...XGETBV), GP0);
  bed.enterUser();
  bed.vcpu.setGpr(RCX, 0n);
  step(bed, ...XGETBV);
  t.is(setXcr0(bed, 3n), OUTCOME_FAULT);
  t.deepEqual(fault(bed.vcpu), GP0);
});

test('xrstor loads what XSTATE_BV has and initialises the rest; xsave stores what is asked for', (t) => {
  const bed = withXsave();
  const { vcpu, vm } = bed;
  t.is(setXcr0(bed, 3n), OUTCOME_OK);
  const ram = vm.mem.u8.subarray(vm.layout.ram + KERNEL_DATA, vm.layout.ram + KERNEL_DATA + 576);
  for (let i = 0; i < 512; i++) ram[i] = i;
  // FCW, FSW, FTW with its reserved byte, FOP of 11 bits; MXCSR; and what is reserved behind each ST.
  ram.set([0x7f, 0x03, 2, 3, 4, 0, 6, 7], 0);
  // Without REX.W the pointers have 32 bits.
  for (const at of [12, 13, 14, 15, 20, 21, 22, 23]) ram[at] = 0;
  ram.set([0x80, 0x1f, 0, 0], 24);
  for (let st = 32; st < 160; st += 16) ram.fill(0, st + 10, st + 16);
  ram.fill(0, 512);
  ram[512] = 3;
  const image = ram.slice();
  step(atArea(bed, 3n), ...minus3(XRSTOR));
  ram.fill(0xee, 0, 512);
  ram[512] = 0x80;
  ram[535] = 0x77;
  step(atArea(bed, 3n), ...minus3(XSAVE));
  t.is(ram[512], 0x83, 'bits that were not asked for stay');
  t.is(ram[535], 0x77, 'nothing else of the header is written');
  t.deepEqual(ram.slice(0, 28), image.slice(0, 28));
  t.deepEqual(ram.slice(28, 32), Uint8Array.of(0xff, 0xff, 0, 0), 'MXCSR_MASK');
  t.deepEqual(ram.slice(32, 416), image.slice(32, 416));
  t.true(ram.slice(416, 512).every((byte) => byte === 0xee));
  // x87 alone: XMM stays.
  ram.fill(0, 512);
  ram[512] = 0;
  bed.vcpu.setGpr(RAX, AREA + 1n);
  bed.vcpu.setGpr(RDX, 0n);
  step(bed, 0x0f, 0xae, 0x68, 0xff);
  step(atArea(bed, 3n), ...minus3(XSAVE));
  t.is(ram[512], 2, 'x87 is as it is initially');
  t.deepEqual(ram.slice(0, 4), Uint8Array.of(0x7f, 3, 0, 0));
  t.deepEqual(ram.slice(160, 416), image.slice(160, 416));
  // SSE that is not there is initialised, and MXCSR loaded all the same.
  ram[512] = 0;
  ram.set([0xa0, 0x1f, 0, 0], 24);
  step(atArea(bed, 3n), ...minus3(XRSTOR));
  step(atArea(bed, 3n), ...minus3(XSAVE));
  t.is(ram[512], 0);
  t.true(ram.slice(160, 416).every((byte) => byte === 0));
  t.deepEqual(ram.slice(24, 28), Uint8Array.of(0xa0, 0x1f, 0, 0));
  t.is(vcpu.get64('XCR0'), 3n);
});

test('fxrstor64 loads what fxsave64 stores; 16 bytes of alignment, TS clear, no bits that MXCSR lacks', (t) => {
  const FXSAVE64 = [0x48, 0x0f, 0xae, 0x07];
  const FXRSTOR64 = [0x48, 0x0f, 0xae, 0x0f];
  const bed = new SystemBed();
  const { vcpu, vm } = bed;
  const ram = vm.mem.u8.subarray(vm.layout.ram + KERNEL_DATA, vm.layout.ram + KERNEL_DATA + 512);
  vcpu.set64('CR4', vcpu.get64('CR4') | OSFXSR);
  for (let i = 0; i < 512; i++) ram[i] = i;
  ram.set([0x7f, 0x03, 2, 3, 4, 0, 6, 7], 0);
  ram.set([0x80, 0x1f, 0, 0, 0xff, 0xff, 0, 0], 24);
  for (let st = 32; st < 160; st += 16) ram.fill(0, st + 10, st + 16);
  const image = ram.slice(0, 416);
  vcpu.setGpr(RDI, AREA);
  step(bed, ...FXRSTOR64);
  ram.fill(0xee);
  step(bed, ...FXSAVE64);
  t.deepEqual(ram.slice(0, 416), image);
  t.true(ram.slice(416).every((byte) => byte === 0xee));
  ram[27] = 1;
  t.deepEqual(faults(bed, ...FXRSTOR64), GP0, 'MXCSR');
  vcpu.setGpr(RDI, AREA + 8n);
  for (const bytes of [FXSAVE64, FXRSTOR64]) t.deepEqual(faults(bed, ...bytes), GP0, 'alignment');
  vcpu.setGpr(RDI, AREA);
  vcpu.set64('CR0', vcpu.get64('CR0') | 8n);
  for (const bytes of [FXSAVE64, FXRSTOR64]) t.is(faults(bed, ...bytes).vector, 7, 'TS');
});

test('xsave and xrstor want 64 bytes of alignment, TS clear, and an area that makes sense', (t) => {
  const bed = withXsave();
  const { vm } = bed;
  const ram = vm.mem.u8.subarray(vm.layout.ram + KERNEL_DATA, vm.layout.ram + KERNEL_DATA + 576);
  const wrong = (at: number, value: number) => {
    ram.fill(0);
    ram[at] = value;
    return faults(atArea(bed, 3n), ...minus3(XRSTOR));
  };
  t.deepEqual(wrong(512, 2), GP0, 'SSE is not on');
  t.is(setXcr0(bed, 3n), OUTCOME_OK);
  t.deepEqual(wrong(512, 4), GP0);
  t.deepEqual(wrong(527, 0x80), GP0, 'compacted');
  t.deepEqual(wrong(535, 1), GP0);
  t.deepEqual(wrong(26, 1), GP0, 'MXCSR');
  ram.fill(0);
  ram[536] = 1;
  step(atArea(bed, 3n), ...minus3(XRSTOR));
  for (const bytes of [XSAVE, XRSTOR]) {
    t.deepEqual(faults(atArea(bed, 3n), ...bytes), GP0, 'misaligned');
    const far = { vector: 14, errorCode: bytes === XSAVE ? 2 : 0, address: 0x7f00_0000n };
    t.deepEqual(faults(atArea(bed, 0n, 0x7f00_0000n), ...bytes), far);
  }
  // Its second page is not there: nothing of the first is stored.
  const last = BigInt(64 * PAGE - 64);
  const end = vm.mem.u8.subarray(vm.layout.ram + Number(last), vm.layout.ram + 64 * PAGE);
  end.fill(0x55);
  t.deepEqual(faults(atArea(bed, 0n, last), ...XSAVE), {
    vector: 14,
    errorCode: 2,
    address: BigInt(64 * PAGE),
  });
  t.true(end.every((byte) => byte === 0x55));
  bed.vcpu.set64('CR0', bed.vcpu.get64('CR0') | 8n);
  for (const bytes of [XSAVE, XRSTOR]) {
    t.deepEqual(faults(atArea(bed, 3n), ...minus3(bytes)), { vector: 7, errorCode: -1 });
  }
});

// ── MSRs ────────────────────────────────────────────────────────────────────────────────────────

function writeMsr(bed: SystemBed, msr: number, value: bigint): Outcome {
  bed.vcpu.setGpr(RCX, 0xdead_0000_0000_0000n | BigInt(msr));
  bed.vcpu.setGpr(RAX, 0xffff_ffff_0000_0000n | (value & 0xffff_ffffn));
  bed.vcpu.setGpr(RDX, 0xffff_ffff_0000_0000n | (value >> 32n));
  return exec(bed, ...WRMSR);
}

function readMsr(bed: SystemBed, msr: number): bigint {
  bed.vcpu.setGpr(RCX, BigInt(msr));
  const vcpu = step(bed, ...RDMSR);
  return (vcpu.gpr(RDX) << 32n) | vcpu.gpr(RAX);
}

test('every MSR takes what the SDM says and gives it back; the rest is #GP', (t) => {
  const accepted: readonly (readonly [number, bigint])[] = [
    [0x10, 0x1234_5678_9abc_def0n],
    [0x1b, 0xfee0_0900n],
    [0x140, 1n],
    [0x277, 0x0001_0405_0607_0604n],
    [0xc000_0080, 0x501n],
    [0xc000_0080, 0xd01n],
    [0xc000_0081, 0xffff_ffff_ffff_ffffn],
    [0xc000_0082, 0xffff_8000_0000_0000n],
    [0xc000_0083, 0x7fff_ffff_ffffn],
    [0xc000_0084, 0xffff_ffffn],
    [0xc000_0100, 0x7fff_ffff_f000n],
    [0xc000_0101, 0xffff_ffff_ffff_f000n],
    [0xc000_0102, 0n],
    [0xc000_0103, 0xffff_ffffn],
  ];
  const bed = new SystemBed();
  for (const [msr, value] of accepted) {
    t.is(writeMsr(bed, msr, value), OUTCOME_OK, msr.toString(16));
    t.is(readMsr(bed, msr), value, msr.toString(16));
  }
  const refused: readonly (readonly [number, bigint])[] = [
    [0x140, 2n],
    [0x277, 2n],
    [0x277, 8n << 56n],
    [0x1b, 1n],
    [0x1b, 1n << 40n],
    [0xc000_0080, 0xd03n],
    [0xc000_0080, 0xc01n],
    [0xc000_0082, NOT_CANONICAL],
    [0xc000_0083, NOT_CANONICAL],
    [0xc000_0084, 1n << 32n],
    [0xc000_0100, NOT_CANONICAL],
    [0xc000_0101, NOT_CANONICAL],
    [0xc000_0102, NOT_CANONICAL],
    [0xc000_0103, 1n << 32n],
    [0xce, 0n],
    [0x174, 0n],
    [0xffff_ffff, 0n],
  ];
  for (const [msr, value] of refused) {
    t.is(writeMsr(bed, msr, value), OUTCOME_FAULT, msr.toString(16));
    t.deepEqual(fault(bed.vcpu), GP0);
  }
  for (const msr of [0x174, 0, 0xc000_0104]) {
    bed.vcpu.setGpr(RCX, BigInt(msr));
    t.deepEqual(faults(bed, ...RDMSR), GP0);
  }
  t.is(readMsr(bed, 0xce), 1n << 31n);
});

test('EFER: LMA is the processor’s own, whatever is written', (t) => {
  const bed = new SystemBed();
  t.is(writeMsr(bed, 0xc000_0080, 0x101n), OUTCOME_OK);
  t.is(readMsr(bed, 0xc000_0080), 0x501n);
});

test('the time stamp counter goes on from what was written', (t) => {
  const bed = new SystemBed();
  bed.vcpu.set64('RETIRED', 1000n);
  writeMsr(bed, 0x10, 5n);
  bed.vcpu.set64('RETIRED', 1010n);
  t.is(readMsr(bed, 0x10), 15n);
});

test('MSRs at reset', (t) => {
  const bed = new SystemBed({ vcpuCount: 2 });
  for (const vcpu of bed.vcpus) resetMsrs(vcpu);
  t.is(readMsr(bed, 0x277), 0x0007_0406_0007_0406n);
  t.is(readMsr(bed, 0x1b), 0xfee0_0900n);
  t.is(bed.vcpus[1]!.get64('APIC_BASE'), 0xfee0_0800n);
});

// ── control and debug registers ─────────────────────────────────────────────────────────────────

test('control registers: what goes in comes out', (t) => {
  for (const [cr, value, read] of [
    [0, 0x8005_003bn, 0x8005_003bn],
    [0, 0x8000_0001n, 0x8000_0011n],
    [2, 0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn],
    [3, 0x2018n, 0x2018n],
    [4, 0x100b4n, 0x100b4n],
    [8, 15n, 15n],
  ] as const) {
    const bed = new SystemBed();
    bed.vcpu.setGpr(RAX, value);
    step(bed, ...MOV_TO_CR(cr));
    bed.vcpu.setGpr(RAX, 0n);
    t.is(step(bed, ...MOV_FROM_CR(cr)).gpr(RAX), read, `cr${cr}`);
  }
});

test('control registers: what long mode forbids is #GP(0)', (t) => {
  for (const [cr, value] of [
    [0, 0x0001_0033n], // PG clear
    [0, 0x8001_0032n], // PE clear
    [0, 0xa001_0033n], // NW without CD
    [0, 0x1_8001_0033n],
    [3, 1n << 40n],
    [3, 1n << 63n],
    [4, 0x80n], // PAE clear
    [4, 0xa1n], // VME
    [4, 0xa8n], // DE
    [4, 0x20a0n], // VMXE
    [4, 0x10a0n], // LA57
    [4, 0x200a0n], // PCIDE
    [4, 0x2000a0n], // SMAP
    [4, 1n << 32n],
    [8, 16n],
  ] as const) {
    const bed = new SystemBed();
    bed.vcpu.setGpr(RAX, value);
    t.deepEqual(faults(bed, ...MOV_TO_CR(cr)), GP0, `cr${cr} ${value.toString(16)}`);
  }
});

test('clts, smsw and lmsw', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.setGpr(RAX, 0xen);
  step(bed, ...LMSW);
  t.is(vcpu.get64('CR0'), 0x8001_003fn, 'MP, EM and TS set, PE stays');
  step(bed, ...CLTS);
  t.is(vcpu.get64('CR0'), 0x8001_0037n);
  vcpu.setGpr(RAX, 0n);
  step(bed, ...LMSW);
  t.is(vcpu.get64('CR0'), 0x8001_0031n);
  t.is(step(bed, 0x48, 0x0f, 0x01, 0xe0).gpr(RAX), 0x8001_0031n);
  bed.enterUser();
  vcpu.setGpr(RAX, 0xffff_ffff_ffff_ffffn);
  t.is(step(bed, 0x66, 0x0f, 0x01, 0xe0).gpr(RAX), 0xffff_ffff_ffff_0031n, 'ring 3 may read it, 16 bits');
  vcpu.setGpr(RAX, BigInt(USER) + 0x100n);
  step(bed, 0x48, 0x0f, 0x01, 0x20);
  t.is(bed.read64(USER + 0x100), 0x31n, 'memory takes 16 bits whatever the operand size');
});

test('debug registers read as written, with their fixed bits; 4 and 5 are 6 and 7', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  const roundTrip = (dr: number, value: bigint, from = dr): bigint => {
    vcpu.setGpr(RAX, value);
    step(bed, ...MOV_TO_DR(dr));
    return step(bed, ...MOV_FROM_DR(from)).gpr(RAX);
  };
  t.is(step(bed, ...MOV_FROM_DR(6)).gpr(RAX), 0xffff_0ff0n, 'at reset');
  t.is(step(bed, ...MOV_FROM_DR(7)).gpr(RAX), 0x400n, 'at reset');
  for (const dr of [0, 1, 2, 3])
    t.is(roundTrip(dr, 0x1111_2222_3333_4444n + BigInt(dr)), 0x1111_2222_3333_4444n + BigInt(dr));
  t.is(roundTrip(6, 0xffff_ffffn), 0xffff_efffn);
  t.is(roundTrip(4, 0n, 6), 0xffff_0ff0n);
  t.is(roundTrip(7, 0xffff_ffffn, 5), 0xffff_27ffn);
  vcpu.setGpr(RAX, 1n << 32n);
  t.deepEqual(faults(bed, ...MOV_TO_DR(6)), GP0);
  t.deepEqual(faults(bed, ...MOV_TO_DR(7)), GP0);
});

// ── ports ───────────────────────────────────────────────────────────────────────────────────────

test('the console takes bytes, unknown ports give ones and are counted', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.setGpr(RAX, 0x41n);
  step(bed, 0xe6, 0xe9);
  vcpu.setGpr(RDX, 0xffff_00e9n);
  vcpu.setGpr(RAX, 0x5a42n);
  step(bed, 0xee);
  t.deepEqual(bed.console, [0x41, 0x42]);
  t.is(step(bed, 0xec).gpr(RAX), 0x5ae9n);
  vcpu.setGpr(RAX, 0n);
  vcpu.setGpr(RDX, 0x3f8n);
  t.is(step(bed, 0x66, 0xed).gpr(RAX), 0xffffn);
  t.is(step(bed, 0xe4, 0x60).gpr(RAX), 0xffffn);
  vcpu.setGpr(RAX, 0xffff_ffff_0000_0000n);
  t.is(step(bed, 0xe5, 0x60).gpr(RAX), 0xffff_ffffn);
  step(bed, 0xef);
  t.is(vcpu.mem.i64[vcpu.word('UNKNOWN_PORTS') / 8], 4n);
});

test('the exit port ends the vCPU with the low byte', (t) => {
  const bed = new SystemBed();
  bed.vcpu.setGpr(RAX, 0x1_2345_6703n);
  t.is(exec(bed, 0xe7, 0xf4), OUTCOME_DEAD);
  t.is(bed.vm.mem.load(bed.vcpu.word('STATE')), VCPU_EXITED);
  t.is(bed.vm.mem.load(bed.vcpu.word('EXIT_CODE')), 3);
});

test('ring 3 has the ports that IOPL or the bitmap gives it', (t) => {
  const out = [0xe6, 0xe9];
  const bed = inUser();
  const { vcpu } = bed;
  t.deepEqual(faults(bed, ...out), GP0, 'no bitmap within the limit');
  vcpu.flags.setRflags(2n | 0x3000n);
  step(bed, ...out);
  vcpu.flags.setRflags(2n | 0x2000n);
  t.deepEqual(faults(bed, ...out), GP0, 'IOPL 2');

  vcpu.flags.setRflags(2n);
  bed.ram.setUint16(TSS + 0x66, 0x80, true);
  const bitmap = TSS + 0x80;
  for (let i = 0; i < 64; i++) bed.bytes(bitmap + i, 0xff);
  vcpu.set32('TR_LIMIT', 0x80 + 63);
  t.deepEqual(faults(bed, ...out), GP0, 'bit set');
  bed.bytes(bitmap + 0x1d, 0xfd);
  step(bed, ...out);
  t.deepEqual(faults(bed, 0xe7, 0xe9), GP0, 'a dword touches four ports');
  bed.bytes(bitmap + 0x1d, 0x01);
  bed.bytes(bitmap + 0x1e, 0xfe);
  step(bed, 0xe7, 0xe9);
  vcpu.setGpr(RDX, 0xefn);
  step(bed, 0x66, 0xed);
  t.deepEqual(faults(bed, 0xed), GP0, 'the fourth port has its bit set');
  vcpu.set32('TR_LIMIT', 0x80 + 0x1d);
  t.deepEqual(faults(bed, ...out), GP0, 'two bytes of the bitmap must be there');
  vcpu.set32('TR_LIMIT', 0x80 + 0x1e);
  step(bed, ...out);
  // The TSS itself for a bitmap: only its length decides.
  bed.ram.setUint16(TSS + 0x66, 0, true);
  vcpu.set32('TR_LIMIT', 103);
  step(bed, ...out);
  vcpu.set32('TR_LIMIT', 102);
  t.deepEqual(faults(bed, ...out), GP0, 'a TSS too short to have a bitmap');
});

test('outs and ins move one element and their index, by size and direction', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.bytes(KERNEL_DATA, 0x61, 0x62, 0x63);
  vcpu.setGpr(RDX, 0xe9n);
  vcpu.setGpr(RSI, BigInt(KERNEL_DATA));
  step(bed, 0x6e);
  vcpu.flags.setRflags(2n | 0x400n);
  step(bed, 0x6e);
  step(bed, 0x6e);
  t.deepEqual(bed.console, [0x61, 0x62, 0x61]);
  t.is(vcpu.gpr(RSI), BigInt(KERNEL_DATA - 1));
  vcpu.setGpr(RDI, BigInt(KERNEL_DATA + 0x10));
  step(bed, 0x6d);
  t.is(vcpu.gpr(RDI), BigInt(KERNEL_DATA + 0xc));
  t.is(bed.read64(KERNEL_DATA + 0x10), 0xffff_ffffn);
});

test('rep outs stays at its instruction until the count is used up', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.bytes(KERNEL_DATA, 0x61, 0x62, 0x63);
  vcpu.setGpr(RDX, 0xe9n);
  vcpu.setGpr(RSI, BigInt(KERNEL_DATA));
  vcpu.setGpr(RCX, 3n);
  const rip = vcpu.get64('RIP');
  const seen: [bigint, bigint, bigint][] = [];
  for (let n = 0; n < 3; n++) {
    t.is(exec(bed, 0xf3, 0x6e), OUTCOME_OK);
    seen.push([vcpu.gpr(RCX), vcpu.gpr(RSI) - BigInt(KERNEL_DATA), vcpu.get64('RIP') - rip]);
  }
  t.deepEqual(seen, [
    [2n, 1n, 0n],
    [1n, 2n, 0n],
    [0n, 3n, 2n],
  ]);
  t.deepEqual(bed.console, [0x61, 0x62, 0x63]);
  step(bed, 0xf3, 0x6e);
  t.deepEqual([vcpu.gpr(RCX), bed.console.length], [0n, 3], 'a count of 0 does nothing');
});

test('outs with an FS base and 32-bit addresses', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.bytes(KERNEL_DATA + 4, 0x7a);
  vcpu.set64('FS_BASE', BigInt(KERNEL_DATA));
  vcpu.setGpr(RDX, 0xe9n);
  vcpu.setGpr(RSI, 0xffff_ffff_0000_0004n);
  vcpu.setGpr(RCX, 0xffff_ffff_0000_0001n);
  step(bed, 0xf3, 0x64, 0x67, 0x6e);
  t.deepEqual([bed.console, vcpu.gpr(RSI), vcpu.gpr(RCX)], [[0x7a], 5n, 0n]);
});

test('RETRY in iteration n keeps the iterations before it', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.introspect();
  bed.bytes(KERNEL_DATA + PAGE - 1, 0x61, 0x62);
  bed.access((KERNEL_DATA + PAGE) / PAGE, 0);
  vcpu.setGpr(RDX, 0xe9n);
  vcpu.setGpr(RSI, BigInt(KERNEL_DATA + PAGE - 1));
  vcpu.setGpr(RCX, 2n);
  t.is(exec(bed, 0xf3, 0x6e), OUTCOME_OK);
  const insn = bed.insn(0xf3, 0x6e);
  const outcome = bed.runWithTool(
    function* () {
      return RETRY;
    },
    executeHostOp(vcpu, insn),
  );
  t.is(outcome, OUTCOME_RETRY);
  t.deepEqual([vcpu.gpr(RCX), bed.console], [1n, [0x61]]);
});

// ── flags ───────────────────────────────────────────────────────────────────────────────────────

test('cli and sti change IF where IOPL admits the caller', (t) => {
  const bed = new SystemBed();
  t.is(step(bed, 0xfb).flags.rflags(), 2n | IF);
  t.is(step(bed, 0xfa).flags.rflags(), 2n);
  bed.enterUser();
  t.deepEqual(faults(bed, 0xfb), GP0);
  bed.vcpu.flags.setRflags(2n | 0x3000n);
  t.is(step(bed, 0xfb).flags.rflags(), 2n | 0x3000n | IF);
});

// ── segments ────────────────────────────────────────────────────────────────────────────────────

function loadSeg(bed: SystemBed, seg: number, selector: number): Outcome {
  bed.vcpu.setGpr(RAX, BigInt(selector));
  return exec(bed, ...MOV_TO_SEG(seg));
}

test('data segments load with their base, and their descriptor becomes accessed', (t) => {
  const bed = inUser();
  const { vcpu } = bed;
  t.is(loadSeg(bed, 4, BASED | 3), OUTCOME_OK);
  t.is(vcpu.get64('FS_BASE'), 0x1234_5678n);
  t.is(bed.read64(GDT + BASED), 0x12cff3345678ffffn);
  t.is(step(bed, ...MOV_FROM_SEG(4)).gpr(RAX), BigInt(BASED | 3));
  t.is(loadSeg(bed, 4, 0), OUTCOME_OK);
  t.is(vcpu.get64('FS_BASE'), 0n);
  t.is(loadSeg(bed, 5, BASED), OUTCOME_OK);
  t.is(vcpu.get64('GS_BASE'), 0x1234_5678n);
  for (const seg of [0, 3]) t.is(loadSeg(bed, seg, UDATA | 3), OUTCOME_OK);
});

test('segment loads check type, privilege and presence', (t) => {
  const check = (
    user: boolean,
    seg: number,
    selector: number,
  ): { vector: number; errorCode: number } | 'loaded' => {
    const bed = user ? inUser() : new SystemBed();
    const outcome = loadSeg(bed, seg, selector);
    if (outcome === OUTCOME_FAULT) return fault(bed.vcpu);
    return bed.vcpu.selector(seg) === selector ? 'loaded' : { vector: -1, errorCode: bed.vcpu.selector(seg) };
  };
  const gp = (errorCode: number) => ({ vector: GP, errorCode });
  const DS = 3;
  const STACK = 2;
  // DS: SDM vol. 2B, MOV, "IF DS, ES, FS, or GS is loaded with non-NULL selector".
  t.is(check(false, DS, KDATA), 'loaded');
  t.is(check(false, DS, UDATA), 'loaded');
  t.is(check(false, DS, READ_ONLY), 'loaded');
  t.is(check(false, DS, KCODE), 'loaded');
  t.is(check(true, DS, CONFORMING | 3), 'loaded');
  t.is(check(true, DS, 3), 'loaded');
  t.deepEqual(check(true, DS, KDATA | 3), gp(KDATA));
  t.deepEqual(check(false, DS, KDATA | 3), gp(KDATA));
  t.deepEqual(check(true, DS, KCODE | 3), gp(KCODE));
  t.deepEqual(check(true, DS, EXECUTE_ONLY | 3), gp(EXECUTE_ONLY));
  t.deepEqual(check(false, DS, TSS_SEL), gp(TSS_SEL));
  t.deepEqual(check(false, DS, 0x98), gp(0x98));
  t.deepEqual(check(false, DS, 0x0c), gp(0x0c));
  t.deepEqual(check(false, DS, ABSENT_DATA), { vector: NP, errorCode: ABSENT_DATA });
  // SS: "IF SS is loaded".
  t.is(check(false, STACK, KDATA), 'loaded');
  t.is(check(true, STACK, UDATA | 3), 'loaded');
  t.is(check(false, STACK, 0), 'loaded');
  t.deepEqual(check(false, STACK, 3), gp(0));
  t.deepEqual(check(true, STACK, 0), gp(0));
  t.deepEqual(check(true, STACK, 3), gp(0));
  t.deepEqual(check(false, STACK, UDATA), gp(UDATA));
  t.deepEqual(check(true, STACK, UDATA), gp(UDATA));
  t.deepEqual(check(false, STACK, READ_ONLY), gp(READ_ONLY));
  t.deepEqual(check(false, STACK, KCODE), gp(KCODE));
  t.deepEqual(check(false, STACK, ABSENT_DATA), { vector: SS, errorCode: ABSENT_DATA });
});

test('mov from a segment register writes 16 bits to memory and zero-extends to a register', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.setGpr(RAX, 0xffff_ffff_ffff_ffffn);
  t.is(step(bed, ...MOV_FROM_SEG(1)).gpr(RAX), BigInt(KCODE));
  vcpu.setGpr(RAX, 0xffff_ffff_ffff_ffffn);
  t.is(step(bed, 0x66, ...MOV_FROM_SEG(1)).gpr(RAX), 0xffff_ffff_ffff_0000n | BigInt(KCODE));
  vcpu.setGpr(RAX, BigInt(KERNEL_DATA));
  bed.write64(KERNEL_DATA, 0xffff_ffff_ffff_ffffn);
  step(bed, 0x48, 0x8c, 0x10);
  t.is(bed.read64(KERNEL_DATA), 0xffff_ffff_ffff_0000n | BigInt(KDATA));
  bed.write64(KERNEL_DATA + 8, BigInt(UDATA));
  step(bed, 0x8e, 0x58, 0x08);
  t.is(vcpu.selector(3), UDATA);
});

test('push and pop of FS and GS', (t) => {
  const bed = inUser();
  const { vcpu } = bed;
  vcpu.setSelector(4, BASED | 3);
  const rsp = vcpu.gpr(RSP);
  bed.write64(Number(rsp) - 8, ~0n & 0xffff_ffff_ffff_ffffn);
  step(bed, 0x0f, 0xa0);
  t.is(vcpu.gpr(RSP), rsp - 8n);
  t.is(bed.read64(Number(rsp) - 8), BigInt(BASED | 3));
  step(bed, 0x0f, 0xa9);
  t.deepEqual([vcpu.gpr(RSP), vcpu.selector(5), vcpu.get64('GS_BASE')], [rsp, BASED | 3, 0x1234_5678n]);
  step(bed, 0x66, 0x0f, 0xa8);
  t.is(vcpu.gpr(RSP), rsp - 2n);
  bed.ram.setUint16(Number(rsp) - 2, KDATA | 3, true);
  t.deepEqual(faults(bed, 0x66, 0x0f, 0xa1), { vector: GP, errorCode: KDATA });
  vcpu.setGpr(RSP, NOT_CANONICAL);
  t.deepEqual(faults(bed, 0x0f, 0xa1), { vector: SS, errorCode: 0 });
});

test('swapgs, and the FSGSBASE instructions behind their CR4 bit', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.set64('GS_BASE', 0x11n);
  vcpu.set64('KERNEL_GS_BASE', 0x22n);
  step(bed, ...SWAPGS);
  t.deepEqual([vcpu.get64('GS_BASE'), vcpu.get64('KERNEL_GS_BASE')], [0x22n, 0x11n]);
  const forms = [0xc0, 0xc8, 0xd0, 0xd8];
  for (const form of forms) t.deepEqual(faults(bed, 0xf3, 0x48, 0x0f, 0xae, form), UD);
  vcpu.set64('CR4', vcpu.get64('CR4') | (1n << 16n));
  bed.enterUser();
  vcpu.setGpr(RAX, 0xffff_8000_1234_5678n);
  step(bed, 0xf3, 0x48, 0x0f, 0xae, 0xd0);
  t.is(vcpu.get64('FS_BASE'), 0xffff_8000_1234_5678n);
  t.is(step(bed, 0xf3, 0x0f, 0xae, 0xc0).gpr(RAX), 0x1234_5678n);
  vcpu.setGpr(RAX, 0xdead_beef_0000_1234n);
  step(bed, 0xf3, 0x0f, 0xae, 0xd8);
  t.is(vcpu.get64('GS_BASE'), 0x1234n);
  t.deepEqual(faults(bed, 0xf3, 0x48, 0x0f, 0xae, 0xd8), GP0);
  t.is(step(bed, 0xf3, 0x48, 0x0f, 0xae, 0xc8).gpr(RAX), 0x1234n);
});

test('descriptor table registers: ten bytes each way', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.setGpr(RAX, BigInt(KERNEL_DATA));
  step(bed, ...SGDT);
  t.is(bed.ram.getUint16(KERNEL_DATA, true), 0x97);
  t.is(bed.read64(KERNEL_DATA + 2), BigInt(GDT));
  step(bed, ...SIDT);
  t.is(bed.read64(KERNEL_DATA + 2), BigInt(IDT));
  bed.ram.setUint16(KERNEL_DATA, 0xfff, true);
  bed.write64(KERNEL_DATA + 2, 0xffff_8000_0000_1000n);
  step(bed, ...LGDT);
  step(bed, ...LIDT);
  for (const register of ['GDTR', 'IDTR'] as const) {
    t.deepEqual(
      [vcpu.get64(`${register}_BASE`), vcpu.get32(`${register}_LIMIT`)],
      [0xffff_8000_0000_1000n, 0xfff],
    );
  }
  bed.write64(KERNEL_DATA + 2, NOT_CANONICAL);
  t.deepEqual(faults(bed, ...LGDT), GP0);
  t.deepEqual(faults(bed, ...LIDT), GP0);
  bed.enterUser();
  vcpu.setGpr(RAX, BigInt(USER));
  step(bed, ...SGDT);
  step(bed, ...SIDT);
});

test('lldt loads an LDT, whose selectors then work, and null unloads it', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  vcpu.setGpr(RAX, BigInt(LDT_SEL));
  step(bed, ...LLDT);
  t.deepEqual([vcpu.get64('LDTR_BASE'), vcpu.get32('LDTR_LIMIT')], [0x28000n, 0xfff]);
  t.is(step(bed, ...SLDT).gpr(RAX), BigInt(LDT_SEL));
  bed.write64(0x28000 + 0xff8, 0x00cf93000000ffffn);
  t.is(loadSeg(bed, 3, 0xffc), OUTCOME_OK);
  t.is(loadSeg(bed, 3, 0x1004), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: GP, errorCode: 0x1004 });
  vcpu.setGpr(RAX, 0n);
  step(bed, ...LLDT);
  t.is(loadSeg(bed, 3, 0xffc), OUTCOME_FAULT);
  for (const selector of [KDATA, TSS_SEL, LDT_SEL | 4, 0x200]) {
    vcpu.setGpr(RAX, BigInt(selector));
    t.deepEqual(faults(bed, ...LLDT), { vector: GP, errorCode: selector });
  }
  bed.write64(GDT + LDT_SEL, 0x0000020280000fffn);
  vcpu.setGpr(RAX, BigInt(LDT_SEL));
  t.deepEqual(faults(bed, ...LLDT), { vector: NP, errorCode: LDT_SEL });
});

test('ltr loads an available TSS with its 64-bit base and makes it busy', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.write64(GDT + TSS2_SEL + 8, 0xffff_8000n);
  vcpu.setGpr(RAX, BigInt(TSS2_SEL));
  step(bed, ...LTR);
  t.deepEqual([vcpu.get64('TR_BASE'), vcpu.get32('TR_LIMIT')], [0xffff_8000_0000_7080n, 0x67]);
  t.is(bed.read64(GDT + TSS2_SEL), 0x00008b0070800067n);
  t.is(step(bed, ...STR).gpr(RAX), BigInt(TSS2_SEL));
  t.deepEqual(faults(bed, ...LTR), { vector: GP, errorCode: TSS2_SEL }, 'busy');
  vcpu.setGpr(RAX, 3n);
  t.deepEqual(faults(bed, ...LTR), GP0);
  // A type in the upper half: no system descriptor.
  bed.write64(GDT + TSS2_SEL, 0x0000890070800067n);
  bed.write64(GDT + TSS2_SEL + 8, 0x0000_0900_0000_0000n);
  vcpu.setGpr(RAX, BigInt(TSS2_SEL));
  t.deepEqual(faults(bed, ...LTR), { vector: GP, errorCode: TSS2_SEL });
});

test('a descriptor base and limit are put together from all their parts', (t) => {
  const bed = new SystemBed();
  bed.write64(GDT + TSS2_SEL, 0x9a8f_8956_7812_3456n);
  bed.write64(GDT + TSS2_SEL + 8, 0xffff_ffffn);
  bed.vcpu.setGpr(RAX, BigInt(TSS2_SEL));
  step(bed, ...LTR);
  t.is(bed.vcpu.get64('TR_BASE'), 0xffff_ffff_9a56_7812n);
  t.is(bed.vcpu.get32('TR_LIMIT') >>> 0, 0xf3456 * 4096 + 4095);
});

// ── transfers ───────────────────────────────────────────────────────────────────────────────────

test('int n, int3 and int1 return to the next instruction', (t) => {
  for (const [vector, bytes] of [
    [0x80, [0xcd, 0x80]],
    [3, [0xcc]],
    [1, [0xf1]],
  ] as const) {
    const bed = new SystemBed();
    bed.gate(vector, 0x4242n);
    const next = bed.vcpu.get64('RIP') + BigInt(bytes.length);
    t.is(exec(bed, ...bytes), OUTCOME_OK);
    t.is(bed.vcpu.get64('RIP'), 0x4242n);
    t.is(bed.read64(Number(bed.vcpu.gpr(RSP))), next);
  }
});

test('int1 reaches a gate of ring 0 from ring 3, int3 does not', (t) => {
  const bed = inUser();
  bed.gate(1, 0x4242n);
  t.is(exec(bed, 0xf1), OUTCOME_OK);
  t.is(bed.vcpu.get64('RIP'), 0x4242n);
  const other = inUser();
  other.gate(3, 0x4242n);
  other.gate(GP, 0x1313n);
  t.is(exec(other, 0xcc), OUTCOME_OK);
  t.is(other.vcpu.get64('RIP'), 0x1313n);
  t.is(other.read64(Number(other.vcpu.gpr(RSP))), 0x1an);
});

/** Puts words at RSP. */
function stack(bed: SystemBed, ...words: bigint[]): void {
  for (const [i, word] of words.entries()) bed.write64(Number(bed.vcpu.gpr(RSP)) + i * 8, word);
}

function withStack(...words: bigint[]): SystemBed {
  const bed = new SystemBed();
  bed.vcpu.setGpr(RSP, BigInt(KERNEL_STACK - 0x100));
  stack(bed, ...words);
  return bed;
}

test('iretq to ring 3: everything loads, inner data segments become null, the TLB set changes', (t) => {
  const bed = withStack(
    BigInt(USER),
    BigInt(UCODE | 3),
    0xffff_ffffn,
    BigInt(USER + 0x80),
    BigInt(UDATA | 3),
  );
  const { vcpu } = bed;
  vcpu.setSelector(4, KDATA);
  vcpu.set64('FS_BASE', 0x77n);
  vcpu.setSelector(5, UDATA);
  vcpu.setSegmentDpl(5, 3);
  t.is(exec(bed, ...IRETQ), OUTCOME_OK);
  t.deepEqual([vcpu.get64('RIP'), vcpu.gpr(RSP), vcpu.get32('CPL')], [BigInt(USER), BigInt(USER + 0x80), 3]);
  t.deepEqual(
    [0, 1, 2, 3, 4, 5].map((n) => vcpu.selector(n)),
    [0, UCODE | 3, UDATA | 3, 0, 0, UDATA],
  );
  t.is(vcpu.get64('FS_BASE'), 0x77n);
  // All but RF, VM and the reserved bits.
  t.is(vcpu.flags.rflags(), 0x3c7fd7n & ~0n);
  t.is(vcpu.get32('TLB'), bed.vm.tlb(0, true, 0));
});

test('iretq within ring 0 loads RSP and SS too', (t) => {
  const bed = withStack(0xffff_8000_0000_1000n, BigInt(KCODE), 2n, 0x1234n, 0n);
  t.is(exec(bed, ...IRETQ), OUTCOME_OK);
  t.deepEqual(
    [bed.vcpu.get64('RIP'), bed.vcpu.gpr(RSP), bed.vcpu.selector(2), bed.vcpu.selector(3)],
    [0xffff_8000_0000_1000n, 0x1234n, 0, KDATA],
  );
});

test('iret in ring 3 leaves IOPL alone, and IF unless IOPL admits it', (t) => {
  const flagsAfter = (before: bigint): bigint => {
    const bed = inUser();
    bed.vcpu.flags.setRflags(before);
    stack(bed, BigInt(USER), BigInt(UCODE | 3), before ^ 0x3c7fd5n, BigInt(USER + 0x80), BigInt(UDATA | 3));
    t.is(exec(bed, ...IRETQ), OUTCOME_OK);
    return bed.vcpu.flags.rflags();
  };
  const kept = 0x3000n | 0x18_0000n;
  t.is(flagsAfter(2n), 2n | (0x3c7fd5n & ~kept & ~IF));
  t.is(flagsAfter(2n | 0x3000n), 2n | 0x3000n | (0x3c7fd5n & ~kept));
});

test('iretd pops five dwords, iretw five words', (t) => {
  const bed = withStack();
  const rsp = Number(bed.vcpu.gpr(RSP));
  for (const [i, word] of [0x4000, KCODE, 0x46, 0x9000, KDATA].entries())
    bed.ram.setUint32(rsp + i * 4, word, true);
  t.is(exec(bed, 0xcf), OUTCOME_OK);
  t.deepEqual([bed.vcpu.get64('RIP'), bed.vcpu.gpr(RSP), bed.vcpu.flags.rflags()], [0x4000n, 0x9000n, 0x46n]);
  const small = withStack();
  small.vcpu.flags.setRflags(2n | (1n << 18n));
  for (const [i, word] of [0x4000, KCODE, 0x46, 0x9000, KDATA].entries())
    small.ram.setUint16(rsp + i * 2, word, true);
  t.is(exec(small, 0x66, 0xcf), OUTCOME_OK);
  t.deepEqual(
    [small.vcpu.get64('RIP'), small.vcpu.gpr(RSP), small.vcpu.flags.rflags()],
    [0x4000n, 0x9000n, 0x40046n],
  );
});

test('returns check CS, SS, RIP and NT', (t) => {
  const frame = (change: Partial<Record<'rip' | 'cs' | 'flags' | 'rsp' | 'ss', bigint>>): bigint[] => {
    const { rip, cs, flags, rsp, ss } = {
      rip: BigInt(USER),
      cs: BigInt(UCODE | 3),
      flags: 2n,
      rsp: BigInt(USER),
      ss: BigInt(UDATA | 3),
      ...change,
    };
    return [rip, cs, flags, rsp, ss];
  };
  const cases: readonly (readonly [Parameters<typeof frame>[0], number, number])[] = [
    [{ cs: 0n }, GP, 0],
    [{ cs: 3n }, GP, 0],
    [{ cs: 0x9bn }, GP, 0x98],
    [{ cs: BigInt(UDATA | 3) }, GP, UDATA],
    [{ cs: BigInt(KCODE | 3) }, GP, KCODE],
    [{ cs: BigInt(UCODE) }, GP, UCODE],
    [{ cs: BigInt(CODE32) }, GP, CODE32],
    [{ cs: BigInt(ABSENT_CODE) }, NP, ABSENT_CODE],
    [{ rip: NOT_CANONICAL }, GP, 0],
    [{ ss: 0n }, GP, 0],
    [{ ss: 3n }, GP, 0],
    [{ ss: BigInt(KDATA) }, GP, KDATA],
    [{ ss: BigInt(UDATA) }, GP, UDATA],
    [{ ss: BigInt(UCODE | 3) }, GP, UCODE],
    [{ cs: BigInt(KCODE), ss: BigInt(ABSENT_DATA) }, SS, ABSENT_DATA],
    [{ cs: BigInt(KCODE), ss: BigInt(READ_ONLY) }, GP, READ_ONLY],
    [{ cs: BigInt(KCODE), ss: 3n }, GP, 0],
  ];
  for (const [change, vector, errorCode] of cases) {
    const name = Object.entries(change)
      .map(([k, v]) => `${k} ${v.toString(16)}`)
      .join(' ');
    t.deepEqual(faults(withStack(...frame(change)), ...IRETQ), { vector, errorCode }, `iret, ${name}`);
    const { rip, cs, rsp, ss } = Object.fromEntries(
      frame(change).map((word, i) => [(['rip', 'cs', 'flags', 'rsp', 'ss'] as const)[i]!, word]),
    ) as Record<'rip' | 'cs' | 'flags' | 'rsp' | 'ss', bigint>;
    // A far return within its level does not look at SS.
    if (change.ss !== undefined && change.cs !== undefined) continue;
    t.deepEqual(faults(withStack(rip, cs, rsp, ss), ...RETFQ), { vector, errorCode }, `retf, ${name}`);
  }
  const nested = withStack(...frame({}));
  nested.vcpu.flags.setRflags(2n | 0x4000n);
  t.deepEqual(faults(nested, ...IRETQ), GP0);
  // Ring 3 cannot return inwards.
  const inward = inUser();
  stack(inward, BigInt(USER), BigInt(KCODE), 2n, BigInt(USER), 0n);
  t.deepEqual(faults(inward, ...IRETQ), { vector: GP, errorCode: KCODE });
});

test('a conforming segment is returned to at its own level or further out', (t) => {
  for (const [cs, ss] of [
    [CONFORMING, KDATA],
    [CONFORMING | 3, UDATA | 3],
  ] as const) {
    const bed = withStack(BigInt(USER), BigInt(cs), 2n, BigInt(USER), BigInt(ss));
    t.is(exec(bed, ...IRETQ), OUTCOME_OK);
    t.is(bed.vcpu.get32('CPL'), cs & 3);
  }
});

test('a return marks the segments it loads accessed', (t) => {
  const bed = withStack(BigInt(USER), BigInt(UCODE_FRESH | 3), 2n, BigInt(USER), BigInt(BASED | 3));
  t.is(exec(bed, ...IRETQ), OUTCOME_OK);
  t.is(bed.read64(GDT + UCODE_FRESH), 0x00affb000000ffffn);
  t.is(bed.read64(GDT + BASED), 0x12cff3345678ffffn);
});

test('retf returns within its level or outwards, and releases bytes', (t) => {
  const near = withStack(0x4000n, BigInt(KCODE));
  const rsp = near.vcpu.gpr(RSP);
  t.is(exec(near, ...RETFQ), OUTCOME_OK);
  t.deepEqual(
    [near.vcpu.get64('RIP'), near.vcpu.gpr(RSP), near.vcpu.selector(2)],
    [0x4000n, rsp + 16n, KDATA],
  );

  const released = withStack(0x4000n, BigInt(KCODE));
  t.is(exec(released, 0x48, 0xca, 0x20, 0x00), OUTCOME_OK);
  t.is(released.vcpu.gpr(RSP), rsp + 48n);

  const outward = withStack(BigInt(USER), BigInt(UCODE | 3), 0n, BigInt(USER + 0x80), BigInt(UDATA | 3));
  t.is(exec(outward, 0x48, 0xca, 0x08, 0x00), OUTCOME_OK);
  t.deepEqual(
    [outward.vcpu.get64('RIP'), outward.vcpu.gpr(RSP), outward.vcpu.get32('CPL'), outward.vcpu.selector(3)],
    [BigInt(USER), BigInt(USER + 0x88), 3, 0],
  );

  const dwords = withStack((BigInt(KCODE) << 32n) | 0x4000n);
  t.is(exec(dwords, 0xcb), OUTCOME_OK);
  t.deepEqual([dwords.vcpu.get64('RIP'), dwords.vcpu.gpr(RSP)], [0x4000n, rsp + 8n]);
});

/** A far pointer in memory, RAX at it. */
function farPointer(bed: SystemBed, offset: bigint, selector: number): SystemBed {
  bed.write64(KERNEL_DATA, offset);
  bed.write64(KERNEL_DATA + 8, BigInt(selector));
  bed.vcpu.setGpr(RAX, BigInt(KERNEL_DATA));
  return bed;
}

test('far jmp and call to 64-bit code', (t) => {
  const jump = farPointer(new SystemBed(), 0xffff_8000_0000_4000n, CONFORMING | 3);
  t.is(exec(jump, ...JMPF), OUTCOME_OK);
  t.deepEqual([jump.vcpu.get64('RIP'), jump.vcpu.selector(1)], [0xffff_8000_0000_4000n, CONFORMING]);

  const call = farPointer(new SystemBed(), 0x4000n, KCODE);
  const rsp = Number(call.vcpu.gpr(RSP));
  t.is(exec(call, ...CALLF), OUTCOME_OK);
  t.deepEqual([call.vcpu.get64('RIP'), call.vcpu.gpr(RSP)], [0x4000n, BigInt(rsp - 16)]);
  t.deepEqual([call.read64(rsp - 16), call.read64(rsp - 8)], [BigInt(KERNEL_CODE + 3), BigInt(KCODE)]);
  t.is(exec(call, ...RETFQ), OUTCOME_OK);
  t.deepEqual([call.vcpu.get64('RIP'), call.vcpu.gpr(RSP)], [BigInt(KERNEL_CODE + 3), BigInt(rsp)]);

  const small = new SystemBed();
  small.write64(KERNEL_DATA, (BigInt(KCODE) << 32n) | 0x4000n);
  small.vcpu.setGpr(RAX, BigInt(KERNEL_DATA));
  t.is(exec(small, 0xff, 0x18), OUTCOME_OK);
  t.is(small.vcpu.gpr(RSP), BigInt(rsp - 8));
  t.is(small.read64(rsp - 8), (BigInt(KCODE) << 32n) | BigInt(KERNEL_CODE + 2));
});

test('far jmp and call check their target', (t) => {
  for (const bytes of [JMPF, CALLF]) {
    for (const [selector, vector, errorCode] of [
      [0, GP, 0],
      [KDATA, GP, KDATA],
      [TSS_SEL, GP, TSS_SEL],
      [CODE32, GP, CODE32],
      [UCODE, GP, UCODE],
      [KCODE | 3, GP, KCODE],
      [0x98, GP, 0x98],
      [ABSENT_CODE, NP, ABSENT_CODE],
    ] as const) {
      t.deepEqual(faults(farPointer(new SystemBed(), 0x4000n, selector), ...bytes), { vector, errorCode });
    }
    t.deepEqual(faults(farPointer(new SystemBed(), NOT_CANONICAL, KCODE), ...bytes), GP0);
  }
  const user = farPointer(inUser(), 0x4000n, KCODE);
  user.vcpu.setGpr(RAX, BigInt(USER));
  user.write64(USER, 0x4000n);
  user.write64(USER + 8, BigInt(CONFORMING));
  t.is(exec(user, ...JMPF), OUTCOME_OK);
  t.is(user.vcpu.selector(1), CONFORMING | 3, 'at the caller’s level');
});

test('syscall and sysret, there and back', (t) => {
  const bed = inUser();
  const { vcpu } = bed;
  vcpu.set64('STAR', (BigInt(KDATA | 3) << 48n) | (BigInt(KCODE) << 32n));
  vcpu.set64('LSTAR', 0xffff_8000_0000_0000n);
  vcpu.set64('SFMASK', IF | 0x400n);
  vcpu.flags.setRflags(2n | IF | 0x400n | 0x40n);
  t.is(exec(bed, ...SYSCALL), OUTCOME_OK);
  t.deepEqual(
    [vcpu.get64('RIP'), vcpu.gpr(RCX), vcpu.gpr(11), vcpu.flags.rflags()],
    [0xffff_8000_0000_0000n, BigInt(USER + 2), 2n | IF | 0x400n | 0x40n, 2n | 0x40n],
  );
  t.deepEqual([vcpu.selector(1), vcpu.selector(2), vcpu.get32('CPL')], [KCODE, KDATA, 0]);
  t.is(vcpu.get32('TLB'), bed.vm.tlb(0, false, 0));
  vcpu.setGpr(11, 0xffff_ffff_ffff_ffffn);
  t.is(exec(bed, ...SYSRETQ), OUTCOME_OK);
  t.deepEqual([vcpu.get64('RIP'), vcpu.flags.rflags()], [BigInt(USER + 2), 0x3c7fd7n]);
  t.deepEqual([vcpu.selector(1), vcpu.selector(2), vcpu.get32('CPL')], [UCODE | 3, UDATA | 3, 3]);
  t.is(vcpu.get32('TLB'), bed.vm.tlb(0, true, 0));
});

test('syscall and sysret without SCE are #UD; sysret checks RCX and its size', (t) => {
  const bed = new SystemBed();
  bed.vcpu.set64('EFER', 0xd00n);
  t.deepEqual(faults(bed, ...SYSCALL), UD);
  t.deepEqual(faults(bed, ...SYSRETQ), UD);
  bed.vcpu.set64('EFER', 0xd01n);
  bed.vcpu.setGpr(RCX, NOT_CANONICAL);
  t.deepEqual(faults(bed, ...SYSRETQ), GP0);
  bed.vcpu.setGpr(RCX, 0n);
  t.deepEqual(faults(bed, 0x0f, 0x07), GP0, 'compatibility mode is not there');
});

// ── events ──────────────────────────────────────────────────────────────────────────────────────

test('memory operands raise events in the order of the accesses, and RETRY to any of them commits nothing', (t) => {
  const R = 1;
  const W = 2;
  const prepared = (): SystemBed => {
    const bed = withStack(BigInt(USER), BigInt(UCODE_FRESH | 3), 2n, BigInt(USER + 0x80), BigInt(UDATA | 3));
    bed.introspect();
    bed.access(GDT / PAGE, 0);
    bed.access((KERNEL_STACK - PAGE) / PAGE, 0);
    return bed;
  };
  const all = prepared();
  const rsp = Number(all.vcpu.gpr(RSP));
  const outcome = all.runWithTool(
    function* () {
      return CONTINUE;
    },
    executeHostOp(all.vcpu, all.insn(...IRETQ)),
  );
  t.is(outcome, OUTCOME_OK);
  const order = all.events.map(({ pf }) => [pf!.access, pf!.gpa]);
  t.deepEqual(order, [
    ...[0, 8, 16, 24, 32].map((up) => [R, rsp + up]),
    [R, GDT + UCODE_FRESH],
    [W, GDT + UCODE_FRESH],
    [R, GDT + UDATA],
  ]);
  for (let stop = 0; stop < order.length; stop++) {
    const bed = prepared();
    const before = bed.cpuState();
    const result = bed.runWithTool(
      function* () {
        return bed.events.length > stop ? RETRY : CONTINUE;
      },
      executeHostOp(bed.vcpu, bed.insn(...IRETQ)),
    );
    t.is(result, OUTCOME_RETRY);
    t.deepEqual(bed.cpuState(), before, `RETRY to event ${stop}`);
    t.deepEqual(bed.verdict(), []);
  }
});

test('an operand that is not canonical is #SS by RSP and RBP, #GP by others and by FS', (t) => {
  const bed = new SystemBed();
  for (const reg of [RAX, RSP, 5]) bed.vcpu.setGpr(reg, NOT_CANONICAL);
  const SS0 = { vector: SS, errorCode: 0 };
  // mov ds, [rax], [rsp], [rbp], [rbp + rax], fs:[rbp]
  t.deepEqual(faults(bed, 0x8e, 0x18), GP0);
  t.deepEqual(faults(bed, 0x8e, 0x1c, 0x24), SS0);
  t.deepEqual(faults(bed, 0x8e, 0x5d, 0x00), SS0);
  bed.vcpu.setGpr(RAX, 0n);
  t.deepEqual(faults(bed, 0x8e, 0x5c, 0x05, 0x00), SS0);
  t.deepEqual(faults(bed, 0x64, 0x8e, 0x5d, 0x00), GP0);
});

test('an effective address is base, scaled index and displacement, cut to the address size, then the segment', (t) => {
  const at = (...bytes: number[]): bigint => {
    const bed = new SystemBed();
    const { vcpu } = bed;
    vcpu.setGpr(RBX, 0xffff_ffff_ffff_fff0n);
    vcpu.setGpr(RCX, 0x1_0000_0008n);
    vcpu.set64('FS_BASE', 0x1_0000_0000n);
    vcpu.set64('GS_BASE', 0x2_0000_0000n);
    return faults(bed, ...bytes).address!;
  };
  // mov ds, [rbx + rcx * 8 + 0x10] and so on
  t.is(at(0x8e, 0x5c, 0xcb, 0x10), 0x8_0000_0040n);
  t.is(at(0x8e, 0x1c, 0x8d, 0x00, 0x00, 0x00, 0xff), 0x3_ff00_0020n);
  t.is(at(0x67, 0x8e, 0x9b, 0x00, 0x00, 0x00, 0x80), 0x7fff_fff0n);
  t.is(at(0x64, 0x67, 0x8e, 0x5b, 0xf0), 0x1_ffff_ffe0n);
  t.is(at(0x65, 0x8e, 0x19), 0x3_0000_0008n);
});

test('a page fault of an operand comes out of the operation', (t) => {
  const bed = new SystemBed();
  bed.vcpu.setGpr(RAX, 0x7f00_0000n);
  t.deepEqual(faults(bed, ...LGDT), { vector: 14, errorCode: 0, address: 0x7f00_0000n });
  t.deepEqual(faults(bed, ...SGDT), { vector: 14, errorCode: 2, address: 0x7f00_0000n });
  t.deepEqual(faults(bed, ...JMPF), { vector: 14, errorCode: 0, address: 0x7f00_0000n });
  bed.vcpu.setGpr(RSP, 0x7f00_0000n);
  t.deepEqual(faults(bed, ...IRETQ), { vector: 14, errorCode: 0, address: 0x7f00_0000n });
  t.deepEqual(faults(bed, 0x0f, 0xa0), { vector: 14, errorCode: 2, address: 0x7eff_fff8n });
  t.is(bed.vcpu.get64('CR2'), 0n, 'CR2 is the delivery’s');
});

/** What a process may do as well is held against a processor: test/unit/isa/native-vectors.test.ts. */
const ELSEWHERE: ReadonlySet<string> = new Set([...ENCODINGS.map(({ op }) => op), 'fxsave']);

test.after('every host operation was executed above, or natively', (t) => {
  t.deepEqual(
    HOST_OPS.filter((op) => !executed.has(op) && !ELSEWHERE.has(op)),
    [],
  );
});
