/**
 * One thread of a lock stress run: does its share of a job on the shared memory and says what it saw go wrong.
 *
 * Data under a lock is read and written plainly, as the machine does it: it is the lock that must order it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Mem } from '../../../src/shared/mem.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LockChecks } from '../../../src/shared/sync/checks.ts';
import { complete, waitForCompletion } from '../../../src/shared/sync/completion.ts';
import { mutexLock, mutexTryLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path } from '../../../src/shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';
import { waitEvent, wakeUp } from '../../../src/shared/sync/wait-queue.ts';
import {
  EXCLUSIVE,
  FINISHED,
  HEAD,
  LEFT,
  LOCKS,
  NESTED,
  OBJECT_COUNT,
  OBJECTS,
  POINTER,
  PROGRESS,
  RIGHT,
  SHARED,
  STARTED,
  STATISTICS,
  type StressJob,
  type StressResult,
  type StressTask,
  TURN,
} from './stress-layout.ts';

const task = workerData as StressTask;
const { threads, thread, iterations } = task;
const mem = new Mem(task.memory);
const words = mem.i32;
const random = new Prng(task.seed);
const wrong: string[] = [];
let count = 0;

const actor = new Actor({
  id: thread + 1,
  name: `thread ${thread}`,
  mem,
  stats: STATISTICS(thread),
  clock: () => Number(process.hrtime.bigint()),
  checks: new LockChecks({
    actor: `thread ${thread}`,
    onFinding: (finding) => say(`${finding.rule}: ${finding.message}`),
  }),
});

function say(what: string): void {
  if (wrong.length < 10) wrong.push(`thread ${thread}, round ${words[PROGRESS(thread) >>> 2]}: ${what}`);
}

/** Changes the pair LEFT, RIGHT, which others must never see unequal. */
function changePair(): void {
  const left = words[LEFT >>> 2]!;
  if (left !== words[RIGHT >>> 2]!) say('a pair half changed');
  words[LEFT >>> 2] = left + 1;
  for (let i = 0; i < 20; i++) if (words[LEFT >>> 2] !== left + 1) say('a pair changed by somebody else');
  words[RIGHT >>> 2] = left + 1;
  count++;
}

/** One of this thread's objects that whoever replaced it has freed. Others hold on to one each at most. */
function freeObject(): number {
  for (let object = thread * OBJECT_COUNT; object < (thread + 1) * OBJECT_COUNT; object++) {
    if (Atomics.load(words, OBJECTS(object) >>> 2) === 0) return object;
  }
  throw new Error('no object is free');
}

function* rounds(body: (round: number) => Path<void>): Path<void> {
  for (let round = 0; round < iterations; round++) {
    words[PROGRESS(thread) >>> 2] = round;
    yield* body(round);
  }
}

