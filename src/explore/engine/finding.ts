/** What an oracle says when something is broken. */

export type Oracle =
  /** I1…I18, broken at run time or at the end. */
  | 'invariant'
  /** Nobody can move, and somebody has not ended. */
  | 'deadlock'
  /** Steps without progress. */
  | 'livelock'
  /** L1…L9 and what the lock validator predicts. */
  | 'lock'
  | 'race'
  | 'linearizability'
  | 'event'
  | 'balance'
  /** The scenario's own check. */
  | 'scenario'
  /** Code threw. */
  | 'thrown'
  /** The same schedule gave another execution. */
  | 'nondeterminism';

export interface Finding {
  readonly oracle: Oracle;
  /** The rule: I3, L1, … or the oracle's own name for it. */
  readonly rule: string;
  /** One sentence: what is broken. */
  readonly message: string;
  /** Equal for findings with the same cause: rule and places, no addresses of data or numbers that vary. */
  readonly key: string;
  /** Steps taken when it was seen. */
  readonly step: number;
  /** The actor that broke it, if one did; index in the scenario's list. */
  readonly actor?: number;
  /** More lines for people: who holds and waits for what, both stacks. */
  readonly details?: readonly string[];
}

/** A key from a message: without its numbers, which is what findings of one cause have in common. */
export function genericKey(rule: string, message: string): string {
  return `${rule} ${generic(message)}`;
}

/** A text without its numbers. */
export function generic(text: string): string {
  return text.replaceAll(/0x[0-9a-f]+|\d+/g, '#');
}
