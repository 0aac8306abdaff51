/**
 * How long to look at a word before sleeping on it: longer while looking pays, hardly at all while it does not.
 *
 * A sleep and its wake-up cost tens of microseconds; a look that finds nothing costs somebody else's time on the same
 * core. One object per waiting place; plain memory of one thread.
 */
export class AdaptiveSpin {
  readonly #most: number;
  #looks: number;

  /** `most`: looks at the longest. 0 never looks, as in explored runs, where a look is only a longer schedule. */
  constructor(most: number) {
    this.#most = most;
    this.#looks = most;
  }

  /** Looks worth making this time. */
  get looks(): number {
    return this.#looks;
  }

  /** What came of it: did the word change before the sleep? */
  learn(changed: boolean): void {
    // Down by halves, up at once: a partner that has become quick again is worth a full wait.
    this.#looks = changed ? this.#most : Math.max(this.#looks >> 1, this.#most >> 4);
  }
}
