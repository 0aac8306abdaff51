/**
 * Systematic search in the order of what a schedule costs: all schedules without deviations from the default policy,
 * then all that cost at most one, two, … Nothing is stored but the way to the present schedule: each execution repeats
 * the one before up to its last step that has another way open, and goes another way there.
 *
 *   preemptions (ipb)   to take the turn from somebody who could have gone on costs 1
 *   delays (idb)        to let the n-th in turn go instead of the first costs n
 *   none (dfs)          nothing costs anything: all schedules, in the order of their last decisions
 *
 * To end a wait by its timeout while somebody could move costs 1 (delays: its place in turn, which is after all that can
 * move). An answer of n to a choice costs nothing: all of them are tried at once.
 *
 * The search ends when a bound has cut nothing off: then every schedule has been executed, but for unfair ones.
 *
 * @source Musuvathi and Qadeer, "Iterative Context Bounding", PLDI 2007; Emmi, Qadeer and Rakamarić, "Delay-Bounded
 *   Scheduling", POPL 2011
 */
import { lowest, population, type Strategy, type View } from '../engine/strategy.ts';
import { Fairness } from './fairness.ts';

export type Cost = 'preemptions' | 'delays' | 'none';

const NAMES: Readonly<Record<Cost, string>> = { preemptions: 'ipb', delays: 'idb', none: 'dfs' };

const FIRST_CAPACITY = 1024;

export class BoundedSearch implements Strategy {
  readonly name: string;
  readonly #cost: Cost;
  readonly #maxBound: number;
  readonly #fairness = new Fairness();
  #bound = 0;
  /** Something cost more than the bound allows. */
  #cut = false;
  #ended = false;
  /** The decisions of the present execution, by depth: which option was taken, of how many. */
  #taken = new Int32Array(FIRST_CAPACITY);
  #options = new Int32Array(FIRST_CAPACITY);
  #depth = 0;
  /** How many of them repeat the execution before; the last of those goes another way. */
  #prefix = 0;
  /** What they cost. */
  #spent = 0;

  /** @param maxBound  ends after it, whether or not it has cut something off */
  constructor(cost: Cost, maxBound = Number.POSITIVE_INFINITY) {
    this.#cost = cost;
    this.#maxBound = maxBound;
    this.name = maxBound === Number.POSITIVE_INFINITY ? NAMES[cost] : `${NAMES[cost]}${maxBound}`;
  }

  /** What the present schedules may cost. */
  get bound(): number {
    return this.#bound;
  }

  /** Every schedule has been executed: nothing is left that was cut off. */
  get isComplete(): boolean {
    return this.#ended && !this.#cut;
  }

  begin(): boolean {
    if (this.#ended) return false;
    this.#fairness.begin();
    this.#depth = 0;
    this.#spent = 0;
    return true;
  }

  pick(view: View): number {
    const may = this.#fairness.movable(view);
    const awake = may & view.runnable;
    const asleep = may & view.timed;
    const awakeCount = population(awake);
    const count = awakeCount + population(asleep);
    const first = awake === 0 ? lowest(asleep) : turnOf(awake, view.fallback, 0);
    const goesOn = first === view.last;

    const option = this.#next(this.#affordable(count, awakeCount, goesOn));
    if (this.#cost === 'delays') this.#spent += option;
    else if (option > 0 && awakeCount > 0 && (goesOn || option >= awakeCount)) this.#spent += 1;
    return option < awakeCount ? turnOf(awake, first, option) : turnOf(asleep, 0, option - awakeCount);
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#next(ways);
  }

  /** Finds the last decision that has another way open. */
  end(): void {
    let depth = this.#depth - 1;
    while (depth >= 0 && this.#taken[depth]! + 1 >= this.#options[depth]!) depth -= 1;
    if (depth >= 0) {
      this.#taken[depth]! += 1;
      this.#prefix = depth + 1;
      return;
    }
    this.#prefix = 0;
    this.#ended = !this.#cut || this.#bound >= this.#maxBound;
    if (this.#ended) return;
    this.#bound += 1;
    this.#cut = false;
  }

  /** How many of the options, in turn, the bound leaves. */
  #affordable(count: number, awakeCount: number, goesOn: boolean): number {
    const rest = this.#bound - this.#spent;
    let affordable = count;
    if (this.#cost === 'delays') affordable = Math.min(count, rest + 1);
    else if (this.#cost === 'preemptions' && rest === 0 && awakeCount > 0)
      affordable = goesOn ? 1 : awakeCount;
    if (affordable < count) this.#cut = true;
    return affordable;
  }

  #next(options: number): number {
    const depth = this.#depth;
    if (depth === this.#taken.length) this.#grow();
    if (depth >= this.#prefix) {
      this.#taken[depth] = 0;
      this.#options[depth] = options;
    } else if (this.#options[depth] !== options) {
      throw new RangeError(
        `${this.name}: ${options} ways at decision ${depth}, ${this.#options[depth]} before`,
      );
    }
    this.#depth = depth + 1;
    return this.#taken[depth]!;
  }

  #grow(): void {
    const size = this.#taken.length * 2;
    const taken = new Int32Array(size);
    const options = new Int32Array(size);
    taken.set(this.#taken);
    options.set(this.#options);
    this.#taken = taken;
    this.#options = options;
  }
}

/** The `n`-th of a mask, counted from the first at or after actor `from`, around. */
function turnOf(mask: number, from: number, n: number): number {
  const after = mask & (-1 << from);
  const late = population(after);
  let rest = n < late ? after : mask;
  for (let i = n < late ? n : n - late; i > 0; i--) rest &= rest - 1;
  return lowest(rest);
}
