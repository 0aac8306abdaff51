/**
 * A set of 64-bit hashes that counts how often each was added: what has been seen, and how much of it only once.
 *
 * LIMIT: 4 Mi hashes. Beyond them nothing new goes in, and what is estimated rests on those.
 */
const FIRST_CAPACITY = 1024;
const MAX_CAPACITY = 2 ** 23;
const SATURATED = 255;

export class CountedSet {
  #low = new Int32Array(FIRST_CAPACITY);
  #high = new Int32Array(FIRST_CAPACITY);
  /** 0: a free place. */
  #counts = new Uint8Array(FIRST_CAPACITY);
  #size = 0;
  #added = 0;
  #once = 0;
  #twice = 0;

  /** Different hashes. */
  get size(): number {
    return this.#size;
  }
  get added(): number {
    return this.#added;
  }
  /** Hashes that were added exactly once. */
  get once(): number {
    return this.#once;
  }

  /** Chance that the next one added is new, by Good and Turing: the share of those seen once. 1 before the first. */
  get unseenShare(): number {
    return this.#added === 0 ? 1 : this.#once / this.#added;
  }

  /** At least so many different ones there are in all, by Chao's estimate (bias-corrected). */
  get estimatedSize(): number {
    return this.#size + (this.#once * (this.#once - 1)) / (2 * (this.#twice + 1));
  }

  /** @returns whether it is new */
  add(low: number, high: number): boolean {
    const mask = this.#counts.length - 1;
    let place = (low ^ Math.imul(high, 0x9e3779b1)) & mask;
    this.#added += 1;
    for (let count = this.#counts[place]!; count !== 0; count = this.#counts[place]!) {
      if (this.#low[place] === low && this.#high[place] === high) {
        if (count === 1) {
          this.#once -= 1;
          this.#twice += 1;
        } else if (count === 2) {
          this.#twice -= 1;
        }
        if (count < SATURATED) this.#counts[place] = count + 1;
        return false;
      }
      place = (place + 1) & mask;
    }
    if (this.#size * 2 >= MAX_CAPACITY) return false;
    this.#low[place] = low;
    this.#high[place] = high;
    this.#counts[place] = 1;
    this.#size += 1;
    this.#once += 1;
    if (this.#size * 2 > mask && mask + 1 < MAX_CAPACITY) this.#grow();
    return true;
  }

  #grow(): void {
    const low = this.#low;
    const high = this.#high;
    const counts = this.#counts;
    const mask = counts.length * 2 - 1;
    this.#low = new Int32Array(mask + 1);
    this.#high = new Int32Array(mask + 1);
    this.#counts = new Uint8Array(mask + 1);
    for (let i = 0; i < counts.length; i++) {
      if (counts[i] === 0) continue;
      let place = (low[i]! ^ Math.imul(high[i]!, 0x9e3779b1)) & mask;
      while (this.#counts[place] !== 0) place = (place + 1) & mask;
      this.#low[place] = low[i]!;
      this.#high[place] = high[i]!;
      this.#counts[place] = counts[i]!;
    }
  }
}
