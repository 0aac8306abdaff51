/** The oracle itself: the native harness against arithmetic done by hand, the generator, the comparison. */
import test, { type ExecutionContext } from 'ava';
import { Decoder } from 'iced-x86';
import { CODE_BASE, DATA_BASE } from '../../../scripts/native-oracle/arena.ts';
import { campaign } from '../../../scripts/native-oracle/campaign.ts';
import {
  type CaseResult,
  fillRegister,
  NO_FREEDOM,
  type OracleCase,
  VECTOR_BP,
  VECTOR_DE,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_UD,
} from '../../../scripts/native-oracle/case.ts';
import { differences } from '../../../scripts/native-oracle/compare.ts';
import { describe } from '../../../scripts/native-oracle/describe.ts';
import { SLOTS } from '../../../scripts/native-oracle/encodings.ts';
import { makeCase } from '../../../scripts/native-oracle/generate.ts';
import { NativeRunner, nativeObstacle } from '../../../scripts/native-oracle/native.ts';
import { undefinedFlags } from '../../../scripts/native-oracle/undefined-flags.ts';
import { decode } from '../../../src/actors/vcpu/isa/decode.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { AF, ARITHMETIC_FLAGS, CF, OF, PF, SF, ZF } from '../../../src/shared/x86/rflags.ts';
import { VcpuLab } from '../../support/core-lab.ts';

const { SEED = '0x0acc1e' } = process.env;
const seed = BigInt(SEED);
const obstacle = nativeObstacle();

/** A test that needs the processor; where there can be none, it says so and passes. */
function native(title: string, body: (t: ExecutionContext, runner: NativeRunner) => void): void {
  test.serial(title, (t) => {
    if (obstacle === null) return body(t, NativeRunner.build());
    t.log(`not run: ${obstacle}`);
    t.pass();
  });
}

const RFLAGS = 0x202;
const OFFSET = 0x2000;

function caseOf(hex: string, what: Partial<OracleCase> & { regs?: Record<number, bigint> } = {}): OracleCase {
  const gpr = Array.from({ length: 16 }, (_, n) => what.regs?.[n] ?? fillRegister(0, n));
  return {
    code: Buffer.from(hex.replaceAll(' ', ''), 'hex'),
    instructionCount: 1,
    codeOffset: OFFSET,
    fill: 0,
    chosen: 0,
    gpr,
    rflags: RFLAGS,
    fsBase: 0n,
    gsBase: 0n,
    patchOffset: 0,
    patch: new Uint8Array(0),
    fpu: null,
    freedom: NO_FREEDOM,
    group: '',
    ...what,
  };
}

// ── the harness ─────────────────────────────────────────────────────────────────────────────────────────────

interface Model {
  readonly result: bigint;
  readonly flags: number;
}

const bit = (value: bigint, index: number): number => Number((value >> BigInt(index)) & 1n);

function resultFlags(result: bigint, bits: number): number {
  let ones = 0;
  for (let i = 0; i < 8; i++) ones += bit(result, i);
  return (result === 0n ? ZF : 0) | (bit(result, bits - 1) * SF) | (ones % 2 === 0 ? PF : 0);
}

/** Addition and subtraction by widening: carries are what the wider sum has above. */
function sum(a: bigint, b: bigint, carry: bigint, bits: number, subtract: boolean): Model {
  const signed = (value: bigint): bigint => BigInt.asIntN(bits, value);
  const sign = subtract ? -1n : 1n;
  const wide = a + sign * (b + carry);
  const result = BigInt.asUintN(bits, wide);
  const signedWide = signed(a) + sign * (signed(b) + carry);
  const nibble = (a & 15n) + sign * ((b & 15n) + carry);
  const flags =
    (wide === result ? 0 : CF) |
    (signedWide === signed(result) ? 0 : OF) |
    (nibble >= 0n && nibble <= 15n ? 0 : AF) |
    resultFlags(result, bits);
  return { result, flags };
}

/** SHL bit by bit. The flags of a count of zero are those before. */
function shl(a: bigint, count: number, bits: number, before: number): Model {
  const masked = count & (bits === 64 ? 63 : 31);
  if (masked === 0) return { result: a, flags: before };
  let value = a;
  let carry = 0;
  for (let i = 0; i < masked; i++) {
    carry = bit(value, bits - 1);
    value = BigInt.asUintN(bits, value << 1n);
  }
  return {
    result: value,
    flags: (carry * CF) | ((carry ^ bit(value, bits - 1)) * OF) | resultFlags(value, bits),
  };
}

const SIZES = [
  { bits: 8, prefix: '', wide: 0 },
  { bits: 16, prefix: '66', wide: 1 },
  { bits: 32, prefix: '', wide: 1 },
  { bits: 64, prefix: '48', wide: 1 },
] as const;
const byte = (value: number): string => value.toString(16).padStart(2, '0');
const BORDERS = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffff_ffffn,
  1n << 31n,
  1n << 63n,
  (1n << 64n) - 1n,
];

