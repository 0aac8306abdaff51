/**
 * Where Faultline differs from the processor on purpose. A difference that is listed is counted, not reported; one that
 * no committed vector shows any more fails a test, so that the list cannot outlive its reasons.
 */
import { ARENA_BASE, PAGE_BYTES } from './arena.ts';
import { type CaseResult, VECTOR_PF } from './case.ts';
import type { Difference } from './compare.ts';

export interface KnownDifference {
  readonly name: string;
  readonly why: string;
  readonly matches: (native: CaseResult, ours: CaseResult, found: readonly Difference[]) => boolean;
}

/** The largest store, less one byte. */
const FIRST_PIECE_BYTES_MAX = 15;

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
  {
    name: 'torn store',
    why: 'a store across pages is done piece by piece, as KVM emulates it: its first piece stays when the second page faults',
    matches: (native, ours, found) => {
      const pageFault = native.vector === VECTOR_PF && native.cr2 % BigInt(PAGE_BYTES) === 0n;
      if (!pageFault || found.length !== 1 || found[0]!.what !== 'memory') return false;
      const border = Number(native.cr2) - ARENA_BASE;
      const torn = (at: number): boolean => at >= border - FIRST_PIECE_BYTES_MAX && at < border;
      const stored = changes(native);
      for (const [at, byte] of changes(ours)) if (stored.get(at) !== byte && !torn(at)) return false;
      for (const at of stored.keys()) if (!changes(ours).has(at) && !torn(at)) return false;
      return true;
    },
  },
];

export function knownDifference(
  native: CaseResult,
  ours: CaseResult,
  found: readonly Difference[],
): KnownDifference | null {
  return KNOWN_DIFFERENCES.find((known) => known.matches(native, ours, found)) ?? null;
}

function changes({ changedOffset, changed }: CaseResult): Map<number, number> {
  return new Map([...changed].map((byte, i) => [changedOffset + i, byte]));
}
