/**
 * One thread's typed views of the machine's shared memory.
 *
 * All addresses are byte offsets into the one shared `WebAssembly.Memory`. The Atomics helpers are the only
 * way metadata is touched: sequentially consistent, and easy to find when a scheduler has to own them.
 */
export class Mem {
  readonly wasm: WebAssembly.Memory;
  readonly u8: Uint8Array<SharedArrayBuffer>;
  readonly u16: Uint16Array<SharedArrayBuffer>;
  readonly i32: Int32Array<SharedArrayBuffer>;
  readonly u32: Uint32Array<SharedArrayBuffer>;
  readonly i64: BigInt64Array<SharedArrayBuffer>;
  readonly u64: BigUint64Array<SharedArrayBuffer>;
  readonly f64: Float64Array<SharedArrayBuffer>;
  /** Wakes sleepers instead of the futexes themselves: an explorer, while it runs. Null on the threads of a machine. */
  waker: ((addr: number, count: number) => number) | null = null;

  constructor(wasm: WebAssembly.Memory) {
    const buffer = wasm.buffer as unknown as SharedArrayBuffer;
    this.wasm = wasm;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i64 = new BigInt64Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.f64 = new Float64Array(buffer);
  }

  /**
   * Announces writes through the typed views, which nobody sees otherwise. Nothing happens here; an explorer's memory
   * notes what a schedule changes.
   */
  touch(_addr: number, _bytes: number): void {}

  load(addr: number): number {
    return Atomics.load(this.i32, addr >>> 2);
  }
  store(addr: number, value: number): void {
    Atomics.store(this.i32, addr >>> 2, value);
  }
  add(addr: number, delta: number): number {
    return Atomics.add(this.i32, addr >>> 2, delta);
  }
  or(addr: number, bits: number): number {
    return Atomics.or(this.i32, addr >>> 2, bits);
  }
  and(addr: number, bits: number): number {
    return Atomics.and(this.i32, addr >>> 2, bits);
  }
  exchange(addr: number, value: number): number {
    return Atomics.exchange(this.i32, addr >>> 2, value);
  }
  /** Returns the value found; the exchange happened when that equals `expected`. */
  cas(addr: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.i32, addr >>> 2, expected, value);
  }
  /** Wakes up to `count` waiters on the word at `addr`. */
  notify(addr: number, count = Number.POSITIVE_INFINITY): number {
    if (this.waker !== null) return this.waker(addr, count);
    return Atomics.notify(this.i32, addr >>> 2, count);
  }

  // Plain accesses, for what a lock or a grace period keeps still. Nothing but the views would be as fast; through these a
  // race detector sees them.
  peek(addr: number): number {
    return this.i32[addr >>> 2]!;
  }
  poke(addr: number, value: number): void {
    this.i32[addr >>> 2] = value;
  }
  fill(addr: number, bytes: number, byte: number): void {
    this.u8.fill(byte, addr, addr + bytes);
  }

  /** Zeroes 64-bit words, each at once: V8 fills shared arrays by relaxed atomic stores of whole elements. */
  clear64(addr: number, count: number): void {
    this.u64.fill(0n, addr / 8, addr / 8 + count);
  }
  load64(addr: number): bigint {
    return Atomics.load(this.u64, addr / 8);
  }
  store64(addr: number, value: bigint): void {
    Atomics.store(this.u64, addr / 8, value);
  }
  exchange64(addr: number, value: bigint): bigint {
    return Atomics.exchange(this.u64, addr / 8, value);
  }
  cas64(addr: number, expected: bigint, value: bigint): bigint {
    return Atomics.compareExchange(this.u64, addr / 8, expected, value);
  }

  load16(addr: number): number {
    return Atomics.load(this.u16, addr >>> 1);
  }
  store16(addr: number, value: number): void {
    Atomics.store(this.u16, addr >>> 1, value);
  }
}

const WASM_PAGE_BYTES = 65_536;

/**
 * A memory that threads share, of a fixed size: `bytes`, rounded up to what WebAssembly counts in. All zero.
 *
 * @throws RangeError when the host has not so much
 */
export function sharedMemory(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
