/**
 * PCT: probabilistic concurrency testing. Actors get random priorities, the highest that can move moves; at d − 1 steps
 * drawn beforehand whoever is about to move falls below everybody else.
 *
 * A bug that d ordering constraints force is found in each execution with a probability of at least
 * 1 / (n · k^(d−1)), for n actors and k steps ({@link pctBound}). Two things are not in the paper and keep that up to
 * a constant factor at worst:
 *
 * - Who relaxes, or whose wait a timeout has ended, falls below everybody, so that a poll never keeps out who it
 *   polls for.
 * - In an execution each actor's timeouts are early with a chance of 1/4: then its sleep is a move with its priority.
 *   Otherwise they come when nobody else can move; while somebody polls, now and then.
 *
 * @source Burckhardt, Kothari, Musuvathi and Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of
 *   Finding Bugs", ASPLOS 2010
 */
import { kindOf, RELAXING } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import { nthOf, population, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';
import { Answers } from './answers.ts';
import { Dice } from './dice.ts';
import { highest } from './priorities.ts';

/** For the change points of a first execution, when nobody knows its length. */
const FIRST_STEPS = 64;
/** One poll in this many lets time pass. */
const TIMEOUT_EVERY_POLLS = 8;

/** Least probability that one schedule of PCT(`depth`) shows a bug of that depth. */
export function pctBound({ actors, steps, depth }: { actors: number; steps: number; depth: number }): number {
  return 1 / (actors * steps ** (depth - 1));
}

/** Schedules after which something that shows in each with `probability` has shown with `confidence`. */
export function schedulesFor(probability: number, confidence: number): number {
  return Math.ceil(Math.log1p(-confidence) / Math.log1p(-probability));
}

export class Pct implements Strategy {
  readonly name: string;
  readonly depth: number;
  readonly #dice = new Dice();
  readonly #answers = new Answers(this.#dice);
  readonly #priority = new Int32Array(ACTOR_LIMIT);
  /** Steps before which a priority changes, ascending, and what it changes to. */
  readonly #changeAt: Int32Array;
  readonly #changeTo: Int32Array;
  #nextChange = 0;
  #lowest = 0;
  #early = 0;
  #bound = 0;

  /** @param depth  ordering constraints of the bugs looked for, at least 1 */
  constructor(depth: number) {
    this.name = `pct${depth}`;
    this.depth = depth;
    // One more, which is never reached.
    this.#changeAt = new Int32Array(depth);
    this.#changeTo = new Int32Array(depth);
  }

  /** {@link pctBound} for what has been seen so far; 0 before the first execution. */
  get bound(): number {
    return this.#bound;
  }

  begin({ seed, actorCount, longest }: RunInfo): boolean {
    const dice = this.#dice;
    dice.seed(seed);
    this.#answers.begin();
    const steps = longest > 0 ? longest : FIRST_STEPS;
    if (longest > 0) this.#bound = pctBound({ actors: actorCount, steps, depth: this.depth });
    const priority = this.#priority;
    for (let actor = 0; actor < actorCount; actor++) {
      const other = dice.below(actor + 1);
      priority[actor] = priority[other]!;
      priority[other] = this.depth + actor;
    }
    this.#drawChanges(steps);
    this.#lowest = 0;
    this.#early = dice.bits() & dice.bits();
    return true;
  }

  pick(view: View): number {
    const { runnable, timed, at, step } = view;
    const moves = runnable | (timed & this.#early);
    const from = moves === 0 ? timed : moves;
    let actor = highest(from, this.#priority);
    while (step === this.#changeAt[this.#nextChange]) {
      this.#priority[actor] = this.#changeTo[this.#nextChange]!;
      this.#nextChange += 1;
      actor = highest(from, this.#priority);
    }
    if ((timed & (1 << actor)) !== 0) {
      this.#fall(actor);
    } else if (kindOf(at[actor]!) === RELAXING) {
      if (timed !== 0 && this.#dice.below(TIMEOUT_EVERY_POLLS) === 0) {
        return nthOf(timed, this.#dice.below(population(timed)));
      }
      this.#fall(actor);
    }
    return actor;
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#answers.way(ways);
  }

  /** Each change point is any step as likely as any other; to which priority it changes has nothing to do with when. */
  #drawChanges(steps: number): void {
    const count = this.depth - 1;
    const at = this.#changeAt;
    const to = this.#changeTo;
    for (let i = 0; i < count; i++) {
      const step = this.#dice.below(steps);
      let place = i;
      for (; place > 0 && at[place - 1]! > step; place--) {
        at[place] = at[place - 1]!;
        to[place] = to[place - 1]!;
      }
      at[place] = step;
      to[place] = count - i;
    }
    at[count] = -1;
    this.#nextChange = 0;
  }

  #fall(actor: number): void {
    this.#lowest -= 1;
    this.#priority[actor] = this.#lowest;
  }
}
