/**
 * What SSE instructions on floats do. Each lane goes through a helper of float-helpers.ts; the exceptions of all lanes
 * are put together in CPU.FP_RAISED, and the result is committed only if all of them are masked.
 *
 * @source Intel SDM vol. 2, "Instruction Set Reference"; vol. 1, "SSE and SSE2 SIMD Floating-Point Exceptions"
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { CR4_OSXMMEXCPT } from '../../../shared/x86/control-registers.ts';
import { VECTOR_GP, VECTOR_UD, VECTOR_XM } from '../../../shared/x86/vectors.ts';
import {
  FP_DENORMAL,
  FP_EXCEPTIONS,
  FP_INVALID,
  FP_ZERO_DIVIDE,
  MXCSR_MASKS_SHIFT,
  MXCSR_VALID,
} from '../../../shared/x86/x87.ts';
import type { Value } from './code.ts';
import type { Emitter } from './emitter.ts';
import type { WidthHelpers } from './float-helpers.ts';
import { softCode } from './soft-ops.ts';
import type { VectorOp } from './vector-ops.ts';
import { touchesMmx, type VectorMeaning, vector } from './vector-semantics.ts';
import { I32, I64 } from './wasm-module.ts';

type Meanings = Partial<Record<VectorOp, VectorMeaning>>;
type Width = 32 | 64;

// ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Bits of a lane: i32 of singles, i64 of doubles. */
function lane(e: Emitter, vector: Value, index: number, width: Width): Value {
  const name = width === 32 ? 'extract32' : 'extract64';
  return e.simd(name, [vector], [index], width === 32 ? I32 : I64);
}

function withLane(e: Emitter, vector: Value, index: number, value: Value): Value {
  return e.simd(value.type === I32 ? 'replace32' : 'replace64', [vector, value], [index]);
}

/** A vector of lanes from the lowest on, zero above. */
function vectorOfLanes(e: Emitter, values: readonly Value[]): Value {
  return values.reduce((vector, value, index) => withLane(e, vector, index, value), e.zeroVector());
}

const count = (width: Width): number => 128 / width;
const indices = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const helpers = (e: Emitter, width: Width): WidthHelpers => e.helpers.float[width];

/** Exceptions that are found before there is a result. */
const BEFORE_COMPUTING = FP_INVALID | FP_DENORMAL | FP_ZERO_DIVIDE;

/** A float operation: `compute` evaluates every lane, and gives what is to be committed. */
function floats(compute: (e: Emitter) => () => void): VectorMeaning {
  return vector((e) => {
    e.store(4, e.cpu, CPU.at.FP_RAISED, e.i32(0));
    const commit = compute(e);
    const raised = e.variable(e.load(I32, 4, e.cpu, CPU.at.FP_RAISED));
    e.if(raised, () => {
      const masks = e.load(I32, 4, e.cpu, CPU.at.MXCSR).shrU(MXCSR_MASKS_SHIFT).xor(-1).and(FP_EXCEPTIONS);
      const unmasked = e.let(masks.and(raised));
      // What keeps one lane from being computed keeps all of them: nothing is rounded then.
      e.if(unmasked.and(BEFORE_COMPUTING), () => raised.assign(raised.and(BEFORE_COMPUTING)));
      e.store(4, e.cpu, CPU.at.MXCSR, e.load(I32, 4, e.cpu, CPU.at.MXCSR).or(raised));
      e.if(unmasked, () => {
        // The x87 registers are MMX ones by then.
        if (touchesMmx(e)) e.commitMmx();
        const reported = e.load(I32, 4, e.cpu, CPU.at.CR4).and(Number(CR4_OSXMMEXCPT));
        e.if(reported, () => e.raise(VECTOR_XM));
        e.raise(VECTOR_UD);
      });
    });
    commit();
  });
}

/** The source before anything else, since reading it may leave. */
const operands = (e: Emitter): { a: Value; b: Value } => {
  const b = e.vector('src');
  return { a: e.vector('dst', 16), b };
};

type Lane = (e: Emitter, a: Value, b: Value) => Value;

/** Every lane of both operands. */
const packed = (width: Width, compute: Lane): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const results = indices(count(width)).map((i) =>
      e.let(compute(e, lane(e, a, i, width), lane(e, b, i, width))),
    );
    return () => e.writeVector('dst', e.let(vectorOfLanes(e, results)));
  });

/** The lowest lane; the others are the destination's. */
const scalar = (width: Width, compute: Lane): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const result = e.let(compute(e, lane(e, a, 0, width), lane(e, b, 0, width)));
    return () => e.writeVector('dst', e.let(withLane(e, a, 0, result)));
  });

const bitsType = (width: Width): typeof I32 | typeof I64 => (width === 32 ? I32 : I64);

type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';

const arithmetic =
  (name: Arithmetic, width: Width): Lane =>
  (e, a, b) =>
    e.call(bitsType(width), helpers(e, width).arithmetic[name], e.cpu, a, b);

