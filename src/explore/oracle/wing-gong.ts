/**
 * Is a history linearizable? Search by Wing and Gong with Lowe's memory of states that have been tried: is there an
 * order of the operations, each at one moment between its call and its return, in which a sequential object would have
 * given the same results?
 *
 * @source Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for linearizability" (2017)
 */

export interface Operation<S> {
  /** Times of call and return, no two of one history equal; `Infinity` for one that never returned: it may have taken effect or not. */
  readonly called: number;
  readonly returned: number;
  /** The state after it, or null when it could not have given its result in `state`. */
  apply(state: S): S | null;
  /** Index of an operation that comes before this one although they overlap: the second half of one call. */
  readonly after?: number;
  /** For reports: `set 5 by receiver`. */
  readonly text: () => string;
}

/** LIMIT: operations of one history that are searched: the first ones. Later ones are left out. */
export const OPERATIONS_MAX = 30;

/**
 * @param operations  in order of their calls
 * @param key  equal for equal states
 * @returns    null, or the operations of which no order explains the results, in order of their calls
 */
export function unexplained<S>(
  operations: readonly Operation<S>[],
  initial: S,
  key: (state: S) => number | string,
): readonly Operation<S>[] | null {
  // What overlaps one that is left out may owe its result to it: nothing is known of it but that it was called.
  const cut = operations[OPERATIONS_MAX]?.called ?? Number.POSITIVE_INFINITY;
  const all = operations
    .slice(0, OPERATIONS_MAX)
    .map((op) => (op.returned < cut ? op : { ...op, returned: Number.POSITIVE_INFINITY }));
  const open = new Set(all.map((_, i) => i));
  const tried = new Set<string>();
  const search = (done: number, state: S): boolean => {
    if (all.every((op, i) => !open.has(i) || op.returned === Number.POSITIVE_INFINITY)) return true;
    const seen = `${done} ${key(state)}`;
    if (tried.has(seen)) return false;
    tried.add(seen);
    // Only what was called before the first return can come next.
    let limit = Number.POSITIVE_INFINITY;
    for (const i of open) limit = Math.min(limit, all[i]!.returned);
    for (const i of [...open]) {
      const op = all[i]!;
      if (op.called > limit || (op.after !== undefined && open.has(op.after))) continue;
      const next = op.apply(state);
      if (next === null) continue;
      open.delete(i);
      if (search(done | (1 << i), next)) return true;
      open.add(i);
    }
    return false;
  };
  return search(0, initial) ? null : all;
}
