/** Tells somebody of every access that goes through one `Mem`. Without this its methods are those of the class. */
import type { Mem } from '../../shared/mem.ts';

export const LOAD = 0;
export const STORE = 1;
/** A read-modify-write, whether or not it stored. */
export const UPDATE = 2;
export const PEEK = 3;
export const POKE = 4;
export type AccessKind = 0 | 1 | 2 | 3 | 4;

/** @param bytes  2, 4 or 8; of a `fill` and a `clear64` any number */
export type MemWatcher = (kind: AccessKind, addr: number, bytes: number) => void;

/**
 * Puts the watcher in front of the methods of `mem`, for good. `notify` is left to the engine.
 *
 * As own properties of the one object: a class of its own would have to be chosen before the machine is made.
 */
export function watchMem(mem: Mem, watcher: MemWatcher): void {
  const { load, store, add, or, and, exchange, cas, peek, poke, fill } = mem;
  const { clear64, load64, store64, exchange64, cas64, load16, store16 } = mem;
  const watched: Partial<Mem> = {
    load(addr) {
      watcher(LOAD, addr, 4);
      return load.call(mem, addr);
    },
    store(addr, value) {
      watcher(STORE, addr, 4);
      store.call(mem, addr, value);
    },
    add(addr, delta) {
      watcher(UPDATE, addr, 4);
      return add.call(mem, addr, delta);
    },
    or(addr, bits) {
      watcher(UPDATE, addr, 4);
      return or.call(mem, addr, bits);
    },
    and(addr, bits) {
      watcher(UPDATE, addr, 4);
      return and.call(mem, addr, bits);
    },
    exchange(addr, value) {
      watcher(UPDATE, addr, 4);
      return exchange.call(mem, addr, value);
    },
    cas(addr, expected, value) {
      watcher(UPDATE, addr, 4);
      return cas.call(mem, addr, expected, value);
    },
    peek(addr) {
      watcher(PEEK, addr, 4);
      return peek.call(mem, addr);
    },
    poke(addr, value) {
      watcher(POKE, addr, 4);
      poke.call(mem, addr, value);
    },
    fill(addr, bytes, byte) {
      watcher(POKE, addr, bytes);
      fill.call(mem, addr, bytes, byte);
    },
    clear64(addr, count) {
      watcher(STORE, addr, 8 * count);
      clear64.call(mem, addr, count);
    },
    load64(addr) {
      watcher(LOAD, addr, 8);
      return load64.call(mem, addr);
    },
    store64(addr, value) {
      watcher(STORE, addr, 8);
      store64.call(mem, addr, value);
    },
    exchange64(addr, value) {
      watcher(UPDATE, addr, 8);
      return exchange64.call(mem, addr, value);
    },
    cas64(addr, expected, value) {
      watcher(UPDATE, addr, 8);
      return cas64.call(mem, addr, expected, value);
    },
    load16(addr) {
      watcher(LOAD, addr, 2);
      return load16.call(mem, addr);
    },
    store16(addr, value) {
      watcher(STORE, addr, 2);
      store16.call(mem, addr, value);
    },
  };
  Object.assign(mem, watched);
}
