/**
 * Binary floating-point numbers taken apart and put together: every format of SSE and x87, every rounding, with the
 * exceptions that rounding raises. Exact, by whole numbers of any size; slow, for what the core cannot do by itself.
 *
 * @source IEEE 754-2008, clauses 3, 4 and 7; Intel SDM vol. 1, "Floating-Point Exceptions", "Rounding"
 */
import { FP_INEXACT, FP_OVERFLOW, FP_UNDERFLOW } from '../../../shared/x86/x87.ts';

export interface Format {
  readonly bits: number;
  /** Bits of the significand, the integer bit included. */
  readonly precision: number;
  readonly exponentBits: number;
  /** Is the integer bit one of the bits? */
  readonly explicit: boolean;
}
export const SINGLE: Format = { bits: 32, precision: 24, exponentBits: 8, explicit: false };
export const DOUBLE: Format = { bits: 64, precision: 53, exponentBits: 11, explicit: false };
export const EXTENDED: Format = { bits: 80, precision: 64, exponentBits: 15, explicit: true };

export const NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const TRUNCATE = 3;
/** As MXCSR.RC and FCW.RC have it. */
export type RoundingMode = 0 | 1 | 2 | 3;

/** `unsupported`: an extended number whose integer bit contradicts its exponent. */
export type Kind = 'zero' | 'finite' | 'infinite' | 'nan' | 'unsupported';

/** A finite number is mantissa · 2^exponent. */
export interface Unpacked {
  readonly kind: Kind;
  readonly negative: boolean;
  readonly mantissa: bigint;
  readonly exponent: number;
  /** Finite with the least exponent and without an integer bit; of `extended`, pseudo-denormals too. */
  readonly denormal: boolean;
  readonly signaling: boolean;
  readonly bits: bigint;
}

const ones = (count: number): bigint => (1n << BigInt(count)) - 1n;
const fractionBits = ({ precision, explicit }: Format): number => (explicit ? precision : precision - 1);
const bias = ({ exponentBits }: Format): number => (1 << (exponentBits - 1)) - 1;

export function unpack(format: Format, bits: bigint): Unpacked {
  const stored = fractionBits(format);
  const fraction = bits & ones(stored);
  const field = Number((bits >> BigInt(stored)) & ones(format.exponentBits));
  const negative = bits >> BigInt(format.bits - 1) === 1n;
  const integer = 1n << BigInt(format.precision - 1);
  const quiet = integer >> 1n;
  const plain = { negative, mantissa: 0n, exponent: 0, denormal: false, signaling: false, bits };
  if (field === (1 << format.exponentBits) - 1) {
    if (format.explicit && (fraction & integer) === 0n) return { ...plain, kind: 'unsupported' };
    if ((fraction & ~integer) === 0n) return { ...plain, kind: 'infinite' };
    return { ...plain, kind: 'nan', signaling: (fraction & quiet) === 0n };
  }
  if (fraction === 0n && field === 0) return { ...plain, kind: 'zero' };
  if (format.explicit && field !== 0 && (fraction & integer) === 0n) return { ...plain, kind: 'unsupported' };
  const mantissa = field === 0 || format.explicit ? fraction : fraction | integer;
  const exponent = Math.max(field, 1) - bias(format) - (format.precision - 1);
  return { ...plain, kind: 'finite', mantissa, exponent, denormal: field === 0 };
}

const sign = (format: Format, negative: boolean): bigint => (negative ? 1n << BigInt(format.bits - 1) : 0n);

export const zero = (format: Format, negative: boolean): bigint => sign(format, negative);

export function infinity(format: Format, negative: boolean): bigint {
  const integer = format.explicit ? 1n << BigInt(format.precision - 1) : 0n;
  return sign(format, negative) | (ones(format.exponentBits) << BigInt(fractionBits(format))) | integer;
}

/** The NaN that an invalid operation gives. */
export function defaultNan(format: Format): bigint {
  return infinity(format, true) | (1n << BigInt(format.precision - 2));
}

export function quieted(format: Format, bits: bigint): bigint {
  return bits | (1n << BigInt(format.precision - 2));
}

function largest(format: Format, negative: boolean, precision: number): bigint {
  const mantissa = ones(precision) << BigInt(format.precision - precision);
  return pack(format, negative, (1 << format.exponentBits) - 2, mantissa);
}

