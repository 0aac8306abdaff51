/**
 * The transcendental instructions of x87, by series in fixed-point numbers of some 256 bits: rounded once, from a value
 * that is nearer to the true one than processors promise (1 ulp). Sine, cosine and tangent reduce their arguments by the
 * π of 66 bits that processors have.
 *
 * @source Intel SDM vol. 1, "Transcendental Instruction Accuracy", "Pi"; vol. 2, tables of FPATAN, FYL2X, FYL2XP1
 */
import { FP_INEXACT, FP_ZERO_DIVIDE } from '../../../shared/x86/x87.ts';
import {
  bitLength,
  EXTENDED,
  type Exact,
  exactSum,
  infinity,
  type Unpacked,
  unpack,
  zero,
} from './number.ts';
import {
  denormalOf,
  INVALID,
  nanOf,
  result,
  rounded,
  type X87Control,
  type X87Result,
} from './x87-arithmetic.ts';

/** Fraction bits of fixed-point numbers. */
const F = 320n;
const ONE = 1n << F;
/** Below 2^−LINEAR the first term of a series is all that a result shows. */
const LINEAR = 80;

const ONE_BITS = infinity(EXTENDED, false) - (0x4000n << 64n);

const product = (a: bigint, b: bigint): bigint => (a * b) >> F;
const ratio = (a: bigint, b: bigint): bigint => (a << F) / b;

/** Σ of terms until they vanish; `next` makes a term of the one before. */
function series(first: bigint, next: (term: bigint, n: bigint) => bigint): bigint {
  let sum = first;
  let term = first;
  for (let n = 1n; term !== 0n && term !== -1n; n++) {
    term = next(term, n);
    sum += term;
  }
  return sum;
}

/** Σ z^(2n+1)/(2n+1), with alternating signs for the arc tangent. */
function oddSeries(z: bigint, alternating: boolean): bigint {
  const square = product(z, z);
  let power = z;
  let sum = z;
  for (let n = 1n; power !== 0n && power !== -1n; n++) {
    power = alternating ? -product(power, square) : product(power, square);
    sum += power / (2n * n + 1n);
  }
  return sum;
}

const arcTangentOfInverse = (n: bigint): bigint => oddSeries(ONE / n, true);
/** Machin's formula. */
const PI = 16n * arcTangentOfInverse(5n) - 4n * arcTangentOfInverse(239n);
const HALF_PI = PI >> 1n;
/** The processor's, 0.C90FDAA22168C234C₁₆ · 2². */
const SHORT_HALF_PI = (0xc90fdaa22168c234cn << F) >> 67n;
const LN2 = 2n * oddSeries(ONE / 3n, false);

/** A finite number in fixed point; bits below 2^−F are lost. */
function fixed({ negative, mantissa, exponent }: Exact): bigint {
  const shift = exponent + Number(F);
  const magnitude = shift >= 0 ? mantissa << BigInt(shift) : mantissa >> BigInt(-shift);
  return negative ? -magnitude : magnitude;
}

/** Back again; what is left out below makes it inexact. */
function exactOf(value: bigint): Exact {
  const magnitude = value < 0n ? -value : value;
  return { negative: value < 0n, mantissa: (magnitude << 1n) | 1n, exponent: -Number(F) - 1 };
}

/** Just below (`towards` zero) or above the magnitude of `value`. */
function beside(value: Exact, away: boolean): Exact {
  return {
    negative: value.negative,
    mantissa: (value.mantissa << 160n) + (away ? 1n : -1n),
    exponent: value.exponent - 160,
  };
}

/** value · factor, a fixed-point number, with every bit of the value. */
function scaled(value: Exact, factor: bigint): Exact {
  const mantissa = ((value.mantissa * factor) << 1n) | 1n;
  return { negative: value.negative, mantissa, exponent: value.exponent - Number(F) - 1 };
}

const topOf = (value: Exact): number => bitLength(value.mantissa) + value.exponent;

function inexactly(value: Exact, control: X87Control, before: number): X87Result {
  const outcome = rounded(value, { ...control, precision: 64 }, before);
  return { ...outcome, raised: outcome.raised | ((before & control.unmasked) === 0 ? FP_INEXACT : 0) };
}

const constant = (value: bigint, negative: boolean, control: X87Control, before: number): X87Result =>
  inexactly(exactOf(negative ? -value : value), control, before);

// ── sine, cosine, tangent ───────────────────────────────────────────────────────────────────────────────────

function sineAndCosine(x: bigint): { sine: bigint; cosine: bigint } {
  let quadrant = x / SHORT_HALF_PI;
  let rest = x - quadrant * SHORT_HALF_PI;
  // To −π/4 … π/4.
  if (rest > SHORT_HALF_PI >> 1n) {
    rest -= SHORT_HALF_PI;
    quadrant += 1n;
  } else if (rest < -(SHORT_HALF_PI >> 1n)) {
    rest += SHORT_HALF_PI;
    quadrant -= 1n;
  }
  const square = product(rest, rest);
  const sine = series(rest, (term, n) => -product(term, square) / (2n * n * (2n * n + 1n)));
  const cosine = series(ONE, (term, n) => -product(term, square) / ((2n * n - 1n) * 2n * n));
  switch (Number(((quadrant % 4n) + 4n) % 4n)) {
    case 0:
      return { sine, cosine };
    case 1:
      return { sine: cosine, cosine: -sine };
    case 2:
      return { sine: -sine, cosine: -cosine };
    default:
      return { sine: -cosine, cosine: sine };
  }
}

