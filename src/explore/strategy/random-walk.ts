/** Uniform random walk: at each step every actor that can move is as likely as any other. */
import { Prng } from '../../shared/prng.ts';
import { nthOf, population, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';

/** One pick in this many ends a wait by its timeout although somebody could move. */
const TIMEOUT_EVERY = 64;

export class RandomWalk implements Strategy {
  readonly name = 'random';
  #prng = new Prng(0n);

  begin({ seed }: RunInfo): boolean {
    this.#prng = new Prng(BigInt(seed));
    return true;
  }

  pick({ runnable, timed }: View): number {
    const prng = this.#prng;
    const late = runnable === 0 || (timed !== 0 && prng.below(TIMEOUT_EVERY) === 0);
    const from = late ? timed : runnable;
    const count = population(from);
    return count === 1 ? nthOf(from, 0) : nthOf(from, prng.below(count));
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#prng.below(ways);
  }
}
