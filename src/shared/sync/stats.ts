/**
 * Lock statistics: for each actor and lock class, how often and how long.
 *
 * Each actor has its own block, `STATS_BYTES` long, that only it writes: counting never makes two actors contend.
 * The record of class `cls` is at `statsAddress(block, cls)`. Whoever shows the numbers reads them while they move.
 *
 * HELD and WAITING are not for people: when a thread has died they say what it had, which the lock words alone do not
 * (a reader is a mere count in them). See machine/lost-actor.ts.
 */
import type { Mem } from '../mem.ts';
import { f64, i32, struct } from '../struct.ts';
import { LOCK_CLASSES, type LockClass } from './lock-class.ts';

export const STATS = struct(
  'lock stats',
  {
    ACQUISITIONS: f64('this actor', 'times taken; srcu: sections entered'),
    CONTENDED: f64('this actor', 'times it had to wait; srcu: grace periods; completion, event: waits'),
    WAIT_NS: f64('this actor', 'time waited, ns'),
    WAIT_NS_MAX: f64('this actor', 'longest wait, ns'),
    HOLD_NS: f64('this actor', 'time held, ns; nested srcu sections count as the outermost'),
    HOLD_NS_MAX: f64('this actor', 'longest hold, ns'),
    HELD: i32('this actor', 'holds of it now; srcu: per side. kvmi_complete: KVMI references', 2),
    WAITING: i32('this actor', '1 while it waits for it'),
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
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #block: number;
  readonly #clock: () => number;
  readonly #heldDepth = new Int32Array(LOCK_CLASSES.length);
  readonly #heldSince = new Float64Array(LOCK_CLASSES.length);
  readonly #waitSince = new Float64Array(LOCK_CLASSES.length);

  constructor(mem: Mem, block: number, clock: () => number) {
    this.#cells = mem.f64;
    this.#words = mem.i32;
    this.#block = block;
    this.#clock = clock;
  }

  waitBegins(cls: LockClass): void {
    const record = this.#record(cls);
    this.#cells[record + CONTENDED]! += 1;
    this.#words[record * 2 + WAITING] = 1;
    // While an event is awaited, others may be: each class has its own beginning.
    this.#waitSince[cls.id] = this.#clock();
  }

  waitEnds(cls: LockClass): void {
    const record = this.#record(cls);
    this.#words[record * 2 + WAITING] = 0;
    this.#addTime(record + WAIT_NS, this.#clock() - this.#waitSince[cls.id]!);
  }

  acquired(cls: LockClass, side: number): void {
    const record = this.#record(cls);
    this.#cells[record + ACQUISITIONS]! += 1;
    this.#words[record * 2 + HELD + side]! += 1;
    const depth = this.#heldDepth[cls.id]!;
    this.#heldDepth[cls.id] = depth + 1;
    if (depth === 0) this.#heldSince[cls.id] = this.#clock();
  }

  releasing(cls: LockClass, side: number): void {
    this.#words[this.#record(cls) * 2 + HELD + side]! -= 1;
    const depth = this.#heldDepth[cls.id]!;
    if (depth === 0) return;
    this.#heldDepth[cls.id] = depth - 1;
    if (depth === 1) this.#addTime(this.#record(cls) + HOLD_NS, this.#clock() - this.#heldSince[cls.id]!);
  }

  /** Counts `by` more holds of something that is no lock and has no statistics. */
  hold(cls: LockClass, by: number): void {
    this.#words[this.#record(cls) * 2 + HELD]! += by;
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
const HELD = STATS.at.HELD / Int32Array.BYTES_PER_ELEMENT;
const WAITING = STATS.at.WAITING / Int32Array.BYTES_PER_ELEMENT;
