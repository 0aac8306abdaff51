/**
 * x87 arithmetic on 80-bit numbers, exactly, with its exceptions and NaNs. Pure: stack and status are x87-state.ts's.
 *
 * @source Intel SDM vol. 1, "Programming with the x87 FPU": "NaNs", "x87 FPU Floating-Point Exception Conditions";
 *         vol. 2, the page of each instruction
 */
import { FP_DENORMAL, FP_INEXACT, FP_INVALID, FP_ZERO_DIVIDE } from '../../../shared/x86/x87.ts';
import {
  DOUBLE,
  defaultNan,
  EXTENDED,
  type Exact,
  exactProduct,
  exactSum,
  type Format,
  infinity,
  NEAREST,
  quieted,
  quotient,
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
import { compare } from './sse-float.ts';

/** What the control word asks for. */
export interface X87Control {
  readonly mode: RoundingMode;
  /** Bits of the significand that arithmetic rounds to: 24, 53 or 64. */
  readonly precision: number;
  /** FP_* that are not masked. */
  readonly unmasked: number;
}

export interface X87Result {
  readonly bits: bigint;
  /** FP_*. */
  readonly raised: number;
  /** C1, where the result is inexact. */
  readonly up: boolean;
}

export const INDEFINITE = defaultNan(EXTENDED);

export const result = (bits: bigint, raised = 0, up = false): X87Result => ({ bits, raised, up });
export const INVALID = result(INDEFINITE, FP_INVALID);

export const denormalOf = (...values: readonly Unpacked[]): number =>
  values.some(({ denormal }) => denormal) ? FP_DENORMAL : 0;

const significand = (bits: bigint): bigint => BigInt.asUintN(64, bits);

/**
 * What operands that are no numbers give: null if all are. Of two NaNs the one with the greater significand is taken,
 * of a signaling and a quiet one the quiet one.
 */
export function nanOf(a: Unpacked, b: Unpacked = a): X87Result | null {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') return INVALID;
  const raised = a.signaling || b.signaling ? FP_INVALID : 0;
  if (a.kind !== 'nan' && b.kind !== 'nan') return null;
  if (b.kind !== 'nan') return result(quieted(EXTENDED, a.bits), raised);
  if (a.kind !== 'nan') return result(quieted(EXTENDED, b.bits), raised);
  if (a.signaling !== b.signaling) return result(a.signaling ? b.bits : a.bits, raised);
  const [x, y] = [significand(a.bits), significand(b.bits)];
  const first = x === y ? !a.negative : x > y;
  return result(quieted(EXTENDED, first ? a.bits : b.bits), raised);
}

/** Exceptions found before computing that are not masked leave everything as it was: the result does not matter. */
export function rounded(value: Exact, control: X87Control, before: number): X87Result {
  if ((before & control.unmasked) !== 0) return result(0n, before);
  const { bits, raised, roundedUp } = round(EXTENDED, value, control);
  return result(bits, raised | before, roundedUp);
}

export type X87Binary = 'add' | 'sub' | 'subr' | 'mul' | 'div' | 'divr';

export function arithmetic(name: X87Binary, x: bigint, y: bigint, control: X87Control): X87Result {
  const swap = name === 'subr' || name === 'divr';
  const a = unpack(EXTENDED, swap ? y : x);
  const b = unpack(EXTENDED, swap ? x : y);
  const nan = nanOf(a, b);
  if (nan !== null) return nan;
  switch (name) {
    case 'add':
      return sum(a, b, control);
    case 'sub':
    case 'subr':
      return sum(a, { ...b, negative: !b.negative }, control);
    case 'mul':
      return product(a, b, control);
    default:
      return ratio(a, b, control);
  }
}

function sum(a: Unpacked, b: Unpacked, control: X87Control): X87Result {
  const denormal = denormalOf(a, b);
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    if (a.kind === b.kind && a.negative !== b.negative) return INVALID;
    return result(infinity(EXTENDED, a.kind === 'infinite' ? a.negative : b.negative), denormal);
  }
  const value = exactSum(a, b);
  if (value.mantissa !== 0n) return rounded(value, control, denormal);
  const negative = a.negative === b.negative && a.kind === 'zero' ? a.negative : control.mode === 1;
  return result(zero(EXTENDED, negative), denormal);
}