const root =
  (width: Width): Lane =>
  (e, _, b) =>
    e.call(bitsType(width), helpers(e, width).sqrt, e.cpu, b);

const approximation =
  (name: 'rcp' | 'rsqrt'): Lane =>
  (e, _, b) =>
    e.call(I64, e.helpers.float.soft, e.cpu, e.i32(softCode(name)), b.wide(), e.i64(0)).low();

const immediate = (e: Emitter): Value => e.immediate(1).low().and(0xff);

const relation =
  (width: Width): Lane =>
  (e, a, b) => {
    const holds = e.call(I32, helpers(e, width).relation, e.cpu, immediate(e).and(7), a, b);
    return width === 32 ? e.i32(0).sub(holds) : e.i64(0).sub(holds.wide());
  };

const integral =
  (width: Width): Lane =>
  (e, _, b) =>
    e.call(bitsType(width), helpers(e, width).integral, e.cpu, immediate(e), b);

/** Packed single, packed double, scalar single, scalar double of one name. */
function four(
  name: 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'sqrt',
  of: (width: Width) => Lane,
): Meanings {
  return {
    [`${name}ps`]: packed(32, of(32)),
    [`${name}pd`]: packed(64, of(64)),
    [`${name}ss`]: scalar(32, of(32)),
    [`${name}sd`]: scalar(64, of(64)),
  };
}

/** Sums or differences of neighbours: of the destination first, then of the source. */
const horizontal = (name: 'add' | 'sub', width: Width): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const half = count(width) / 2;
    const results = [a, b].flatMap((from) =>
      indices(half).map((i) =>
        e.let(arithmetic(name, width)(e, lane(e, from, 2 * i, width), lane(e, from, 2 * i + 1, width))),
      ),
    );
    return () => e.writeVector('dst', e.let(vectorOfLanes(e, results)));
  });

const alternating = (width: Width): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const results = indices(count(width)).map((i) =>
      e.let(arithmetic(i % 2 === 0 ? 'sub' : 'add', width)(e, lane(e, a, i, width), lane(e, b, i, width))),
    );
    return () => e.writeVector('dst', e.let(vectorOfLanes(e, results)));
  });

/** Products of the lanes that the immediate's upper bits choose, summed, into those that its lower bits choose. */
const dotProduct = (width: Width): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const imm = e.let(immediate(e));
    const zero = (): Value => (width === 32 ? e.i32(0) : e.i64(0));
    const products = indices(count(width)).map((i) =>
      e.let(
        e.choose(
          imm.and(16 << i),
          arithmetic('mul', width)(e, lane(e, a, i, width), lane(e, b, i, width)),
          zero(),
        ),
      ),
    );
    const add = (x: Value, y: Value): Value => e.let(arithmetic('add', width)(e, x, y));
    const [first, second, third, fourth] = products as [Value, Value, Value, Value];
    const pair = add(first, second);
    const sum = width === 64 ? pair : add(pair, add(third, fourth));
    const results = indices(count(width)).map((i) => e.select(imm.and(1 << i), sum, zero()));
    return () => e.writeVector('dst', e.let(vectorOfLanes(e, results)));
  });

const compareToFlags = (name: 'comi' | 'ucomi', width: Width): VectorMeaning =>
  floats((e) => {
    const { a, b } = operands(e);
    const fn = helpers(e, width)[name];
    const outcome = e.let(e.call(I32, fn, e.cpu, lane(e, a, 0, width), lane(e, b, 0, width)));
    // ZF, PF and CF.
    const flags = outcome.and(1).shl(6).or(outcome.and(2).shl(1)).or(outcome.shrU(2));
    return () => e.setFlagBits(e.let(flags));
  });

// ── conversions ─────────────────────────────────────────────────────────────────────────────────────────────

type Integers = keyof WidthHelpers['integers'];

/** One lane to an integer, i64. */
const integerOf = (e: Emitter, width: Width, how: Integers, value: Value): Value =>
  e.call(I64, helpers(e, width).integers[how], e.cpu, value);

/** A signed i64 to a float. */
const floatOf = (e: Emitter, width: Width, value: Value): Value =>
  e.call(bitsType(width), helpers(e, width).fromInteger, e.cpu, value);

const otherWidth = (e: Emitter, from: Width, value: Value): Value =>
  e.call(from === 32 ? I64 : I32, helpers(e, from).convert, e.cpu, value);

/** A general register or memory to the lowest lane. */
const fromGeneral = (width: Width): VectorMeaning =>
  floats((e) => {
    const { size } = e.form;
    const value = e.read('src', size).signed(size);
    const result = e.let(floatOf(e, width, value));
    return () => e.writeVector('dst', e.let(withLane(e, e.vector('dst', 16), 0, result)));
  });

const toGeneral = (width: Width, how: 'round' | 'truncate'): VectorMeaning =>
  floats((e) => {
    const { size } = e.form;
    const source = lane(e, e.vector('src'), 0, width);
    const result = e.let(integerOf(e, width, `${how}${size as 4 | 8}`, source));
    return () => e.write('dst', result);
  });

