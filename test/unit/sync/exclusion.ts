/** What every exclusive lock on a futex word has to show, and the mistakes that this must bring to light. */
import type { ExecutionContext } from 'ava';
import type { Actor } from '../../../src/shared/sync/actor.ts';
import { FREE, holderOf } from '../../../src/shared/sync/futex.ts';
import { notifying, type Path, reading, updating, writing } from '../../../src/shared/sync/point.ts';
import { type ExploreOptions, explore, report } from '../../support/explore-small.ts';
import { actors, BYTES, DATA, increment, LOCK, type Mistake, note, peek, wakesNobody } from './trial.ts';

export interface ExclusiveLock {
  /** Takes the word at LOCK. */
  readonly lock: (actor: Actor) => Path<void>;
  readonly unlock: (actor: Actor) => Path<void>;
}

const COUNTER = DATA;
const INSIDE = DATA + 4;
const LATE = DATA + 8;
const ENTERED = DATA + 12;

/** Actor k takes the lock `rounds[k]` times and increments a counter under it. */
export function exclusion(lock: ExclusiveLock, rounds: readonly number[], mistake?: Mistake): ExploreOptions {
  const total = rounds.reduce((sum, count) => sum + count, 0);
  return {
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(
        mem,
        rounds.map(
          (count) =>
            function* (actor) {
              for (let round = 0; round < count; round++) {
                yield* lock.lock(actor);
                note(mem, INSIDE);
                yield* increment(mem, COUNTER);
                const holder = holderOf(peek(mem, LOCK));
                if (holder !== actor.id) throw new Error(`the word names ${holder}, inside is ${actor.id}`);
                note(mem, INSIDE, -1);
                yield* lock.unlock(actor);
              }
            },
        ),
        mistake,
      ),
      atStep: () => (peek(mem, INSIDE) > 1 ? `${peek(mem, INSIDE)} inside` : undefined),
      atEnd: () => {
        if (peek(mem, COUNTER) !== total) return `counted ${peek(mem, COUNTER)} of ${total}`;
        return peek(mem, LOCK) === FREE ? undefined : `left at ${peek(mem, LOCK)}`;
      },
    }),
  };
}

/** Two actors twice, three actors once: every interleaving. */
export function keepsOthersOut(t: ExecutionContext, lock: ExclusiveLock): void {
  for (const rounds of [
    [2, 2],
    [1, 1, 1],
  ]) {
    const explored = explore(exclusion(lock, rounds));
    t.is(report(explored), '');
    t.log(`${rounds.length} actors: ${explored.schedules} interleavings, ${explored.states} states`);
  }
}

/** The same trials with mistakes in the lock: each must be found. */
export function mistakesAreFound(t: ExecutionContext, lock: ExclusiveLock): void {
  const found = (name: string, wrong: ExclusiveLock, mistake: Mistake | undefined, message: RegExp): void => {
    const { failure } = explore(exclusion(wrong, [1, 1, 1], mistake));
    t.regex(failure?.message ?? '', message, name);
  };
  found('a release wakes nobody', lock, wakesNobody, /asleep/);
  found('one who has slept forgets that others may still sleep', lock, forgetsSleepers, /asleep/);
  found('a release wakes before it frees', { ...lock, unlock: wakeThenFree }, undefined, /asleep/);
  found('look and take are two steps', { ...lock, lock: lookThenTake(lock) }, undefined, /inside|counted/);
}

const forgetsSleepers: Mistake = (mem) => ({
  cas: (addr, expected, value) => mem.cas(addr, expected, expected === FREE ? value & ~1 : value),
});

function* wakeThenFree(actor: Actor): Path<void> {
  yield notifying(LOCK);
  actor.mem.notify(LOCK, 1);
  yield updating(LOCK);
  actor.mem.exchange(LOCK, FREE);
}

function lookThenTake({ lock }: ExclusiveLock): ExclusiveLock['lock'] {
  return function* (actor) {
    yield reading(LOCK);
    if (actor.mem.load(LOCK) !== FREE) return yield* lock(actor);
    yield writing(LOCK);
    actor.mem.store(LOCK, actor.id * 2);
  };
}

/**
 * Somebody who came when another was already queued up gets in before it: actor 0 holds, 1 queues, 2 comes last.
 * Explored for a failure, which is the overtaking.
 */
export function overtaking(lock: ExclusiveLock, someoneQueues: (word: number) => boolean): ExploreOptions {
  return {
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(mem, [
        function* (actor) {
          yield* lock.lock(actor);
          yield* lock.unlock(actor);
        },
        function* (actor) {
          yield* lock.lock(actor);
          note(mem, ENTERED);
          yield* lock.unlock(actor);
        },
        function* (actor) {
          yield reading(LOCK);
          if (someoneQueues(actor.mem.load(LOCK))) note(mem, LATE);
          yield* lock.lock(actor);
          if (peek(mem, LATE) === 1 && peek(mem, ENTERED) === 0) throw new Error('overtaken');
          yield* lock.unlock(actor);
        },
      ]),
    }),
  };
}
