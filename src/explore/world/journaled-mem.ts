/**
 * A memory that notes which parts of it change, so that a schedule's traces are wiped without copying everything.
 *
 * Whole blocks are noted, each once. Writes through the typed views are announced by `touch`; those into the CPU
 * structs are not, for the core makes them too: whoever restores brings those back in any case.
 */
import { Mem } from '../../shared/mem.ts';

const BLOCK_SHIFT = 7;
const BLOCK_BYTES = 1 << BLOCK_SHIFT;

export class JournaledMem extends Mem {
  /** One a block: has it changed since {@link mark}? */
  readonly #changed: Uint8Array;
  #list: Int32Array = new Int32Array(256);
  #count = 0;
  /** The memory as it was at {@link mark}; untouched pages cost nothing. */
  readonly #image: Uint8Array;

  constructor(wasm: WebAssembly.Memory) {
    super(wasm);
    this.#changed = new Uint8Array(this.u8.length >>> BLOCK_SHIFT);
    this.#image = new Uint8Array(this.u8.length);
  }

  /** Takes what stands in these ranges (bytes, from, to) for the state that {@link rewind} goes back to. */
  mark(ranges: readonly (readonly [from: number, to: number])[]): void {
    for (const [from, to] of ranges) this.#image.set(this.u8.subarray(from, to), from);
    this.#forget();
  }

  /** Everything that was noted since {@link mark}, as it was then; and these ranges in any case. */
  rewind(always: readonly (readonly [from: number, to: number])[]): void {
    const { u8 } = this;
    for (const [from, to] of always) u8.set(this.#image.subarray(from, to), from);
    for (let i = 0; i < this.#count; i++) {
      const from = this.#list[i]! << BLOCK_SHIFT;
      u8.set(this.#image.subarray(from, from + BLOCK_BYTES), from);
    }
    this.#forget();
  }

  /** These ranges as they were, whoever has written. */
  rewindAll(ranges: readonly (readonly [from: number, to: number])[]): void {
    for (const [from, to] of ranges) this.u8.set(this.#image.subarray(from, to), from);
    this.#forget();
  }

  /** Address of the first byte in these ranges that is not as it was at {@link mark}; −1 when all are. */
  firstDifference(ranges: readonly (readonly [from: number, to: number])[]): number {
    for (const [from, to] of ranges) {
      for (let at = from; at < to; at++) if (this.u8[at] !== this.#image[at]) return at;
    }
    return -1;
  }

  override touch(addr: number, bytes: number): void {
    const last = (addr + bytes - 1) >>> BLOCK_SHIFT;
    for (let block = addr >>> BLOCK_SHIFT; block <= last; block++) {
      if (this.#changed[block] === 0) this.#note(block);
    }
  }

  #note(block: number): void {
    this.#changed[block] = 1;
    if (this.#count === this.#list.length) {
      const longer = new Int32Array(this.#count * 2);
      longer.set(this.#list);
      this.#list = longer;
    }
    this.#list[this.#count++] = block;
  }

  #forget(): void {
    for (let i = 0; i < this.#count; i++) this.#changed[this.#list[i]!] = 0;
    this.#count = 0;
  }

  #word(addr: number): void {
    const block = addr >>> BLOCK_SHIFT;
    if (this.#changed[block] === 0) this.#note(block);
  }

  override store(addr: number, value: number): void {
    this.#word(addr);
    super.store(addr, value);
  }
  override add(addr: number, delta: number): number {
    this.#word(addr);
    return super.add(addr, delta);
  }
  override or(addr: number, bits: number): number {
    this.#word(addr);
    return super.or(addr, bits);
  }
  override and(addr: number, bits: number): number {
    this.#word(addr);
    return super.and(addr, bits);
  }
  override exchange(addr: number, value: number): number {
    this.#word(addr);
    return super.exchange(addr, value);
  }
  override cas(addr: number, expected: number, value: number): number {
    this.#word(addr);
    return super.cas(addr, expected, value);
  }
  override poke(addr: number, value: number): void {
    this.#word(addr);
    super.poke(addr, value);
  }
  override fill(addr: number, bytes: number, byte: number): void {
    this.touch(addr, bytes);
    super.fill(addr, bytes, byte);
  }
  override clear64(addr: number, count: number): void {
    this.touch(addr, 8 * count);
    super.clear64(addr, count);
  }
  override store64(addr: number, value: bigint): void {
    this.#word(addr);
    super.store64(addr, value);
  }
  override exchange64(addr: number, value: bigint): bigint {
    this.#word(addr);
    return super.exchange64(addr, value);
  }
  override cas64(addr: number, expected: bigint, value: bigint): bigint {
    this.#word(addr);
    return super.cas64(addr, expected, value);
  }
  override store16(addr: number, value: number): void {
    this.#word(addr);
    super.store16(addr, value);
  }
}
