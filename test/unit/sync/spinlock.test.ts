import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LOCK_JOB } from '../../../src/shared/sync/lock-class.ts';
import { POINT_KINDS, READING, updating, WAITING } from '../../../src/shared/sync/point.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { type ExclusiveLock, keepsOthersOut, mistakesAreFound } from './exclusion.ts';
import { LOCK, pointsOf } from './trial.ts';

const lock = new SpinLock(LOCK, LOCK_JOB);
const SPINLOCK: ExclusiveLock = {
  lock: (actor) => spinLock(actor, lock),
  unlock: (actor) => spinUnlock(actor, lock),
};

function anActor(spinLimit?: number): Actor {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  return new Actor({ id: 1, name: 'alone', mem, ...(spinLimit === undefined ? {} : { spinLimit }) });
}

test('one holder at a time, and nobody sleeps for ever', (t) => {
  keepsOthersOut(t, SPINLOCK);
});

test('mistakes in the spinlock are found', (t) => {
  mistakesAreFound(t, SPINLOCK);
});

test('uncontended it is one operation each way', (t) => {
  const actor = anActor();
  t.deepEqual(pointsOf(spinLock(actor, lock)), [updating(LOCK)]);
  t.deepEqual(pointsOf(spinUnlock(actor, lock)), [updating(LOCK)]);
});

test('a busy lock is looked at a bounded number of times before the sleep', (t) => {
  for (const spinLimit of [0, 1, 50]) {
    const actor = anActor(spinLimit);
    actor.mem.store(LOCK, 2 * 2);
    const path = spinLock(actor, lock);
    let looks = 0;
    let point = path.next(0).value as number;
    for (; point % POINT_KINDS !== WAITING; point = path.next(0).value as number) {
      if (point % POINT_KINDS === READING) looks++;
    }
    t.is(looks, spinLimit);
  }
});
