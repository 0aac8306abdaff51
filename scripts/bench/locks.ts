/**
 * What an uncontended lock costs: acquire and release of each primitive, its generator driven as the parallel engine
 * drives it. `node dist/scripts/bench/locks.js` prints a table; a bench runner imports {@link run}.
 *
 * Two rows are measures to hold the others against: a bare compare-exchange with a bare exchange, which no lock can
 * beat, and the section of three nested locks that design.md speaks of.
 */
import { argv } from 'node:process';
import { pathToFileURL } from 'node:url';
import { Bench } from 'tinybench';
import { LockValidator } from '../../src/shared/lockdep/validator.ts';
import { Mem } from '../../src/shared/mem.ts';
import { Actor } from '../../src/shared/sync/actor.ts';
import { LockChecks, type LockFinding } from '../../src/shared/sync/checks.ts';
import { Completion, complete, waitForCompletion } from '../../src/shared/sync/completion.ts';
import {
  DONE_KVMI,
  LOCK_ACCESS_TREE,
  LOCK_BYTES,
  LOCK_JOB,
  LOCK_MMU,
  LOCK_SLOTS,
  SRCU_KVM,
} from '../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexUnlock } from '../../src/shared/sync/mutex.ts';
import { drive, type Path } from '../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../src/shared/sync/rw-lock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../src/shared/sync/spinlock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../src/shared/sync/srcu.ts';
import { WaitQueue, waitEvent, wakeUp } from '../../src/shared/sync/wait-queue.ts';

export interface LockCost {
  readonly name: string;
  /** Median over the samples, ns for one acquire and its release. */
  readonly nsPerOp: number;
}

/** Pairs in one sample, so that the clock's own cost does not show. */
const BATCH = 2000;
const SAMPLE_MS = 150;
const STATS_BLOCK = 4096;

const spin = new SpinLock(0 * LOCK_BYTES, LOCK_JOB);
const mutex = new Mutex(1 * LOCK_BYTES, LOCK_SLOTS);
const rw = new RwLock(2 * LOCK_BYTES, LOCK_MMU);
const tree = new RwLock(3 * LOCK_BYTES, LOCK_ACCESS_TREE);
const srcu = new Srcu(4 * LOCK_BYTES, SRCU_KVM);
const done = new Completion(5 * LOCK_BYTES, DONE_KVMI);
const queue = new WaitQueue(6 * LOCK_BYTES);
const BARE = 7 * LOCK_BYTES;
const NESTED = 'srcu, mmu_lock and access_tree_lock nested';

function* spinPairs(actor: Actor): Path<void> {
  for (let i = 0; i < BATCH; i++) {
    yield* spinLock(actor, spin);
    yield* spinUnlock(actor, spin);
  }
}

const PAIRS: Readonly<Record<string, (actor: Actor) => Path<void>>> = {
  spinlock: spinPairs,
  *mutex(actor) {
    for (let i = 0; i < BATCH; i++) {
      yield* mutexLock(actor, mutex);
      yield* mutexUnlock(actor, mutex);
    }
  },
  *'rwlock, read'(actor) {
    for (let i = 0; i < BATCH; i++) {
      yield* readLock(actor, rw);
      yield* readUnlock(actor, rw);
    }
  },
  *'rwlock, write'(actor) {
    for (let i = 0; i < BATCH; i++) {
      yield* writeLock(actor, rw);
      yield* writeUnlock(actor, rw);
    }
  },
  *'srcu section'(actor) {
    for (let i = 0; i < BATCH; i++) {
      const side = yield* srcuReadLock(actor, srcu);
      yield* srcuReadUnlock(actor, srcu, side);
    }
  },
  *'srcu grace period, no readers'(actor) {
    for (let i = 0; i < BATCH; i++) yield* synchronizeSrcu(actor, srcu);
  },
  *'completion, complete then wait'(actor) {
    for (let i = 0; i < BATCH; i++) {
      yield* complete(actor, done);
      yield* waitForCompletion(actor, done);
    }
  },
  *'wait queue, condition holds, then wake'(actor) {
    for (let i = 0; i < BATCH; i++) {
      yield* waitEvent(actor, queue, holds);
      yield* wakeUp(actor, queue);
    }
  },
  *[NESTED](actor) {
    for (let i = 0; i < BATCH; i++) {
      const side = yield* srcuReadLock(actor, srcu);
      yield* writeLock(actor, rw);
      yield* readLock(actor, tree);
      yield* readUnlock(actor, tree);
      yield* writeUnlock(actor, rw);
      yield* srcuReadUnlock(actor, srcu, side);
    }
  },
};

const holds = () => true;

/** Measures everything on the calling thread: about two seconds. */
export async function run(): Promise<LockCost[]> {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const bench = new Bench({ time: SAMPLE_MS, warmupTime: SAMPLE_MS / 3 });
  const plain = new Actor({ id: 1, name: 'plain', mem });
  bench.add('bare compare-exchange and exchange', () => {
    for (let i = 0; i < BATCH; i++) {
      mem.cas(BARE, 0, 1);
      mem.exchange(BARE, 0);
    }
  });
  for (const [name, pairs] of Object.entries(PAIRS)) bench.add(name, () => drive(plain, pairs(plain)));

  const clock = () => Number(process.hrtime.bigint());
  const counted = new Actor({ id: 1, name: 'counted', mem, stats: STATS_BLOCK, clock });
  bench.add('spinlock, with statistics', () => drive(counted, spinPairs(counted)));
  const actorWith = (validator: LockValidator | null) => {
    const onFinding = ({ rule, message }: LockFinding) => {
      throw new Error(`${rule}: ${message}`);
    };
    return new Actor({
      id: 1,
      name: 'checked',
      mem,
      checks: new LockChecks({ actor: 'checked', onFinding, validator }),
    });
  };
  const checked = actorWith(null);
  const validated = actorWith(new LockValidator());
  const nested = PAIRS[NESTED]!;
  bench.add('spinlock, rules checked', () => drive(checked, spinPairs(checked)));
  bench.add('spinlock, rules and order graph', () => drive(validated, spinPairs(validated)));
  bench.add(`${NESTED}, rules checked`, () => drive(checked, nested(checked)));
  bench.add(`${NESTED}, rules and order graph`, () => drive(validated, nested(validated)));

  await bench.run();
  return bench.tasks.map(({ name, result }) => {
    if (result.state !== 'completed') throw new Error(`${name} did not complete`, { cause: result });
    return { name, nsPerOp: (result.latency.p50 * 1e6) / BATCH };
  });
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href) {
  for (const { name, nsPerOp } of await run()) console.log(`${nsPerOp.toFixed(1).padStart(8)} ns  ${name}`);
}
