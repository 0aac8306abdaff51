/**
 * DPOR: dynamic partial-order reduction with source sets and sleep sets. Executes one schedule of every trace
 * (dependence.ts says which steps depend on each other), and of no trace two; some executions are given up as soon as
 * it shows that all they can become has been seen. When it ends, everything has been seen that can be seen.
 *
 * Each execution repeats the one before up to a step, goes another way there, and then by the default policy. Whenever
 * a step turns out to race with an earlier one of another actor, some actor that leads to the other order is noted as
 * a way to go before that earlier step. An actor whose ways before a step have all been tried sleeps after it, until a
 * step is taken that depends on its own.
 *
 * What is particular here:
 *
 * - A wait is up to two steps: one that looks and queues, and one that is woken or timed out. Being woken depends on
 *   nothing but its notify, and races with it only if the sleep had a timeout, which could have come first.
 * - All answers to a `choosing` point are tried, one after the other, where the first has been.
 * - Who relaxes a second time has to wait until somebody else has changed what it looks at; whoever polls otherwise is
 *   held to fairness (fairness.ts). LIMIT: with such actors single traces can be missed.
 * - `dpor-locks` takes locks for what they promise: an actor that would have to wait for a lock cannot move, all that
 *   matters of a lock is who has it after whom, and sharers do not matter to each other. That leaves out what happens
 *   inside of locks under contention, which is most of all traces, and with it what is wrong inside of a lock. When
 *   nobody can move but for locks, they go and wait for them, so that the engine sees the deadlock.
 * - An execution that ends early (at a finding, or because only servers are left) is taken to go on with one more step
 *   of each actor. LIMIT: what lies behind a finding is seen only by executions that keep going.
 *
 * @source Abdulla, Aronis, Jonsson and Sagonas, "Source Sets: A Foundation for Optimal Dynamic Partial Order
 *   Reduction", JACM 64(4), 2017, algorithm 1; Godefroid, "Partial-Order Methods", 1996, for sleep sets
 */