/** Lanes of the source, each converted, into a vector that is zero elsewhere (or the destination's, if `keeps`). */
const converted = (what: {
  from: Width;
  lanes: number;
  convert: (e: Emitter, value: Value) => Value;
  keeps?: boolean;
}): VectorMeaning =>
  floats((e) => {
    const source = e.vector('src');
    const results = indices(what.lanes).map((i) => e.let(what.convert(e, lane(e, source, i, what.from))));
    const whole = (): Value =>
      results.reduce(
        (all, value, i) => withLane(e, all, i, value),
        what.keeps ? e.vector('dst', 16) : e.zeroVector(),
      );
    return () => e.writeVector('dst', e.let(whole()));
  });

const toIntegers = (width: Width, lanes: number, how: Integers): VectorMeaning =>
  converted({ from: width, lanes, convert: (e, value) => integerOf(e, width, how, value).low() });

const fromIntegers = (width: Width, lanes: number, keeps = false): VectorMeaning =>
  converted({ from: 32, lanes, keeps, convert: (e, value) => floatOf(e, width, value.wideSigned()) });

// ── the instructions ────────────────────────────────────────────────────────────────────────────────────────

export const FLOAT_MEANINGS: Meanings = {
  ...four('add', (width) => arithmetic('add', width)),
  ...four('sub', (width) => arithmetic('sub', width)),
  ...four('mul', (width) => arithmetic('mul', width)),
  ...four('div', (width) => arithmetic('div', width)),
  ...four('min', (width) => arithmetic('min', width)),
  ...four('max', (width) => arithmetic('max', width)),
  ...four('sqrt', root),
  rcpps: packed(32, approximation('rcp')),
  rcpss: scalar(32, approximation('rcp')),
  rsqrtps: packed(32, approximation('rsqrt')),
  rsqrtss: scalar(32, approximation('rsqrt')),
  cmpps: packed(32, relation(32)),
  cmppd: packed(64, relation(64)),
  cmpss: scalar(32, relation(32)),
  cmpsd: scalar(64, relation(64)),
  roundps: packed(32, integral(32)),
  roundpd: packed(64, integral(64)),
  roundss: scalar(32, integral(32)),
  roundsd: scalar(64, integral(64)),
  haddps: horizontal('add', 32),
  haddpd: horizontal('add', 64),
  hsubps: horizontal('sub', 32),
  hsubpd: horizontal('sub', 64),
  addsubps: alternating(32),
  addsubpd: alternating(64),
  dpps: dotProduct(32),
  dppd: dotProduct(64),
  comiss: compareToFlags('comi', 32),
  comisd: compareToFlags('comi', 64),
  ucomiss: compareToFlags('ucomi', 32),
  ucomisd: compareToFlags('ucomi', 64),

  cvtsi2ss: fromGeneral(32),
  cvtsi2sd: fromGeneral(64),
  cvtss2si: toGeneral(32, 'round'),
  cvtsd2si: toGeneral(64, 'round'),
  cvttss2si: toGeneral(32, 'truncate'),
  cvttsd2si: toGeneral(64, 'truncate'),
  cvtss2sd: converted({ from: 32, lanes: 1, keeps: true, convert: (e, value) => otherWidth(e, 32, value) }),
  cvtsd2ss: converted({ from: 64, lanes: 1, keeps: true, convert: (e, value) => otherWidth(e, 64, value) }),
  cvtps2pd: converted({ from: 32, lanes: 2, convert: (e, value) => otherWidth(e, 32, value) }),
  cvtpd2ps: converted({ from: 64, lanes: 2, convert: (e, value) => otherWidth(e, 64, value) }),
  cvtdq2ps: fromIntegers(32, 4),
  cvtdq2pd: fromIntegers(64, 2),
  cvtps2dq: toIntegers(32, 4, 'round4'),
  cvttps2dq: toIntegers(32, 4, 'truncate4'),
  cvtpd2dq: toIntegers(64, 2, 'round4'),
  cvttpd2dq: toIntegers(64, 2, 'truncate4'),
  cvtpi2ps: fromIntegers(32, 2, true),
  cvtpi2pd: fromIntegers(64, 2),
  cvtps2pi: toIntegers(32, 2, 'round4'),
  cvttps2pi: toIntegers(32, 2, 'truncate4'),
  cvtpd2pi: toIntegers(64, 2, 'round4'),
  cvttpd2pi: toIntegers(64, 2, 'truncate4'),

  ldmxcsr: vector((e) => {
    const value = e.read('src', 4);
    e.if(value.and(~MXCSR_VALID).low(), () => e.raise(VECTOR_GP));
    e.store(4, e.cpu, CPU.at.MXCSR, value.low());
  }),
  stmxcsr: vector((e) => e.write('dst', e.load(I64, 4, e.cpu, CPU.at.MXCSR), 4)),
};
