/** What the trace tests share: rings in a memory of their own, and what an exporter makes of records. */
import { LANE_MAIN, PHASE_BEGIN, TRACE_RECORD, TRACE_RING } from '../../../src/shared/layout/trace.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { PerfettoSink } from '../../../src/shared/trace/perfetto.ts';
import { TraceReader, type TraceRecord } from '../../../src/shared/trace/reader.ts';
import type { TraceCounter, TraceSinkOptions } from '../../../src/shared/trace/sink.ts';
import { Tracer } from '../../../src/shared/trace/tracer.ts';
import { type DecodedTrace, decodeTrace } from './decoded.ts';

export interface TestRing {
  readonly mem: Mem;
  readonly base: number;
  readonly tracer: Tracer;
  readonly reader: TraceReader;
  /** Copies of all records that are there. */
  take(): TraceRecord[];
}

/** Bytes of a ring with room for `records`. */
export function ringBytes(records: number): number {
  return TRACE_RING.bytes + records * TRACE_RECORD.bytes;
}

/** A clock that moves by one with every look. */
export function ticking(from = 0): () => number {
  let now = from;
  return () => ++now;
}

/** A ring of `records` records, not at address 0, with both its ends. */
export function testRing(records: number, clock = ticking()): TestRing {
  const base = 4096;
  const pages = Math.ceil((base + ringBytes(records)) / 65536);
  const mem = new Mem(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
  const bytes = ringBytes(records);
  const reader = new TraceReader(mem, base, bytes);
  return {
    mem,
    base,
    tracer: new Tracer({ mem, base, bytes, clock }),
    reader,
    take() {
      const records: TraceRecord[] = [];
      reader.drain((record) => records.push({ ...record }));
      return records;
    },
  };
}

/** A record with everything that is not said empty. */
export function record(fields: Partial<TraceRecord>): TraceRecord {
  return {
    time: 0,
    phase: PHASE_BEGIN,
    kind: 1,
    lane: LANE_MAIN,
    depth: 0,
    a: 0,
    b: 0,
    c: 0,
    flow: 0,
    wide: 0n,
    ...fields,
  };
}

/** The bytes a sink writes, as one array. */
export class Gathered {
  readonly #chunks: Uint8Array[] = [];

  readonly write = (bytes: Uint8Array): void => {
    this.#chunks.push(bytes.slice());
  };

  get bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#chunks));
  }
}

export interface ExportOptions {
  readonly actors?: readonly string[];
  readonly counters?: readonly TraceCounter[];
  /** Last moment of the trace. */
  readonly end?: number;
}

/** Lets `fill` write to a Perfetto sink, and decodes what came out. */
export function perfetto(fill: (sink: PerfettoSink) => void, options: ExportOptions = {}): DecodedTrace {
  const { actors = ['vcpu 0'], counters = [], end = 0 } = options;
  const gathered = new Gathered();
  const sinkOptions: TraceSinkOptions = { actors, counters, write: gathered.write };
  const sink = new PerfettoSink(sinkOptions);
  fill(sink);
  sink.close(end);
  return decodeTrace(gathered.bytes);
}
