/**
 * Runs every interleaving of a few short paths over a few words of shared memory.
 *
 * A trial is built anew for each execution; the explorer steps its actors from point to point and tries each runnable
 * one at each state. Executions that reach the same state are continued once: a state is the memory, the futex queues,
 * and for each actor everything its memory operations have answered so far. Since an actor can know nothing else,
 * equal states have equal futures, and the number of schedules is still counted exactly. It follows that a trial
 * keeps all its state in `mem`, behind the 32-bit methods of `Mem` (checks may look at the raw views).
 *
 * `waiting` is a real futex: the actor sleeps if the cell still holds what it expects, and `mem.notify` wakes the
 * longest sleepers first, as ECMAScript's waiter lists do. A wait with a finite timeout may also time out at any moment.
 */
import { Mem } from '../../src/shared/mem.ts';
import {
  NOTIFYING,
  type Path,
  POINT_KINDS,
  type Point,
  READING,
  STEPPING,
  UPDATING,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  WAITING,
  type Waiter,
  WRITING,
} from '../../src/shared/sync/point.ts';

export interface Trial {
  readonly actors: readonly { readonly waiter: Waiter; readonly path: Path<unknown> }[];
  /** What is wrong after this step, or nothing. */
  atStep?(): string | undefined;
  /** What is wrong once every actor has ended, or nothing. */
  atEnd?(): string | undefined;
}

export interface ExploreOptions {
  /** Size of the memory the trial uses, from address 0; zeroed before each execution. */
  readonly bytes: number;
  readonly setUp: (mem: Mem) => Trial;
  /** Most switches away from an actor that could have gone on. Default: any number, every interleaving. */
  readonly preemptions?: number;
  /** Give up beyond this many states. */
  readonly maxStates?: number;
  /** Continue equal states once. Off only to test this very thing. */
  readonly merge?: boolean;
}

export interface ExploreFailure {
  readonly kind: 'deadlock' | 'check' | 'thrown';
  readonly message: string;
  /** The steps that led there, one `actor: operation` each. */
  readonly schedule: readonly string[];
}

export interface Explored {
  /** Interleavings covered. */
  readonly schedules: number;
  readonly states: number;
  readonly steps: number;
  /** The first thing that went wrong, in search order. */
  readonly failure: ExploreFailure | null;
}

const KIND_NAMES: Readonly<Record<number, string>> = {
  [READING]: 'reads',
  [WRITING]: 'writes',
  [UPDATING]: 'updates',
  [WAITING]: 'waits on',
  [NOTIFYING]: 'notifies',
  [STEPPING]: 'steps at',
};

/** Actor states that are no point: it has ended, or it sleeps. */
const ENDED = -1;
const ASLEEP = -2;

export function explore(opts: ExploreOptions): Explored {
  const { preemptions = Number.POSITIVE_INFINITY, maxStates = 2_000_000, merge = true } = opts;
  const mem = new WatchedMem();
  /** State key → number in `nexts`. */
  const numbers = new Map<string, number>();
  /** For each state the states that follow it; none for an end. */
  const nexts: number[][] = [];
  /** Branches not taken yet: the choices that lead there, and the state they branch from. */
  const pending: { choices: number[]; from: number }[] = [{ choices: [], from: -1 }];
  let steps = 0;
  let failure: ExploreFailure | null = null;

  while (pending.length > 0 && failure === null) {
    const { choices, from } = pending.pop()!;
    const run = new Run(mem, opts);
    for (const choice of choices) run.step(choice);
    let before = from;
    for (;;) {
      steps += 1;
      failure = run.failure;
      const enabled = failure === null ? run.enabled(preemptions) : [];
      if (failure === null && enabled.length === 0) failure = run.endFailure();
      const key = merge ? run.key(preemptions) : String(nexts.length);
      let state = numbers.get(key);
      const isNew = state === undefined;
      if (state === undefined) {
        state = nexts.length;
        numbers.set(key, state);
        nexts.push([]);
        if (nexts.length > maxStates) throw new RangeError(`more than ${maxStates} states`);
      }
      if (before >= 0) nexts[before]!.push(state);
      if (failure !== null || !isNew || enabled.length === 0) break;
      for (const choice of enabled.slice(1).reverse()) {
        pending.push({ choices: [...run.choices, choice], from: state });
      }
      before = state;
      run.step(enabled[0]!);
    }
  }
  return { schedules: failure === null ? countPaths(nexts) : 0, states: nexts.length, steps, failure };
}

