/**
 * Round robin: everybody in turn, for the same number of steps. That number grows from execution to execution, and for
 * each the first turn goes around: a small family of regular schedules, which ends once a turn is as long as a run.
 */
import { nthOf, population, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';

export class RoundRobin implements Strategy {
  readonly name = 'rr';
  #next = 0;
  #first = 0;
  #turn = 0;
  #left = 0;

  begin({ actorCount, longest }: RunInfo): boolean {
    this.#first = this.#next % actorCount;
    this.#turn = 1 + Math.floor(this.#next / actorCount);
    this.#left = this.#turn;
    this.#next += 1;
    return this.#turn <= Math.max(1, longest);
  }

  pick(view: View): number {
    const { runnable, timed, last } = view;
    // While somebody polls, time passes.
    const from = runnable === 0 || view.relaxed ? runnable | timed : runnable;
    if (last < 0) return nthOf(from, this.#first % population(from));
    const goesOn = (from & (1 << last)) !== 0;
    if (goesOn && this.#left > 1 && !view.relaxed) {
      this.#left -= 1;
      return last;
    }
    this.#left = this.#turn;
    const after = from & (-2 << last);
    return nthOf(after === 0 ? from : after, 0);
  }
}