import { kindOf, RELAXING, WAIT_TIMED_OUT, WAITING } from '../../shared/sync/point.ts';
import { ACQUIRES, type LockTable, SHARED } from '../engine/lock-table.ts';
import { lowest, PRUNE, type RunEnd, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';
import { FELL_ASLEEP } from '../engine/trace.ts';
import { CellTable } from '../seen/cell-table.ts';
import { cellOf, dependent, EVERYTHING, effectsOf, QUEUES, READS, WRITES } from './dependence.ts';
import { Fairness } from './fairness.ts';

const FIRST_CAPACITY = 256;
const NONE = -1;

export class Dpor implements Strategy {
  readonly name: string;
  readonly watchesLocks: boolean;
  readonly #cells = new CellTable();
  readonly #fairness = new Fairness();
  #actorCount = 0;
  #ended = false;
  #blocked = 0;
  #locks: LockTable | null = null;

  // By depth: the state before a step, and what was and is to be tried there. Sets are masks of actors.
  #moves = new Int32Array(FIRST_CAPACITY);
  #sleep = new Int32Array(FIRST_CAPACITY);
  #back = new Int32Array(FIRST_CAPACITY);
  #done = new Int32Array(FIRST_CAPACITY);
  #actor = new Int32Array(FIRST_CAPACITY);
  #way = new Int32Array(FIRST_CAPACITY);
  #ways = new Int32Array(FIRST_CAPACITY);
  /** Steps below this depth are those of the execution before. */
  #repeated = 0;

  // By depth: the step itself, once it has been taken.
  /** How many of these are about the present execution. */
  #count = 0;
  #point = new Float64Array(FIRST_CAPACITY);
  /** What it is to a lock: see lock-table.ts. */
  #use = new Int32Array(FIRST_CAPACITY);
  /** Of an acquisition that goes to wait: for whom. */
  #excluding = new Int32Array(FIRST_CAPACITY);
  #effects = new Int32Array(FIRST_CAPACITY);
  #cell = new Int32Array(FIRST_CAPACITY);
  /** Step before it at the same cell, step before it of the same actor, last step before it that touched everything. */
  #beforeAtCell = new Int32Array(FIRST_CAPACITY);
  #beforeOfActor = new Int32Array(FIRST_CAPACITY);
  #beforeWorld = new Int32Array(FIRST_CAPACITY);
  /** Whom it has woken; who of them slept with a timeout. */
  #woke = new Int32Array(FIRST_CAPACITY);
  #wokeTimed = new Int32Array(FIRST_CAPACITY);
  /** By depth and actor: how many steps of that actor happen before it, itself included. */
  #clocks = new Int32Array(0);

  // Ends of the three chains.
  #lastAtCell = new Int32Array(FIRST_CAPACITY).fill(NONE);
  #lastOfActor = new Int32Array(0);
  #lastWorld = NONE;

  // Reused: the clock of the step that is being looked at, and first steps of actors.
  #now = new Int32Array(0);
  #first = new Int32Array(0);
  readonly #joinLater: number[] = [];

  constructor({ trustLocks = false } = {}) {
    this.name = trustLocks ? 'dpor-locks' : 'dpor';
    this.watchesLocks = trustLocks;
  }

  /** Everything has been seen; if it {@link reliesOnLocks}, provided that they are right. */
  get isComplete(): boolean {
    return this.#ended;
  }

  get reliesOnLocks(): boolean {
    return this.#locks?.isUsed ?? false;
  }

  /** Executions that were given up because they led to nothing new. */
  get blocked(): number {
    return this.#blocked;
  }

  begin({ actorCount }: RunInfo): boolean {
    if (this.#actorCount === 0) {
      this.#actorCount = actorCount;
      this.#clocks = new Int32Array(FIRST_CAPACITY * actorCount);
      this.#lastOfActor = new Int32Array(actorCount).fill(NONE);
      this.#now = new Int32Array(actorCount);
      this.#first = new Int32Array(actorCount);
    }
    if (actorCount !== this.#actorCount) {
      throw new RangeError(`dpor: ${actorCount} actors, ${this.#actorCount} before`);
    }
    this.#fairness.begin();
    return !this.#ended;
  }

  pick(view: View): number {
    const depth = view.step;
    if (depth === this.#actor.length) this.#grow();
    const { locks } = view;
    this.#locks = locks;
    locks?.settle();
    const actor = this.#pickAt(view, depth);
    if (actor !== PRUNE && locks !== null) {
      if (depth >= this.#count) this.#noteUse(actor, depth, view.at[actor]!);
      locks.step(actor, view.at[actor]!);
    }
    return actor;
  }

  #pickAt(view: View, depth: number): number {
    const fair = this.#fairness.movable(view);
    if (depth > this.#count) this.#take(view);
    if (depth < this.#repeated) return this.#actor[depth]!;

    const moves = this.#movesOf(view, fair);
    const sleep = depth === 0 ? 0 : this.#sleepAfter(view, depth - 1);
    const from = moves & ~sleep;
    if (from === 0) {
      this.#blocked += 1;
      return PRUNE;
    }
    const { fallback, runnable } = view;
    const actor = (from & (1 << fallback)) !== 0 ? fallback : lowest(from & runnable || from);
    this.#moves[depth] = moves;
    this.#sleep[depth] = sleep;
    this.#back[depth] = 1 << actor;
    this.#done[depth] = 0;
    this.#actor[depth] = actor;
    this.#way[depth] = 0;
    this.#ways[depth] = 1;
    return actor;
  }

  choose(view: View, _actor: number, ways: number): number {
    // The step is counted before it is asked for.
    const depth = view.step - 1;
    this.#ways[depth] = ways;
    return this.#way[depth]!;
  }

  end(view: View, { pruned }: RunEnd): void {
    this.#locks?.settle();
    if (view.step > this.#count) this.#take(view);
    if (!pruned) {
      for (let rest = view.runnable | view.timed; rest !== 0; rest &= rest - 1) {
        const actor = lowest(rest);
        const timesOut = (view.timed & (1 << actor)) !== 0;
        const effects = effectsOf(view.at[actor]!, this.#isAsleep(view, actor), timesOut);
        const depth = this.#count;
        const point = view.at[actor]!;
        if (depth === this.#actor.length) this.#grow();
        this.#noteUse(actor, depth, point);
        this.#look(actor, depth, point, effects, this.#numberOf(point, effects));
      }
    }
    this.#goBack();
  }

  // ── what is to be tried ───────────────────────────────────────────────────────────────────────────────────────

  /** To the deepest step that has another way to go. */
  #goBack(): void {
    for (let depth = this.#count - 1; depth >= 0; depth--) {
      if (this.#way[depth]! + 1 < this.#ways[depth]!) {
        this.#rewind(depth);
        this.#way[depth]! += 1;
        return;
      }
      this.#done[depth]! |= 1 << this.#actor[depth]!;
      const left = this.#back[depth]! & ~this.#done[depth]! & ~this.#sleep[depth]!;
      if (left === 0) continue;
      this.#rewind(depth);
      this.#actor[depth] = lowest(left);
      this.#way[depth] = 0;
      this.#ways[depth] = 1;
      return;
    }
    this.#ended = true;
  }

  /** Forgets the steps from `depth` on. */
  #rewind(depth: number): void {
    for (let i = this.#count - 1; i >= depth; i--) {
      if (this.#cell[i] !== NONE) this.#lastAtCell[this.#cell[i]!] = this.#beforeAtCell[i]!;
      this.#lastOfActor[this.#actor[i]!] = this.#beforeOfActor[i]!;
      this.#lastWorld = this.#beforeWorld[i]!;
    }
    this.#count = depth;
    this.#repeated = depth + 1;
  }

  /** Who sleeps after the step at `depth`: all that were to be left alone before it, and do not depend on it. */
  #sleepAfter(view: View, depth: number): number {
    const { trace, at } = view;
    let sleep = (this.#sleep[depth]! | this.#done[depth]!) & ~(1 << this.#actor[depth]!);
    const effects = this.#effects[depth]!;
    const cell = cellOf(this.#point[depth]!);
    for (let rest = sleep; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      const timesOut = (trace.timed[depth]! & (1 << actor)) !== 0;
      const other = effectsOf(at[actor]!, this.#isAsleep(view, actor), timesOut);
      const use = this.#locks?.useOf(actor, at[actor]!) ?? 0;
      if (commute(use, this.#use[depth]!)) continue;
      if (dependent(cell, effects, cellOf(at[actor]!), other)) sleep &= ~(1 << actor);
    }
    return sleep;
  }

  /** Has it fallen asleep, so that its next step ends that sleep? */
  #isAsleep({ trace }: View, actor: number): boolean {
    const last = this.#lastOfActor[actor]!;
    return last !== NONE && trace.answer[last] === FELL_ASLEEP;
  }

  /** Who can move, without those who would only poll the same again. */
  #movesOf({ runnable, timed, at }: View, fair: number): number {
    const locks = this.#locks;
    let moves = fair;
    for (let rest = locks === null ? 0 : fair & runnable; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if (locks?.excluding(actor, at[actor]!) !== 0) moves &= ~(1 << actor);
    }
    for (let rest = fair & runnable; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if (kindOf(at[actor]!) !== RELAXING) continue;
      if (this.#changesSinceRelaxed(actor, at[actor]!, NONE) === 0) moves &= ~(1 << actor);
    }
    return moves !== 0 ? moves : runnable | timed;
  }

  /**
   * Steps of others, without step `except`, that may have changed what `actor` looks at since it relaxed last; 1 if it
   * never has.
   */
  #changesSinceRelaxed(actor: number, point: number, except: number): number {
    let changes = 0;
    for (let i = this.#count - 1; i >= 0; i--) {
      const effects = this.#effects[i]!;
      if (this.#actor[i] === actor) {
        if (kindOf(this.#point[i]!) === RELAXING) return changes;
      } else if (i !== except && this.#point[i] !== RELAXING) {
        const sees =
          point === RELAXING || (effects & EVERYTHING) !== 0 || cellOf(this.#point[i]!) === cellOf(point);
        if (sees && (effects & (WRITES | EVERYTHING)) !== 0) changes += 1;
      }
    }
    return 1;
  }

  /** What a step of `actor` at `depth` is to a lock. */
  #noteUse(actor: number, depth: number, point: number): void {
    this.#use[depth] = this.#locks?.useOf(actor, point) ?? 0;
    this.#excluding[depth] = this.#locks?.excluding(actor, point) ?? 0;
  }

  // ── what happened before what ─────────────────────────────────────────────────────────────────────────────────

  /** The last step has been taken: notes it, and looks what it races with. */
  #take(view: View): void {
    const { trace, runnable } = view;
    const depth = this.#count;
    const actor = trace.actor[depth]!;
    const point = trace.point[depth]!;
    const effects = effectsOf(point, this.#isAsleep(view, actor), trace.answer[depth] === WAIT_TIMED_OUT);
    const cell = this.#numberOf(point, effects);
    this.#look(actor, depth, point, effects, cell);
    if (this.#use[depth] === 0) this.#use[depth] = this.#locks?.tried ?? 0;

    const woke = runnable & ~trace.runnable[depth]! & ~(1 << actor);
    this.#point[depth] = point;
    this.#effects[depth] = effects;
    this.#cell[depth] = cell;
    this.#woke[depth] = woke;
    this.#wokeTimed[depth] = woke & trace.timed[depth]!;
    const n = this.#actorCount;
    this.#now[actor]! += 1;
    this.#clocks.set(this.#now, depth * n);
    this.#beforeOfActor[depth] = this.#lastOfActor[actor]!;
    this.#lastOfActor[actor] = depth;
    this.#beforeWorld[depth] = this.#lastWorld;
    if (effects === EVERYTHING) this.#lastWorld = depth;
    if (cell !== NONE) {
      this.#beforeAtCell[depth] = this.#lastAtCell[cell]!;
      this.#lastAtCell[cell] = depth;
    }
    this.#count = depth + 1;
  }

  /** The number of the cell that a step touches; NONE if it touches none, or everything. */
  #numberOf(point: number, effects: number): number {
    if (effects === 0 || effects === EVERYTHING) return NONE;
    const number = this.#cells.numberOf(cellOf(point));
    if (number >= this.#lastAtCell.length) {
      const grown = new Int32Array(this.#lastAtCell.length * 2).fill(NONE);
      grown.set(this.#lastAtCell);
      this.#lastAtCell = grown;
    }
    return number;
  }

  /**
   * Goes back over the steps that a step of `actor` directly depends on, the latest first, and brings `now` to what
   * happens before it. Whatever does not happen before it by way of another races with it.
   */
  #look(actor: number, depth: number, point: number, effects: number, cell: number): void {
    const before = this.#lastOfActor[actor]!;
    const n = this.#actorCount;
    if (before === NONE) this.#now.fill(0);
    else for (let i = 0; i < n; i++) this.#now[i] = this.#clocks[before * n + i]!;

    // Only one that has fallen asleep can have been woken since.
    for (let i = depth - 1; i > before && kindOf(point) === WAITING; i--) {
      if ((this.#woke[i]! & (1 << actor)) === 0) continue;
      if ((this.#wokeTimed[i]! & (1 << actor)) !== 0) this.#reverse(i, depth, actor);
      this.#join(i);
    }
    if (effects === 0) return;
    if (effects === EVERYTHING) {
      for (let i = depth - 1; i >= 0 && i >= this.#lastWorld; i--) {
        if (this.#effects[i] !== 0) this.#depend(i, depth, actor, point);
      }
      return;
    }
    let value = (effects & (READS | WRITES)) !== 0;
    let queue = (effects & QUEUES) !== 0;
    const writes = (effects & WRITES) !== 0;
    const use = this.#use[depth]!;
    // Going back over uses of a lock: whoever is inside of a section that excludes the one looked at.
    let inside = this.#excluding[depth]!;
    for (
      let i = this.#lastAtCell[cell]!;
      i > this.#lastWorld && (value || queue);
      i = this.#beforeAtCell[i]!
    ) {
      const other = this.#effects[i]!;
      const otherUse = this.#use[i]!;
      const one = 1 << this.#actor[i]!;
      if (use !== 0 && otherUse !== 0) {
        if (this.#actor[i] === actor) {
          if ((otherUse & ACQUIRES) !== 0) value = false;
        } else if (!commute(use, otherUse)) {
          inside &= ~one;
          this.#depend(i, depth, actor, point);
          if ((otherUse & SHARED) === 0) value = false;
        } else if ((use & ACQUIRES) !== 0 && (use & otherUse & SHARED) === 0) {
          inside |= one;
          this.#joinLater.push(i);
        }
        continue;
      }
      if (inside !== 0) {
        // It could not be the other way around: here the lock is held.
        this.#joinLater.push(i);
        continue;
      }
      const onValue = value && ((other & WRITES) !== 0 || (writes && (other & READS) !== 0));
      if (onValue || (queue && (other & QUEUES) !== 0)) this.#depend(i, depth, actor, point);
      if ((other & WRITES) !== 0) value = false;
      if ((other & QUEUES) !== 0) queue = false;
    }
    // A release lets the acquisition happen and is no race: the race is with the acquisition before it.
    for (const i of this.#joinLater) this.#join(i);
    this.#joinLater.length = 0;
    if (this.#lastWorld !== NONE) this.#depend(this.#lastWorld, depth, actor, point);
  }

  /** A step of `actor` directly depends on step `i`, unless that happens before it anyway. */
  #depend(i: number, depth: number, actor: number, point: number): void {
    const other = this.#actor[i]!;
    const ordinal = this.#clocks[i * this.#actorCount + other]!;
    if (other === actor || this.#now[other]! >= ordinal) return;
    const possible = kindOf(point) !== RELAXING || this.#changesSinceRelaxed(actor, point, i) > 0;
    if (possible) this.#reverse(i, depth, actor);
    this.#join(i);
  }

  #join(i: number): void {
    const n = this.#actorCount;
    for (let a = 0; a < n; a++) {
      const seen = this.#clocks[i * n + a]!;
      if (seen > this.#now[a]!) this.#now[a] = seen;
    }
  }

  /**
   * The step of `actor` at `depth` races with step `i`: sees to it that before `i` somebody is tried that leads to the
   * other order. Those are the actors that can begin what follows `i` and does not depend on it, and then that step.
   */
  #reverse(i: number, depth: number, actor: number): void {
    const n = this.#actorCount;
    const raced = this.#actor[i]!;
    const ordinal = this.#clocks[i * n + raced]!;
    let seen = 0;
    let initials = 0;
    for (let k = i + 1; k < depth; k++) {
      const who = this.#actor[k]!;
      if ((seen & (1 << who)) !== 0 || this.#clocks[k * n + raced]! >= ordinal) continue;
      if (!this.#follows(this.#clocks, k * n, seen)) initials |= 1 << who;
      seen |= 1 << who;
      this.#first[who] = this.#clocks[k * n + who]!;
    }
    if ((seen & (1 << actor)) === 0 && !this.#follows(this.#now, 0, seen)) initials |= 1 << actor;

    if ((initials & (this.#back[i]! | this.#sleep[i]!)) !== 0) return;
    const able = initials & this.#moves[i]!;
    if (able === 0) this.#back[i]! |= this.#moves[i]!;
    else this.#back[i]! |= (able & (1 << actor)) !== 0 ? 1 << actor : able & -able;
  }

  /** Does the first step of anybody in `seen` happen before the step with this clock? */
  #follows(clocks: Int32Array, at: number, seen: number): boolean {
    for (let rest = seen; rest !== 0; rest &= rest - 1) {
      const who = lowest(rest);
      if (clocks[at + who]! >= this.#first[who]!) return true;
    }
    return false;
  }

  #grow(): void {
    const size = this.#actor.length * 2;
    const ints = (old: Int32Array, width = 1) => {
      const fresh = new Int32Array(size * width);
      fresh.set(old);
      return fresh;
    };
    this.#moves = ints(this.#moves);
    this.#sleep = ints(this.#sleep);
    this.#back = ints(this.#back);
    this.#done = ints(this.#done);
    this.#actor = ints(this.#actor);
    this.#way = ints(this.#way);
    this.#ways = ints(this.#ways);
    this.#effects = ints(this.#effects);
    this.#cell = ints(this.#cell);
    this.#beforeAtCell = ints(this.#beforeAtCell);
    this.#beforeOfActor = ints(this.#beforeOfActor);
    this.#beforeWorld = ints(this.#beforeWorld);
    this.#woke = ints(this.#woke);
    this.#use = ints(this.#use);
    this.#excluding = ints(this.#excluding);
    this.#wokeTimed = ints(this.#wokeTimed);
    this.#clocks = ints(this.#clocks, this.#actorCount);
    const point = new Float64Array(size);
    point.set(this.#point);
    this.#point = point;
  }
}

/** Of two uses of one lock: does their order not matter, or is it given? An ordinary step (0) is no use. */
function commute(a: number, b: number): boolean {
  if (a === 0 || b === 0) return false;
  return (a & b & ACQUIRES) === 0 || (a & b & SHARED) !== 0;
}
