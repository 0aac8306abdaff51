/**
 * A scenario on real threads: each participant in a worker of its own, on the one shared memory, and only the one whose
 * turn it is runs. The engine is the same as for coroutines, so the same strategy gives the same steps; what differs is
 * that loads, stores and Atomics are those of different threads.
 *
 * Participants must talk to each other through the shared memory only: variables of the scenario's module are each
 * thread's own. A scenario that does otherwise gives another trace here, and that is how one finds out.
 */
import type { Path } from '../../shared/sync/point.ts';
import type { Observer, Participant } from '../engine/execution.ts';
import type { Target } from '../engine/target.ts';
import { MachineTarget, type MachineTargetOptions } from '../scenario/machine-target.ts';
import { ThreadPool } from '../thread-pool.ts';
import { ASK_BEGIN, ASK_STEP, LINE_BYTES, Line, SAY_ENDED, SAY_NOTIFY, SAY_THROWN } from './line.ts';
import { type ScenarioSource, scenarioFrom } from './source.ts';
import type { ParticipantTask } from './task.ts';
import { Hearing, hears, type Told } from './told.ts';

export class ControlledTarget implements Target {
  readonly machine: MachineTarget;
  readonly #pool: ThreadPool<ParticipantTask, void>;
  readonly #lines: readonly Line[];
  readonly #threads: readonly Promise<unknown>[];

  private constructor(
    machine: MachineTarget,
    pool: ThreadPool<ParticipantTask, void>,
    lines: readonly Line[],
    threads: readonly Promise<unknown>[],
  ) {
    this.machine = machine;
    this.#pool = pool;
    this.#lines = lines;
    this.#threads = threads;
  }

  /**
   * Sets the scenario up and starts its threads. To be closed.
   *
   * @throws what a thread died of before it was ready
   */
  static async open(source: ScenarioSource, options: MachineTargetOptions = {}): Promise<ControlledTarget> {
    const machine = new MachineTarget(await scenarioFrom(source), options);
    const count = machine.begin().length;
    const pool = new ThreadPool<ParticipantTask, void>(
      new URL(`./participant.worker${import.meta.url.slice(-3)}`, import.meta.url),
      count,
    );
    const ready = new SharedArrayBuffer(4);
    const buffers = Array.from({ length: count }, () => new SharedArrayBuffer(LINE_BYTES));
    const threads = buffers.map((line, index) => {
      const task: ParticipantTask = { scenario: source, memory: machine.mem.wasm, index, line, ready };
      return pool.run(task);
    });
    try {
      await Promise.race([allReady(new Int32Array(ready), count), Promise.all(threads)]);
    } catch (error) {
      await pool.close();
      throw error;
    }
    return new ControlledTarget(
      machine,
      pool,
      buffers.map((buffer) => new Line(buffer)),
      threads,
    );
  }

  get name(): string {
    return this.machine.name;
  }
  get title(): string {
    return this.machine.title;
  }
  get mem() {
    return this.machine.mem;
  }
  get stepLimit(): number {
    return this.machine.stepLimit;
  }
  get oracle(): Observer {
    return this.machine.oracle;
  }

  begin(): readonly Participant[] {
    const participants = this.machine.begin({ everything: true });
    const hearing = new Hearing(this.machine.world);
    return participants.map((participant, index) => ({
      ...participant,
      path: new RemotePath(this.#lines[index]!, participant, this, (told) => hearing.hear(index, told)),
    }));
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    for (const line of this.#lines) line.dismiss();
    await Promise.all(this.#threads);
    await this.#pool.close();
  }
}

/** A path whose steps are taken in another thread. */
class RemotePath implements Pick<Path<unknown>, 'next'> {
  readonly #line: Line;
  readonly #waiter: Participant['waiter'];
  readonly #target: ControlledTarget;
  readonly #hear: (told: Told) => void;
  #begun = false;

  constructor(line: Line, { waiter }: Participant, target: ControlledTarget, hear: (told: Told) => void) {
    this.#line = line;
    this.#waiter = waiter;
    this.#target = target;
    this.#hear = hear;
  }

  next(answer: number): IteratorResult<number, unknown> {
    const line = this.#line;
    let said = this.#begun
      ? line.ask(ASK_STEP, answer)
      : line.ask(ASK_BEGIN, hears(this.#target.machine.world));
    this.#begun = true;
    for (; said === SAY_NOTIFY; said = line.answer(this.#target.mem.notify(line.place, line.count)))
      this.#listen();
    this.#listen();
    if (said === SAY_THROWN) throw this.#thrown ?? new Error('a participant has thrown nothing');
    if (said === SAY_ENDED) return { done: true, value: undefined };
    this.#waiter.expect = line.count;
    this.#waiter.timeoutMs = line.timeoutMs;
    return { done: false, value: line.place };
  }

  #thrown: Error | null = null;

  #listen(): void {
    for (const told of this.#line.take() as readonly Told[]) {
      if (told[0] === 'thrown') this.#thrown = told[1];
      else this.#hear(told);
    }
  }
}

async function allReady(ready: Int32Array<SharedArrayBuffer>, count: number): Promise<void> {
  for (let now = Atomics.load(ready, 0); now < count; now = Atomics.load(ready, 0)) {
    await Atomics.waitAsync(ready, 0, now).value;
  }
}
