/** Whose turn it can be, by the rules that all random strategies share: who relaxes waits, and time passes. */
import type { View } from '../engine/strategy.ts';
import type { Dice } from './dice.ts';

/** One pick in this many ends a wait by its timeout although somebody could move. */
const TIMEOUT_EVERY = 64;

/**
 * The actors to pick from: sleepers of `timed` now and then, and when nobody else is left; otherwise whoever is
 * runnable, without the one that has just relaxed unless it is alone.
 */
export function candidates(view: View, dice: Dice): number {
  const { runnable, timed } = view;
  if (runnable === 0) return timed;
  if (timed !== 0 && dice.below(TIMEOUT_EVERY) === 0) return timed;
  if (!view.relaxed) return runnable;
  const others = runnable & ~(1 << view.last);
  return others === 0 ? runnable : others;
}
