/**
 * How long to look at a word before sleeping on it: longer while looking pays, hardly at all while it does not.
 *
 * A sleep and its wake-up cost tens of microseconds; a look that finds nothing costs somebody else's time on the same
 * core. One object per waiting place; plain memory of one thread.
 */
export class AdaptiveSpin {
  readonly #mostNs: number;
  #ns: number;

  /** `mostNs`: the longest. 0 never looks, as in explored runs, where a look is only a longer schedule. */
  constructor(mostNs: number) {
    this.#mostNs = mostNs;
    this.#ns = mostNs;
  }

  /** How long to look this time. */
  get ns(): number {
    return this.#ns;
  }

  /** What came of it: did the word change before the sleep? */
  learn(changed: boolean): void {
    // Down by halves, up at once: a partner that has become quick again is worth a full wait.
    this.#ns = changed ? this.#mostNs : Math.max(this.#ns / 2, this.#mostNs / 16);
  }
}

/** Looks between two looks at the clock, which costs as much as several of them. */
export const LOOKS_PER_CLOCK = 16;