native('the processor adds, subtracts and shifts as arithmetic says, flags included', (t, runner) => {
  const rng = new Prng(seed);
  const items: OracleCase[] = [];
  const models: { model: Model; bits: number; ignored: number }[] = [];
  for (const { bits, prefix, wide } of SIZES) {
    for (let turn = 0; turn < 200; turn++) {
      const a = turn % 2 === 0 ? rng.pick(BORDERS) : (BigInt(rng.u32()) << 32n) | BigInt(rng.u32());
      const b = turn % 3 === 0 ? a : rng.pick(BORDERS);
      const carry = rng.below(2);
      const count = rng.below(bits);
      const [x, y] = [BigInt.asUintN(bits, a), BigInt.asUintN(bits, b)];
      const regs = { 0: a, 3: b, 1: BigInt(count) };
      const rflags = RFLAGS | carry;
      // add, adc, sbb, sub of rax, rbx; shl rax, cl
      for (const [opcode, model] of [
        [0x00, sum(x, y, 0n, bits, false)],
        [0x10, sum(x, y, BigInt(carry), bits, false)],
        [0x18, sum(x, y, BigInt(carry), bits, true)],
        [0x28, sum(x, y, 0n, bits, true)],
      ] as const) {
        items.push(caseOf(`${prefix}${byte(opcode + wide)}d8`, { regs, rflags }));
        models.push({ model, bits, ignored: 0 });
      }
      items.push(caseOf(`${prefix}${byte(0xd2 + wide)}e0`, { regs, rflags }));
      const masked = count & (bits === 64 ? 63 : 31);
      const ignored = (masked === 0 ? 0 : AF) | (masked > 1 ? OF : 0) | (masked >= bits ? CF : 0);
      models.push({ model: shl(x, count, bits, rflags), bits, ignored });
    }
  }
  const wrong: string[] = [];
  for (const [index, result] of runner.run(items).entries()) {
    const { model, bits, ignored } = models[index]!;
    const mask = ARITHMETIC_FLAGS & ~ignored;
    const same =
      BigInt.asUintN(bits, result.gpr[0]!) === model.result && ((result.rflags ^ model.flags) & mask) === 0;
    if (!same) wrong.push(`${Buffer.from(items[index]!.code).toString('hex')} of ${items[index]!.gpr[0]}`);
    t.is(result.vector, VECTOR_BP);
  }
  t.deepEqual(wrong, [], `SEED=${SEED}`);
});

native('the harness tells exceptions, landing places and changed memory', (t, runner) => {
  const data = BigInt(DATA_BASE);
  const end = data + 0x2000n;
  const [div, ud, read, write, wild, jump, store, fetch] = runner.run([
    caseOf('48 f7 f0', { regs: { 0: 0n } }),
    caseOf('0f 0b'),
    caseOf('48 8b 03', { regs: { 3: end - 4n } }),
    caseOf('48 89 03', { regs: { 3: end - 4n } }),
    caseOf('48 8b 03', { regs: { 3: 1n << 63n } }),
    caseOf('eb 10'),
    caseOf('89 03', {
      regs: { 0: 0x11223344n, 3: data + 0x100n },
      patchOffset: 0x8100,
      patch: new Uint8Array(4),
    }),
    caseOf('ff e3', { regs: { 3: data } }),
  ]);
  t.is(div!.vector, VECTOR_DE);
  t.is(ud!.vector, VECTOR_UD);
  t.is(ud!.rip, BigInt(CODE_BASE + OFFSET));
  t.like(read, { vector: VECTOR_PF, errorCode: 4, cr2: end });
  t.like(write, { vector: VECTOR_PF, errorCode: 6, cr2: end, changed: new Uint8Array(0) });
  t.is(wild!.vector, VECTOR_GP);
  t.is(jump!.rip, BigInt(CODE_BASE + OFFSET + 2 + 0x10 + 1));
  t.like(store, { changedOffset: 0x8100, changed: Uint8Array.of(0x44, 0x33, 0x22, 0x11) });
  t.like(fetch, { vector: VECTOR_PF, errorCode: 0x15, cr2: data });
});

native('no case leaves anything to the next one', (t, runner) => {
  const source = campaign(seed);
  const items = Array.from({ length: 60 }, () => source.next().value);
  const alone = items.map((item) => runner.run([item])[0]);
  // DF, NT, AC and ID set by POPF, and memory, are what could stay.
  t.deepEqual(runner.run(items), alone);
  t.deepEqual(runner.run(items.slice().reverse()).reverse(), alone);
});

