/** What the threads of a lock stress run share: its memory, and the messages that start and end them. */
import { Completion } from '../../../src/shared/sync/completion.ts';
import {
  DONE_KVMI,
  LOCK_ACCESS_TREE,
  LOCK_BYTES,
  LOCK_JOB,
  LOCK_MMU,
  LOCK_SLOTS,
  LOCK_SLOTS_ARCH,
  SRCU_KVM,
} from '../../../src/shared/sync/lock-class.ts';
import { Mutex } from '../../../src/shared/sync/mutex.ts';
import { RwLock } from '../../../src/shared/sync/rw-lock.ts';
import { SpinLock } from '../../../src/shared/sync/spinlock.ts';
import { Srcu } from '../../../src/shared/sync/srcu.ts';
import { STATS_BYTES } from '../../../src/shared/sync/stats.ts';
import { WaitQueue } from '../../../src/shared/sync/wait-queue.ts';

/** `none` takes no lock at all: what the others must be protected from. */
export type StressJob =
  | 'none'
  | 'spinlock'
  | 'mutex'
  | 'rwlock'
  | 'srcu'
  | 'completion'
  | 'waitQueue'
  | 'order';

export interface StressTask {
  readonly memory: WebAssembly.Memory;
  readonly job: StressJob;
  /** From 0. */
  readonly thread: number;
  readonly threads: number;
  /** Of this thread. Some roles go on until the others have done theirs. */
  readonly iterations: number;
  readonly seed: bigint;
}

export interface StressResult {
  readonly wrong: readonly string[];
  /** What this thread has counted under the lock. */
  readonly count: number;
}

export const THREADS_MAX = 4;

export const LOCKS = {
  spin: new SpinLock(0 * LOCK_BYTES, LOCK_JOB),
  mutex: new Mutex(1 * LOCK_BYTES, LOCK_SLOTS),
  arch: new Mutex(2 * LOCK_BYTES, LOCK_SLOTS_ARCH),
  rw: new RwLock(3 * LOCK_BYTES, LOCK_MMU),
  tree: new RwLock(4 * LOCK_BYTES, LOCK_ACCESS_TREE),
  srcu: new Srcu(5 * LOCK_BYTES, SRCU_KVM),
  done: new Completion(6 * LOCK_BYTES, DONE_KVMI),
  back: new Completion(7 * LOCK_BYTES, DONE_KVMI),
  queue: new WaitQueue(8 * LOCK_BYTES, 'token'),
};

/** Everything below must be as it began when all have gone, but for the counters of turns and tickets. */
export const LOCK_AREA_BYTES = 9 * LOCK_BYTES;

const line = (index: number) => LOCK_AREA_BYTES + index * 64;

/** Threads that have started, and the word that lets them go. */
export const STARTED = line(0);
export const HEAD = line(1);
/** Two words that are equal whenever nobody is changing them. */
export const LEFT = line(2);
export const RIGHT = line(3);
export const EXCLUSIVE = line(4);
export const SHARED = line(5);
export const POINTER = line(6);
export const FINISHED = line(7);
export const TURN = line(8);
export const NESTED = line(9);
export const PROGRESS = (thread: number) => line(10 + thread);

/** Objects of each thread: 1 while in use, 0 once freed. */
export const OBJECT_COUNT = 8;
export const OBJECTS = (object: number) => line(10 + THREADS_MAX) + 4 * object;

/** Lock statistics of each thread. */
export const STATISTICS = (thread: number) => 4096 + thread * STATS_BYTES;
