/** x87 operands and controls worth trying. */
import type { Prng } from '../../src/shared/prng.ts';
import { anyBits, operandValue } from './values.ts';
import { floatValue } from './vector-values.ts';

/**
 * A number of 80 bits.
 *
 * @param middle  0: exponents about that of 1; 1: about the least; 2: about the greatest
 */
export function extendedValue(rng: Prng, middle = 0): bigint {
  const sign = BigInt(rng.below(2)) << 79n;
  const integer = 1n << 63n;
  const make = (field: number, mantissa: bigint): bigint => sign | (BigInt(field) << 64n) | mantissa;
  const fraction = (): bigint => fractionOf(rng);
  switch (rng.below(26)) {
    case 0:
      return make(0, 0n);
    case 1:
      return make(0, fraction());
    case 2:
      return make(0, integer | fraction()); // pseudo-denormal
    case 3:
      return make(0x7fff, integer);
    case 4:
      return make(0x7fff, integer | fraction());
    case 5:
      return make(0x7fff, integer | (1n << 62n) | fraction());
    case 6:
      return make(rng.below(0x8000), fraction()); // an integer bit that contradicts the exponent
    case 7:
      return make(rng.below(0x8000), integer | fraction());
    case 8:
      return make(0x3fff + rng.pick([14, 15, 30, 31, 60, 62, 63, 64]), integer | fraction());
    case 9:
      return make(0x3fff, integer);
    default: {
      const about = [0x3fff, 1, 0x7ffe][middle]!;
      const spread = rng.chance(0.7) ? rng.below(9) - 4 : rng.below(150) - 75;
      return make(Math.min(Math.max(about + spread, 1), 0x7ffe), integer | fraction());
    }
  }
}

/** 63 bits: few, many, a run at the end. */
function fractionOf(rng: Prng): bigint {
  switch (rng.below(6)) {
    case 0:
      return 0n;
    case 1:
      return BigInt(rng.below(64)) << 57n;
    case 2:
      return anyBits(rng, 63) & ~((1n << BigInt(rng.below(63))) - 1n);
    case 3:
      return (1n << 63n) - 1n - BigInt(rng.below(4));
    case 4:
      return anyBits(rng, 24) << 39n;
    default:
      return anyBits(rng, 63);
  }
}

/** A memory operand of `bytes`: a float, an integer or packed decimal, as `op` has it. */
export function x87Memory(rng: Prng, op: string, bytes: number): bigint {
  if (op === 'fldcw') return BigInt(fcwOf(rng));
  if (op === 'fbld') return decimal(rng);
  if (op.startsWith('fi')) return operandValue(rng, bytes * 8);
  if (bytes === 10) return extendedValue(rng);
  return floatValue(rng, bytes === 4 ? 32 : 64, rng.pick([0, 0, 0, 1, 2]));
}

/** Digits only: what others give is up to the processor. */
function decimal(rng: Prng): bigint {
  let bits = BigInt(rng.below(2)) << 79n;
  for (let digit = 0; digit < 18; digit++) bits |= BigInt(rng.below(10)) << BigInt(4 * digit);
  return bits;
}

/** Precision and rounding, and now and then exceptions that are not masked. */
export function fcwOf(rng: Prng): number {
  let fcw = 0x37f;
  if (rng.chance(0.3)) fcw = (fcw & ~0x300) | (rng.pick([0, 2, 3]) << 8);
  if (rng.chance(0.4)) fcw |= rng.below(4) << 10;
  if (rng.chance(0.2)) fcw &= ~rng.below(64);
  return fcw;
}

/** Conditions and exceptions that are there before, so that what an instruction leaves alone is seen. */
export function fswOf(rng: Prng, fcw: number, top: number): number {
  let fsw = top << 11;
  if (rng.chance(0.5)) fsw |= rng.below(16) << 8 === 0 ? 0 : (rng.below(8) << 8) | (rng.below(2) << 14);
  if (rng.chance(0.2)) fsw |= rng.below(64);
  // An unmasked one is pending.
  if ((fsw & ~fcw & 0x3f) !== 0) fsw |= 0x8080;
  return fsw;
}
