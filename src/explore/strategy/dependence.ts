/**
 * Which steps depend on each other: those whose order can matter. Two schedules that differ only in the order of steps
 * that do not are one trace (of Mazurkiewicz), and it is enough to execute one of them.
 *
 * A step touches the *value* of a cell, the *queue* of its sleepers, or everything:
 *
 *   point            value   queue    why
 *   ───────────────  ──────  ───────  ────────────────────────────────────────────────────────────
 *   reading          reads
 *   writing          writes
 *   updating         writes           also when a compare-exchange fails: its outcome is not known before
 *   waiting          reads   changes  looks, then queues: with `notify(1)` it matters who slept first
 *     … woken                         what follows is its own affair; that it can move depends on the notify
 *     … timed out            changes  it leaves the queue: whoever is notified next is another
 *   notifying                changes
 *   relaxing(cell)   reads            the looks that follow
 *   choosing                          the answer is its own affair
 *   stepping         everything       nobody says what it touches: a condition is looked at, a guest block runs, a
 *   relaxing()                        message goes into a ring
 *
 * Two steps depend on each other when one writes a value that the other reads or writes, when both change one queue,
 * or when one touches everything and the other anything.
 *
 * LIMIT: this is as true as the points are. What a step touches without a point of its own is not seen: cells behind
 * a lock, which need none; and virtual time, which a timeout moves on. A cell is an aligned 32-bit word by its
 * address: the halves of one that is touched in 64 bits and elsewhere in 32 (guest memory only) are two cells.
 */
import {
  CHOOSING,
  kindOf,
  NOTIFYING,
  POINT_KINDS,
  READING,
  RELAXING,
  STEPPING,
  UPDATING,
  WAITING,
  WRITING,
} from '../../shared/sync/point.ts';

export const READS = 1;
export const WRITES = 2;
export const QUEUES = 4;
export const EVERYTHING = 8;

const EFFECTS = new Uint8Array(POINT_KINDS);
EFFECTS[READING] = READS;
EFFECTS[WRITING] = WRITES;
EFFECTS[UPDATING] = WRITES;
EFFECTS[WAITING] = READS | QUEUES;
EFFECTS[NOTIFYING] = QUEUES;
EFFECTS[STEPPING] = EVERYTHING;
EFFECTS[CHOOSING] = 0;
EFFECTS[RELAXING] = READS;

/** By kind + 8 × kind: do steps of these kinds at one cell depend on each other, sleepers aside? */
export const RACE = Uint8Array.from({ length: POINT_KINDS ** 2 }, (_, pair) =>
  dependent(0, EFFECTS[pair % POINT_KINDS]!, 0, EFFECTS[Math.floor(pair / POINT_KINDS)]!) ? 1 : 0,
);

/** The cell a point names, numbered by words; an int32. LIMIT: memory of 8 GiB. */
export function cellOf(point: number): number {
  return (point / (POINT_KINDS * 4)) | 0;
}

/**
 * What the step at `point` touches: a mask of READS, WRITES, QUEUES, EVERYTHING.
 *
 * @param asleep  it is a wait whose actor has fallen asleep before: the step is its waking or its timeout
 * @param timesOut  of a sleeper: by the timeout
 */
export function effectsOf(point: number, asleep: boolean, timesOut: boolean): number {
  if (asleep) return timesOut ? QUEUES : 0;
  if (point === RELAXING) return EVERYTHING;
  return EFFECTS[kindOf(point)]!;
}

/** Do steps with these cells and effects depend on each other? */
export function dependent(cellA: number, effectsA: number, cellB: number, effectsB: number): boolean {
  if (effectsA === 0 || effectsB === 0) return false;
  const either = effectsA | effectsB;
  if ((either & EVERYTHING) !== 0) return true;
  if (cellA !== cellB) return false;
  if ((effectsA & effectsB & QUEUES) !== 0) return true;
  const VALUE = READS | WRITES;
  return (either & WRITES) !== 0 && (effectsA & VALUE) !== 0 && (effectsB & VALUE) !== 0;
}
