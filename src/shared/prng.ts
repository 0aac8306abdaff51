/**
 * Seeded random numbers, the same in every engine, thread and version of Node: xoshiro128**, seeded by splitmix64.
 * Not for secrets.
 *
 * @source Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators"; Steele, Lea and Flood,
 *   "Fast Splittable Pseudorandom Number Generators"
 */

const U64 = 64;

/** One step of splitmix64: the next state and the number it gives. Both unsigned 64-bit. */
export function splitmix64(state: bigint): { state: bigint; value: bigint } {
  const next = BigInt.asUintN(U64, state + 0x9e3779b97f4a7c15n);
  let z = next;
  z = BigInt.asUintN(U64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(U64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return { state: next, value: z ^ (z >> 31n) };
}

export class Prng {
  /** Unsigned 64-bit. */
  readonly seed: bigint;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: bigint) {
    this.seed = BigInt.asUintN(U64, seed);
    const first = splitmix64(this.seed);
    const second = splitmix64(first.state);
    this.#a = Number(first.value & 0xffffffffn) | 0;
    this.#b = Number(first.value >> 32n) | 0;
    this.#c = Number(second.value & 0xffffffffn) | 0;
    this.#d = Number(second.value >> 32n) | 0;
    // All zero is the one state that xoshiro never leaves. splitmix64 permutes, so it cannot give 0 twice running.
  }

  /** Uniform in [0, 2³²). */
  u32(): number {
    const result = Math.imul(rotl(Math.imul(this.#b, 5), 7), 9);
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = rotl(this.#d, 11);
    return result >>> 0;
  }

  /** Uniform in [0, n), for an integer n from 1 to 2³². Redraws what would make small results likelier. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) throw new RangeError(`no integer in [0, ${n})`);
    const even = 2 ** 32 - (2 ** 32 % n);
    let draw = this.u32();
    while (draw >= even) draw = this.u32();
    return draw % n;
  }

  /** True with probability p; always draws one number, so that a changed p shifts nothing after it. */
  chance(p: number): boolean {
    return this.u32() < p * 2 ** 32;
  }

  /** One of `items`. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /**
   * An independent generator for a named purpose. It depends on the seed and the label only, not on how many numbers
   * were drawn: a new consumer does not disturb the old ones.
   */
  fork(label: string): Prng {
    // FNV-1a over UTF-16 code units, 64 bits.
    let hash = 0xcbf29ce484222325n;
    for (let i = 0; i < label.length; i++) {
      hash = BigInt.asUintN(U64, (hash ^ BigInt(label.charCodeAt(i))) * 0x100000001b3n);
    }
    return new Prng(splitmix64(this.seed ^ splitmix64(hash).value).value);
  }
}

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