function product(a: Unpacked, b: Unpacked, control: X87Control): X87Result {
  const negative = a.negative !== b.negative;
  const kinds = [a.kind, b.kind];
  if (kinds.includes('infinite')) {
    return kinds.includes('zero') ? INVALID : result(infinity(EXTENDED, negative), denormalOf(a, b));
  }
  if (kinds.includes('zero')) return result(zero(EXTENDED, negative), denormalOf(a, b));
  return rounded(exactProduct(a, b), control, denormalOf(a, b));
}

function ratio(a: Unpacked, b: Unpacked, control: X87Control): X87Result {
  const negative = a.negative !== b.negative;
  if (a.kind === b.kind && (a.kind === 'infinite' || a.kind === 'zero')) return INVALID;
  if (a.kind === 'infinite') return result(infinity(EXTENDED, negative), denormalOf(b));
  if (b.kind === 'zero') return result(infinity(EXTENDED, negative), FP_ZERO_DIVIDE);
  if (a.kind === 'zero' || b.kind === 'infinite') return result(zero(EXTENDED, negative), denormalOf(a, b));
  return rounded(quotient(a, b), control, denormalOf(a, b));
}

export function root(x: bigint, control: X87Control): X87Result {
  const a = unpack(EXTENDED, x);
  const nan = nanOf(a);
  if (nan !== null) return nan;
  if (a.kind === 'zero') return result(x);
  if (a.negative) return INVALID;
  if (a.kind === 'infinite') return result(x);
  return rounded(squareRoot(a), control, denormalOf(a));
}

/** C3, C2, C0 in bits 2, 1, 0, as condition of a comparison. */
export const GREATER = 0;
export const LESS = 1;
export const EQUAL = 4;
export const UNORDERED = 7;

/** @param quiet  FUCOM: a quiet NaN is no invalid operand */
export function comparison(x: bigint, y: bigint, quiet: boolean): { outcome: number; raised: number } {
  const a = unpack(EXTENDED, x);
  const b = unpack(EXTENDED, y);
  if (a.kind === 'unsupported' || b.kind === 'unsupported') return { outcome: UNORDERED, raised: FP_INVALID };
  if (a.kind === 'nan' || b.kind === 'nan') {
    return { outcome: UNORDERED, raised: quiet && !a.signaling && !b.signaling ? 0 : FP_INVALID };
  }
  const order = compare(a, b);
  return { outcome: order > 0 ? GREATER : order < 0 ? LESS : EQUAL, raised: denormalOf(a, b) };
}

/** FRNDINT. */
export function toIntegral(x: bigint, control: X87Control): X87Result {
  const a = unpack(EXTENDED, x);
  const nan = nanOf(a);
  if (nan !== null) return nan;
  if (a.kind !== 'finite') return result(x);
  const denormal = denormalOf(a);
  if ((denormal & control.unmasked) !== 0) return result(0n, denormal);
  const { whole, inexact, up } = toWhole(a, control.mode);
  const raised = denormal | (inexact ? FP_INEXACT : 0);
  if (whole === 0n) return result(zero(EXTENDED, a.negative), raised, up);
  const { bits } = round(EXTENDED, { ...a, mantissa: whole < 0n ? -whole : whole, exponent: 0 }, EXACT);
  return result(bits, raised, up);
}

/** Rounding of what is exact anyway. */
export const EXACT: X87Control = { mode: NEAREST, precision: 64, unmasked: 0 };

// ── loads and stores ────────────────────────────────────────────────────────────────────────────────────────

