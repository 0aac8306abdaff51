/**
 * Compiled regions of one vCPU: their places in the handlers' table, the start records that lead to them, and what goes
 * when there are too many.
 *
 * A region goes with the blocks of any page it was made from. Their records cannot be reached any more then, and nothing
 * else leads to it. One that has to make room gives its start records back to the interpreter.
 */
import type { Mem } from '../../../shared/mem.ts';
import { START, UOP } from '../isa/uop.ts';

export interface InstalledRegion {
  /** Index in the handlers' table. */
  readonly handler: number;
  readonly pages: readonly number[];
  /** Addresses of the start records, by entry number. */
  readonly starts: readonly number[];
  /** Those of them that begin loops which lie in the region. */
  readonly loops: ReadonlySet<number>;
  /** Of its function, in WebAssembly. */
  readonly bytes: number;
  readonly insns: number;
}

/** LIMIT: places in the table. A record's handler has 16 bits. */
const HANDLERS_MAX = 0xffff;
const GROWTH = 256;

export class CodeStore {
  readonly #mem: Mem;
  readonly #table: WebAssembly.Table;
  /** What a start record has for its handler, and its heat, when no compiled code does. */
  readonly #interpreted: { readonly handler: number; readonly heat: number };
  readonly #free: number[] = [];
  /** In order of their making. */
  readonly #regions = new Map<number, InstalledRegion>();
  readonly #byPage = new Map<number, Set<InstalledRegion>>();
  #bytes = 0;

  constructor(
    mem: Mem,
    table: WebAssembly.Table,
    interpreted: { readonly handler: number; readonly heat: number },
  ) {
    this.#mem = mem;
    this.#table = table;
    this.#interpreted = interpreted;
  }

  /** Bytes of all functions, in WebAssembly. */
  get bytes(): number {
    return this.#bytes;
  }
  get count(): number {
    return this.#regions.size;
  }
  [Symbol.iterator](): IterableIterator<InstalledRegion> {
    return this.#regions.values();
  }

  /** Does this start record lead to a compiled loop that begins there? */
  isLoop(start: number): boolean {
    return this.#regions.get(this.#mem.u16[(start + UOP.at.HANDLER) >>> 1]!)?.loops.has(start) ?? false;
  }

  /** A free place in the table, −1 when there is none. */
  reserve(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const { length } = this.#table;
    if (length + GROWTH > HANDLERS_MAX) return -1;
    this.#table.grow(GROWTH);
    for (let handler = length + GROWTH - 1; handler > length; handler--) this.#free.push(handler);
    return length;
  }
  /** Gives back what {@link reserve} gave. */
  release(handler: number): void {
    this.#free.push(handler);
  }

  install(region: InstalledRegion, fn: CallableFunction): void {
    const { i32, u16 } = this.#mem;
    this.#table.set(region.handler, fn);
    this.#regions.set(region.handler, region);
    this.#bytes += region.bytes;
    for (const page of region.pages) {
      const there = this.#byPage.get(page);
      if (there === undefined) this.#byPage.set(page, new Set([region]));
      else there.add(region);
    }
    for (const [entry, start] of region.starts.entries()) {
      i32[(start + START.ENTRY) >>> 2] = entry;
      i32[(start + START.HEAT) >>> 2] = -1;
      u16[(start + UOP.at.HANDLER) >>> 1] = region.handler;
    }
  }

  /** Blocks of this page are gone. */
  dropPage(page: number): void {
    for (const region of this.#byPage.get(page) ?? []) {
      this.#giveBack(region);
      this.#forget(region);
    }
  }
  /** All blocks are gone. */
  dropAll(): void {
    for (const region of [...this.#regions.values()]) this.#forget(region);
  }
  /** Makes room: whatever has not been entered since it was asked last, the oldest first, until `bytes` are left. */
  shrink(bytes: number): void {
    for (const mustGo of [false, true]) {
      for (const region of [...this.#regions.values()]) {
        if (this.#bytes <= bytes) return;
        if (!mustGo && this.#wasUsed(region)) continue;
        this.#giveBack(region);
        this.#forget(region);
      }
    }
  }

  #wasUsed({ starts }: InstalledRegion): boolean {
    let used = false;
    for (const start of starts) {
      const at = (start + START.USED) >>> 2;
      if (this.#mem.i32[at] === 0) continue;
      this.#mem.i32[at] = 0;
      used = true;
    }
    return used;
  }
  /** Start records that lead to it are the interpreter's again. */
  #giveBack({ handler, starts }: InstalledRegion): void {
    const { i32, u16 } = this.#mem;
    for (const start of starts) {
      // Another region may have taken it over.
      if (u16[(start + UOP.at.HANDLER) >>> 1] !== handler) continue;
      u16[(start + UOP.at.HANDLER) >>> 1] = this.#interpreted.handler;
      i32[(start + START.HEAT) >>> 2] = this.#interpreted.heat;
    }
  }
  #forget(region: InstalledRegion): void {
    this.#table.set(region.handler, null);
    this.#regions.delete(region.handler);
    this.#bytes -= region.bytes;
    for (const page of region.pages) {
      const there = this.#byPage.get(page);
      there?.delete(region);
      if (there?.size === 0) this.#byPage.delete(page);
    }
    this.#free.push(region.handler);
  }
}