/** @param mantissa  with its integer bit, if it has one; `field` 0 for those without */
function pack(format: Format, negative: boolean, field: number, mantissa: bigint): bigint {
  const stored = fractionBits(format);
  return sign(format, negative) | (BigInt(field) << BigInt(stored)) | (mantissa & ones(stored));
}

export function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

/** How the result of an operation is to be rounded. */
export interface Rounding {
  readonly mode: RoundingMode;
  /** Of the significand, where x87 asks for less than the format has. */
  readonly precision?: number;
  /** SSE: tiny results become zero, while underflow is masked. */
  readonly flushToZero?: boolean;
  /** Exceptions (FP_*) that are not masked. */
  readonly unmasked: number;
}

export interface Rounded {
  readonly bits: bigint;
  /** FP_OVERFLOW, FP_UNDERFLOW, FP_INEXACT. */
  readonly raised: number;
  /** Is the magnitude greater than the exact one? */
  readonly roundedUp: boolean;
}

interface Kept {
  readonly mantissa: bigint;
  readonly inexact: boolean;
  readonly up: boolean;
}

/** Drops `count` bits (none if negative: then zeros are appended). */
export function dropBits(mantissa: bigint, count: number, mode: RoundingMode, negative: boolean): Kept {
  if (count <= 0) return { mantissa: mantissa << BigInt(-count), inexact: false, up: false };
  const kept = mantissa >> BigInt(count);
  const dropped = mantissa & ones(count);
  if (dropped === 0n) return { mantissa: kept, inexact: false, up: false };
  const half = 1n << BigInt(count - 1);
  const up =
    mode === NEAREST
      ? dropped > half || (dropped === half && (kept & 1n) === 1n)
      : mode === (negative ? DOWN : UP);
  return { mantissa: up ? kept + 1n : kept, inexact: true, up };
}

/** By how much an unmasked over- or underflow of x87 moves the exponent, so that the result fits a register. */
const BIAS_ADJUST = 24576;

/**
 * Rounds mantissa · 2^exponent (mantissa > 0) to a format.
 *
 * An exact value too long to be written out is given with a sticky last bit: its mantissa has at least two bits more
 * than the precision, and the last one is set if anything of it was left out.
 *
 * Unmasked overflow and underflow: extended results are scaled (x87); of the others nothing is stored anyway.
 */
export function round(
  format: Format,
  value: { negative: boolean; mantissa: bigint; exponent: number },
  rounding: Rounding,
): Rounded {
  const { negative, mantissa, exponent } = value;
  const { mode, unmasked } = rounding;
  const precision = rounding.precision ?? format.precision;
  const greatest = bias(format);
  const least = 1 - greatest;
  const length = bitLength(mantissa);
  const kept = dropBits(mantissa, length - precision, mode, negative);
  // Rounding up may have made it one bit longer.
  const carried = bitLength(kept.mantissa) > precision ? 1 : 0;
  const top = length - 1 + exponent + carried;
  const inexact = kept.inexact ? FP_INEXACT : 0;
  const aligned = (kept.mantissa >> BigInt(carried)) << BigInt(format.precision - precision);
  const packed = (adjusted: number): bigint => pack(format, negative, adjusted + bias(format), aligned);

  if (top > greatest) {
    if ((unmasked & FP_OVERFLOW) !== 0) {
      const scaled = format.explicit && top - BIAS_ADJUST >= least && top - BIAS_ADJUST <= greatest;
      const bits = scaled ? packed(top - BIAS_ADJUST) : infinity(format, negative);
      return {
        bits,
        raised: FP_OVERFLOW | (format.explicit && !scaled ? FP_INEXACT : inexact),
        roundedUp: kept.up || !scaled,
      };
    }
    const toInfinity = mode === NEAREST || mode === (negative ? DOWN : UP);
    const bits = toInfinity ? infinity(format, negative) : largest(format, negative, precision);
    return { bits, raised: FP_OVERFLOW | FP_INEXACT, roundedUp: toInfinity };
  }
  if (top >= least) return { bits: packed(top), raised: inexact, roundedUp: kept.up };

  // Tiny, after rounding.
  if ((unmasked & FP_UNDERFLOW) !== 0) {
    const scaled = format.explicit && top + BIAS_ADJUST >= least && top + BIAS_ADJUST <= greatest;
    const bits = scaled ? packed(top + BIAS_ADJUST) : zero(format, negative);
    const lost = format.explicit && !scaled ? FP_INEXACT : inexact;
    return { bits, raised: FP_UNDERFLOW | lost, roundedUp: scaled && kept.up };
  }
  if (rounding.flushToZero === true) {
    return { bits: zero(format, negative), raised: FP_UNDERFLOW | FP_INEXACT, roundedUp: false };
  }
  const small = dropBits(mantissa, least - (precision - 1) - exponent, mode, negative);
  const shifted = small.mantissa << BigInt(format.precision - precision);
  // A denormal number, or the least normal one if it was rounded up to that.
  const field = bitLength(shifted) >= format.precision ? 1 : 0;
  const raised = small.inexact ? FP_UNDERFLOW | FP_INEXACT : 0;
  return { bits: pack(format, negative, field, shifted), raised, roundedUp: small.up };
}

