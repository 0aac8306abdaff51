/** The consuming half of one trace ring (layout: shared/layout/trace.ts). Runs in the machine's main thread. */
import { PHASE_LOST, TRACE_RECORD, TRACE_RING, traceCapacity } from '../layout/trace.ts';
import type { Mem } from '../mem.ts';

/** One record, copied out of its ring. */
export interface TraceRecord {
  /** ns. */
  time: number;
  phase: number;
  kind: number;
  lane: number;
  depth: number;
  a: number;
  b: number;
  c: number;
  flow: number;
  /** Unsigned 64 bits. */
  wide: bigint;
}

/** Records between two looks at whether the producer can have its room back. */
const GIVE_BACK_EVERY = 1024;

export class TraceReader {
  readonly #mem: Mem;
  readonly #base: number;
  readonly #capacity: number;
  #announced = 0;

  /** The ring at `base` (bytes, 8-aligned), `bytes` long. */
  constructor(mem: Mem, base: number, bytes: number) {
    this.#mem = mem;
    this.#base = base;
    this.#capacity = traceCapacity(bytes);
  }

  /** Records lost in all, those included whose place in the stream is not known yet. */
  get lost(): number {
    return this.#mem.load(this.#base + TRACE_RING.at.LOST) >>> 0;
  }

  /** Records lost since the last PHASE_LOST: nothing came after them that would have said so. */
  get lostAtEnd(): number {
    return this.lost - this.#announced;
  }

  /**
   * Takes out everything that is there now, oldest first.
   *
   * @param visit  gets the same object each time: it must not keep it
   * @returns how many there were
   */
  drain(visit: (record: TraceRecord) => void): number {
    const { u8, i32, f64, u64 } = this.#mem;
    const headWord = this.#base + TRACE_RING.at.HEAD;
    const tail = this.#mem.load(this.#base + TRACE_RING.at.TAIL);
    let head = this.#mem.load(headWord);
    let count = 0;
    while (head !== tail) {
      const slot = head < this.#capacity ? head : head - this.#capacity;
      const at = this.#base + TRACE_RING.bytes + slot * TRACE_RECORD.bytes;
      // SHARED: plain reads. The producer does not touch a record between its tail and our head.
      const record: TraceRecord = this.#record;
      record.time = f64[(at + TRACE_RECORD.at.TIME) / 8]!;
      record.phase = u8[at + TRACE_RECORD.at.PHASE]!;
      record.kind = u8[at + TRACE_RECORD.at.KIND]!;
      record.lane = u8[at + TRACE_RECORD.at.LANE]!;
      record.depth = u8[at + TRACE_RECORD.at.DEPTH]!;
      record.c = i32[(at + TRACE_RECORD.at.C) / 4]!;
      record.a = f64[(at + TRACE_RECORD.at.A) / 8]!;
      record.b = f64[(at + TRACE_RECORD.at.B) / 8]!;
      record.flow = f64[(at + TRACE_RECORD.at.FLOW) / 8]!;
      record.wide = u64[(at + TRACE_RECORD.at.WIDE) / 8]!;
      head = head + 1 === 2 * this.#capacity ? 0 : head + 1;
      count += 1;
      if (record.phase === PHASE_LOST) this.#announced += record.a;
      visit(record);
      // ORDER: the reads before the head. The producer that sees the head may overwrite the record.
      if (count % GIVE_BACK_EVERY === 0) this.#mem.store(headWord, head);
    }
    this.#mem.store(headWord, head);
    return count;
  }

  readonly #record: TraceRecord = {
    time: 0,
    phase: 0,
    kind: 0,
    lane: 0,
    depth: 0,
    a: 0,
    b: 0,
    c: 0,
    flow: 0,
    wide: 0n,
  };
}