native('fresh random cases agree in both modes', (t, runner) => {
  const source = campaign(seed);
  const items = Array.from({ length: 1500 }, () => source.next().value);
  const results = runner.run(items);
  const lab = new VcpuLab();
  const wrong: string[] = [];
  for (const [index, item] of items.entries()) {
    for (const mode of ['fast', 'emulated'] as const) {
      const ours = lab.run(item, mode);
      const found = differences(item, results[index]!, ours, { undefinedToo: false });
      if (found.length > 0) wrong.push(`${mode}\n${describe(item, results[index]!, ours, found)}`);
    }
  }
  t.deepEqual(wrong.slice(0, 3), [], `${wrong.length} differ; SEED=${SEED}`);
});

// ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────

const RESULT: CaseResult = {
  gpr: new Array<bigint>(16).fill(5n),
  rip: 0x1000_2003n,
  rflags: RFLAGS,
  vector: VECTOR_BP,
  errorCode: 0,
  cr2: 0n,
  changedOffset: 0x8000,
  changed: Uint8Array.of(1, 2),
  fpu: new Uint8Array(0),
};

test('a difference anywhere is found and named', (t) => {
  const found = (change: Partial<CaseResult>, freedom = NO_FREEDOM) =>
    differences(caseOf('90', { freedom }), RESULT, { ...RESULT, ...change }, { undefinedToo: false }).map(
      ({ what }) => what,
    );
  t.deepEqual(found({}), []);
  t.deepEqual(found({ gpr: RESULT.gpr.with(11, 6n) }), ['r11']);
  t.deepEqual(found({ rip: 0x1000_2004n }), ['rip']);
  t.deepEqual(found({ rflags: RFLAGS | CF | ZF }), ['CF ZF']);
  t.deepEqual(found({ rflags: RFLAGS | (1 << 10) }), ['DF']);
  t.deepEqual(found({ vector: VECTOR_GP }), ['vector']);
  t.deepEqual(found({ changed: Uint8Array.of(1, 3) }), ['memory']);
  t.deepEqual(found({ changedOffset: 0x8001 }), ['memory']);
  t.deepEqual(found({ changed: new Uint8Array(0) }), ['memory']);
});

test('what is undefined is passed over, but only after the instruction ran', (t) => {
  const freedom = { flags: CF, register: 3, registerMask: 0xffffn, memory: true };
  const ours = { ...RESULT, rflags: RFLAGS | CF, gpr: RESULT.gpr.with(3, 6n), changed: Uint8Array.of(9) };
  const count = (results: readonly [CaseResult, CaseResult], undefinedToo: boolean) =>
    differences(caseOf('90', { freedom }), ...results, { undefinedToo }).length;
  t.is(count([RESULT, ours], false), 0);
  t.is(count([RESULT, ours], true), 3);
  const fault = { vector: VECTOR_GP, rip: BigInt(CODE_BASE + OFFSET) };
  t.is(
    count(
      [
        { ...RESULT, ...fault },
        { ...ours, ...fault },
      ],
      false,
    ),
    3,
  );
  t.is(count([RESULT, { ...ours, gpr: RESULT.gpr.with(3, 0x10005n) }], false), 1);
});

// ── the generator ───────────────────────────────────────────────────────────────────────────────────────────

test('the same seed gives the same cases', (t) => {
  const cases = (from: bigint) => {
    const source = campaign(from);
    return Array.from({ length: 200 }, () => source.next().value);
  };
  t.deepEqual(cases(seed), cases(seed));
  t.notDeepEqual(cases(seed), cases(seed + 1n));
});

/** iced's RflagsBits to ours. */
const ICED_FLAGS: readonly (readonly [number, number])[] = [
  [1, OF],
  [2, SF],
  [4, ZF],
  [8, AF],
  [0x10, CF],
  [0x20, PF],
];
const COUNTED = /^(rol|ror|rcl|rcr|shl|shr|sar|shld|shrd)$/;

test("undefined flags are those of iced's tables, for every instruction that counts nothing", (t) => {
  const rng = new Prng(seed);
  const wrong: string[] = [];
  let compared = 0;
  for (const slot of SLOTS) {
    if (COUNTED.test(slot.encoding.op)) continue;
    const item = makeCase(slot, rng);
    const insn = decode(item.code, 0, item.code.length, 0n);
    if ('fault' in insn) continue; // cut off at the end of the code pages
    const decoder = new Decoder(64, item.code, 0);
    const theirs = decoder.decode();
    const bits = theirs.rflagsUndefined;
    const flags = ICED_FLAGS.reduce((all, [iced, ours]) => ((bits & iced) !== 0 ? all | ours : all), 0);
    if (flags !== undefinedFlags(insn, 0)) {
      wrong.push(`${insn.op}: iced ${flags.toString(16)}, ours ${undefinedFlags(insn, 0).toString(16)}`);
    }
    compared++;
    theirs.free();
    decoder.free();
  }
  t.deepEqual([...new Set(wrong)], [], `SEED=${SEED}`);
  t.true(compared > 1500);
});
