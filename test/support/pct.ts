/**
 * Probabilistic concurrency testing, as small as tests need it: who has the highest priority runs; at depth − 1 random
 * steps, and when it relaxes, whoever runs falls below everybody.
 *
 * @source Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding
 *         Bugs", ASPLOS 2010
 */
import { lowest, type RunInfo, type Strategy, type View } from '../../src/explore/engine/strategy.ts';
import { Prng } from '../../src/shared/prng.ts';
import { POINT_KINDS, RELAXING } from '../../src/shared/sync/point.ts';

/** Assumed length of the first execution. */
const FIRST_LENGTH = 100;

export class Pct implements Strategy {
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
    this.#priority = Array.from({ length: actorCount }, (_, actor) => actor);
    for (let i = actorCount - 1; i > 0; i--) {
      const j = prng.below(i + 1);
      [this.#priority[i], this.#priority[j]] = [this.#priority[j]!, this.#priority[i]!];
    }
    const length = longest || FIRST_LENGTH;
    this.#changes = Array.from({ length: this.#depth - 1 }, () => prng.below(length));
    this.#lowest = 0;
    return true;
  }

  pick({ runnable, timed, step, last, trace }: View): number {
    const from = runnable !== 0 ? runnable : timed;
    if (step > 0 && trace.point[step - 1]! % POINT_KINDS === RELAXING) this.#demote(last);
    const best = this.#best(from);
    if (!this.#changes.includes(step)) return best;
    this.#demote(best);
    return this.#best(from);
  }

  #demote(actor: number): void {
    this.#lowest -= 1;
    this.#priority[actor] = this.#lowest;
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#prng.below(ways);
  }

  #best(from: number): number {
    let best = lowest(from);
    for (let rest = from; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if (this.#priority[actor]! > this.#priority[best]!) best = actor;
    }
    return best;
  }
}
