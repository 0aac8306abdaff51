/**
 * One execution of a scenario: its actors as coroutines in this thread, stepped from point to point in the order that a
 * strategy picks.
 *
 * Waits are futexes, as ECMAScript has them: at its own step an actor falls asleep if the cell still holds what it
 * expects; `notify` wakes the longest sleepers first. Time is virtual: it advances by a fixed amount with each step, and
 * to the deadline of a wait that a timeout ends.
 */
import type { Mem } from '../../shared/mem.ts';
import {
  CHOICE_WAYS,
  CHOOSING,
  type Path,
  POINT_KINDS,
  RELAXING,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  WAITING,
  type Waiter,
} from '../../shared/sync/point.ts';
import type { Finding } from './finding.ts';
import type { LockTable } from './lock-table.ts';
import { defaultPick, PRUNE, type Strategy, type View } from './strategy.ts';
import { FELL_ASLEEP, Trace } from './trace.ts';

/** Virtual time of one step, ns. */
export const STEP_NS = 1000;
/** A mask has one bit an actor, and stays a small integer. */
export const ACTOR_LIMIT = 30;

/** One who takes part. */
export interface Participant {
  readonly name: string;
  readonly waiter: Pick<Waiter, 'expect' | 'timeoutMs'>;
  readonly path: Pick<Path<unknown>, 'next'>;
  /** A server that never ends: the execution is over when all others have ended. */
  readonly background?: boolean;
}

/** Looks on. Hooks that are absent cost nothing. */
export interface Observer {
  /** Before the first step: the actors stand where they were made. */
  begin?(execution: Execution): void;
  /** `actor` is about to do the operation it stands before. */
  before?(execution: Execution, actor: number, point: number): void;
  /** It has, and stands before its next one. */
  after?(execution: Execution, actor: number, point: number): void;
  /** `waker` has woken `sleeper`. */
  woken?(execution: Execution, sleeper: number, waker: number): void;
  /** Nobody can move, or everybody has ended. */
  atEnd?(execution: Execution, stuck: boolean): void;
  /** As many steps as may be. */
  atLimit?(execution: Execution): void;
  /** After everything else, however it ended. */
  finish?(execution: Execution): void;
}

export interface ExecutionOptions {
  /** The one object through which all actors reach the memory: the engine is its `waker` while they run. */
  readonly mem: Mem;
  readonly strategy: Strategy;
  readonly stepLimit: number;
  readonly observers?: readonly Observer[];
  /** Reused between executions. */
  readonly trace?: Trace;
  readonly locks?: LockTable | null;
  /** Go on after the first finding. Default: end there. */
  readonly keepGoing?: boolean;
}

/** What each actor is doing. */
const RUNNABLE = 0;
const ASLEEP = 1;
/** Notified, and not stepped since. */
const WOKEN = 2;
const ENDED = 3;

export class Execution implements View {
  readonly participants: readonly Participant[];
  readonly actorCount: number;
  readonly trace: Trace;
  readonly locks: LockTable | null;
  readonly taken: Int32Array;
  readonly at: Float64Array;
  readonly findings: Finding[] = [];
  runnable = 0;
  timed = 0;
  last = -1;
  fallback = -1;
  step = 0;
  pruned = false;
  relaxed = false;
  /** Virtual time, ns. */
  now = 0;
  readonly #mem: Mem;
  readonly #strategy: Strategy;
  readonly #observers: readonly Observer[];
  /** Those with a hook that is called often. */
  readonly #before: readonly Observer[];
  readonly #after: readonly Observer[];
  readonly #woken: readonly Observer[];
  readonly #stepLimit: number;
  readonly #keepGoing: boolean;
  readonly #state: Uint8Array;
  /** While asleep: the cell, and when a timeout may end it. */
  readonly #cell: Float64Array;
  readonly #deadline: Float64Array;
  /** Who sleeps, in order of falling asleep. */
  readonly #sleepers: number[] = [];
  /** Actors whose end is waited for. */
  #open = 0;

