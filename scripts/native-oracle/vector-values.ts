/** Contents of vector registers worth trying: lanes of every width, near each other's borders, equal or not; floats. */
import type { Prng } from '../../src/shared/prng.ts';
import { anyBits, operandValue } from './values.ts';

const LANE_BITS = [8, 16, 32, 64];

/** 128 bits for an operand of `op`. */
export function vectorValue(rng: Prng, op: string): bigint {
  // Shift counts stand in the low 64 bits; sensible ones are small.
  if (/^ps(ll|rl|ra)/.test(op) && rng.chance(0.4)) return BigInt(rng.below(80));
  if (op.startsWith('pcmp') && op.includes('str')) return text(rng);
  if (worksOnFloats(op)) return rng.chance(0.05) ? integerLanes(rng, 32) : floatLanes(rng, floatBits(op));
  if (rng.chance(0.15)) return (anyBits(rng, 64) << 64n) | anyBits(rng, 64);
  return integerLanes(rng, rng.pick(LANE_BITS));
}

/** Few different elements, and an end now and then. */
function text(rng: Prng): bigint {
  const bits = rng.pick([8, 16]);
  const end = rng.chance(0.6) ? rng.below(128 / bits) : 999;
  let value = 0n;
  for (let i = 0; i < 128 / bits; i++) {
    const element = i === end ? 0 : rng.chance(0.1) ? rng.below(1 << bits) : 1 + rng.below(4);
    value |= BigInt(element) << BigInt(i * bits);
  }
  return value;
}

/** Does MXCSR matter to it? */
export function worksOnFloats(op: string): boolean {
  return /^(add|sub|mul|div|min|max|sqrt|rcp|rsqrt|cmp|round|hadd|hsub|addsub|dp|u?comi)[sp][sdp]?[sd]?$|^addsubp|^dpp|^cvt/.test(
    op,
  );
}

/** Width of the floats that `op` reads; of conversions from integers that of those it makes. */
function floatBits(op: string): 32 | 64 {
  const from = /^cvtt?(ss|sd|ps|pd)/.exec(op)?.[1] ?? /(ss|sd|ps|pd)$/.exec(op)?.[1] ?? 'ss';
  return from.endsWith('s') ? 32 : 64;
}

function integerLanes(rng: Prng, bits: number): bigint {
  const same = rng.chance(0.1) ? operandValue(rng, bits) : null;
  let value = 0n;
  for (let at = 0; at < 128; at += bits) value |= (same ?? operandValue(rng, bits)) << BigInt(at);
  return value;
}

function floatLanes(rng: Prng, bits: 32 | 64): bigint {
  // Most of the time the numbers of a case are near each other, so that they meet.
  const middle = rng.pick([0, 0, 0, 1, 2]);
  let value = 0n;
  for (let at = 0; at < 128; at += bits) value |= floatValue(rng, bits, middle) << BigInt(at);
  return value;
}

/**
 * One float.
 *
 * @param middle  0: exponents about that of 1; 1: about the least; 2: about the greatest
 */
export function floatValue(rng: Prng, bits: 32 | 64, middle = 0): bigint {
  const stored = bits === 32 ? 23 : 52;
  const exponents = bits === 32 ? 255 : 2047;
  const sign = BigInt(rng.below(2)) << BigInt(bits - 1);
  const make = (field: number, fraction: bigint): bigint =>
    sign | (BigInt(field) << BigInt(stored)) | fraction;
  const ones = (1n << BigInt(stored)) - 1n;
  switch (rng.below(24)) {
    case 0:
      return make(0, 0n);
    case 1:
      return make(0, fractionOf(rng, stored));
    case 2:
      return make(exponents, 0n);
    case 3:
      return make(exponents, fractionOf(rng, stored));
    case 4:
      return make(exponents, (1n << BigInt(stored - 1)) | fractionOf(rng, stored));
    case 5:
      return make(1, rng.chance(0.5) ? 0n : fractionOf(rng, stored));
    case 6:
      return make(exponents - 1, rng.chance(0.5) ? ones : fractionOf(rng, stored));
    case 7:
      return anyBits(rng, bits);
    case 8:
      // About the borders of 32- and 64-bit integers.
      return make((exponents >> 1) + rng.pick([30, 31, 32, 61, 62, 63, 64]), rng.chance(0.5) ? 0n : ones);
    default: {
      const about = [exponents >> 1, 1, exponents - 1][middle]!;
      const spread = rng.chance(0.7) ? rng.below(9) - 4 : rng.below(2 * stored + 9) - stored - 4;
      const field = Math.min(Math.max(about + spread, 0), exponents);
      return make(field, fractionOf(rng, stored));
    }
  }
}

/** Few bits, many, a run of ones or zeros at the end: what decides roundings. */
function fractionOf(rng: Prng, bits: number): bigint {
  switch (rng.below(5)) {
    case 0:
      return 0n;
    case 1:
      return BigInt.asUintN(bits, BigInt(rng.below(64)) << BigInt(bits - 6));
    case 2:
      return BigInt.asUintN(bits, anyBits(rng, 64) >> 12n) & ~((1n << BigInt(rng.below(bits))) - 1n);
    case 3:
      return BigInt.asUintN(bits, -1n - BigInt(rng.below(4)));
    default:
      return anyBits(rng, bits);
  }
}

const MXCSR_INIT = 0x1f80;
const MXCSR_DAZ = 0x40;
const MXCSR_FTZ = 0x8000;
const INEXACT = 0x20;

/** MXCSR of a case: rounding, flags set already, flush modes, and now and then exceptions that are not masked. */
export function controlOf(rng: Prng): number {
  let mxcsr = MXCSR_INIT;
  if (rng.chance(0.5)) mxcsr |= INEXACT;
  if (rng.chance(0.3)) mxcsr |= rng.below(4) << 13;
  if (rng.chance(0.15)) mxcsr |= MXCSR_FTZ;
  if (rng.chance(0.15)) mxcsr |= MXCSR_DAZ;
  if (rng.chance(0.1)) mxcsr |= rng.below(64);
  if (rng.chance(0.2)) mxcsr &= ~(rng.below(64) << 7);
  return mxcsr;
}