/** Says what happened in a form that makes a test's message: the failure with its schedule, or nothing. */
export function report({ failure }: Explored): string {
  return failure === null ? '' : `${failure.kind}: ${failure.message}\n  ${failure.schedule.join('\n  ')}`;
}

/** One execution. */
class Run {
  readonly choices: number[] = [];
  failure: ExploreFailure | null = null;
  readonly #mem: WatchedMem;
  readonly #trial: Trial;
  /** Each actor's next point, or ENDED, or ASLEEP. */
  readonly #at: Point[];
  /** Actors that have been woken and have not run since. */
  readonly #woken: boolean[];
  /** Who sleeps, in order of falling asleep. */
  #sleepers: { actor: number; addr: number; timed: boolean }[] = [];
  readonly #log: { actor: number; at: Point; woken: boolean }[] = [];
  #last = -1;
  #preempted = 0;

  constructor(mem: WatchedMem, { bytes, setUp }: ExploreOptions) {
    this.#mem = mem;
    mem.reset(bytes);
    this.#trial = setUp(mem);
    mem.histories = this.#trial.actors.map(() => 0);
    mem.onNotify = (addr, count) => this.#wake(addr, count);
    this.#woken = this.#trial.actors.map(() => false);
    this.#at = this.#trial.actors.map(() => ENDED);
    for (let actor = 0; actor < this.#at.length; actor++) this.#resume(actor, 0);
    this.#check();
  }

  /** Runnable actors, the one that ran last first. */
  enabled(preemptions: number): number[] {
    const runnable: number[] = [];
    for (let actor = 0; actor < this.#at.length; actor++) if (this.#canRun(actor)) runnable.push(actor);
    if (!runnable.includes(this.#last)) return runnable;
    if (this.#preempted >= preemptions) return [this.#last];
    return [this.#last, ...runnable.filter((actor) => actor !== this.#last)];
  }

  /** Lets `actor` do the operation it has announced, and go on to its next point. */
  step(actor: number): void {
    if (this.#last >= 0 && this.#last !== actor && this.#canRun(this.#last)) this.#preempted += 1;
    this.#last = actor;
    this.choices.push(actor);
    const at = this.#at[actor]!;
    const woken = this.#woken[actor]!;
    this.#log.push({ actor, at, woken });
    this.#woken[actor] = false;
    if (at === ASLEEP) {
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.actor !== actor);
      this.#resume(actor, WAIT_TIMED_OUT);
    } else if (woken) {
      this.#resume(actor, WAIT_WOKEN);
    } else if (at % POINT_KINDS === WAITING) {
      this.#wait(actor, Math.floor(at / POINT_KINDS));
    } else {
      this.#resume(actor, 0);
    }
    this.#check();
  }

  /** Nobody can run: has everybody ended, and well? */
  endFailure(): ExploreFailure | null {
    const asleep = this.#sleepers.map(
      ({ actor, addr }) => `actor ${actor} asleep on 0x${addr.toString(16)} = ${this.#mem.i32[addr >>> 2]}`,
    );
    if (asleep.length > 0) return this.#fail('deadlock', asleep.join('; '));
    const message = this.#trial.atEnd?.();
    return message === undefined ? null : this.#fail('check', message);
  }

  /** Equal keys have equal futures. */
  key(preemptions: number): string {
    const bound = preemptions === Number.POSITIVE_INFINITY ? '' : `${this.#last}:${this.#preempted}`;
    const sleepers = this.#sleepers.map(({ actor, addr }) => `${actor}@${addr}`).join();
    return [this.#mem.image(), this.#mem.histories, this.#at, this.#woken, sleepers, bound].join('|');
  }

  #canRun(actor: number): boolean {
    const at = this.#at[actor]!;
    return (
      at >= 0 || (at === ASLEEP && this.#sleepers.some((sleeper) => sleeper.actor === actor && sleeper.timed))
    );
  }

  #resume(actor: number, answer: number): void {
    this.#mem.running = actor;
    this.#mem.observe(answer);
    try {
      const next = this.#trial.actors[actor]!.path.next(answer);
      this.#at[actor] = next.done === true ? ENDED : next.value;
    } catch (error) {
      this.#at[actor] = ENDED;
      this.failure ??= this.#fail('thrown', String(error));
    }
    this.#mem.running = -1;
  }

  #wait(actor: number, addr: number): void {
    const { waiter } = this.#trial.actors[actor]!;
    const timed = waiter.timeoutMs !== Number.POSITIVE_INFINITY;
    waiter.timeoutMs = Number.POSITIVE_INFINITY;
    if (this.#mem.i32[addr >>> 2] !== waiter.expect) {
      this.#resume(actor, WAIT_CHANGED);
    } else {
      this.#sleepers.push({ actor, addr, timed });
      this.#at[actor] = ASLEEP;
    }
  }

  #wake(addr: number, count: number): number {
    const woken = this.#sleepers.filter((sleeper) => sleeper.addr === addr).slice(0, count);
    this.#sleepers = this.#sleepers.filter((sleeper) => !woken.includes(sleeper));
    for (const { actor } of woken) {
      this.#at[actor] = addr * POINT_KINDS + WAITING;
      this.#woken[actor] = true;
    }
    return woken.length;
  }

  #check(): void {
    const message = this.#trial.atStep?.();
    if (message !== undefined) this.failure ??= this.#fail('check', message);
  }

  #fail(kind: ExploreFailure['kind'], message: string): ExploreFailure {
    const schedule = this.#log.map(({ actor, at, woken }) => {
      if (at === ASLEEP) return `actor ${actor} times out`;
      const cell = `0x${Math.floor(at / POINT_KINDS).toString(16)}`;
      return `actor ${actor} ${woken ? 'wakes at' : KIND_NAMES[at % POINT_KINDS]} ${cell}`;
    });
    return { kind, message, schedule };
  }
}

