/** A memory that tells somebody of every access through its methods; those by the typed views it does not see. */
import { Mem } from '../../shared/mem.ts';

export const LOAD = 0;
export const STORE = 1;
/** A read-modify-write, whether or not it stored. */
export const UPDATE = 2;
export const PEEK = 3;
export const POKE = 4;
export type AccessKind = 0 | 1 | 2 | 3 | 4;

/** Told of an access before it happens. @param bytes  2, 4 or 8; of a `fill` and a `clear64` any number */
export type MemWatcher = (kind: AccessKind, addr: number, bytes: number) => void;

export class WatchedMem extends Mem {
  /** Null: nobody listens. */
  watcher: MemWatcher | null = null;

  override load(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 4);
    return super.load(addr);
  }
  override store(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 4);
    super.store(addr, value);
  }
  override add(addr: number, delta: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    return super.add(addr, delta);
  }
  override or(addr: number, bits: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    return super.or(addr, bits);
  }
  override and(addr: number, bits: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    return super.and(addr, bits);
  }
  override exchange(addr: number, value: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    return super.exchange(addr, value);
  }
  override cas(addr: number, expected: number, value: number): number {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 4);
    return super.cas(addr, expected, value);
  }
  override peek(addr: number): number {
    if (this.watcher !== null) this.watcher(PEEK, addr, 4);
    return super.peek(addr);
  }
  override poke(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(POKE, addr, 4);
    super.poke(addr, value);
  }
  override fill(addr: number, bytes: number, byte: number): void {
    if (this.watcher !== null) this.watcher(POKE, addr, bytes);
    super.fill(addr, bytes, byte);
  }
  override clear64(addr: number, count: number): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 8 * count);
    super.clear64(addr, count);
  }
  override load64(addr: number): bigint {
    if (this.watcher !== null) this.watcher(LOAD, addr, 8);
    return super.load64(addr);
  }
  override loadEntry(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 8);
    return super.loadEntry(addr);
  }
  override store64(addr: number, value: bigint): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 8);
    super.store64(addr, value);
  }
  override exchange64(addr: number, value: bigint): bigint {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 8);
    return super.exchange64(addr, value);
  }
  override cas64(addr: number, expected: bigint, value: bigint): bigint {
    if (this.watcher !== null) this.watcher(UPDATE, addr, 8);
    return super.cas64(addr, expected, value);
  }
  override load16(addr: number): number {
    if (this.watcher !== null) this.watcher(LOAD, addr, 2);
    return super.load16(addr);
  }
  override store16(addr: number, value: number): void {
    if (this.watcher !== null) this.watcher(STORE, addr, 2);
    super.store16(addr, value);
  }
}