/** A single or double from memory. */
export function fromFloat(format: Format, bits: bigint): X87Result {
  const a = unpack(format, bits);
  switch (a.kind) {
    case 'nan': {
      const fraction = (bits & ((1n << BigInt(format.precision - 1)) - 1n)) << BigInt(64 - format.precision);
      const nan = infinity(EXTENDED, a.negative) | fraction;
      return result(quieted(EXTENDED, nan), a.signaling ? FP_INVALID : 0);
    }
    case 'infinite':
      return result(infinity(EXTENDED, a.negative));
    case 'zero':
      return result(zero(EXTENDED, a.negative));
    default:
      return result(round(EXTENDED, a, EXACT).bits, denormalOf(a));
  }
}

/** To a single or double in memory: precision control does not matter. */
export function toFloat(format: Format, x: bigint, control: X87Control): X87Result {
  const a = unpack(EXTENDED, x);
  switch (a.kind) {
    case 'unsupported':
      return result(defaultNan(format), FP_INVALID);
    case 'nan': {
      const fraction = significand(x) & ((1n << 63n) - 1n);
      const bits = infinity(format, a.negative) | (fraction >> BigInt(64 - format.precision));
      return result(quieted(format, bits), a.signaling ? FP_INVALID : 0);
    }
    case 'infinite':
      return result(infinity(format, a.negative));
    case 'zero':
      return result(zero(format, a.negative));
    default: {
      const { mode, unmasked } = control;
      const { bits, raised, roundedUp } = round(format, a, { mode, unmasked });
      return result(bits, raised, roundedUp);
    }
  }
}

export function fromInteger(value: bigint): bigint {
  if (value === 0n) return 0n;
  const negative = value < 0n;
  return round(EXTENDED, { negative, mantissa: negative ? -value : value, exponent: 0 }, EXACT).bits;
}

/** To a signed whole number of `bits` bits; what does not fit gives the least of them. */
export function toInteger(bits: number, x: bigint, mode: RoundingMode): X87Result {
  const a = unpack(EXTENDED, x);
  const indefinite = result(1n << BigInt(bits - 1), FP_INVALID);
  if (a.kind === 'zero') return result(0n);
  if (a.kind !== 'finite') return indefinite;
  const { whole, inexact, up } = toWhole(a, mode);
  if (BigInt.asIntN(bits, whole) !== whole) return indefinite;
  return result(BigInt.asUintN(bits, whole), inexact ? FP_INEXACT : 0, up);
}

const DECIMAL_DIGITS = 18;
const DECIMAL_LIMIT = 10n ** 18n;
const DECIMAL_INDEFINITE = 0xffffc000000000000000n;

/** Packed decimal: 18 digits, the least significant byte first, and a sign. */
export function fromDecimal(bits: bigint): bigint {
  let value = 0n;
  for (let digit = DECIMAL_DIGITS - 1; digit >= 0; digit--) {
    value = value * 10n + ((bits >> BigInt(4 * digit)) & 15n);
  }
  const sign = (bits >> 79n) & 1n;
  return fromInteger(value) | (sign << 79n);
}

export function toDecimal(x: bigint, mode: RoundingMode): X87Result {
  const a = unpack(EXTENDED, x);
  const sign = a.negative ? 1n << 79n : 0n;
  if (a.kind === 'zero') return result(sign);
  const indefinite = result(DECIMAL_INDEFINITE, FP_INVALID);
  if (a.kind !== 'finite') return indefinite;
  const { whole, inexact, up } = toWhole(a, mode);
  let rest = whole < 0n ? -whole : whole;
  if (rest >= DECIMAL_LIMIT) return indefinite;
  let bits = sign;
  for (let digit = 0; digit < DECIMAL_DIGITS; digit++, rest /= 10n) bits |= (rest % 10n) << BigInt(4 * digit);
  return result(bits, inexact ? FP_INEXACT : 0, up);
}

// ── taking apart ────────────────────────────────────────────────────────────────────────────────────────────

