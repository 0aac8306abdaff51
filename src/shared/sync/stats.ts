/**
 * Lock statistics: for each actor and lock class, how often and how long.
 *
 * Each actor has its own block, `STATS_BYTES` long, that only it writes: counting never makes two actors contend.
 * The record of class `cls` is at `statsAddress(block, cls)`. Whoever shows the numbers reads them while they move.
 */
import type { Mem } from '../mem.ts';
import { f64, struct } from '../struct.ts';
import { LOCK_CLASSES, type LockClass } from './lock-class.ts';

export const STATS = struct(
  'lock stats',
  {
    ACQUISITIONS: f64('this actor', 'times taken; srcu: sections entered'),
    CONTENDED: f64('this actor', 'times it had to wait; srcu: grace periods; completion: waits'),
    WAIT_NS: f64('this actor', 'time waited, ns'),
    WAIT_NS_MAX: f64('this actor', 'longest wait, ns'),
    HOLD_NS: f64('this actor', 'time held, ns; nested srcu sections count as the outermost'),
    HOLD_NS_MAX: f64('this actor', 'longest hold, ns'),
  },
  64,
);

/** Size of one actor's block. */
export const STATS_BYTES = STATS.bytes * LOCK_CLASSES.length;

/** Where the record of `cls` stands in the block at `block` (bytes, 8-aligned). */
export function statsAddress(block: number, cls: LockClass): number {
  return block + cls.id * STATS.bytes;
}

/** Keeps one actor's counters. Times come from that actor's clock, so explored runs count logical time. */
export class LockStats {
  readonly #cells: Float64Array<SharedArrayBuffer>;
  readonly #block: number;
  readonly #clock: () => number;
  readonly #heldDepth = new Int32Array(LOCK_CLASSES.length);
  readonly #heldSince = new Float64Array(LOCK_CLASSES.length);
  #waitSince = 0;

  constructor(mem: Mem, block: number, clock: () => number) {
    this.#cells = mem.f64;
    this.#block = block;
    this.#clock = clock;
  }

  waitBegins(cls: LockClass): void {
    this.#cells[this.#record(cls) + CONTENDED]! += 1;
    this.#waitSince = this.#clock();
  }

  waitEnds(cls: LockClass): void {
    this.#addTime(this.#record(cls) + WAIT_NS, this.#clock() - this.#waitSince);
  }

  acquired(cls: LockClass): void {
    this.#cells[this.#record(cls) + ACQUISITIONS]! += 1;
    const depth = this.#heldDepth[cls.id]!;
    this.#heldDepth[cls.id] = depth + 1;
    if (depth === 0) this.#heldSince[cls.id] = this.#clock();
  }

  releasing(cls: LockClass): void {
    const depth = this.#heldDepth[cls.id]!;
    if (depth === 0) return;
    this.#heldDepth[cls.id] = depth - 1;
    if (depth === 1) this.#addTime(this.#record(cls) + HOLD_NS, this.#clock() - this.#heldSince[cls.id]!);
  }

  #record(cls: LockClass): number {
    return statsAddress(this.#block, cls) / Float64Array.BYTES_PER_ELEMENT;
  }

  // SHARED: plain writes. One writer; a reader that sees a total before its maximum shows a number a moment old.
  #addTime(total: number, ns: number): void {
    this.#cells[total]! += ns;
    if (ns > this.#cells[total + 1]!) this.#cells[total + 1] = ns;
  }
}

const word = (name: keyof typeof STATS.at) => STATS.at[name] / Float64Array.BYTES_PER_ELEMENT;
const ACQUISITIONS = word('ACQUISITIONS');
const CONTENDED = word('CONTENDED');
const WAIT_NS = word('WAIT_NS');
const HOLD_NS = word('HOLD_NS');
