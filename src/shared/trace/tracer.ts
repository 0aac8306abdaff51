/**
 * The recording half of the trace: one per actor, in the actor's thread.
 *
 * ```ts
 * actor.tracer?.begin(TRACE_FAULT, gfn, access);
 * …
 * actor.tracer?.end(TRACE_FAULT, FAULT_RESULTS.indexOf(result));
 * ```
 *
 * Recording is a few plain stores and one atomic one. Nothing is ever waited for: a record that finds the ring full is
 * dropped and counted, and the first one that finds room again is preceded by the count.
 */
import {
  DEPTH_LIMIT,
  LANE_MAIN,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
  PHASE_LOST,
  TRACE_RECORD,
  TRACE_RING,
  traceCapacity,
} from '../layout/trace.ts';
import type { Mem } from '../mem.ts';
import type { LockTraceKind } from '../sync/actor.ts';
import type { LockClass, LockMode } from '../sync/lock-class.ts';
import { lockCode, TRACE_HOLD, TRACE_WAIT } from './kinds.ts';

export interface TracerOptions {
  readonly mem: Mem;
  /** Address of the actor's ring, 8-aligned. */
  readonly base: number;
  /** Its length. */
  readonly bytes: number;
  /** Time in ns, never going back: the actor's clock. */
  readonly clock: () => number;
}

/** What a lane's open slices are known by. Two arrays instead of objects: this is pushed and popped all the time. */
interface OpenSlices {
  readonly kinds: number[];
  /** TRACE_HOLD and TRACE_WAIT: address of the lock; otherwise 0. */
  readonly keys: number[];
}

export class Tracer {
  readonly #mem: Mem;
  readonly #base: number;
  readonly #capacity: number;
  readonly #clock: () => number;
  readonly #lanes: OpenSlices[] = [];
  /** Own copy of TAIL: nobody else writes it. */
  #tail: number;
  /** Records known to fit. The consumer only adds to it, so it is looked up again only when it is used up. */
  #room = 0;
  /** Records dropped since the last one that fitted, and when the first of them was. */
  #lost = 0;
  #lostSince = 0;

  constructor(options: TracerOptions) {
    const { mem, base, bytes, clock } = options;
    this.#mem = mem;
    this.#base = base;
    this.#capacity = traceCapacity(bytes);
    this.#clock = clock;
    this.#tail = mem.load(base + TRACE_RING.at.TAIL);
  }

  /**
   * A slice begins on the actor's main lane.
   *
   * @param kind  TRACE_*; what `a`, `b`, `c` and `wide` mean is in its row of the table
   * @param c     32 bits
   * @param flow  number of a flow that passes through, 0 for none
   */
  begin(kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.#begin(LANE_MAIN, kind, 0, a, b, c, flow, wide);
  }

  /** The innermost open slice of `kind` ends. One that never began is no slice: nothing is recorded. */
  end(kind: number, a = 0, b = 0, c = 0, wide = 0n): void {
    this.#end(LANE_MAIN, kind, 0, a, b, c, wide);
  }

  instant(kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.#put(this.#clock(), PHASE_INSTANT, LANE_MAIN, 0, kind, a, b, c, flow, wide);
  }

  now(): number {
    return this.#clock();
  }

  /** As `instant`, but it was at `time`: not before the last record, not after now. */
  instantAt(time: number, kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.#put(time, PHASE_INSTANT, LANE_MAIN, 0, kind, a, b, c, flow, wide);
  }

  /** As `begin`, on another lane: for slices that do not nest with what the actor does meanwhile. */
  beginOn(lane: number, kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.#begin(lane, kind, 0, a, b, c, flow, wide);
  }

  endOn(lane: number, kind: number, a = 0, b = 0, c = 0, wide = 0n): void {
    this.#end(lane, kind, 0, a, b, c, wide);
  }

