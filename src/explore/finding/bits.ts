/**
 * Bits as printable text: six to a character of base64url, most significant first. For numbers that are mostly small.
 */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
export const BITS_PER_CHARACTER = 6;

export class BitWriter {
  readonly #symbols: number[] = [];
  #rest = 0;
  #restBits = 0;

  /** The low `width` bits of `value`; width ≤ 32. */
  bits(value: number, width: number): void {
    for (let bit = width - 1; bit >= 0; bit--) {
      this.#rest = this.#rest * 2 + ((value >>> bit) & 1);
      this.#restBits += 1;
      if (this.#restBits === BITS_PER_CHARACTER) {
        this.#symbols.push(this.#rest);
        this.#rest = 0;
        this.#restBits = 0;
      }
    }
  }

  /** An integer ≥ 0, below {@link GOLOMB_LIMIT}, as an exponential Golomb code: k + 1 bits for one below 2^k. */
  golomb(value: number, k: number): void {
    if (!(Number.isInteger(value) && value >= 0 && value < GOLOMB_LIMIT)) {
      throw new RangeError(`${value} has no code`);
    }
    const shifted = value + 2 ** k;
    const width = 32 - Math.clz32(shifted);
    for (let zero = k + 1; zero < width; zero++) this.bits(0, 1);
    this.bits(shifted, width);
  }

  /** All that was written, the last symbol filled up with zeros: numbers below 64. */
  symbols(): number[] {
    const padding = BITS_PER_CHARACTER - this.#restBits;
    return this.#restBits === 0 ? [...this.#symbols] : [...this.#symbols, this.#rest * 2 ** padding];
  }
}

/** Numbers a Golomb code can carry are below this. */
const GOLOMB_LIMIT = 2 ** 30;

/** Reads past the end give {@link OutOfBits}. */
export class BitReader {
  readonly #symbols: readonly number[];
  #at = 0;

  constructor(symbols: readonly number[]) {
    this.#symbols = symbols;
  }

  bits(width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 2 + this.#bit();
    return value;
  }

  golomb(k: number): number {
    let zeros = 0;
    while (this.#bit() === 0) zeros += 1;
    // LIMIT: see GOLOMB_LIMIT; more zeros than it has bits were written by nobody.
    if (zeros + k > 30) throw new OutOfBits();
    let value = 1;
    for (let i = 0; i < zeros + k; i++) value = value * 2 + this.#bit();
    return value - 2 ** k;
  }

  /** Is nothing left but the zeros that fill up the last symbol? */
  atEnd(): boolean {
    const left = this.#symbols.length * BITS_PER_CHARACTER - this.#at;
    return left < BITS_PER_CHARACTER && this.bits(left) === 0;
  }

  #bit(): number {
    const symbol = this.#symbols[Math.floor(this.#at / BITS_PER_CHARACTER)];
    if (symbol === undefined) throw new OutOfBits();
    const bit = (symbol >>> (BITS_PER_CHARACTER - 1 - (this.#at % BITS_PER_CHARACTER))) & 1;
    this.#at += 1;
    return bit;
  }
}

/** What is read is no number that was written. */
export class OutOfBits extends Error {
  override readonly name = 'OutOfBits';
}

export function textOf(symbols: readonly number[]): string {
  return symbols.map((symbol) => ALPHABET[symbol]).join('');
}

/** @returns null when a character is none of the alphabet */
export function symbolsOf(text: string): number[] | null {
  const symbols = Array.from(text, (character) => ALPHABET.indexOf(character));
  return symbols.includes(-1) ? null : symbols;
}
