/**
 * Trace rings: one per actor, in region `trace-rings`, `LayoutConfig.traceBytes` long.
 *
 *   ┌──────────────────────┬────────┬────────┬─────┬────────┐
 *   │ TRACE_RING, 128 B    │ record │ record │  …  │ record │   records of TRACE_RECORD.bytes, capacity of them
 *   └──────────────────────┴────────┴────────┴─────┴────────┘
 *
 * One producer, the actor; one consumer, the machine's main thread. A position counts records modulo twice the
 * capacity: equal positions mean empty, positions a whole capacity apart mean full, for any capacity.
 */
import { f64, i32, i64, struct, u8 } from '../struct.ts';

const ACTOR = 'the actor';

/** The producer's words and the consumer's word stand on cache lines of their own. */
export const TRACE_RING = struct(
  'trace-ring',
  {
    TAIL: i32(ACTOR, 'position after the last record put in'),
    LOST: i32(ACTOR, 'records that found no room, in all'),
    PRODUCER_LINE: i32('nobody', 'zero', 14),
    HEAD: i32('machine', 'position of the next record to take out'),
    CONSUMER_LINE: i32('nobody', 'zero', 15),
  },
  64,
);

/** What A, B, C and WIDE mean depends on KIND: the table is shared/trace/kinds.ts. */
export const TRACE_RECORD = struct('trace-record', {
  TIME: f64(ACTOR, 'ns, by the clock of the actor'),
  PHASE: u8(ACTOR, 'PHASE_*'),
  KIND: u8(ACTOR, 'TRACE_* of shared/trace/kinds.ts; 0 for PHASE_LOST'),
  LANE: u8(ACTOR, 'LANE_*: slices of one lane nest, slices of two lanes need not'),
  DEPTH: u8(ACTOR, 'begin, end: place of the slice among the open ones of its lane, 0 is the outermost'),
  C: i32(ACTOR, 'third argument'),
  A: f64(ACTOR, 'first argument: what completes the name, where there is such a thing. PHASE_LOST: how many'),
  B: f64(ACTOR, 'second argument'),
  FLOW: f64(ACTOR, 'number of the flow this begin or instant belongs to, 0 for none'),
  WIDE: i64(ACTOR, 'an argument that needs all 64 bits: a gva'),
});

export const PHASE_BEGIN = 1;
export const PHASE_END = 2;
export const PHASE_INSTANT = 3;
/** A records were lost here: they found the ring full. Nothing is known about slices that were open. */
export const PHASE_LOST = 4;

/** What the actor does: faults, events, flushes, lock waits and holds. */
export const LANE_MAIN = 0;
/** SRCU read sections, which begin and end across everything else. */
export const LANE_SRCU = 1;
/** LANE_OPEN_EVENT + k: the event of vCPU k that the introspector has not answered. */
export const LANE_OPEN_EVENT = 2;

/** LIMIT: open slices of one lane that are recorded; what is nested deeper leaves no trace. */
export const DEPTH_LIMIT = 200;

/** A ring for the parallel engine: room for some 87 000 records, which a vCPU that only faults fills in about 0.1 s. */
export const TRACE_BYTES = 4 * 1024 * 1024;

/** How many records fit into a ring of `bytes`. */
export function traceCapacity(bytes: number): number {
  return Math.max(0, Math.floor((bytes - TRACE_RING.bytes) / TRACE_RECORD.bytes));
}
