/** Contents of vector registers worth trying: lanes of every width, near each other's borders, equal or not. */
import type { Prng } from '../../src/shared/prng.ts';
import { anyBits, operandValue } from './values.ts';

const LANE_BITS = [8, 16, 32, 64];

/** 128 bits for an operand of `op`. */
export function vectorValue(rng: Prng, op: string): bigint {
  // Shift counts stand in the low 64 bits; sensible ones are small.
  if (/^ps(ll|rl|ra)/.test(op) && rng.chance(0.4)) return BigInt(rng.below(80));
  if (rng.chance(0.15)) return (anyBits(rng, 64) << 64n) | anyBits(rng, 64);
  return integerLanes(rng, rng.pick(LANE_BITS));
}

function integerLanes(rng: Prng, bits: number): bigint {
  const same = rng.chance(0.1) ? operandValue(rng, bits) : null;
  let value = 0n;
  for (let at = 0; at < 128; at += bits) value |= (same ?? operandValue(rng, bits)) << BigInt(at);
  return value;
}

/** MXCSR of a case. */
export function controlOf(_rng: Prng): number {
  return 0x1f80;
}
