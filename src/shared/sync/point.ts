/**
 * Scheduling points: what every visible operation announces before it happens.
 *
 * Code that touches shared VM state is written as generator functions (a {@link Path}). Immediately *before* each
 * visible operation it yields a point that says which cell it is about to touch and how:
 *
 * ```ts
 * yield reading(addr);
 * const old = mem.load64(addr);
 * yield updating(addr);
 * if (mem.cas64(addr, old, next) !== old) …
 * ```
 *
 * The parallel engine runs straight through all of them ({@link drive}); an explorer steps from point to point and
 * decides who goes next. Two points have an answer: {@link waiting}, the futex wait, and {@link choosing}.
 *
 * The threads of a built machine run the same code with `function*` and `yield` taken away (scripts/erase.ts). So a path
 * is run where it is made, by `yield*` or `drive`, and never kept for later; and nothing but a point is yielded.
 */
import type { Mem } from '../mem.ts';

export const READING = 0;
export const WRITING = 1;
export const UPDATING = 2;
/** Futex wait: sleep while the int32 at the cell equals `actor.expect`. Answer: a `WAIT_*` code. */
export const WAITING = 3;
/** Wakes sleepers of the cell; yield before `mem.notify`. */
export const NOTIFYING = 4;
/** A visible step with no single cell (a message sent, a callback entered). */
export const STEPPING = 5;
/** A choice that is the engine's: answer 0 in the parallel engine, any of several ways when explored. */
export const CHOOSING = 6;
/** cpu_relax: what this path looks at will not change before somebody else has moved. */
export const RELAXING = 7;

export const POINT_KINDS = 8;

/** kind + 8 × (byte address). A small integer for everything below guest RAM. */
export type Point = number;

/** The kind of a point, one above 2^31 too. Of −1, which stands for none, it means nothing. */
export function kindOf(point: Point): number {
  return point & (POINT_KINDS - 1);
}

/** The byte address that a point names: of its cell. Of a step or a choice its number. */
export function addressOf(point: Point): number {
  return Math.floor(point / POINT_KINDS);
}

/** Answers to a `waiting` point. */
export const WAIT_WOKEN = 0;
export const WAIT_CHANGED = 1;
export const WAIT_TIMED_OUT = 2;

/** A path of visible operations that ends in a `T`. Compose with `yield*`. */
export type Path<T> = Generator<Point, T, number>;

export const reading = (addr: number): Point => made(addr * POINT_KINDS + READING);
export const writing = (addr: number): Point => made(addr * POINT_KINDS + WRITING);
export const updating = (addr: number): Point => made(addr * POINT_KINDS + UPDATING);
export const waiting = (addr: number): Point => made(addr * POINT_KINDS + WAITING);
export const notifying = (addr: number): Point => made(addr * POINT_KINDS + NOTIFYING);
export const stepping = (id = 0): Point => made(id * POINT_KINDS + STEPPING);
/** @param ways  how many answers there are, from 0; at least 1, below {@link CHOICE_WAYS} */
export const choosing = (ways: number, id = 0): Point =>
  made((id * CHOICE_WAYS + ways) * POINT_KINDS + CHOOSING);
export const relaxing = (addr = 0): Point => made(addr * POINT_KINDS + RELAXING);

/** Told of each point as it is made, with the stack of the path that is about to yield it; null: nobody asks. */
let onPoint: (() => void) | null = null;

/**
 * For an execution that is being explained: once a path has yielded, its stack is gone. Costs the other executions one
 * comparison a point.
 */
export function watchPoints(watch: (() => void) | null): void {
  onPoint = watch;
}

function made(point: Point): Point {
  if (onPoint !== null) onPoint();
  return point;
}

/** Limit of the ways of one choice. */
export const CHOICE_WAYS = 64;

/** What a path needs from the engine that runs it. The sync package's `Actor` implements it. */
export interface Waiter {
  readonly mem: Mem;
  /** The value the next `waiting` point expects in its cell. */
  expect: number;
  /** Limit of the next `waiting` point, milliseconds; `Infinity` for none. Reset to Infinity by the engine. */
  timeoutMs: number;
}

/** The parallel engine: runs `path` to its end on this thread; a `waiting` point really blocks the thread. */
export function drive<T>(waiter: Waiter, path: Path<T>): T {
  let step = path.next(0);
  while (!step.done) {
    let answer = 0;
    if (step.value % POINT_KINDS === WAITING) {
      answer = futexWait(waiter, Math.floor(step.value / POINT_KINDS));
    }
    step = path.next(answer);
  }
  return step.value;
}

/**
 * Says which actor this thread is. Driven paths carry their actor along; erased ones have nobody else to ask
 * (point.erased.ts).
 */
export function adopt(_waiter: Waiter): void {}

/** Sleeps on the cell at `addr` while it holds `waiter.expect`. Returns a `WAIT_*` code. */
export function futexWait(waiter: Waiter, addr: number): number {
  const { expect, timeoutMs } = waiter;
  waiter.timeoutMs = Number.POSITIVE_INFINITY;
  switch (Atomics.wait(waiter.mem.i32, addr >>> 2, expect, timeoutMs)) {
    case 'ok':
      return WAIT_WOKEN;
    case 'not-equal':
      return WAIT_CHANGED;
    default:
      return WAIT_TIMED_OUT;
  }
}
