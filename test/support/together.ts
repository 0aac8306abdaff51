/**
 * Runs several paths in one thread, one step at a time, in an order that a seed decides. Waits are futexes: a path
 * sleeps while the cell holds what it expects, until somebody notifies it.
 */
import type { Mem } from '../../src/shared/mem.ts';
import {
  NOTIFYING,
  type Path,
  POINT_KINDS,
  WAIT_CHANGED,
  WAIT_WOKEN,
  WAITING,
} from '../../src/shared/sync/point.ts';

export interface Runner {
  readonly name: string;
  readonly waiter: { expect: number };
  readonly path: Path<unknown>;
  /** A server that never ends: the run is over when all others have. */
  readonly background?: boolean;
}

export interface TogetherOptions {
  readonly mem: Mem;
  readonly seed: number;
  readonly stepLimit?: number;
}

interface Task extends Runner {
  point: number;
  answer: number;
  asleepAt: number;
  done: boolean;
}

/** Steps all runners to their ends. Throws on deadlock and when the step limit is reached, naming who was where. */
export function together(runners: readonly Runner[], opts: TogetherOptions): number {
  const tasks = runners.map((r): Task => ({ ...r, point: -1, answer: 0, asleepAt: -1, done: false }));
  let random = (opts.seed * 2654435761 + 1) >>> 0;
  const limit = opts.stepLimit ?? 2_000_000;
  const where = () =>
    tasks.map(
      (t) =>
        `${t.name}: ${t.done ? 'done' : t.asleepAt >= 0 ? `asleep at 0x${t.asleepAt.toString(16)}` : 'runnable'}`,
    );
  for (let steps = 0; ; steps++) {
    if (tasks.every((t) => t.done || t.background === true)) return steps;
    const runnable = tasks.filter((t) => !t.done && t.asleepAt < 0);
    if (runnable.length === 0)
      throw new Error(`deadlock after ${steps} steps (seed ${opts.seed}): ${where().join('; ')}`);
    if (steps === limit)
      throw new Error(`no end after ${steps} steps (seed ${opts.seed}): ${where().join('; ')}`);
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const task = runnable[(random >>> 8) % runnable.length]!;
    const executing = task.point;
    // The step about to run executes what the last point announced.
    const next = task.path.next(task.answer);
    task.answer = 0;
    if (executing >= 0 && executing % POINT_KINDS === NOTIFYING) {
      const address = Math.floor(executing / POINT_KINDS);
      for (const other of tasks) {
        if (other.asleepAt !== address) continue;
        other.asleepAt = -1;
        other.answer = WAIT_WOKEN;
      }
    }
    if (next.done === true) {
      task.done = true;
      continue;
    }
    task.point = next.value;
    if (next.value % POINT_KINDS === WAITING) {
      const address = Math.floor(next.value / POINT_KINDS);
      if (opts.mem.load(address) === task.waiter.expect) task.asleepAt = address;
      else task.answer = WAIT_CHANGED;
    }
  }
}
