/**
 * The threads of a campaign. Whoever asks for work gets an answer, or the reason why there will be none: a scenario that
 * does not end holds up its thread, never this one.
 */
import { SimError } from '../../shared/errors.ts';
import { ThreadPool } from '../thread-pool.ts';
import { type Answer, valueIn } from './answer.ts';
import { CampaignControl, type SlotState } from './control.ts';
import type { Described, DescribeTask, Explored, ExploreTask, Replayed, ReplayTask, Task } from './task.ts';

/** What a worker without progress is given, ms. */
export const STALL_MS = 10_000;
/** Threads that are started load everything once more, on a busy machine one after the other: so many times as long. */
const THREADS_PATIENCE = 6;
const LOOK_EVERY_MS = 500;

type Without<T> = Omit<T, 'control' | 'slotCount' | 'slot' | 'scenario'>;

export class Workers {
  readonly control: CampaignControl;
  readonly #scenario: string;
  readonly #stallMs: number;
  readonly #pool: ThreadPool<Task, Answer<unknown>>;
  readonly #free: number[];
  readonly #waiting: ((slot: number) => void)[] = [];
  #closed = false;

  /** @param scenario  bundled name or module path, the same for all tasks */
  constructor(scenario: string, jobs: number, stallMs = STALL_MS) {
    this.control = new CampaignControl(jobs);
    this.#scenario = scenario;
    this.#stallMs = stallMs;
    this.#free = Array.from({ length: jobs }, (_, slot) => slot);
    this.#pool = new ThreadPool(
      new URL(`./explore.worker${import.meta.url.slice(-3)}`, import.meta.url),
      jobs,
    );
  }

  describe(): Promise<Described> {
    return this.#run<DescribeTask, Described>({ kind: 'describe' });
  }

  explore(task: Without<ExploreTask>): Promise<Explored> {
    return this.#run<ExploreTask, Explored>(task);
  }

  replay(task: Without<ReplayTask>): Promise<Replayed> {
    return this.#run<ReplayTask, Replayed>(task);
  }

  /** Ends the threads, whatever they do. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#pool.close();
  }

  /** @throws SimError SIM_SCENARIO when the thread gets nowhere any more: it is ended, with all others */
  async #run<T extends Task, R>(task: Without<T>): Promise<R> {
    const slot = this.#free.pop() ?? (await new Promise<number>((resolve) => this.#waiting.push(resolve)));
    const { control } = this;
    let last = control.slot(slot);
    let since = performance.now();
    let stalled: SimError | null = null;
    const whole = {
      ...task,
      control: control.buffer,
      slotCount: control.slotCount,
      slot,
      scenario: this.#scenario,
    };
    const timer = setInterval(() => {
      const now = control.slot(slot);
      if (now.beat !== last.beat || now.executions !== last.executions || now.phase === 'idle') {
        last = now;
        since = performance.now();
        return;
      }
      const patienceMs = now.phase === 'threads' ? THREADS_PATIENCE * this.#stallMs : this.#stallMs;
      if (performance.now() - since <= patienceMs) return;
      stalled ??= endless(this.#scenario, now, patienceMs);
      void this.close();
    }, LOOK_EVERY_MS);
    try {
      return valueIn((await this.#pool.run(whole as unknown as Task)) as Answer<R>);
    } catch (error) {
      throw stalled ?? error;
    } finally {
      clearInterval(timer);
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(slot);
      else next(slot);
    }
  }
}

function endless(scenario: string, { phase, seed }: SlotState, stallMs: number): SimError {
  const where: Readonly<Record<SlotState['phase'], string>> = {
    idle: 'its thread does not answer',
    load: 'its module does not finish loading',
    setUp: 'setUp() does not end',
    participants: 'participants() does not end',
    steps: `an actor takes no further step, in the schedule of seed ${seed}`,
    atEnd: 'atEnd() does not end',
    threads: 'its threads do not get ready',
    report: 'a finding cannot be explained',
  };
  const hint =
    phase === 'steps'
      ? 'a loop that waits for others needs a point: yield relaxing(), or a futex wait'
      : 'nothing in a scenario can wait for something outside';
  const message = `scenario '${scenario}' does not end: ${where[phase]} for ${stallMs / 1000} s`;
  return new SimError('SIM_SCENARIO', message, { hint });
}
