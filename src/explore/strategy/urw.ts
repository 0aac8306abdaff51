/**
 * URW: uniform random walk over schedules. An actor is picked in proportion to the steps it has left, as far as earlier
 * executions tell: were the counts exact and nobody ever blocked, every schedule would be as likely as any other.
 *
 * @source Zhao, Wolff, Mathur and Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025
 */
import { ACTOR_LIMIT } from '../engine/execution.ts';
import { lowest, type RunEnd, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';
import { Answers } from './answers.ts';
import { Dice } from './dice.ts';
import { candidates } from './turn.ts';

/** Executions that the mean number of steps remembers. */
const MEMORY = 64;

export class Urw implements Strategy {
  readonly name = 'urw';
  readonly #dice = new Dice();
  readonly #answers = new Answers(this.#dice);
  /** Steps that each actor takes, on the average. */
  readonly #steps = new Float64Array(ACTOR_LIMIT);
  readonly #weight = new Float64Array(ACTOR_LIMIT);
  #known = 0;

  begin({ seed }: RunInfo): boolean {
    this.#dice.seed(seed);
    this.#answers.begin();
    return true;
  }

  pick(view: View): number {
    const from = candidates(view, this.#dice);
    if ((from & (from - 1)) === 0) return lowest(from);
    const weight = this.#weight;
    const steps = this.#steps;
    const { taken } = view;
    let sum = 0;
    for (let rest = from; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      // One who goes on beyond what is known has one step left for all we know: the next.
      sum += weight[actor] = Math.max(1, steps[actor]! - taken[actor]!);
    }
    let drawn = this.#dice.unit() * sum;
    let actor = -1;
    for (let rest = from; rest !== 0 && drawn >= 0; rest &= rest - 1) {
      actor = lowest(rest);
      drawn -= weight[actor]!;
    }
    return actor;
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#answers.way(ways);
  }

  end({ actorCount, taken }: View, { findings }: RunEnd): void {
    // Cut short by a finding, it says little about how long it would have been.
    if (findings.length > 0 && this.#known > 0) return;
    this.#known = Math.min(MEMORY, this.#known + 1);
    for (let actor = 0; actor < actorCount; actor++) {
      this.#steps[actor]! += (taken[actor]! - this.#steps[actor]!) / this.#known;
    }
  }
}
