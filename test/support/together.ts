/**
 * Runs several paths in one thread, one step at a time, in an order that a seed decides.
 *
 * Waits are futexes: at its own step a path falls asleep if the cell still holds what it expects, and `mem.notify`
 * wakes the longest sleepers first, as many as it says. A wait with a finite timeout may end by it: now and then while
 * others run, and always when nobody else can.
 */
import type { Participant } from '../../src/explore/engine/execution.ts';
import type { Mem } from '../../src/shared/mem.ts';
import {
  POINT_KINDS,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  WAITING,
} from '../../src/shared/sync/point.ts';

export type Runner = Participant;

export interface TogetherOptions {
  /** The one object through which all runners reach the memory: its `notify` is ours while they run. */
  readonly mem: Mem;
  readonly seed: number;
  readonly stepLimit?: number;
  /** Chance in 256 that whoever ran last goes on if it can. Absent: everybody has the same chance at each step. */
  readonly stay?: number;
}

type State = 'runnable' | 'asleep' | 'woken' | 'done';

interface Task extends Runner {
  state: State;
  /** What it does next; −1 before its first step. */
  point: number;
  /** While asleep: whether time may end it. */
  timed: boolean;
}

/** One choice in this many lets a sleeper time out although others could run. */
const TIMEOUT_EVERY = 64;

/**
 * Steps all runners to their ends.
 *
 * @returns how many steps that took
 * @throws  on deadlock and when the step limit is reached, naming who was where
 */
export function together(runners: readonly Runner[], opts: TogetherOptions): number {
  const { mem, seed, stepLimit = 2_000_000, stay = 0 } = opts;
  const tasks = runners.map((runner): Task => ({ ...runner, state: 'runnable', point: -1, timed: false }));
  /** Who sleeps, in order of falling asleep. */
  let sleepers: Task[] = [];
  let random = (seed * 2654435761 + 1) >>> 0;
  const below = (n: number): number => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return (random >>> 8) % n;
  };

  const step = (task: Task): void => {
    let answer = 0;
    if (task.state === 'asleep') {
      sleepers = sleepers.filter((sleeper) => sleeper !== task);
      answer = WAIT_TIMED_OUT;
    } else if (task.state === 'woken') {
      answer = WAIT_WOKEN;
    } else if (task.point % POINT_KINDS === WAITING) {
      const { waiter } = task;
      task.timed = waiter.timeoutMs !== Number.POSITIVE_INFINITY;
      waiter.timeoutMs = Number.POSITIVE_INFINITY;
      if (mem.load(cellOf(task)) === waiter.expect) {
        task.state = 'asleep';
        sleepers.push(task);
        return;
      }
      answer = WAIT_CHANGED;
    }
    const next = task.path.next(answer);
    task.state = next.done === true ? 'done' : 'runnable';
    if (next.done !== true) task.point = next.value;
  };

  const wake = (addr: number, count = Number.POSITIVE_INFINITY): number => {
    const woken = sleepers.filter((sleeper) => cellOf(sleeper) === addr).slice(0, count);
    sleepers = sleepers.filter((sleeper) => !woken.includes(sleeper));
    for (const task of woken) task.state = 'woken';
    return woken.length;
  };

  const stuck = (what: string, steps: number): Error => {
    const where = tasks.map(
      (task) =>
        `${task.name}: ${task.state}${task.state === 'asleep' ? ` at 0x${cellOf(task).toString(16)}` : ''}`,
    );
    return new Error(`${what} after ${steps} steps (seed ${seed}): ${where.join('; ')}`);
  };

  let last: Task | null = null;
  mem.notify = wake;
  try {
    for (let steps = 0; ; steps++) {
      if (tasks.every((task) => task.state === 'done' || task.background === true)) return steps;
      const ready = tasks.filter((task) => task.state === 'runnable' || task.state === 'woken');
      const timed = sleepers.filter((sleeper) => sleeper.timed);
      if (ready.length + timed.length === 0) throw stuck('deadlock', steps);
      if (steps === stepLimit) throw stuck('no end', steps);
      const late = ready.length === 0 || (timed.length > 0 && below(TIMEOUT_EVERY) === 0);
      const from = late ? timed : ready;
      const goesOn = stay > 0 && last !== null && from.includes(last) && below(256) < stay;
      if (!goesOn) last = from[below(from.length)]!;
      step(last!);
    }
  } finally {
    // The method of the class again.
    Reflect.deleteProperty(mem, 'notify');
  }
}

function cellOf(task: Task): number {
  return Math.floor(task.point / POINT_KINDS);
}