  /** Hook for `Actor.trace`: a slice for each wait, and one for as long as a lock is held. */
  readonly locks: (event: LockTraceKind, cls: LockClass, addr: number, mode: LockMode) => void = (
    event,
    cls,
    addr,
    mode,
  ) => {
    switch (event) {
      case 'acquired':
        return this.#begin(
          cls.kind === 'srcu' ? LANE_SRCU : LANE_MAIN,
          TRACE_HOLD,
          addr,
          lockCode(cls, mode === 'read'),
          addr,
          0,
          0,
          0n,
        );
      case 'release':
        return this.#end(
          cls.kind === 'srcu' ? LANE_SRCU : LANE_MAIN,
          TRACE_HOLD,
          addr,
          lockCode(cls, mode === 'read'),
          0,
          0,
          0n,
        );
      case 'wait':
        return this.#begin(LANE_MAIN, TRACE_WAIT, addr, lockCode(cls, mode === 'read'), addr, 0, 0, 0n);
      case 'wake':
        return this.#end(LANE_MAIN, TRACE_WAIT, addr, lockCode(cls, mode === 'read'), 0, 0, 0n);
      case 'acquire':
        // Uninteresting unless it has to wait.
        return;
    }
  };

  #begin(
    lane: number,
    kind: number,
    key: number,
    a: number,
    b: number,
    c: number,
    flow: number,
    wide: bigint,
  ): void {
    const open = this.#lane(lane);
    const depth = open.kinds.length;
    open.kinds.push(kind);
    open.keys.push(key);
    if (depth < DEPTH_LIMIT) this.#put(this.#clock(), PHASE_BEGIN, lane, depth, kind, a, b, c, flow, wide);
  }

  #end(lane: number, kind: number, key: number, a: number, b: number, c: number, wide: bigint): void {
    const { kinds, keys } = this.#lane(lane);
    let depth = kinds.length - 1;
    while (depth >= 0 && (kinds[depth] !== kind || keys[depth] !== key)) depth--;
    if (depth < 0) return;
    if (depth === kinds.length - 1) {
      kinds.pop();
      keys.pop();
    } else {
      kinds.splice(depth, 1);
      keys.splice(depth, 1);
    }
    if (depth < DEPTH_LIMIT) this.#put(this.#clock(), PHASE_END, lane, depth, kind, a, b, c, 0, wide);
  }

  #lane(lane: number): OpenSlices {
    let open = this.#lanes[lane];
    if (open === undefined) {
      open = { kinds: [], keys: [] };
      for (let i = this.#lanes.length; i < lane; i++) this.#lanes.push({ kinds: [], keys: [] });
      this.#lanes[lane] = open;
    }
    return open;
  }

  #put(
    time: number,
    phase: number,
    lane: number,
    depth: number,
    kind: number,
    a: number,
    b: number,
    c: number,
    flow: number,
    wide: bigint,
  ): void {
    const needed = this.#lost === 0 ? 1 : 2;
    if (this.#room < needed) {
      this.#room = this.#lookForRoom();
      if (this.#room < needed) {
        if (this.#lost === 0) this.#lostSince = time;
        this.#lost += 1;
        this.#mem.add(this.#base + TRACE_RING.at.LOST, 1);
        return;
      }
    }
    if (this.#lost !== 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.#store(this.#lostSince, PHASE_LOST, 0, 0, 0, lost, 0, 0, 0, 0n);
    }
    this.#store(time, phase, lane, depth, kind, a, b, c, flow, wide);
    // ORDER: the record before the tail. The consumer that sees the tail reads a whole record.
    this.#mem.store(this.#base + TRACE_RING.at.TAIL, this.#tail);
  }

  #lookForRoom(): number {
    const used = this.#tail - this.#mem.load(this.#base + TRACE_RING.at.HEAD);
    return this.#capacity - (used >= 0 ? used : used + 2 * this.#capacity);
  }

  #store(
    time: number,
    phase: number,
    lane: number,
    depth: number,
    kind: number,
    a: number,
    b: number,
    c: number,
    flow: number,
    wide: bigint,
  ): void {
    const { u8, i32, f64, u64 } = this.#mem;
    const tail = this.#tail;
    const slot = tail < this.#capacity ? tail : tail - this.#capacity;
    const at = this.#base + TRACE_RING.bytes + slot * TRACE_RECORD.bytes;
    const at8 = at / 8;
    f64[at8 + TIME_8] = time;
    u8[at + PHASE_1] = phase;
    u8[at + KIND_1] = kind;
    u8[at + LANE_1] = lane;
    u8[at + DEPTH_1] = depth;
    i32[at / 4 + C_4] = c;
    f64[at8 + A_8] = a;
    f64[at8 + B_8] = b;
    f64[at8 + FLOW_8] = flow;
    u64[at8 + WIDE_8] = wide;
    this.#tail = tail + 1 === 2 * this.#capacity ? 0 : tail + 1;
    this.#room -= 1;
  }
}

const TIME_8 = TRACE_RECORD.at.TIME / 8;
const PHASE_1 = TRACE_RECORD.at.PHASE;
const KIND_1 = TRACE_RECORD.at.KIND;
const LANE_1 = TRACE_RECORD.at.LANE;
const DEPTH_1 = TRACE_RECORD.at.DEPTH;
const C_4 = TRACE_RECORD.at.C / 4;
const A_8 = TRACE_RECORD.at.A / 8;
const B_8 = TRACE_RECORD.at.B / 8;
const FLOW_8 = TRACE_RECORD.at.FLOW / 8;
const WIDE_8 = TRACE_RECORD.at.WIDE / 8;
