/**
 * SSE operations on one lane, exactly, with their exceptions and the NaNs that x86 gives. The generated core does
 * ordinary numbers by itself (isa/float-helpers.ts) and comes here for the rest: NaNs, denormal numbers, infinities,
 * over- and underflow, other roundings than to nearest.
 *
 * @source Intel SDM vol. 1, "Rules for Handling NaNs", "SIMD Floating-Point Exception Conditions"; vol. 2, each page
 */
import {
  FP_DENORMAL,
  FP_EXCEPTIONS,
  FP_INEXACT,
  FP_INVALID,
  FP_ZERO_DIVIDE,
  MXCSR_DAZ,
  MXCSR_FTZ,
  MXCSR_MASKS_SHIFT,
  MXCSR_ROUNDING_SHIFT,
} from '../../../shared/x86/x87.ts';
import {
  DOUBLE,
  defaultNan,
  exactProduct,
  exactSum,
  type Format,
  infinity,
  quieted,
  quotient,
  type Rounding,
  type RoundingMode,
  round,
  SINGLE,
  squareRoot,
  TRUNCATE,
  toWhole,
  type Unpacked,
  unpack,
  zero,
} from './number.ts';

export interface FloatResult {
  readonly bits: bigint;
  /** FP_*. */
  readonly raised: number;
}

const exactly = (bits: bigint): FloatResult => ({ bits, raised: 0 });

/** MXCSR, taken apart. */
interface Control extends Rounding {
  readonly denormalsAreZero: boolean;
}

function controlOf(mxcsr: number): Control {
  return {
    mode: ((mxcsr >> MXCSR_ROUNDING_SHIFT) & 3) as RoundingMode,
    flushToZero: (mxcsr & MXCSR_FTZ) !== 0,
    unmasked: ~(mxcsr >> MXCSR_MASKS_SHIFT) & FP_EXCEPTIONS,
    denormalsAreZero: (mxcsr & MXCSR_DAZ) !== 0,
  };
}

function operand(format: Format, bits: bigint, control: Control): Unpacked {
  const value = unpack(format, bits);
  if (!value.denormal || !control.denormalsAreZero) return value;
  return { ...value, kind: 'zero', mantissa: 0n, denormal: false, bits: zero(format, value.negative) };
}

const denormalOf = (...values: readonly Unpacked[]): number =>
  values.some(({ denormal }) => denormal) ? FP_DENORMAL : 0;

/** The first NaN of the operands, quiet; null if there is none. */
function nanOf(format: Format, ...values: readonly Unpacked[]): FloatResult | null {
  const nan = values.find(({ kind }) => kind === 'nan');
  if (nan === undefined) return null;
  const raised = values.some(({ signaling }) => signaling) ? FP_INVALID : 0;
  return { bits: quieted(format, nan.bits), raised };
}

const invalid = (format: Format): FloatResult => ({ bits: defaultNan(format), raised: FP_INVALID });

/** Pre-computation exceptions that are not masked keep the operation from being done. */
function rounded(
  format: Format,
  value: { negative: boolean; mantissa: bigint; exponent: number },
  control: Control,
  before: number,
): FloatResult {
  if ((before & control.unmasked) !== 0) return { bits: 0n, raised: before };
  const { bits, raised } = round(format, value, control);
  return { bits, raised: raised | before };
}

export type Binary = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';

export function binary(
  name: Binary,
  format: Format,
  what: { a: bigint; b: bigint; mxcsr: number },
): FloatResult {
  const control = controlOf(what.mxcsr);
  const a = operand(format, what.a, control);
  const b = operand(format, what.b, control);
  if (name === 'min' || name === 'max') return lesser(name, a, b);
  const nan = nanOf(format, a, b);
  if (nan !== null) return nan;
  switch (name) {
    case 'add':
      return sum(format, a, b, control);
    case 'sub':
      return sum(format, a, { ...b, negative: !b.negative }, control);
    case 'mul':
      return product(format, a, b, control);
    case 'div':
      return ratio(format, a, b, control);
  }
}

function sum(format: Format, a: Unpacked, b: Unpacked, control: Control): FloatResult {
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    const both = a.kind === b.kind;
    if (both && a.negative !== b.negative) return invalid(format);
    const negative = a.kind === 'infinite' ? a.negative : b.negative;
    return { bits: infinity(format, negative), raised: denormalOf(a, b) };
  }
  const value = exactSum(a, b);
  const denormal = denormalOf(a, b);
  if (value.mantissa !== 0n) return rounded(format, value, control, denormal);
  // Nothing is left: −0 if both are, or if rounding goes down.
  const negative = a.negative === b.negative && a.kind === 'zero' ? a.negative : control.mode === 1;
  return { bits: zero(format, negative), raised: denormal };
}

