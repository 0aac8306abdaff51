/**
 * How long to look at a word before sleeping on it: for a moment where what is waited for has lately come soon, not at
 * all where it takes its time.
 *
 * A sleep and its wake-up cost tens of microseconds; a look that finds nothing costs somebody else's time on the same
 * core. One object per waiting place; plain memory of one thread.
 */

/** Looks between two looks at the clock, which costs as much as several of them. */
const LOOKS_PER_CLOCK = 16;

export class AdaptiveSpin {
  readonly #mostNs: number;
  /** How long it has taken lately, sleep and wake-up included: a running mean. */
  #usualNs = 0;

  /** `mostNs`: the longest. 0 never looks, as in explored runs, where a look is only a longer schedule. */
  constructor(mostNs: number) {
    this.#mostNs = mostNs;
  }

  /** How long to look this time. */
  get ns(): number {
    // What comes after a sleep would have come sooner than it seems, by about half the longest look.
    return this.#usualNs < 1.5 * this.#mostNs ? this.#mostNs : 0;
  }

  /**
   * Is it time to look once more, after `looks` ≥ 1 since `startNs`? A look takes more than a nanosecond: with a clock
   * that stands still, as that of an actor without one, looking comes to an end all the same.
   */
  again(looks: number, startNs: number, clock: () => number): boolean {
    const { ns } = this;
    return looks < ns && (looks % LOOKS_PER_CLOCK !== 0 || clock() - startNs < ns);
  }

  /** It has come after `ns`, whether that was looked for or slept through. */
  learn(ns: number): void {
    // A thread that lost its core for milliseconds says little about the next time.
    this.#usualNs += (Math.min(ns, 8 * this.#mostNs) - this.#usualNs) / 8;
  }
}
