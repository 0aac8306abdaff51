/** How far a finding is from passing: the window in which each deviation still shows it, and the schedule next to it. */
import { type Deviation, Replay, type Schedule } from '../engine/schedule.ts';
import type { Attempts } from './attempt.ts';

/** A deviation may come at any step from `from` to `to` of its actor, and the finding is the same. */
export interface Window {
  /** Index into the schedule. */
  readonly deviation: number;
  /** Steps that its actor has taken. */
  readonly from: number;
  readonly to: number;
}

export interface NearestPassing {
  readonly schedule: Schedule;
  /** Index of the deviation that is different. */
  readonly deviation: number;
  /** Steps that it comes later, earlier when negative; null: it is left out. */
  readonly shift: number | null;
}

// LIMIT: steps a deviation is moved by, to either side.
const SHIFT_LIMIT = 40;

/**
 * Passing means: no finding at all, of whatever kind.
 *
 * @param schedule  one that shows the finding
 * @returns nearest: null when no schedule next to it passes
 */
export function nearestPassing(
  attempts: Attempts,
  schedule: Schedule,
): { readonly nearest: NearestPassing | null; readonly windows: readonly Window[] } {
  const { stage } = attempts;
  const passes = (candidate: Schedule): boolean => {
    const replay = new Replay(candidate);
    const passed = stage.execute(replay, 0)?.findings.length === 0;
    // One that is not followed is another schedule than it says.
    return passed && replay.missed === 0 && replay.unused === 0;
  };
  const windows: Window[] = [];
  let nearest: NearestPassing | null = null;
  const consider = (deviation: number, shift: number): boolean => {
    const candidate = schedule.with(deviation, moved(schedule[deviation]!, shift));
    if (Math.abs(shift) >= Math.abs(nearest?.shift ?? Number.POSITIVE_INFINITY) || !passes(candidate))
      return false;
    nearest = { schedule: candidate, deviation, shift };
    return true;
  };
  // The last deviation first: what it decides is what is left of the story.
  for (let deviation = schedule.length - 1; deviation >= 0; deviation--) {
    const { actor, taken, choice } = schedule[deviation]!;
    if (choice || actor < 0) continue;
    const edge = (direction: 1 | -1): number => {
      for (let shift = direction; Math.abs(shift) <= SHIFT_LIMIT && taken + shift >= 0; shift += direction) {
        if (attempts.hit(schedule.with(deviation, moved(schedule[deviation]!, shift))) !== null) continue;
        consider(deviation, shift);
        return taken + shift - direction;
      }
      return taken;
    };
    const from = edge(-1);
    windows.push({ deviation, from, to: edge(1) });
  }
  if (nearest !== null) return { nearest, windows };
  for (let deviation = schedule.length - 1; deviation >= 0; deviation--) {
    const candidate = schedule.toSpliced(deviation, 1);
    if (passes(candidate)) return { nearest: { schedule: candidate, deviation, shift: null }, windows };
  }
  return { nearest, windows };
}

function moved(deviation: Deviation, by: number): Deviation {
  return { ...deviation, taken: deviation.taken + by };
}