function product(format: Format, a: Unpacked, b: Unpacked, control: Control): FloatResult {
  const negative = a.negative !== b.negative;
  const kinds = [a.kind, b.kind];
  if (kinds.includes('infinite')) {
    if (kinds.includes('zero')) return invalid(format);
    return { bits: infinity(format, negative), raised: denormalOf(a, b) };
  }
  if (kinds.includes('zero')) return { bits: zero(format, negative), raised: denormalOf(a, b) };
  return rounded(format, exactProduct(a, b), control, denormalOf(a, b));
}

function ratio(format: Format, a: Unpacked, b: Unpacked, control: Control): FloatResult {
  const negative = a.negative !== b.negative;
  if (a.kind === b.kind && (a.kind === 'infinite' || a.kind === 'zero')) return invalid(format);
  if (a.kind === 'infinite') return { bits: infinity(format, negative), raised: denormalOf(b) };
  if (b.kind === 'zero') return { bits: infinity(format, negative), raised: FP_ZERO_DIVIDE };
  if (a.kind === 'zero' || b.kind === 'infinite') {
    return { bits: zero(format, negative), raised: denormalOf(a, b) };
  }
  return rounded(format, quotient(a, b), control, denormalOf(a, b));
}

/** MIN and MAX are no functions of two equals: a NaN on either side, or two zeros, give the second operand. */
function lesser(name: 'min' | 'max', a: Unpacked, b: Unpacked): FloatResult {
  if (a.kind === 'nan' || b.kind === 'nan') return { bits: b.bits, raised: FP_INVALID };
  const order = compare(a, b);
  const first = name === 'min' ? order < 0 : order > 0;
  return { bits: first ? a.bits : b.bits, raised: denormalOf(a, b) };
}

/** −1, 0, 1 of numbers and infinities. */
export function compare(a: Unpacked, b: Unpacked): number {
  const rank = (value: Unpacked): number => (value.kind === 'infinite' ? (value.negative ? -1 : 1) : 0);
  const difference = rank(a) - rank(b);
  if (rank(a) !== 0 || rank(b) !== 0) return Math.sign(difference);
  const { mantissa, negative } = exactSum(a, { ...b, negative: !b.negative });
  return mantissa === 0n ? 0 : negative ? -1 : 1;
}

export function root(format: Format, bits: bigint, mxcsr: number): FloatResult {
  const control = controlOf(mxcsr);
  const a = operand(format, bits, control);
  const nan = nanOf(format, a);
  if (nan !== null) return nan;
  if (a.kind === 'zero') return exactly(a.bits);
  if (a.negative) return invalid(format);
  if (a.kind === 'infinite') return exactly(a.bits);
  return rounded(format, squareRoot(a), control, denormalOf(a));
}

/** Relations of CMPPS and its like, by the low bits of their immediate; the upper four are the others, negated. */
const SIGNALS_ON_QUIET = [false, true, true, false];

/** All ones or all zeros. */
export function relation(
  predicate: number,
  format: Format,
  what: { a: bigint; b: bigint; mxcsr: number },
): FloatResult {
  const control = controlOf(what.mxcsr);
  const a = operand(format, what.a, control);
  const b = operand(format, what.b, control);
  const base = predicate & 3;
  const unordered = a.kind === 'nan' || b.kind === 'nan';
  let raised = 0;
  let holds: boolean;
  if (unordered) {
    holds = base === 3;
    if (SIGNALS_ON_QUIET[base] || a.signaling || b.signaling) raised = FP_INVALID;
  } else {
    const order = compare(a, b);
    holds = [order === 0, order < 0, order <= 0, false][base]!;
    raised = denormalOf(a, b);
  }
  const negated = (predicate & 4) !== 0;
  return { bits: holds !== negated ? (1n << BigInt(format.bits)) - 1n : 0n, raised };
}

