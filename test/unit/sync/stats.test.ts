import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { Completion, complete, waitForCompletion } from '../../../src/shared/sync/completion.ts';
import {
  DONE_KVMI,
  LOCK_BYTES,
  LOCK_CLASSES,
  LOCK_JOB,
  LOCK_MMU,
  LOCK_SLOTS,
  type LockClass,
  SRCU_KVM,
} from '../../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexTryLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path, POINT_KINDS, WAIT_WOKEN, WAITING } from '../../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';
import { STATS, STATS_BYTES, statsAddress } from '../../../src/shared/sync/stats.ts';

const spin = new SpinLock(0 * LOCK_BYTES, LOCK_JOB);
const rw = new RwLock(1 * LOCK_BYTES, LOCK_MMU);
const mutex = new Mutex(2 * LOCK_BYTES, LOCK_SLOTS);
const srcu = new Srcu(3 * LOCK_BYTES, SRCU_KVM);
const done = new Completion(4 * LOCK_BYTES, DONE_KVMI);
const BLOCK = 4096;

/** Two actors on one memory, each with its block, and a clock that the test moves. */
function setUp() {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const time = { ns: 1000 };
  const [actor, other] = [0, 1].map(
    (index) =>
      new Actor({
        id: index + 1,
        name: `actor ${index}`,
        mem,
        stats: BLOCK + index * STATS_BYTES,
        clock: () => time.ns,
        spinLimit: 0,
      }),
  );
  const stats = (cls: LockClass, index = 0) => {
    const value = (name: keyof typeof STATS.at) =>
      mem.f64[(statsAddress(BLOCK + index * STATS_BYTES, cls) + STATS.at[name]) / 8]!;
    return {
      acquisitions: value('ACQUISITIONS'),
      contended: value('CONTENDED'),
      wait: [value('WAIT_NS'), value('WAIT_NS_MAX')],
      hold: [value('HOLD_NS'), value('HOLD_NS_MAX')],
    };
  };
  return { mem, time, actor: actor!, other: other!, stats };
}

/** Steps `path` to where it sleeps; `wakeAndFinish` then ends it. */
function toSleep(path: Path<unknown>): void {
  let step = path.next(0);
  while ((step.value as number) % POINT_KINDS !== WAITING) step = path.next(0);
}

function wakeAndFinish(path: Path<unknown>): void {
  let step = path.next(WAIT_WOKEN);
  while (step.done !== true) step = path.next(0);
}

test('holds are counted and timed, the longest one noted', (t) => {
  const { actor, time, stats } = setUp();
  for (const ns of [30, 70, 50]) {
    drive(actor, spinLock(actor, spin));
    time.ns += ns;
    drive(actor, spinUnlock(actor, spin));
    time.ns += 1000;
  }
  t.deepEqual(stats(LOCK_JOB), { acquisitions: 3, contended: 0, wait: [0, 0], hold: [150, 70] });
});

test('a wait is counted and timed, apart from the hold that follows', (t) => {
  for (const [cls, lock, unlock] of [
    [LOCK_JOB, (a: Actor) => spinLock(a, spin), (a: Actor) => spinUnlock(a, spin)],
    [LOCK_SLOTS, (a: Actor) => mutexLock(a, mutex), (a: Actor) => mutexUnlock(a, mutex)],
    [LOCK_MMU, (a: Actor) => writeLock(a, rw), (a: Actor) => writeUnlock(a, rw)],
    [LOCK_MMU, (a: Actor) => readLock(a, rw), (a: Actor) => readUnlock(a, rw)],
  ] as const) {
    const { actor, other, time, stats } = setUp();
    const first = cls === LOCK_MMU ? writeLock(other, rw) : lock(other);
    drive(other, first);
    const path = lock(actor);
    toSleep(path);
    time.ns += 40;
    drive(other, cls === LOCK_MMU ? writeUnlock(other, rw) : unlock(other));
    wakeAndFinish(path);
    time.ns += 5;
    drive(actor, unlock(actor));
    t.deepEqual(stats(cls), { acquisitions: 1, contended: 1, wait: [40, 40], hold: [5, 5] }, cls.name);
    t.deepEqual(stats(cls, 1), { acquisitions: 1, contended: 0, wait: [0, 0], hold: [40, 40] }, cls.name);
  }
});

test('a try counts when it succeeds', (t) => {
  const { actor, other, stats } = setUp();
  t.true(drive(actor, mutexTryLock(actor, mutex)));
  t.false(drive(other, mutexTryLock(other, mutex)));
  t.is(stats(LOCK_SLOTS).acquisitions, 1);
  t.deepEqual(stats(LOCK_SLOTS, 1), { acquisitions: 0, contended: 0, wait: [0, 0], hold: [0, 0] });
});

test('nested srcu sections count each and are held as the outermost', (t) => {
  const { actor, time, stats } = setUp();
  const outer = drive(actor, srcuReadLock(actor, srcu));
  time.ns += 10;
  const inner = drive(actor, srcuReadLock(actor, srcu));
  time.ns += 10;
  drive(actor, srcuReadUnlock(actor, srcu, inner));
  time.ns += 10;
  drive(actor, srcuReadUnlock(actor, srcu, outer));
  t.deepEqual(stats(SRCU_KVM), { acquisitions: 2, contended: 0, wait: [0, 0], hold: [30, 30] });
});

test('a grace period and a completed wait count as waits', (t) => {
  const { actor, other, time, stats } = setUp();
  const side = drive(other, srcuReadLock(other, srcu));
  const path = synchronizeSrcu(actor, srcu);
  toSleep(path);
  time.ns += 25;
  drive(other, srcuReadUnlock(other, srcu, side));
  wakeAndFinish(path);
  t.deepEqual(stats(SRCU_KVM), { acquisitions: 0, contended: 1, wait: [25, 25], hold: [0, 0] });

  drive(other, complete(other, done));
  drive(actor, waitForCompletion(actor, done));
  t.deepEqual(stats(DONE_KVMI), { acquisitions: 0, contended: 1, wait: [0, 0], hold: [0, 0] });
});

test('a release that nobody acquired changes nothing', (t) => {
  const { actor, stats } = setUp();
  drive(actor, spinUnlock(actor, spin));
  t.deepEqual(stats(LOCK_JOB), { acquisitions: 0, contended: 0, wait: [0, 0], hold: [0, 0] });
});

test('an actor without a block writes nothing', (t) => {
  const { mem } = setUp();
  const actor = new Actor({ id: 3, name: 'uncounted', mem });
  drive(actor, spinLock(actor, spin));
  drive(actor, spinUnlock(actor, spin));
  t.true(mem.u8.every((byte) => byte === 0));
});

test('each class has a record of its own inside its actor’s block', (t) => {
  t.is(STATS.bytes, 64);
  t.is(STATS_BYTES, STATS.bytes * LOCK_CLASSES.length);
  const places = LOCK_CLASSES.map((cls) => statsAddress(BLOCK, cls));
  t.is(new Set(places).size, LOCK_CLASSES.length);
  for (const place of places) t.true(place >= BLOCK && place + STATS.bytes <= BLOCK + STATS_BYTES);
});
