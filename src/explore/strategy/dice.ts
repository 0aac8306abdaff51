/**
 * Random numbers for strategies: seeded anew for each execution in a few nanoseconds, which shared/prng.ts with its
 * 64-bit seeds is too slow for. sfc32; the seed is spread by the finalizer of MurmurHash3.
 *
 * @source Doty-Humphrey, PractRand: sfc32; Appleby, MurmurHash3: fmix32
 */
export class Dice {
  #a = 0;
  #b = 0;
  #c = 0;
  #count = 1;

  /** @param seed  unsigned 32-bit: equal seeds give equal numbers */
  seed(seed: number): void {
    this.#a = spread(seed);
    this.#b = spread(seed ^ 0x9e3779b9);
    this.#c = spread(seed + 0x85ebca6b);
    this.#count = 1;
    for (let i = 0; i < 4; i++) this.bits();
  }

  /** 32 random bits, signed. */
  bits(): number {
    const sum = (this.#a + this.#b + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum;
  }

  /** In [0, 1). */
  unit(): number {
    return (this.bits() >>> 0) / 2 ** 32;
  }

  /** In [0, n); for n below 2^20 every number is as likely as any other to within 2^-12. */
  below(n: number): number {
    return ((this.bits() >>> 0) * n * 2 ** -32) | 0;
  }
}

function spread(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
