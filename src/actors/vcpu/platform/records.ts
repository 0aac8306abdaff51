/** One record of the board in shared memory, by the names of its words. Plain accesses: the record is its holder's. */
import type { Mem } from '../../../shared/mem.ts';
import type { Struct } from '../../../shared/struct.ts';

export class Words<Names extends string> {
  readonly mem: Mem;
  readonly base: number;
  readonly #at: Readonly<Record<Names, number>>;

  constructor(mem: Mem, struct: Struct<Names>, base: number) {
    this.mem = mem;
    this.base = base;
    this.#at = struct.at;
  }

  /** Byte address of a word. */
  at(name: Names): number {
    return this.base + this.#at[name];
  }
  get(name: Names, index = 0): number {
    return this.mem.peek(this.at(name) + 4 * index);
  }
  set(name: Names, value: number, index = 0): void {
    this.mem.poke(this.at(name) + 4 * index, value);
  }
  get64(name: Names, index = 0): bigint {
    return this.mem.u64[this.at(name) / 8 + index]!;
  }
  set64(name: Names, value: bigint, index = 0): void {
    this.mem.touch(this.at(name) + 8 * index, 8);
    this.mem.u64[this.at(name) / 8 + index] = value;
  }
  /** A time, ns. */
  time(name: Names): number {
    return this.mem.f64[this.at(name) / 8]!;
  }
  setTime(name: Names, ns: number): void {
    this.mem.touch(this.at(name), 8);
    this.mem.f64[this.at(name) / 8] = ns;
  }
}
