/** Uniform random walk: at each step every actor that can move is as likely as any other. */
import { nthOf, population, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';
import { Answers } from './answers.ts';
import { Dice } from './dice.ts';
import { candidates } from './turn.ts';

export class RandomWalk implements Strategy {
  readonly name = 'random';
  readonly #dice = new Dice();
  readonly #answers = new Answers(this.#dice);

  begin({ seed }: RunInfo): boolean {
    this.#dice.seed(seed);
    this.#answers.begin();
    return true;
  }

  pick(view: View): number {
    const from = candidates(view, this.#dice);
    const one = (from & (from - 1)) === 0;
    return nthOf(from, one ? 0 : this.#dice.below(population(from)));
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#answers.way(ways);
  }
}
