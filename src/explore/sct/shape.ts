/**
 * Shapes of SCTBench: the small programs with known bugs that the literature compares strategies by, written anew over
 * cells and our own locks. What is kept is the structure: who accesses what in which order, under which lock.
 *
 * Programs of the set with more than 30 threads (reorder_50, twostage_100, …) are beyond what one execution has room
 * for, and large applications are not worth rewriting.
 *
 * @source Thomson, Donaldson and Betts, "Concurrency Testing Using Controlled Schedulers", TOPC 2016 (SCTBench)
 */
import type { Mem } from '../../shared/mem.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { LOCK_BYTES, LOCK_CONNECTION } from '../../shared/sync/lock-class.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';

/** Cell number `n`, a line of its own. */
export const cell = (n: number): number => n * LOCK_BYTES;

/** A mutex on a line of its own. No lock rules are checked here, so its class is only a name. */
export const mutex = (n: number): Mutex => new Mutex(cell(n), LOCK_CONNECTION);

/** Bytes for that many cells and mutexes. */
export const lines = (count: number): number => count * LOCK_BYTES;

export function* get({ mem }: Actor, addr: number): Path<number> {
  yield reading(addr);
  return mem.load(addr);
}

export function* set({ mem }: Actor, addr: number, value: number): Path<void> {
  yield writing(addr);
  mem.store(addr, value);
}

/** Returns the value before. */
export function* add({ mem }: Actor, addr: number, by: number): Path<number> {
  yield updating(addr);
  return mem.add(addr, by);
}

/** Returns the value found. */
export function* cas({ mem }: Actor, addr: number, expected: number, value: number): Path<number> {
  yield updating(addr);
  return mem.cas(addr, expected, value);
}

/** Returns the value before. */
export function* exchange({ mem }: Actor, addr: number, value: number): Path<number> {
  yield updating(addr);
  return mem.exchange(addr, value);
}

/** What a program asserts does not hold. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

export function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Broken(otherwise);
}

/** `count` parts of the same kind, `name 0`, `name 1`, … */
export function several<T>(count: number, name: string, part: (index: number) => T): Record<string, T> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`${name} ${index}`, part(index)]));
}

/** Starting values of cells. */
export const values =
  (of: Readonly<Record<number, number>>) =>
  (mem: Mem): void => {
    for (const [addr, value] of Object.entries(of)) mem.store(Number(addr), value);
  };
