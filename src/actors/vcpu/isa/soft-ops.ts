/**
 * What the generated core asks TypeScript for in the middle of an instruction: `call(cpu, operation, a, b)` gives the
 * result and adds the exceptions raised to CPU.FP_RAISED. It reads and writes nothing but this vCPU's registers, so it
 * is no path. Operands of 32 bits stand in the low half.
 */
// biome-ignore format: table
export const SOFT_OPS = [
  'add32', 'add64', 'sub32', 'sub64', 'mul32', 'mul64', 'div32', 'div64', 'min32', 'min64', 'max32', 'max64',
  'sqrt32', 'sqrt64',
  // The predicate of CMPPS, or the immediate of ROUNDPS, is the operation's bits 8 and up.
  'relation32', 'relation64', 'integral32', 'integral64',
  'comi32', 'comi64', 'ucomi32', 'ucomi64',
  'widen', 'narrow',
  // To 32 or 64 bits (bit 8), by MXCSR or truncating (bit 9).
  'integer32', 'integer64',
  'fromInteger32', 'fromInteger64',
  'rcp', 'rsqrt',
  // FP_A and FP_B are compared; bits 8 and up are the immediate, bit 16: the lengths are a and b. Gives the index, the
  // flags above it (bit 8), and the mask in FP_RESULT.
  'strings',
] as const;
export type SoftOp = (typeof SOFT_OPS)[number];

export const SOFT_EXPLICIT = 1 << 16;
export const SOFT_LONG = 1 << 8;
export const SOFT_TRUNCATES = 1 << 9;
export const SOFT_EXTRA_SHIFT = 8;

const CODES: ReadonlyMap<SoftOp, number> = new Map(SOFT_OPS.map((op, code) => [op, code]));

export function softCode(op: SoftOp): number {
  return CODES.get(op)!;
}
