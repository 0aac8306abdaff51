/**
 * Points of erased paths (scripts/erase.ts): `yield` is gone, so that a path is a plain function that has run when it
 * returns, and `waiting` really waits. One actor a thread: it says so by {@link adopt} before anything can wait.
 */
import { invariant } from '../invariant.ts';
import { futexWait, type Waiter } from './point.ts';

export * from './point.ts';

let thread: Waiter | null = null;

/** This thread is that actor. */
export function adopt(waiter: Waiter): void {
  thread = waiter;
}

/** Sleeps while the cell holds what the actor expects. Returns a `WAIT_*` code. */
export function waiting(addr: number): number {
  invariant(thread !== null, 'a thread that has not said which actor it is cannot wait');
  return futexWait(thread, addr);
}

/** Nobody explores: it is always the first way. */
export function choosing(_ways: number, _id = 0): number {
  return 0;
}

/** The path has run already: this is what it returned. Had it waited, then as the actor of this thread. */
export function drive<T>(waiter: Waiter, result: T): T {
  invariant(waiter === thread, 'a thread runs the paths of one actor, the one that it has said it is');
  return result;
}
