/**
 * What decides a schedule. The engine asks; a strategy answers from what it sees: random, by priorities, by replaying,
 * by exhausting. It never touches the machine, so one strategy works for every scenario.
 */
import type { Finding } from './finding.ts';
import type { LockTable } from './lock-table.ts';
import type { Trace } from './trace.ts';

/**
 * One execution as a strategy sees it, between two steps. Sets of actors are bit masks: bit `a` is actor `a`.
 *
 * An actor stands before its next operation, which `at` names: whoever is picked does that operation and goes on to
 * the one after it. Picking a sleeper of `timed` ends its wait by the timeout.
 */
export interface View {
  readonly actorCount: number;
  /** Actors that can do their next operation. */
  readonly runnable: number;
  /** Actors asleep in a wait that has a timeout. */
  readonly timed: number;
  /** Whoever took the last step, −1 before the first. */
  readonly last: number;
  /** Was that a `relaxing` point: will it find nothing new before somebody else has moved? */
  readonly relaxed: boolean;
  /** What the default policy would pick now, see {@link defaultPick}. */
  readonly fallback: number;
  /** Steps taken so far. */
  readonly step: number;
  /** Steps taken by each actor. */
  readonly taken: Int32Array;
  /** The point each actor stands before; −1 once it has ended. A sleeper still shows its `waiting` point. */
  readonly at: Float64Array;
  /** All steps so far. */
  readonly trace: Trace;
  /** Kept for strategies that ask for it ({@link Strategy.watchesLocks}). */
  readonly locks: LockTable | null;
}

/** What is known before an execution begins. */
export interface RunInfo {
  /** Executions begun before this one, of this target. */
  readonly index: number;
  /** Of this execution: all of a random strategy's numbers come from it. Unsigned 32-bit. */
  readonly seed: number;
  readonly actorCount: number;
  /** The most steps that any execution of this target has taken so far; 0 before the first. */
  readonly longest: number;
}

/** How an execution ended. */
export interface RunEnd {
  readonly findings: readonly Finding[];
  /** A strategy had enough of it ({@link PRUNE}). */
  readonly pruned: boolean;
}

/** From {@link Strategy.pick}: this execution can show nothing new, end it here. */
export const PRUNE = -1;

export interface Strategy {
  /** As the command line has it, with its parameters: `pct3`, `random`. */
  readonly name: string;
  /** Absent for strategies that never can: everything there is to see has been seen. */
  readonly isComplete?: boolean;
  /** Does it look at `view.locks`? */
  readonly watchesLocks?: boolean;
  /** @returns false when there is nothing left to try */
  begin(info: RunInfo): boolean;
  /**
   * Who takes the next step: an actor of `runnable` or `timed`, or {@link PRUNE}. Asked at every step, even when there
   * is no choice.
   */
  pick(view: View): number;
  /** The answer to a `choosing` point of `actor`: 0 … ways − 1. Absent: always 0. */
  choose?(view: View, actor: number, ways: number): number;
  /** After the last step; `view` shows the whole execution. */
  end?(view: View, end: RunEnd): void;
}

/** Lowest actor of a mask; −1 of none. */
export function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}

/** How many actors a mask has. */
export function population(mask: number): number {
  let n = mask - ((mask >>> 1) & 0x55555555);
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Actor number `n` of a mask, counted from the lowest, from 0. */
export function nthOf(mask: number, n: number): number {
  let rest = mask;
  for (let i = 0; i < n; i++) rest &= rest - 1;
  return lowest(rest);
}

/**
 * The default policy, against which schedules are written down: keep running; when that is not possible, the lowest
 * runnable actor; when nobody is runnable, the lowest sleeper with a timeout. One who relaxes lets the next actor after
 * it go first, so that polling does not keep everybody else from moving.
 *
 * @param relaxes  whether the last step was a `relaxing` point
 */
export function defaultPick(runnable: number, timed: number, last: number, relaxes: boolean): number {
  if (last >= 0 && (runnable & (1 << last)) !== 0) {
    if (!relaxes) return last;
    const after = runnable & (-2 << last);
    return after !== 0 ? lowest(after) : lowest(runnable);
  }
  return runnable !== 0 ? lowest(runnable) : lowest(timed);
}
