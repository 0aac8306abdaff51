/**
 * How random strategies answer `choosing` points. Most choices are faults (an allocation fails, a peer goes away), so
 * uniform answers alone would break every execution early: each execution is of one mood, from "hardly ever" to "any
 * way as likely as any other".
 */
import type { Dice } from './dice.ts';

/** Chance of an answer other than 0. */
const RARELY = 1 / 32;
const SOMETIMES = 1 / 4;
const UNIFORM = -1;
const MOODS = [RARELY, SOMETIMES, UNIFORM] as const;

export class Answers {
  readonly #dice: Dice;
  #mood: number = UNIFORM;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  /** For one execution, after its dice have been seeded. */
  begin(): void {
    this.#mood = MOODS[this.#dice.below(MOODS.length)]!;
  }

  /** In [0, ways). */
  way(ways: number): number {
    if (this.#mood === UNIFORM) return this.#dice.below(ways);
    if (ways === 1 || this.#dice.unit() >= this.#mood) return 0;
    return 1 + this.#dice.below(ways - 1);
  }
}