// ── exact operations: mantissa · 2^exponent, with a sticky bit where the result does not end ────────────────────

export interface Exact {
  readonly negative: boolean;
  readonly mantissa: bigint;
  readonly exponent: number;
}

/** a + b of finite numbers or zeros; mantissa 0 when they cancel out. */
export function exactSum(a: Exact, b: Exact): Exact {
  // An exponent far below the other counts by a sticky bit alone.
  const [high, low] = a.mantissa === 0n || (b.mantissa !== 0n && topOf(a) < topOf(b)) ? [b, a] : [a, b];
  if (low.mantissa === 0n) return high;
  const gap = topOf(high) - topOf(low);
  if (gap > FAR) {
    const mantissa = (high.mantissa << BigInt(FAR)) * 1n;
    const exponent = high.exponent - FAR;
    return {
      negative: high.negative,
      mantissa: mantissa + (low.negative === high.negative ? 1n : -1n),
      exponent,
    };
  }
  const exponent = Math.min(a.exponent, b.exponent);
  const whole = (value: Exact): bigint => {
    const scaled = value.mantissa << BigInt(value.exponent - exponent);
    return value.negative ? -scaled : scaled;
  };
  const sum = whole(a) + whole(b);
  return { negative: sum < 0n, mantissa: sum < 0n ? -sum : sum, exponent };
}

/** Bits between two numbers beyond which the smaller one only decides a rounding: more than twice any precision. */
const FAR = 140;
const topOf = (value: Exact): number => bitLength(value.mantissa) + value.exponent;

export function exactProduct(a: Exact, b: Exact): Exact {
  return {
    negative: a.negative !== b.negative,
    mantissa: a.mantissa * b.mantissa,
    exponent: a.exponent + b.exponent,
  };
}

/** a / b to more bits than any format has, and a sticky bit. Neither is zero. */
export function quotient(a: Exact, b: Exact): Exact {
  const shift = Math.max(0, bitLength(b.mantissa) - bitLength(a.mantissa) + 70);
  const dividend = a.mantissa << BigInt(shift);
  const whole = dividend / b.mantissa;
  const sticky = whole * b.mantissa === dividend ? 0n : 1n;
  return {
    negative: a.negative !== b.negative,
    mantissa: (whole << 1n) | sticky,
    exponent: a.exponent - b.exponent - shift - 1,
  };
}

/** Square root of a positive number, to more bits than any format has, and a sticky bit. */
export function squareRoot(a: Exact): Exact {
  let shift = Math.max(0, 140 - bitLength(a.mantissa));
  if ((a.exponent - shift) % 2 !== 0) shift++;
  const square = a.mantissa << BigInt(shift);
  const root = wholeRoot(square);
  const sticky = root * root === square ? 0n : 1n;
  return { negative: false, mantissa: (root << 1n) | sticky, exponent: (a.exponent - shift) / 2 - 1 };
}

/** Greatest whole number whose square is not above `square`. */
function wholeRoot(square: bigint): bigint {
  let root = 1n << BigInt(Math.ceil(bitLength(square) / 2));
  for (;;) {
    const next = (root + square / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** Rounded to a whole number. */
export function toWhole(value: Exact, mode: RoundingMode): { whole: bigint; inexact: boolean; up: boolean } {
  const { mantissa, inexact, up } = dropBits(value.mantissa, -value.exponent, mode, value.negative);
  return { whole: value.negative ? -mantissa : mantissa, inexact, up };
}