/** Shared memory that notes what each actor's operations answered, and turns `notify` over to the explorer. */
class WatchedMem extends Mem {
  running = -1;
  /** For each actor, the number of its list of answers. */
  histories: number[] = [];
  onNotify: (addr: number, count: number) => number = () => 0;
  #words = 0;
  readonly #lists = new Map<string, number>();

  constructor() {
    super(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  }

  reset(bytes: number): void {
    this.#words = bytes >>> 2;
    this.i32.fill(0, 0, this.#words);
    this.running = -1;
  }

  image(): string {
    return this.i32.subarray(0, this.#words).join();
  }

  /** Appends `answer` to the list of the running actor. Lists are numbered, so that equal lists are equal numbers. */
  observe(answer: number): void {
    if (this.running < 0) return;
    const longer = `${this.histories[this.running]},${answer}`;
    let list = this.#lists.get(longer);
    if (list === undefined) {
      list = this.#lists.size + 1;
      this.#lists.set(longer, list);
    }
    this.histories[this.running] = list;
  }

  override load(addr: number): number {
    return this.#noted(super.load(addr));
  }
  override add(addr: number, delta: number): number {
    return this.#noted(super.add(addr, delta));
  }
  override or(addr: number, bits: number): number {
    return this.#noted(super.or(addr, bits));
  }
  override and(addr: number, bits: number): number {
    return this.#noted(super.and(addr, bits));
  }
  override exchange(addr: number, value: number): number {
    return this.#noted(super.exchange(addr, value));
  }
  override cas(addr: number, expected: number, value: number): number {
    return this.#noted(super.cas(addr, expected, value));
  }
  override notify(addr: number, count = Number.POSITIVE_INFINITY): number {
    return this.#noted(this.onNotify(addr, count));
  }

  #noted(answer: number): number {
    this.observe(answer);
    return answer;
  }
}

/** Number of ways from state 0 to an end. The graph has no cycles: every step makes some list of answers longer. */
function countPaths(nexts: readonly (readonly number[])[]): number {
  const counts = new Float64Array(nexts.length).fill(-1);
  const stack = [0];
  while (stack.length > 0) {
    const state = stack.at(-1)!;
    const open = nexts[state]!.filter((next) => counts[next]! < 0);
    if (open.length > 0) {
      stack.push(...open);
      continue;
    }
    stack.pop();
    const sum = nexts[state]!.reduce((total, next) => total + counts[next]!, 0);
    counts[state] = nexts[state]!.length === 0 ? 1 : sum;
  }
  return counts[0]!;
}
