import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { FREE, futexLockSlow, futexUnlock, heldBy, holderOf } from '../../../src/shared/sync/futex.ts';
import {
  type Path,
  POINT_KINDS,
  READING,
  UPDATING,
  updating,
  WAIT_CHANGED,
  WAITING,
} from '../../../src/shared/sync/point.ts';
import { explore, report } from '../../support/explore-small.ts';
import { type ExclusiveLock, exclusion, keepsOthersOut, mistakesAreFound, overtaking } from './exclusion.ts';
import { LOCK, pointsOf } from './trial.ts';

/** The bare word, as a spinlock or a mutex uses it. */
const word = (spins: number): ExclusiveLock => ({
  *lock(actor): Path<void> {
    yield updating(LOCK);
    const seen = actor.mem.cas(LOCK, FREE, heldBy(actor));
    if (seen !== FREE) yield* futexLockSlow(actor, LOCK, seen, spins);
  },
  unlock: (actor) => futexUnlock(actor, LOCK),
});

function anActor(): Actor {
  return new Actor({
    id: 7,
    name: 'alone',
    mem: new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })),
  });
}

test('one holder at a time, and nobody sleeps for ever', (t) => {
  keepsOthersOut(t, word(0));
});

test('the same when it looks a few times before it sleeps', (t) => {
  t.is(report(explore(exclusion(word(2), [2, 1]))), '');
  t.is(report(explore(exclusion(word(1), [1, 1, 1]))), '');
});

test('mistakes in the word are found', (t) => {
  mistakesAreFound(t, word(0));
});

test('a newcomer may overtake one that has been waiting', (t) => {
  const { failure } = explore(overtaking(word(0), (value) => (value & 1) !== 0));
  t.regex(failure?.message ?? '', /overtaken/);
});

test('a release wakes only when somebody may sleep', (t) => {
  const actor = anActor();
  t.deepEqual(pointsOf(word(0).lock(actor)), [updating(LOCK)]);
  t.is(holderOf(actor.mem.load(LOCK)), actor.id);
  t.deepEqual(pointsOf(word(0).unlock(actor)), [updating(LOCK)]);
  t.is(holderOf(actor.mem.load(LOCK)), 0);
});

test('it looks as often as told, then says that it sleeps, then sleeps', (t) => {
  const actor = anActor();
  actor.mem.store(LOCK, 3 * 2);
  const path = word(4).lock(actor);
  const kinds: number[] = [];
  while (kinds.at(-1) !== WAITING) kinds.push((path.next(0).value as number) % POINT_KINDS);
  t.deepEqual(kinds, [UPDATING, READING, READING, READING, READING, UPDATING, WAITING]);
  t.is(actor.mem.load(LOCK), 3 * 2 + 1);
  t.is(actor.expect, 3 * 2 + 1);

  // Freed between the look and the sleep: it has not slept, so it owes nobody a wake-up.
  actor.mem.store(LOCK, FREE);
  path.next(WAIT_CHANGED);
  t.true(path.next(0).done);
  t.is(actor.mem.load(LOCK), heldBy(actor));
});

test('one that looks sees the word become free, and takes it without sleeping', (t) => {
  const actor = anActor();
  actor.mem.store(LOCK, 3 * 2);
  const path = word(50).lock(actor);
  for (let looks = 0; looks < 3; looks++) path.next(0);
  actor.mem.store(LOCK, FREE);
  t.is((path.next(0).value as number) % POINT_KINDS, UPDATING);
  t.true(path.next(0).done);
  t.is(actor.mem.load(LOCK), heldBy(actor));
});