/** Null: the argument is out of range (C2). */
export function circular(name: 'sin' | 'cos' | 'tan', x: bigint, control: X87Control): X87Result | null {
  const a = unpack(EXTENDED, x);
  const nan = nanOf(a);
  if (nan !== null) return nan;
  if (a.kind === 'infinite') return INVALID;
  if (a.kind === 'zero') return result(name === 'cos' ? ONE_BITS : x);
  if (topOf(a) > 63) return null;
  const denormal = denormalOf(a);
  if (topOf(a) < -LINEAR) {
    const value = name === 'cos' ? { negative: false, mantissa: 1n, exponent: 0 } : a;
    return inexactly(beside(value, name === 'tan'), control, denormal);
  }
  const { sine, cosine } = sineAndCosine(fixed(a));
  const value = name === 'sin' ? sine : name === 'cos' ? cosine : ratio(sine, cosine);
  return inexactly(exactOf(value), control, denormal);
}

// ── arc tangent ─────────────────────────────────────────────────────────────────────────────────────────────

function wholeRoot(square: bigint): bigint {
  let root = 1n << BigInt((bitLength(square) + 1) >> 1);
  for (;;) {
    const next = (root + square / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Of 0 … 1. Halving the angle thrice makes the series short. */
function arcTangent(z: bigint): bigint {
  let value = z;
  for (let i = 0; i < 3; i++) {
    value = ratio(value, ONE + wholeRoot((product(value, value) + ONE) << F));
  }
  return oddSeries(value, true) << 3n;
}

/** FPATAN: the angle of (x, y). */
export function angle(yBits: bigint, xBits: bigint, control: X87Control): X87Result {
  const y = unpack(EXTENDED, yBits);
  const x = unpack(EXTENDED, xBits);
  const nan = nanOf(x, y);
  if (nan !== null) return nan;
  const denormal = denormalOf(x, y);
  const negative = y.negative;
  const of = (value: bigint): X87Result => constant(value, negative, control, denormal);
  if (y.kind === 'infinite') {
    if (x.kind !== 'infinite') return of(HALF_PI);
    return of(x.negative ? (3n * PI) >> 2n : PI >> 2n);
  }
  if (y.kind === 'zero' || x.kind === 'infinite') {
    return x.negative ? of(PI) : result(zero(EXTENDED, negative), denormal);
  }
  if (x.kind === 'zero') return of(HALF_PI);
  return finiteAngle(y, x, control, denormal);
}

function finiteAngle(y: Unpacked, x: Unpacked, control: X87Control, denormal: number): X87Result {
  const distance = topOf(y) - topOf(x);
  const { negative } = y;
  if (distance < -100) {
    if (x.negative) return constant(PI, negative, control, denormal);
    // y / x, a little less; it may be a denormal number.
    const shift = 200;
    const mantissa = ((y.mantissa << BigInt(shift)) / x.mantissa) | 1n;
    return inexactly({ negative, mantissa, exponent: y.exponent - x.exponent - shift }, control, denormal);
  }
  if (distance > 200) return constant(HALF_PI, negative, control, denormal);
  // The common power of two goes.
  const base = Math.max(y.exponent, x.exponent);
  const part = (value: Unpacked): bigint =>
    fixed({ ...value, negative: false, exponent: value.exponent - base });
  const [up, along] = [part(y), part(x)];
  const first = up <= along ? arcTangent(ratio(up, along)) : HALF_PI - arcTangent(ratio(along, up));
  const value = x.negative ? PI - first : first;
  return constant(value, negative, control, denormal);
}

// ── powers and logarithms of 2 ──────────────────────────────────────────────────────────────────────────────

/** F2XM1: 2^x − 1, of −1 … 1. Beyond, where it is undefined, x itself. */
export function powerMinusOne(x: bigint, control: X87Control): X87Result {
  const a = unpack(EXTENDED, x);
  const nan = nanOf(a);
  if (nan !== null) return nan;
  if (a.kind === 'infinite') return result(a.negative ? ONE_BITS | (1n << 79n) : x);
  if (a.kind === 'zero' || topOf(a) > 1) return result(x);
  const denormal = denormalOf(a);
  if (topOf(a) === 1) {
    // ±1 is exact; a little more is beyond.
    if (bitLength(a.mantissa) !== 1 && (a.mantissa & (a.mantissa - 1n)) !== 0n) return result(x);
    return result(a.negative ? (0xbffen << 64n) | (1n << 63n) : ONE_BITS);
  }
  if (topOf(a) < -LINEAR) return inexactly(scaled(a, LN2), control, denormal);
  const t = product(fixed(a), LN2);
  const value = series(t, (term, n) => product(term, t) / (n + 1n));
  return inexactly(exactOf(value), control, denormal);
}

/** Natural logarithm of a fixed-point number near 1. */
function logarithm(x: bigint): bigint {
  return 2n * oddSeries(ratio(x - ONE, x + ONE), false);
}

/** log₂ of a positive number in fixed point, and whether it is a whole number. */
function logarithmOfTwo(x: Exact): { log: bigint; whole: boolean } {
  // x = m · 2^e with m about 1.
  const length = bitLength(x.mantissa);
  let e = x.exponent + length - 1;
  const shift = F - BigInt(length - 1);
  let m = shift >= 0n ? x.mantissa << shift : x.mantissa >> -shift;
  if (m > ONE + (ONE >> 1n)) {
    m >>= 1n;
    e += 1;
  }
  const log = BigInt(e) * ONE + (m === ONE ? 0n : ratio(logarithm(m), LN2));
  return { log, whole: m === ONE };
}

/** FYL2X: y · log₂ x. */
export function timesLogarithm(yBits: bigint, xBits: bigint, control: X87Control): X87Result {
  const y = unpack(EXTENDED, yBits);
  const x = unpack(EXTENDED, xBits);
  const nan = nanOf(x, y);
  if (nan !== null) return nan;
  if (x.negative && x.kind !== 'zero') return INVALID;
  const denormal = denormalOf(x, y);
  if (x.kind === 'zero') {
    if (y.kind === 'zero') return INVALID;
    return result(infinity(EXTENDED, !y.negative), y.kind === 'infinite' ? 0 : FP_ZERO_DIVIDE);
  }
  if (x.kind === 'infinite') {
    return y.kind === 'zero' ? INVALID : result(infinity(EXTENDED, y.negative), denormal);
  }
  const { log, whole } = logarithmOfTwo(x);
  if (log === 0n) {
    return y.kind === 'infinite' ? INVALID : result(zero(EXTENDED, y.negative), denormal);
  }
  const negative = y.negative !== log < 0n;
  if (y.kind === 'infinite') return result(infinity(EXTENDED, negative), denormal);
  if (y.kind === 'zero') return result(zero(EXTENDED, negative), denormal);
  const magnitude = log < 0n ? -log : log;
  // A power of two has a whole logarithm.
  if (whole) {
    const exact = { negative, mantissa: y.mantissa * (magnitude >> F), exponent: y.exponent };
    return rounded(exact, { ...control, precision: 64 }, denormal);
  }
  return inexactly(scaled({ ...y, negative }, magnitude), control, denormal);
}

/** FYL2XP1: y · log₂(x + 1), of x from about −0.3 to 0.4. */
export function timesLogarithmPlusOne(yBits: bigint, xBits: bigint, control: X87Control): X87Result {
  const y = unpack(EXTENDED, yBits);
  const x = unpack(EXTENDED, xBits);
  const nan = nanOf(x, y);
  if (nan !== null) return nan;
  const denormal = denormalOf(x, y);
  const negative = y.negative !== x.negative;
  if (x.kind === 'zero') {
    return y.kind === 'infinite' ? INVALID : result(zero(EXTENDED, negative), denormal);
  }
  if (y.kind === 'zero') return x.kind === 'infinite' ? INVALID : result(zero(EXTENDED, negative), denormal);
  if (x.kind === 'infinite') return x.negative ? INVALID : result(infinity(EXTENDED, negative), denormal);
  if (y.kind === 'infinite') return result(infinity(EXTENDED, negative), denormal);
  if (topOf(x) < -LINEAR) {
    const both = { negative, mantissa: x.mantissa * y.mantissa, exponent: x.exponent + y.exponent };
    return inexactly(scaled(both, ratio(ONE, LN2)), control, denormal);
  }
  // −1 and below, where nothing is defined.
  const sum = exactSum({ negative: false, mantissa: 1n, exponent: 0 }, x);
  if (sum.negative || sum.mantissa === 0n) return result(xBits);
  const { log } = logarithmOfTwo(sum);
  return inexactly(scaled({ ...y, negative }, log < 0n ? -log : log), control, denormal);
}

// ── constants ───────────────────────────────────────────────────────────────────────────────────────────────

export type X87Constant = 'one' | 'log2ten' | 'log2e' | 'pi' | 'log10two' | 'ln2' | 'zero';

/** ln 10, by way of 8 · 1.25. */
const LN10 = 3n * LN2 + logarithm((5n * ONE) / 4n);

/** Rounded as the control word says, and no exception for it. */
export function x87Constant(name: X87Constant, control: X87Control): bigint {
  const of = (value: bigint): bigint => inexactly(exactOf(value), { ...control, unmasked: 0 }, 0).bits;
  switch (name) {
    case 'zero':
      return 0n;
    case 'one':
      return ONE_BITS;
    case 'pi':
      return of(PI);
    case 'ln2':
      return of(LN2);
    case 'log2e':
      return of(ratio(ONE, LN2));
    case 'log2ten':
      return of(ratio(LN10, LN2));
    case 'log10two':
      return of(ratio(LN2, LN10));
  }
}
