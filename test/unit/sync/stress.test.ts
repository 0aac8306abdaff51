/**
 * The locks on real threads, bounded by iterations. `STRESS=20 npx ava dist/test/unit/sync/stress.test.js` does twenty
 * times as many; `SEED=…` chooses other mixtures.
 */
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { COMPLETION } from '../../../src/shared/sync/completion.ts';
import { LOCK_CLASSES } from '../../../src/shared/sync/lock-class.ts';
import { RWLOCK } from '../../../src/shared/sync/rw-lock.ts';
import { SRCU } from '../../../src/shared/sync/srcu.ts';
import { STATS, statsAddress } from '../../../src/shared/sync/stats.ts';
import {
  FINISHED,
  LEFT,
  LOCK_AREA_BYTES,
  LOCKS,
  NESTED,
  OBJECTS,
  PROGRESS,
  STATISTICS,
  type StressJob,
  type StressResult,
  type StressTask,
  TURN,
} from './stress-layout.ts';

const { STRESS: times = '1', SEED: seed = '0x5eed' } = process.env;
const STRESS = Number(times);
const SEED = BigInt(seed);
/** No thread has got on for this long: somebody waits for a wake-up that was lost. */
const STALL_MS = 15_000;

const WORKER = new URL(`./stress.worker${import.meta.url.slice(-3)}`, import.meta.url);

interface Stressed {
  readonly words: Int32Array;
  readonly results: readonly StressResult[];
  readonly count: number;
}

/** Runs `job` on that many threads, each `rounds` times STRESS, and waits for all of them. */
async function stress(
  t: ExecutionContext,
  job: StressJob,
  threads: number,
  rounds: number,
): Promise<Stressed> {
  t.timeout(STALL_MS + 45_000 * STRESS);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const words = new Int32Array(memory.buffer);
  words[OBJECTS(0) >>> 2] = 1;
  const iterations = rounds * STRESS;
  const began = performance.now();
  const workers: Worker[] = [];
  const results = Array.from({ length: threads }, (_, thread) => {
    const workerData: StressTask = { memory, job, thread, threads, iterations, seed: SEED + BigInt(thread) };
    const worker = new Worker(WORKER, { workerData });
    workers.push(worker);
    return new Promise<StressResult>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
  t.teardown(() => Promise.all(workers.map((worker) => worker.terminate())));
  const ended = await Promise.race([Promise.all(results), stalled(words, threads, job)]);
  t.deepEqual(
    ended.flatMap(({ wrong }) => wrong),
    [],
    `SEED=${SEED}`,
  );
  const ms = Math.round(performance.now() - began);
  t.log(`${threads} threads × ${iterations} in ${ms} ms; had to wait: ${waits(memory, threads)}`);
  return { words, results: ended, count: ended.reduce((sum, result) => sum + result.count, 0) };
}

/** Rejects once nobody has got on for a long time, saying what the lock words look like. */
function stalled(words: Int32Array, threads: number, job: string): Promise<never> {
  const progress = () =>
    Array.from({ length: threads }, (_, thread) => Atomics.load(words, PROGRESS(thread) >>> 2)).join();
  return new Promise((_, reject) => {
    let last = progress();
    setInterval(() => {
      const now = progress();
      const locks = words.subarray(0, LOCK_AREA_BYTES >>> 2).join();
      if (now === last)
        reject(new Error(`${job} stands still at rounds ${now}; SEED=${SEED}; locks ${locks}`));
      last = now;
    }, STALL_MS).unref();
  });
}

/** How often each class of lock was waited for. */
function waits(memory: WebAssembly.Memory, threads: number): string {
  const cells = new Float64Array(memory.buffer);
  const counts = LOCK_CLASSES.map((cls) => {
    let contended = 0;
    for (let thread = 0; thread < threads; thread++) {
      contended += cells[(statsAddress(STATISTICS(thread), cls) + STATS.at.CONTENDED) / 8]!;
    }
    return contended === 0 ? '' : `${cls.name} ${contended}`;
  });
  return counts.filter((text) => text !== '').join(', ') || 'nobody';
}

const word = ({ words }: Stressed, addr: number) => words[addr >>> 2]!;

test.serial('without a lock the same work goes wrong', async (t) => {
  t.timeout(60_000);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const results = [0, 1].map((thread) => {
    const workerData: StressTask = {
      memory,
      job: 'none',
      thread,
      threads: 2,
      iterations: 50_000_000,
      seed: SEED,
    };
    const worker = new Worker(WORKER, { workerData });
    t.teardown(() => worker.terminate());
    return new Promise<StressResult>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
  t.true((await Promise.all(results)).some(({ wrong }) => wrong.length > 0));
  t.is(new Int32Array(memory.buffer)[FINISHED >>> 2], 1);
});

for (const threads of [2, 4]) {
  test.serial(`spinlock, ${threads} threads`, async (t) => {
    const done = await stress(t, 'spinlock', threads, 100_000 / threads);
    t.is(done.count, threads * (100_000 / threads) * STRESS);
    t.is(word(done, LEFT), done.count);
    t.is(word(done, LOCKS.spin.addr), 0);
  });

  test.serial(`mutex, ${threads} threads`, async (t) => {
    const done = await stress(t, 'mutex', threads, 100_000 / threads);
    t.is(word(done, LEFT), done.count);
    t.is(word(done, LOCKS.mutex.addr), 0);
  });

  test.serial(`rwlock, ${threads} threads`, async (t) => {
    const done = await stress(t, 'rwlock', threads, 100_000 / threads);
    t.is(word(done, LEFT), done.count);
    t.is(word(done, LOCKS.rw.addr + RWLOCK.at.STATE), 0);
    t.is(word(done, LOCKS.rw.addr + RWLOCK.at.NEXT), word(done, LOCKS.rw.addr + RWLOCK.at.SERVING));
  });

  test.serial(`completion, ${threads} threads`, async (t) => {
    const done = await stress(t, 'completion', threads, 60_000 / threads);
    t.is(done.count, threads * (60_000 / threads) * STRESS);
    for (const { addr } of [LOCKS.done, LOCKS.back]) {
      t.is(word(done, addr + COMPLETION.at.DONE), 0);
      t.is(word(done, addr + COMPLETION.at.WAITERS), 0);
    }
  });

  test.serial(`wait queue, ${threads} threads`, async (t) => {
    const done = await stress(t, 'waitQueue', threads, 12_000 / threads);
    t.is(word(done, TURN), done.count);
    t.is(done.count, threads * (12_000 / threads) * STRESS);
  });
}

test.serial('srcu, two readers, one and two synchronizers', async (t) => {
  for (const threads of [3, 4]) {
    const done = await stress(t, 'srcu', threads, 50_000);
    t.true(done.count > 0);
    t.is(word(done, LOCKS.srcu.addr + SRCU.at.READERS), 0);
    t.is(word(done, LOCKS.srcu.addr + SRCU.at.READERS + 4), 0);
    t.is(word(done, LOCKS.srcu.addr + SRCU.at.INDEX), 2 * done.count);
    t.is(word(done, LOCKS.srcu.addr + SRCU.at.SYNCHRONIZER), 0);
  }
});

test.serial('the whole lock order at once, checked: three that fault, one that changes slots', async (t) => {
  const done = await stress(t, 'order', 4, 10_000);
  t.is(word(done, LEFT), 3 * 10_000 * STRESS);
  t.is(word(done, NESTED), done.count);
});