const JOBS: Record<StressJob, () => Path<void>> = {
  *none() {
    for (let round = 0; round < iterations && words[FINISHED >>> 2] === 0; round++) {
      changePair();
      if (wrong.length > 0) words[FINISHED >>> 2] = 1;
    }
  },

  spinlock: () =>
    rounds(function* () {
      yield* spinLock(actor, LOCKS.spin);
      changePair();
      yield* spinUnlock(actor, LOCKS.spin);
    }),

  mutex: () =>
    rounds(function* () {
      const tries = random.below(4) === 0;
      if (!tries || !(yield* mutexTryLock(actor, LOCKS.mutex))) yield* mutexLock(actor, LOCKS.mutex);
      changePair();
      yield* mutexUnlock(actor, LOCKS.mutex);
    }),

  rwlock: () =>
    rounds(function* () {
      if (random.below(4) === 0) {
        yield* writeLock(actor, LOCKS.rw);
        if (Atomics.add(words, EXCLUSIVE >>> 2, 1) !== 0) say('two writers');
        if (Atomics.load(words, SHARED >>> 2) !== 0) say('a writer among readers');
        changePair();
        Atomics.sub(words, EXCLUSIVE >>> 2, 1);
        yield* writeUnlock(actor, LOCKS.rw);
      } else {
        yield* readLock(actor, LOCKS.rw);
        Atomics.add(words, SHARED >>> 2, 1);
        if (Atomics.load(words, EXCLUSIVE >>> 2) !== 0) say('a reader beside a writer');
        if (words[LEFT >>> 2] !== words[RIGHT >>> 2]) say('a pair half changed');
        Atomics.sub(words, SHARED >>> 2, 1);
        yield* readUnlock(actor, LOCKS.rw);
      }
    }),

  /** The first two threads read, the others replace objects until the readers have done their share. */
  *srcu() {
    if (thread < 2) {
      yield* rounds(function* () {
        const side = yield* srcuReadLock(actor, LOCKS.srcu);
        const object = Atomics.load(words, POINTER >>> 2);
        for (let look = 0; look < 10; look++) {
          if (words[OBJECTS(object) >>> 2] !== 1) say(`object ${object} freed under its reader`);
        }
        yield* srcuReadUnlock(actor, LOCKS.srcu, side);
      });
      Atomics.add(words, FINISHED >>> 2, 1);
      return;
    }
    for (let round = 0; Atomics.load(words, FINISHED >>> 2) < 2; round++) {
      words[PROGRESS(thread) >>> 2] = round;
      const mine = freeObject();
      words[OBJECTS(mine) >>> 2] = 1;
      const old = Atomics.exchange(words, POINTER >>> 2, mine);
      yield* synchronizeSrcu(actor, LOCKS.srcu);
      Atomics.store(words, OBJECTS(old) >>> 2, 0);
      count++;
    }
  },

  /**
   * Even threads complete, odd ones wait. Every hundredth time an even thread waits for an answer, and every hundredth
   * wait of all odd ones gives it: counted together, so that an even thread that lags gets an answer when others are done.
   */
  completion: () =>
    rounds(function* (round) {
      if (thread % 2 === 0) {
        yield* complete(actor, LOCKS.done);
        if (round % 100 === 99) yield* waitForCompletion(actor, LOCKS.back);
      } else {
        yield* waitForCompletion(actor, LOCKS.done);
        if (Atomics.add(words, TURN >>> 2, 1) % 100 === 99) yield* complete(actor, LOCKS.back);
      }
      count++;
    }),

  /** A token goes round. Some wait with a limit so short that it often runs out. */
  waitQueue: () =>
    rounds(function* () {
      const myTurn = () => mem.load(TURN) % threads === thread;
      const timed = random.below(8) === 0;
      while (!(yield* waitEvent(actor, LOCKS.queue, myTurn, timed ? 0.01 : undefined)));
      if (!myTurn()) say('a wait ended out of turn');
      mem.add(TURN, 1);
      yield* wakeUp(actor, LOCKS.queue);
      count++;
    }),

  /** The machine's lock order: thread 0 changes slots, the others fault. Every rule is checked as they go. */
  *order() {
    if (thread > 0) {
      yield* rounds(function* () {
        const side = yield* srcuReadLock(actor, LOCKS.srcu);
        if (words[OBJECTS(Atomics.load(words, POINTER >>> 2)) >>> 2] !== 1) say('a freed slot');
        yield* writeLock(actor, LOCKS.rw);
        yield* readLock(actor, LOCKS.tree);
        words[NESTED >>> 2]!++;
        yield* readUnlock(actor, LOCKS.tree);
        yield* writeUnlock(actor, LOCKS.rw);
        yield* spinLock(actor, LOCKS.spin);
        changePair();
        yield* spinUnlock(actor, LOCKS.spin);
        yield* srcuReadUnlock(actor, LOCKS.srcu, side);
      });
      Atomics.add(words, FINISHED >>> 2, 1);
      return;
    }
    for (let round = 0; Atomics.load(words, FINISHED >>> 2) < threads - 1; round++) {
      words[PROGRESS(thread) >>> 2] = round;
      yield* mutexLock(actor, LOCKS.mutex);
      yield* mutexLock(actor, LOCKS.arch);
      const next = OBJECT_COUNT + (round % OBJECT_COUNT);
      words[OBJECTS(next) >>> 2] = 1;
      const old = Atomics.exchange(words, POINTER >>> 2, next);
      yield* mutexUnlock(actor, LOCKS.arch);
      yield* synchronizeSrcu(actor, LOCKS.srcu);
      words[OBJECTS(old) >>> 2] = 0;
      yield* writeLock(actor, LOCKS.rw);
      yield* writeLock(actor, LOCKS.tree);
      words[NESTED >>> 2]!++;
      count++;
      yield* writeUnlock(actor, LOCKS.tree);
      yield* writeUnlock(actor, LOCKS.rw);
      yield* mutexUnlock(actor, LOCKS.mutex);
    }
  },
};

// All start together, by means that are not under test.
if (Atomics.add(words, STARTED >>> 2, 1) + 1 === threads) {
  Atomics.store(words, HEAD >>> 2, 1);
  Atomics.notify(words, HEAD >>> 2);
} else {
  Atomics.wait(words, HEAD >>> 2, 0);
}
drive(actor, JOBS[task.job]());
if ((actor.checks?.held.length ?? 0) > 0) say('holds locks at the end');
parentPort!.postMessage({ wrong, count } satisfies StressResult);
