/** We have a bug. Nobody handles it: the machine stops, writes its event log and says how to repeat the run. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * States what must hold if our own code is right. Never for what a guest, a peer or a user may do.
 *
 * @throws InvariantError saying `message` when `cond` is false
 */
export function invariant(cond: boolean, message: string): asserts cond {
  if (!cond) throw new InvariantError(message);
}
