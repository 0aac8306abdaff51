/** Carries out the operations of isa/soft-ops.ts for the generated core. */
import { CPU } from '../../../shared/layout/cpu.ts';
import type { Mem } from '../../../shared/mem.ts';
import {
  SOFT_EXPLICIT,
  SOFT_EXTRA_SHIFT,
  SOFT_LONG,
  SOFT_OPS,
  SOFT_TRUNCATES,
  type SoftOp,
} from '../isa/soft-ops.ts';
import { DOUBLE, SINGLE } from './number.ts';
import {
  approximate,
  type Binary,
  binary,
  convert,
  type FloatResult,
  fromInteger,
  ordered,
  relation,
  root,
  toInteger,
  toIntegral,
} from './sse-float.ts';
import { compareStrings } from './string-compare.ts';

/** The function that a core over `mem` imports. */
export function softCalls(mem: Mem): (cpu: number, code: number, a: bigint, b: bigint) => bigint {
  return (cpu, code, a, b) => {
    const op = SOFT_OPS[code & 0xff]!;
    if (op === 'strings') return strings(mem, cpu, code, (code & SOFT_EXPLICIT) === 0 ? null : [a, b]);
    const mxcsr = mem.i32[(cpu + CPU.at.MXCSR) >>> 2]!;
    const wide = op.endsWith('64') || op === 'narrow';
    const unsigned = (value: bigint): bigint => BigInt.asUintN(wide ? 64 : 32, value);
    const { bits, raised } = compute(op, code, {
      a: op.startsWith('fromInteger') ? a : unsigned(a),
      b: unsigned(b),
      mxcsr,
    });
    mem.i32[(cpu + CPU.at.FP_RAISED) >>> 2]! |= raised;
    return bits;
  };
}

function strings(mem: Mem, cpu: number, code: number, lengths: readonly bigint[] | null): bigint {
  const { u64 } = mem;
  const vector = (at: number): bigint => u64[(cpu + at) / 8]! | (u64[(cpu + at) / 8 + 1]! << 64n);
  // Lengths are signed, and count by their magnitude; what is beyond 16 is as good as 16.
  const magnitude = (length: bigint): number => Number(length < 0n ? -length : length);
  const counts = lengths === null ? null : ([magnitude(lengths[0]!), magnitude(lengths[1]!)] as const);
  const how = (code >> SOFT_EXTRA_SHIFT) & 0xff;
  const { index, mask, flags } = compareStrings(vector(CPU.at.FP_A), vector(CPU.at.FP_B), how, counts);
  u64[(cpu + CPU.at.FP_RESULT) / 8] = mask;
  u64[(cpu + CPU.at.FP_RESULT) / 8 + 1] = mask >> 64n;
  return BigInt(index | (flags << 8));
}

function compute(
  op: Exclude<SoftOp, 'strings'>,
  code: number,
  what: { a: bigint; b: bigint; mxcsr: number },
): FloatResult {
  const { a, mxcsr } = what;
  const extra = code >> SOFT_EXTRA_SHIFT;
  const format = op.endsWith('64') ? DOUBLE : SINGLE;
  switch (op) {
    case 'sqrt32':
    case 'sqrt64':
      return root(format, a, mxcsr);
    case 'relation32':
    case 'relation64':
      return relation(extra, format, what);
    case 'integral32':
    case 'integral64':
      return toIntegral(extra, format, a, mxcsr);
    case 'comi32':
    case 'comi64':
      return ordered(true, format, what);
    case 'ucomi32':
    case 'ucomi64':
      return ordered(false, format, what);
    case 'widen':
      return convert(SINGLE, DOUBLE, a, mxcsr);
    case 'narrow':
      return convert(DOUBLE, SINGLE, a, mxcsr);
    case 'integer32':
    case 'integer64': {
      const bits = (code & SOFT_LONG) !== 0 ? 64 : 32;
      return toInteger(format, bits, { a, mxcsr, truncates: (code & SOFT_TRUNCATES) !== 0 });
    }
    case 'fromInteger32':
    case 'fromInteger64':
      return fromInteger(format, a, mxcsr);
    case 'rcp':
    case 'rsqrt':
      return approximate(op, a);
    default:
      return binary(op.slice(0, 3) as Binary, format, what);
  }
}
