/**
 * Areas of memory that one instruction reads or writes as a whole: FXSAVE, XSAVE, FNSAVE and their opposites.
 *
 * They are accessed in pieces of a cache line, each with its callbacks. That the guest's tables allow all of it is found
 * out before anything is stored.
 */
import type { Path } from '../../shared/sync/point.ts';
import { checkWritable, type LinearOptions, readLinear, writeLinear } from './linear-memory.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

const LINE = 64;

/** Bytes from `at` to the end of its line, or of the area. */
function pieceAt(at: bigint, left: number): number {
  return Math.min(left, LINE - Number(at % BigInt(LINE)));
}

/** @locking as readLinear */
export function* readBlock(vcpu: Vcpu, at: bigint, into: Uint8Array, options: LinearOptions): Path<Outcome> {
  for (let done = 0; done < into.length; ) {
    const here = BigInt.asUintN(64, at + BigInt(done));
    const bytes = pieceAt(here, into.length - done);
    const outcome = yield* readLinear(vcpu, here, bytes, options);
    if (outcome !== OUTCOME_OK) return outcome;
    for (let i = 0, rest = vcpu.value; i < bytes; i++, rest >>= 8n) into[done + i] = Number(rest & 0xffn);
    done += bytes;
  }
  return OUTCOME_OK;
}

/** @locking as writeLinear */
export function* writeBlock(vcpu: Vcpu, at: bigint, from: Uint8Array, options: LinearOptions): Path<Outcome> {
  const writable = yield* checkWritable(vcpu, at, from.length, options);
  if (writable !== OUTCOME_OK) return writable;
  for (let done = 0; done < from.length; ) {
    const here = BigInt.asUintN(64, at + BigInt(done));
    const bytes = pieceAt(here, from.length - done);
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(from[done + i]!);
    const outcome = yield* writeLinear(vcpu, here, bytes, value, options);
    if (outcome !== OUTCOME_OK) return outcome;
    done += bytes;
  }
  return OUTCOME_OK;
}
