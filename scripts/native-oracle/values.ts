/** Operand values worth trying, of any width: borders of signs and carries, few bits, many bits, anything. */
import type { Prng } from '../../src/shared/prng.ts';

const COUNTS = [0, 1, 2, 7, 8, 9, 15, 16, 17, 18, 24, 31, 32, 33, 34, 40, 63, 64, 65, 72, 128, 129, 224, 255];

export function anyBits(rng: Prng, bits: number): bigint {
  const value = bits <= 32 ? BigInt(rng.u32()) : (BigInt(rng.u32()) << 32n) | BigInt(rng.u32());
  return BigInt.asUintN(bits, value);
}

/** Unsigned, `bits` wide. */
export function operandValue(rng: Prng, bits: number): bigint {
  const cut = (value: bigint): bigint => BigInt.asUintN(bits, value);
  const top = 1n << BigInt(bits - 1);
  switch (rng.below(16)) {
    case 0:
      return 0n;
    case 1:
      return 1n;
    case 2:
      return cut(-1n);
    case 3:
      return top;
    case 4:
      return top - 1n;
    case 5:
      return cut(top + BigInt(rng.below(5)) - 2n);
    case 6:
      return cut(BigInt(rng.below(33)) - 16n);
    case 7:
      return 1n << BigInt(rng.below(bits));
    case 8:
      return cut(~(1n << BigInt(rng.below(bits))));
    case 9: {
      // A run of ones down from some bit, or up to it.
      const ones = (1n << BigInt(rng.below(bits) + 1)) - 1n;
      return rng.chance(0.5) ? ones : cut(~ones);
    }
    case 10:
      // Sign borders of narrower sizes.
      return cut((1n << BigInt(rng.pick([7, 8, 15, 16, 31, 32]))) + BigInt(rng.below(5)) - 2n);
    case 11:
      return anyBits(rng, rng.below(bits) + 1);
    default:
      return anyBits(rng, bits);
  }
}

/** A shift or rotate count as it stands in CL or an immediate. */
export function shiftCount(rng: Prng): number {
  return rng.chance(0.6) ? rng.pick(COUNTS) : rng.below(256);
}

/** Dividend (twice `bits` wide) and divisor, often at a border of overflow. */
export function division(rng: Prng, bits: number, signed: boolean): { dividend: bigint; divisor: bigint } {
  const wide = bits * 2;
  if (rng.chance(0.1)) return { dividend: anyBits(rng, wide), divisor: operandValue(rng, bits) };
  const divisor = operandValue(rng, bits);
  const limit = signed ? 1n << BigInt(bits - 1) : 1n << BigInt(bits);
  const quotient = signed
    ? rng.pick([
        0n,
        1n,
        -1n,
        limit - 1n,
        limit,
        -limit,
        -limit - 1n,
        BigInt.asIntN(bits, operandValue(rng, bits)),
      ])
    : rng.pick([0n, 1n, limit - 1n, limit, operandValue(rng, bits), operandValue(rng, bits)]);
  const by = signed ? BigInt.asIntN(bits, divisor) : divisor;
  const magnitude = by < 0n ? -by : by;
  const remainders = [0n, 1n, magnitude - 1n, magnitude, magnitude >> 1n];
  let remainder = rng.pick(remainders);
  if (signed && rng.chance(0.5)) remainder = -remainder;
  return { dividend: BigInt.asUintN(wide, quotient * by + remainder), divisor };
}