/** FSCALE: x · 2^(y rounded towards zero). */
export function scale(x: bigint, y: bigint, control: X87Control): X87Result {
  const a = unpack(EXTENDED, x);
  const b = unpack(EXTENDED, y);
  const nan = nanOf(a, b);
  if (nan !== null) return nan;
  const denormal = denormalOf(a, b);
  if (b.kind === 'infinite') {
    if (b.negative) return a.kind === 'infinite' ? INVALID : result(zero(EXTENDED, a.negative), denormal);
    return a.kind === 'zero' ? INVALID : result(infinity(EXTENDED, a.negative), denormal);
  }
  if (a.kind !== 'finite') return result(x, denormal);
  const { whole } = toWhole(b, TRUNCATE);
  // Far beyond every exponent, so as not to work with huge numbers.
  const by = Number(whole > 0x10000n ? 0x10000n : whole < -0x10000n ? -0x10000n : whole);
  return rounded({ ...a, exponent: a.exponent + by }, { ...control, precision: 64 }, denormal);
}

/** FXTRACT: the exponent, and the significand as a number from 1 up to 2. */
export function extract(x: bigint): { exponent: bigint; significand: bigint; raised: number } {
  const a = unpack(EXTENDED, x);
  const nan = nanOf(a);
  if (nan !== null) return { exponent: nan.bits, significand: nan.bits, raised: nan.raised };
  if (a.kind === 'zero') {
    return { exponent: infinity(EXTENDED, true), significand: x, raised: FP_ZERO_DIVIDE };
  }
  if (a.kind === 'infinite') return { exponent: infinity(EXTENDED, false), significand: x, raised: 0 };
  const length = a.mantissa.toString(2).length;
  const exponent = a.exponent + length - 1;
  const { bits } = round(EXTENDED, { ...a, exponent: 1 - length }, EXACT);
  return { exponent: fromInteger(BigInt(exponent)), significand: bits, raised: denormalOf(a) };
}

/** Most that FPREM reduces the exponent by in one go. */
const REDUCTION = 63;

/**
 * FPREM (truncating) and FPREM1 (to nearest): the remainder, and the three low bits of the quotient; `partial` when the
 * exponents are too far apart for one go.
 */
export function remainder(
  x: bigint,
  y: bigint,
  nearest: boolean,
  { unmasked }: X87Control,
): X87Result & { readonly quotient: number; readonly partial: boolean } {
  const a = unpack(EXTENDED, x);
  const b = unpack(EXTENDED, y);
  const plain = (outcome: X87Result) => ({ ...outcome, quotient: 0, partial: false });
  const nan = nanOf(a, b);
  if (nan !== null) return plain(nan);
  if (a.kind === 'infinite' || b.kind === 'zero') return plain(INVALID);
  const denormal = denormalOf(a, b);
  if (a.kind === 'zero') return plain(result(x, denormal));
  if ((denormal & unmasked) !== 0) return plain(result(0n, denormal));
  const exactly = (value: Exact): X87Result => {
    const { bits, raised } = round(EXTENDED, value, { mode: NEAREST, unmasked });
    return result(bits, denormal | raised);
  };
  // A pseudo-denormal becomes normal.
  if (b.kind === 'infinite') return plain(exactly(a));
  const top = (value: Exact): number => value.exponent + value.mantissa.toString(2).length;
  const distance = top(a) - top(b);
  const partial = distance > REDUCTION;
  // A partial step takes 32 to 63 bits away; which, is up to the processor.
  const lift = partial ? distance - (32 + (distance % 32)) : 0;
  const exponent = Math.min(a.exponent, b.exponent + lift);
  const dividend = a.mantissa << BigInt(a.exponent - exponent);
  const divisor = b.mantissa << BigInt(b.exponent + lift - exponent);
  let whole = dividend / divisor;
  let rest = dividend - whole * divisor;
  if (nearest && !partial) {
    const twice = 2n * rest;
    if (twice > divisor || (twice === divisor && (whole & 1n) === 1n)) {
      rest -= divisor;
      whole += 1n;
    }
  }
  const low = partial ? 0 : Number(whole & 7n);
  if (rest === 0n) return { ...result(zero(EXTENDED, a.negative), denormal), quotient: low, partial };
  const negative = a.negative !== rest < 0n;
  return { ...exactly({ negative, mantissa: rest < 0n ? -rest : rest, exponent }), quotient: low, partial };
}

export const FLOAT_OF_BYTES: { readonly [bytes: number]: Format } = { 4: SINGLE, 8: DOUBLE };
