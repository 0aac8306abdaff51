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

  /**
   * A 64-bit table entry by one atomic load, as a number: bits 51…0, negative when bit 63 is set. (A bigint for each
   * entry would cost more than the walk it is for.) Bits 62…52 are left out. With nothing but bit 63 it is −0.
   */
  loadEntry(addr: number): number {
    this.#loadEntry ??= entryLoader(this.wasm);
    return this.#loadEntry(addr);
  }
  #loadEntry: ((addr: number) => number) | null = null;

  load16(addr: number): number {
    return Atomics.load(this.u16, addr >>> 1);
  }
  store16(addr: number, value: number): void {
    Atomics.store(this.u16, addr >>> 1, value);
  }
}

const ENTRY_BITS_HIGH = (1 << 20) - 1;

/** What {@link Mem.loadEntry} makes of the halves of an entry. */
export function entryNumber(low: number, high: number): number {
  const bits = (high & ENTRY_BITS_HIGH) * 2 ** 32 + (low >>> 0);
  return high < 0 ? -bits : bits;
}

/**
 * The one 64-bit atomic load that JavaScript has makes a bigint; this one is WebAssembly:
 *
 * ```wat
 * (module
 *   (import "" "m" (memory 0 65536 shared))
 *   (func (export "f") (param i32) (result f64) (local i64)
 *     (f64.copysign
 *       (f64.convert_i64_s
 *         (i64.and (local.tee 1 (i64.atomic.load (local.get 0))) (i64.const 0xfffffffffffff)))
 *       (f64.reinterpret_i64 (local.get 1)))))
 * ```
 */
const ENTRY_LOADER = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[1, 6, 1, 0x60, 1, 0x7f, 1, 0x7c],
  ...[2, 10, 1, 0, 1, 0x6d, 2, 0x03, 0, 0x80, 0x80, 0x04],
  ...[3, 2, 1, 0],
  ...[7, 5, 1, 1, 0x66, 0, 0],
  ...[10, 29, 1, 27, 1, 1, 0x7e],
  ...[0x20, 0, 0xfe, 0x11, 3, 0, 0x22, 1],
  ...[0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07, 0x83, 0xb9, 0x20, 1, 0xbf, 0xa6, 0x0b],
]);
let entryModule: WebAssembly.Module | null = null;

function entryLoader(wasm: WebAssembly.Memory): (addr: number) => number {
  entryModule ??= new WebAssembly.Module(ENTRY_LOADER);
  const { exports } = new WebAssembly.Instance(entryModule, { '': { m: wasm } });
  return exports['f'] as (addr: number) => number;
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
