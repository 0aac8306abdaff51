/** The threads that the explorer works on. Like machine.ts this file imports piscina, and nothing else here does. */
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';

/**
 * A fixed number of threads for one kind of task, that can be ended at any time. A thread that still loads its modules
 * is left to finish that first: Node (20) aborts the process when a worker is terminated while `require` instantiates an
 * ES module, and the pool's threads load theirs so.
 */
export class ThreadPool<Task, Result> {
  readonly #pool: Piscina<Task, Result>;
  /** Of each thread that was ever started: settles when it may be ended. */
  readonly #loaded = new Map<Worker, Promise<unknown>>();

  /** @param filename  URL of the module that exports the task's function @param count  how many threads */
  constructor(filename: URL, count: number) {
    this.#pool = new Piscina<Task, Result>({
      filename: filename.href,
      minThreads: count,
      maxThreads: count,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
    });
    this.#watch();
  }

  /** @throws what the task threw, or that its thread was ended */
  run(task: Task): Promise<Result> {
    return this.#pool.run(task);
  }

  /** Ends the threads, whatever they do. */
  async close(): Promise<void> {
    await Promise.all(this.#loaded.values());
    await this.#pool.destroy();
  }

  /** The first message of a thread says that it is loaded. One that dies is replaced by the pool. */
  #watch(): void {
    for (const thread of this.#pool.threads) {
      if (this.#loaded.has(thread)) continue;
      const said = once(thread, 'message').catch(() => {});
      const ended = once(thread, 'exit').then(() => this.#watch());
      this.#loaded.set(thread, Promise.race([said, ended]));
    }
  }
}
