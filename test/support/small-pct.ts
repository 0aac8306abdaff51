/**
 * PCT for tests of scenarios: random priorities, and at depth − 1 steps whoever runs falls below everybody. Who relaxes
 * falls too, so that a poll does not keep out who it polls for.
 *
 * @source Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding
 *         Bugs", ASPLOS 2010
 */
import { lowest, type RunInfo, type Strategy, type View } from '../../src/explore/engine/strategy.ts';
import { Prng } from '../../src/shared/prng.ts';
import { POINT_KINDS, RELAXING } from '../../src/shared/sync/point.ts';

/** Assumed length of the first execution. */
const FIRST_STEPS = 60;

export class SmallPct implements Strategy {
  readonly name: string;
  readonly #depth: number;
  #prng = new Prng(0n);
  #priority: number[] = [];
  #changes: number[] = [];
  #lowest = 0;

  constructor(depth: number) {
    this.name = `pct${depth}`;
    this.#depth = depth;
  }

  begin({ seed, actorCount, longest }: RunInfo): boolean {
    const prng = new Prng(BigInt(seed));
    this.#prng = prng;
    this.#priority = [];
    for (let actor = 0; actor < actorCount; actor++) {
      this.#priority.splice(prng.below(actor + 1), 0, actor + 1);
    }
    this.#changes = Array.from({ length: this.#depth - 1 }, () => prng.below(longest || FIRST_STEPS));
    this.#lowest = 0;
    return true;
  }

  pick({ runnable, timed, step, at }: View): number {
    const from = runnable !== 0 ? runnable : timed;
    let actor = this.#highest(from);
    if (this.#changes.includes(step)) {
      this.#fall(actor);
      actor = this.#highest(from);
    }
    if (at[actor]! % POINT_KINDS === RELAXING || runnable === 0) this.#fall(actor);
    return actor;
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#prng.below(ways);
  }

  #fall(actor: number): void {
    this.#lowest -= 1;
    this.#priority[actor] = this.#lowest;
  }

  #highest(from: number): number {
    let best = lowest(from);
    for (let rest = from; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if (this.#priority[actor]! > this.#priority[best]!) best = actor;
    }
    return best;
  }
}
