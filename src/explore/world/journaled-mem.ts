/**
 * A memory that notes which parts of it change, so that a schedule's traces are wiped without copying everything.
 *
 * Whole blocks are noted, each once. Writes through the typed views are announced by `touch`; those into the CPU
 * structs are not, for the core makes them too: whoever restores brings those back in any case.
 *
 * For actors that are paths of one thread: a read-modify-write is atomic because nobody else runs, and plain accesses
 * cost a third of what Atomics do. Threads that play in this memory have a `Mem` each.
 */
import { entryNumber } from '../../shared/mem.ts';
import { LOAD, PEEK, POKE, STORE, UPDATE, WatchedMem } from './watched-mem.ts';

const BLOCK_SHIFT = 7;
const BLOCK_BYTES = 1 << BLOCK_SHIFT;
const BLOCK_WORDS = BLOCK_BYTES >>> 2;

/** Bytes, from and to: multiples of 4. */
export type ByteRange = readonly [from: number, to: number];

export class JournaledMem extends WatchedMem {
  /** One a block: has it changed since {@link mark}? */
  readonly #changed: Uint8Array;
  #list: Int32Array = new Int32Array(256);
  #count = 0;
  /** The memory as it was at {@link mark}; untouched pages cost nothing. */
  readonly #image: Int32Array;
  /** What {@link rewind} brings back in any case. */
  #always: readonly { readonly at: number; readonly image: Int32Array }[] = [];

  constructor(wasm: WebAssembly.Memory) {
    super(wasm);
    this.#changed = new Uint8Array(this.u8.length >>> BLOCK_SHIFT);
    this.#image = new Int32Array(this.i32.length);
  }

  /**
   * Takes what stands in `ranges` for the state that {@link rewind} goes back to.
   *
   * @param always  of these, the ranges that are written unseen
   */
  mark(ranges: readonly ByteRange[], always: readonly ByteRange[]): void {
    for (const range of ranges) this.#image.set(words(this.i32, range), range[0] >>> 2);
    this.#always = always.map((range) => ({ at: range[0] >>> 2, image: words(this.#image, range) }));
    this.#forget();
  }

  /** Everything that was noted since {@link mark}, as it was then; and what is written unseen. */
  rewind(): void {
    const { i32 } = this;
    const image = this.#image;
    for (const range of this.#always) i32.set(range.image, range.at);
    for (let i = 0; i < this.#count; i++) {
      // Word by word: views of so few would cost more than they copy.
      const from = this.#list[i]! * BLOCK_WORDS;
      for (let at = from; at < from + BLOCK_WORDS; at++) i32[at] = image[at]!;
    }
    this.#forget();
  }

  /** These ranges as they were, whoever has written. */
  rewindAll(ranges: readonly ByteRange[]): void {
    for (const range of ranges) this.i32.set(words(this.#image, range), range[0] >>> 2);
    this.#forget();
  }

  /** Address of the first word in these ranges that is not as it was at {@link mark}; −1 when all are. */
  firstDifference(ranges: readonly ByteRange[]): number {
    for (const [from, to] of ranges) {
      for (let at = from >>> 2; at < to >>> 2; at++) if (this.i32[at] !== this.#image[at]) return at * 4;
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

  override load(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 4);
    return this.i32[addr >>> 2]!;
  }
  override store(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 4);
    this.#word(addr);
    this.i32[addr >>> 2] = value;
  }
  override add(addr: number, delta: number): number {
    const old = this.#update(addr);
    this.i32[addr >>> 2] = old + delta;
    return old;
  }
  override or(addr: number, bits: number): number {
    const old = this.#update(addr);
    this.i32[addr >>> 2] = old | bits;
    return old;
  }
  override and(addr: number, bits: number): number {
    const old = this.#update(addr);
    this.i32[addr >>> 2] = old & bits;
    return old;
  }
  override exchange(addr: number, value: number): number {
    const old = this.#update(addr);
    this.i32[addr >>> 2] = value;
    return old;
  }
  override cas(addr: number, expected: number, value: number): number {
    const old = this.#update(addr);
    if (old === (expected | 0)) this.i32[addr >>> 2] = value;
    return old;
  }
  override peek(addr: number): number {
    if (this.watcher !== null) this.watcher(PEEK, addr, 4);
    return this.i32[addr >>> 2]!;
  }
  override poke(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(POKE, addr, 4);
    this.#word(addr);
    this.i32[addr >>> 2] = value;
  }
  override fill(addr: number, bytes: number, byte: number): void {
    this.touch(addr, bytes);
    super.fill(addr, bytes, byte);
  }
  override clear64(addr: number, count: number): void {
    this.touch(addr, 8 * count);
    super.clear64(addr, count);
  }
  override load64(addr: number): bigint {
    if (this.watcher !== null) this.watcher(LOAD, addr, 8);
    return this.u64[addr / 8]!;
  }
  override loadEntry(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 8);
    return entryNumber(this.i32[addr >>> 2]!, this.i32[(addr >>> 2) + 1]!);
  }
  override store64(addr: number, value: bigint): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 8);
    this.#word(addr);
    this.u64[addr / 8] = value;
  }
  override exchange64(addr: number, value: bigint): bigint {
    const old = this.#update64(addr);
    this.u64[addr / 8] = value;
    return old;
  }
  override cas64(addr: number, expected: bigint, value: bigint): bigint {
    const old = this.#update64(addr);
    if (old === BigInt.asUintN(64, expected)) this.u64[addr / 8] = value;
    return old;
  }
  override load16(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 2);
    return this.u16[addr >>> 1]!;
  }
  override store16(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 2);
    this.#word(addr);
    this.u16[addr >>> 1] = value;
  }

  #update(addr: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    this.#word(addr);
    return this.i32[addr >>> 2]!;
  }

  #update64(addr: number): bigint {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 8);
    this.#word(addr);
    return this.u64[addr / 8]!;
  }
}

function words(all: Int32Array, [from, to]: ByteRange): Int32Array {
  return all.subarray(from >>> 2, to >>> 2);
}
