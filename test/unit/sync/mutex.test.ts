import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { FREE } from '../../../src/shared/sync/futex.ts';
import { LOCK_SLOTS } from '../../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexTryLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { POINT_KINDS, updating, WAITING } from '../../../src/shared/sync/point.ts';
import { explore, report } from '../../support/explore-small.ts';
import { type ExclusiveLock, keepsOthersOut, mistakesAreFound } from './exclusion.ts';
import { actors, BYTES, DATA, increment, LOCK, neverWaits, note, peek, pointsOf } from './trial.ts';

const lock = new Mutex(LOCK, LOCK_SLOTS);
const MUTEX: ExclusiveLock = {
  lock: (actor) => mutexLock(actor, lock),
  unlock: (actor) => mutexUnlock(actor, lock),
};

function anActor(): Actor {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  return new Actor({ id: 1, name: 'alone', mem });
}

test('one holder at a time, and nobody sleeps for ever', (t) => {
  keepsOthersOut(t, MUTEX);
});

test('mistakes in the mutex are found', (t) => {
  mistakesAreFound(t, MUTEX);
});

test('uncontended it is one operation each way', (t) => {
  const actor = anActor();
  t.deepEqual(pointsOf(mutexLock(actor, lock)), [updating(LOCK)]);
  t.deepEqual(pointsOf(mutexUnlock(actor, lock)), [updating(LOCK)]);
});

test('a busy mutex is slept on at once, whatever the actor may spin', (t) => {
  const actor = anActor();
  t.true(actor.spinLimit > 0);
  actor.mem.store(LOCK, 2 * 2);
  const path = mutexLock(actor, lock);
  const points = [path.next(0), path.next(0), path.next(0)].map((step) => step.value as number);
  t.is(points.at(-1)! % POINT_KINDS, WAITING);
});

/** Two actors lock, one only tries; a failed try must leave no trace. */
const trying = (take: typeof mutexTryLock) =>
  explore({
    bytes: BYTES,
    setUp: (mem) => {
      const COUNTER = DATA;
      const TAKEN = DATA + 4;
      return {
        actors: actors(mem, [
          ...[0, 1].map(
            () =>
              function* (actor: Actor) {
                yield* mutexLock(actor, lock);
                note(mem, TAKEN);
                yield* increment(mem, COUNTER);
                yield* mutexUnlock(actor, lock);
              },
          ),
          function* (actor: Actor) {
            if (!(yield* neverWaits(take(actor, lock)))) return;
            note(mem, TAKEN);
            yield* increment(mem, COUNTER);
            yield* mutexUnlock(actor, lock);
          },
        ]),
        atEnd: () => {
          if (peek(mem, COUNTER) !== peek(mem, TAKEN)) return `counted ${peek(mem, COUNTER)}`;
          return peek(mem, LOCK) === FREE ? undefined : 'not free at the end';
        },
      };
    },
  });

test('a try never waits, and keeps others out when it succeeds', (t) => {
  t.is(report(trying(mutexTryLock)), '');
});

test('a try that takes a busy mutex is found', (t) => {
  const barges: typeof mutexTryLock = function* (actor) {
    yield updating(LOCK);
    actor.mem.exchange(LOCK, actor.id * 2);
    return true;
  };
  t.not(trying(barges).failure, null);
});

test('a try fails exactly while somebody holds the mutex', (t) => {
  const holder = anActor();
  const other = new Actor({ id: 2, name: 'other', mem: holder.mem });
  pointsOf(mutexLock(holder, lock));
  t.deepEqual(mutexTryLock(other, lock).next(0), { value: updating(LOCK), done: false });
  const path = mutexTryLock(other, lock);
  path.next(0);
  t.deepEqual(path.next(0), { value: false, done: true });
  pointsOf(mutexUnlock(holder, lock));
  const again = mutexTryLock(other, lock);
  again.next(0);
  t.deepEqual(again.next(0), { value: true, done: true });
});