/** ZF, PF, CF of COMISS (`signals`) and UCOMISS: bits 0, 1, 2 of the result. */
export function ordered(
  signals: boolean,
  format: Format,
  what: { a: bigint; b: bigint; mxcsr: number },
): FloatResult {
  const control = controlOf(what.mxcsr);
  const a = operand(format, what.a, control);
  const b = operand(format, what.b, control);
  if (a.kind === 'nan' || b.kind === 'nan') {
    return { bits: 7n, raised: signals || a.signaling || b.signaling ? FP_INVALID : 0 };
  }
  const order = compare(a, b);
  return { bits: order > 0 ? 0n : order < 0 ? 4n : 1n, raised: denormalOf(a, b) };
}

/** Between formats. */
export function convert(from: Format, to: Format, bits: bigint, mxcsr: number): FloatResult {
  const control = controlOf(mxcsr);
  const a = operand(from, bits, control);
  const { negative } = a;
  switch (a.kind) {
    case 'nan': {
      const fraction = a.bits & ((1n << BigInt(from.precision - 1)) - 1n);
      const move = to.precision - from.precision;
      const moved = move >= 0 ? fraction << BigInt(move) : fraction >> BigInt(-move);
      return { bits: quieted(to, infinity(to, negative) | moved), raised: a.signaling ? FP_INVALID : 0 };
    }
    case 'infinite':
      return exactly(infinity(to, negative));
    case 'zero':
      return exactly(zero(to, negative));
    default:
      return rounded(to, a, control, denormalOf(a));
  }
}

/** To a signed whole number of `bits` bits; what does not fit gives the least of them. */
export function toInteger(
  from: Format,
  bits: 32 | 64,
  what: { a: bigint; mxcsr: number; truncates: boolean },
): FloatResult {
  const control = controlOf(what.mxcsr);
  const a = operand(from, what.a, control);
  const indefinite = { bits: 1n << BigInt(bits - 1), raised: FP_INVALID };
  if (a.kind === 'nan' || a.kind === 'infinite') return indefinite;
  const { whole, inexact } = toWhole(a, what.truncates ? TRUNCATE : control.mode);
  if (BigInt.asIntN(bits, whole) !== whole) return indefinite;
  return { bits: BigInt.asUintN(bits, whole), raised: inexact ? FP_INEXACT : 0 };
}

export function fromInteger(to: Format, value: bigint, mxcsr: number): FloatResult {
  if (value === 0n) return exactly(0n);
  const negative = value < 0n;
  return rounded(to, { negative, mantissa: negative ? -value : value, exponent: 0 }, controlOf(mxcsr), 0);
}

/** ROUNDPS and its like: `how` is their immediate. */
export function toIntegral(how: number, format: Format, bits: bigint, mxcsr: number): FloatResult {
  const control = controlOf(mxcsr);
  const a = operand(format, bits, control);
  const nan = nanOf(format, a);
  if (nan !== null) return nan;
  if (a.kind === 'infinite' || a.kind === 'zero') return exactly(a.bits);
  const mode = (how & 4) !== 0 ? control.mode : ((how & 3) as RoundingMode);
  const { whole, inexact } = toWhole(a, mode);
  const raised = inexact && (how & 8) === 0 ? FP_INEXACT : 0;
  if (whole === 0n) return { bits: zero(format, a.negative), raised };
  const mantissa = whole < 0n ? -whole : whole;
  return { bits: round(format, { negative: a.negative, mantissa, exponent: 0 }, control).bits, raised };
}

/** RCPPS, RSQRTPS: no exceptions, denormal numbers are zeros, tiny results too. Ours are as exact as a single is. */
export function approximate(name: 'rcp' | 'rsqrt', bits: bigint): FloatResult {
  const value = unpack(SINGLE, bits);
  const a = value.denormal ? { ...value, kind: 'zero' as const } : value;
  const { negative } = a;
  switch (a.kind) {
    case 'nan':
      return exactly(quieted(SINGLE, a.bits));
    case 'zero':
      return exactly(infinity(SINGLE, negative));
    case 'infinite':
      return exactly(name === 'rsqrt' && negative ? defaultNan(SINGLE) : zero(SINGLE, negative));
    default: {
      if (name === 'rsqrt' && negative) return exactly(defaultNan(SINGLE));
      const one = { negative: false, mantissa: 1n, exponent: 0 };
      const exact = quotient(one, name === 'rcp' ? a : squareRoot(a));
      return exactly(round(SINGLE, exact, { mode: 0, flushToZero: true, unmasked: 0 }).bits);
    }
  }
}

export const FORMATS = { s: SINGLE, d: DOUBLE } as const;
