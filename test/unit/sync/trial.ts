/** What the lock tests share: where things stand in memory, and actors as the explorer wants them. */
import type { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { type Path, reading, writing } from '../../../src/shared/sync/point.ts';
import type { Trial } from '../../support/explore-small.ts';

/** The lock under test. */
export const LOCK = 0;
/** Words of the test itself. */
export const DATA = 64;
export const BYTES = 128;

/** Actors number 1, 2, … that run `bodies`, with no spinning. */
export function actors(mem: Mem, bodies: readonly ((actor: Actor) => Path<unknown>)[]): Trial['actors'] {
  return bodies.map((body, index) => {
    const waiter = new Actor({ id: index + 1, name: `actor ${index}`, mem, spinLimit: 0 });
    return { waiter, path: body(waiter) };
  });
}

/** A counter increment that loses updates unless a lock keeps others out. */
export function* increment(mem: Mem, addr: number): Path<void> {
  yield reading(addr);
  const old = mem.load(addr);
  yield writing(addr);
  mem.store(addr, old + 1);
}
