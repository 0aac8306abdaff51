/**
 * Makes the slices of one lane nest, whatever was recorded: for formats in which an end always ends the innermost.
 *
 *   recorded            ( A    ( B    A )    B )
 *   written             ( A    ( B    B ) A ) ( B    B )       the second B is marked as a continuation
 *
 * Nesting is by DEPTH, so records that were lost never make an end close the wrong slice: a slice whose beginning is
 * unknown is a gap in the stack, and its end is written for nobody.
 */
import type { TraceRecord } from './reader.ts';

export interface NestedSlices {
  /** A slice begins inside the innermost open one; `continued`: it is the rest of one that was interrupted. */
  open(begin: TraceRecord, time: number, continued: boolean): void;
  /** The innermost open slice ends; `end` has its closing arguments, null when it was cut off. */
  shut(time: number, end: TraceRecord | null): void;
}

export class LaneNesting {
  readonly #out: NestedSlices;
  /** Beginnings of the open slices, outermost first; null where the beginning was lost. */
  readonly #open: (TraceRecord | null)[] = [];

  constructor(out: NestedSlices) {
    this.#out = out;
  }

  begin(record: TraceRecord, time: number): void {
    // What is open deeper than the producer says has ended unseen.
    this.#cutTo(record.depth, time);
    while (this.#open.length < record.depth) this.#open.push(null);
    this.#open.push({ ...record });
    this.#out.open(record, time, false);
  }

  end(record: TraceRecord, time: number): void {
    const { depth } = record;
    if (depth >= this.#open.length) return;
    const inner = this.#open.slice(depth + 1);
    const ended = this.#open[depth]!;
    if (ended === null) {
      // Nothing to write, and what is inside it stays where it is.
      this.#open.splice(depth, 1);
      return;
    }
    this.#cutTo(depth + 1, time);
    this.#out.shut(time, record);
    this.#open.length = depth;
    for (const begin of inner) {
      this.#open.push(begin);
      if (begin !== null) this.#out.open(begin, time, true);
    }
  }

  /** Ends everything: records were lost, or the trace is over. */
  cut(time: number): void {
    this.#cutTo(0, time);
  }

  #cutTo(depth: number, time: number): void {
    while (this.#open.length > depth) {
      if (this.#open.pop() !== null) this.#out.shut(time, null);
    }
  }
}