  constructor(participants: readonly Participant[], options: ExecutionOptions) {
    const count = participants.length;
    if (count === 0 || count > ACTOR_LIMIT)
      throw new RangeError(`${count} actors; an execution has 1 to ${ACTOR_LIMIT}`);
    this.participants = participants;
    this.actorCount = count;
    this.trace = options.trace ?? new Trace();
    this.trace.clear();
    this.locks = options.locks ?? null;
    this.locks?.watch(participants);
    this.taken = new Int32Array(count);
    this.at = new Float64Array(count).fill(-1);
    this.#mem = options.mem;
    this.#strategy = options.strategy;
    this.#observers = options.observers ?? [];
    this.#before = this.#observers.filter((observer) => observer.before !== undefined);
    this.#after = this.#observers.filter((observer) => observer.after !== undefined);
    this.#woken = this.#observers.filter((observer) => observer.woken !== undefined);
    this.#stepLimit = options.stepLimit;
    this.#keepGoing = options.keepGoing ?? false;
    this.#state = new Uint8Array(count);
    this.#cell = new Float64Array(count);
    this.#deadline = new Float64Array(count);
  }

  /**
   * Steps all actors to their ends, to a deadlock, to a finding, or to the step limit; then `findings` says what was
   * wrong.
   */
  run(): void {
    const { actorCount, trace } = this;
    this.#mem.waker = (addr, count) => this.#wake(addr, count);
    try {
      // What stands before its first point is an actor's own affair: points come before every visible operation.
      for (let actor = 0; actor < actorCount; actor++) {
        this.runnable |= 1 << actor;
        if (this.participants[actor]!.background !== true) this.#open += 1;
      }
      for (const observer of this.#observers) observer.begin?.(this);
      for (let actor = 0; actor < actorCount; actor++) this.#resume(actor, 0);
      while (this.#open > 0 && !this.#isOver()) {
        const { runnable, timed } = this;
        this.fallback = defaultPick(runnable, timed, this.last, this.relaxed);
        if (this.fallback < 0) {
          for (const observer of this.#observers) observer.atEnd?.(this, true);
          if (this.findings.length === 0) this.#reportStuck();
          return;
        }
        if (this.step === this.#stepLimit) {
          for (const observer of this.#observers) observer.atLimit?.(this);
          if (this.findings.length === 0) this.#reportEndless();
          return;
        }
        const actor = this.#strategy.pick(this);
        if (actor === PRUNE) {
          this.pruned = true;
          return;
        }
        if (((runnable | timed) & (1 << actor)) === 0) {
          throw new RangeError(`strategy ${this.#strategy.name} picks actor ${actor}, which cannot move`);
        }
        trace.push(actor, this.at[actor]!, runnable, timed);
        this.#advance(actor);
      }
      if (!this.#isOver()) for (const observer of this.#observers) observer.atEnd?.(this, false);
    } finally {
      for (const observer of this.#observers) observer.finish?.(this);
      this.#mem.waker = null;
    }
  }

  /** Where an oracle reports; the execution ends after the present step unless it keeps going. */
  report(finding: Omit<Finding, 'step'>): void {
    if (this.findings.some(({ key }) => key === finding.key)) return;
    this.findings.push({ ...finding, step: this.step });
  }

  /** Is `actor` asleep, and on which cell? −1 when it is not. */
  sleepsOn(actor: number): number {
    return this.#state[actor] === ASLEEP ? this.#cell[actor]! : -1;
  }

  hasEnded(actor: number): boolean {
    return this.#state[actor] === ENDED;
  }

  #isOver(): boolean {
    return this.findings.length > 0 && !this.#keepGoing;
  }

  /** Lets `actor` do the operation it stands before, and go on to its next point. */
  #advance(actor: number): void {
    const point = this.at[actor]!;
    for (const observer of this.#before) observer.before!(this, actor, point);
    this.step += 1;
    this.now += STEP_NS;
    this.last = actor;
    this.taken[actor]! += 1;
    const kind = point & (POINT_KINDS - 1);
    this.relaxed = kind === RELAXING;
    if (kind === WAITING) this.#advanceWait(actor, point);
    else if (kind === CHOOSING) this.#advanceChoice(actor, point);
    else this.#resume(actor, 0);
    for (const observer of this.#after) observer.after!(this, actor, point);
  }

  #advanceWait(actor: number, point: number): void {
    const { waiter } = this.participants[actor]!;
    let answer = WAIT_WOKEN;
    if (this.#state[actor] === ASLEEP) {
      this.#sleepers.splice(this.#sleepers.indexOf(actor), 1);
      this.timed &= ~(1 << actor);
      this.runnable |= 1 << actor;
      this.now = Math.max(this.now, this.#deadline[actor]!);
      answer = WAIT_TIMED_OUT;
    } else if (this.#state[actor] === RUNNABLE) {
      const cell = Math.floor(point / POINT_KINDS);
      const { timeoutMs } = waiter;
      waiter.timeoutMs = Number.POSITIVE_INFINITY;
      if (this.#mem.load(cell) === waiter.expect) {
        this.#state[actor] = ASLEEP;
        this.#cell[actor] = cell;
        this.#deadline[actor] = this.now + timeoutMs * 1e6;
        this.#sleepers.push(actor);
        this.runnable &= ~(1 << actor);
        if (timeoutMs !== Number.POSITIVE_INFINITY) this.timed |= 1 << actor;
        this.trace.answer[this.trace.length - 1] = FELL_ASLEEP;
        return;
      }
      answer = WAIT_CHANGED;
    }
    this.#state[actor] = RUNNABLE;
    this.trace.answer[this.trace.length - 1] = answer;
    this.#resume(actor, answer);
  }

  #advanceChoice(actor: number, point: number): void {
    const ways = Math.floor(point / POINT_KINDS) % CHOICE_WAYS;
    const way = this.#strategy.choose?.(this, actor, ways) ?? 0;
    if (!(way >= 0 && way < ways)) {
      throw new RangeError(`strategy ${this.#strategy.name} chooses way ${way} of ${ways}`);
    }
    this.trace.answer[this.trace.length - 1] = way;
    this.#resume(actor, way);
  }

  #resume(actor: number, answer: number): void {
    const { path, background, name } = this.participants[actor]!;
    try {
      const next = path.next(answer);
      if (next.done !== true) {
        this.at[actor] = next.value;
        return;
      }
    } catch (error) {
      this.report({
        oracle: 'thrown',
        rule: error instanceof Error ? error.name : 'thrown',
        message: `${name}: ${error instanceof Error ? error.message : String(error)}`,
        key: `thrown ${name} ${error instanceof Error ? error.message : String(error)}`,
        actor,
        ...(error instanceof Error && error.stack !== undefined ? { details: error.stack.split('\n') } : {}),
      });
    }
    this.at[actor] = -1;
    this.#state[actor] = ENDED;
    this.runnable &= ~(1 << actor);
    if (background !== true) this.#open -= 1;
  }

  #wake(addr: number, count: number): number {
    let woken = 0;
    for (let i = 0; i < this.#sleepers.length && woken < count; ) {
      const actor = this.#sleepers[i]!;
      if (this.#cell[actor] !== addr) {
        i += 1;
        continue;
      }
      this.#sleepers.splice(i, 1);
      this.#state[actor] = WOKEN;
      this.timed &= ~(1 << actor);
      this.runnable |= 1 << actor;
      woken += 1;
      for (const observer of this.#woken) observer.woken!(this, actor, this.last);
    }
    return woken;
  }

  #reportStuck(): void {
    // By number: in which order they fell asleep makes no other deadlock.
    const stuck = this.#sleepers
      .filter((actor) => this.participants[actor]!.background !== true)
      .sort((a, b) => a - b);
    const where = stuck.map(
      (actor) => `${this.participants[actor]!.name} at 0x${this.#cell[actor]!.toString(16)}`,
    );
    this.report({
      oracle: 'deadlock',
      rule: 'I10',
      message: `nobody can move; asleep for ever: ${where.join(', ')}`,
      key: `deadlock ${where.join(', ')}`,
    });
  }

  #reportEndless(): void {
    const open = this.participants.filter((p, actor) => p.background !== true && !this.hasEnded(actor));
    this.report({
      oracle: 'livelock',
      rule: 'I10',
      message: `no end after ${this.step} steps: ${open.map(({ name }) => name).join(', ')}`,
      key: `livelock ${open.map(({ name }) => name).join(', ')}`,
    });
  }
}
