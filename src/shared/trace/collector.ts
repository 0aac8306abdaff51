/**
 * Gathers what the actors record into a file, while they run.
 *
 * ```ts
 * const trace = new TraceCollector({ mem, layout, path: 'storm.pftrace', actors: ['vcpu 0', 'vcpu 1', …] });
 * const timer = setInterval(() => trace.drain(), TRACE_DRAIN_MS);
 * …
 * clearInterval(timer);
 * const summary = await trace.close();
 * ```
 *
 * For the thread that owns the machine. The file is JSON lines if its name ends in `.jsonl`, else Perfetto's.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { SimError } from '../errors.ts';
import { invariant } from '../invariant.ts';
import { CPU } from '../layout/cpu.ts';
import type { MachineLayout } from '../layout/machine.ts';
import { PHASE_LOST } from '../layout/trace.ts';
import { VCPU } from '../layout/vcpu.ts';
import type { Mem } from '../mem.ts';
import { JsonLinesSink } from './json-lines.ts';
import { PerfettoSink } from './perfetto.ts';
import { TraceReader, type TraceRecord } from './reader.ts';
import type { TraceCounter, TraceSink } from './sink.ts';

/** How often to drain. */
export const TRACE_DRAIN_MS = 50;

export interface TraceCollectorOptions {
  readonly mem: Mem;
  /** Made with `traceBytes` > 0. */
  readonly layout: MachineLayout;
  /** The file; an old one is replaced. */
  readonly path: string;
  /** Names of the actors by index, as in `ThreadTask.actor`. */
  readonly actors: readonly string[];
  /** The time that the actors' clocks show, ns. */
  readonly clock?: () => number;
}

export interface TraceSummary {
  readonly path: string;
  readonly format: 'perfetto' | 'json-lines';
  readonly bytes: number;
  readonly records: number;
  /** Records that found their ring full. The file says where. */
  readonly lost: number;
}

export class TraceCollector {
  readonly #options: TraceCollectorOptions;
  readonly #clock: () => number;
  readonly #readers: readonly TraceReader[];
  readonly #rates: readonly Rate[];
  readonly #format: TraceSummary['format'];
  readonly #sink: TraceSink;
  readonly #lastTimes: number[];
  readonly #fd: number;
  #bytes = 0;
  #records = 0;
  #failure: unknown = null;
  #closed = false;

  /** @throws SimError SIM_FILE when the file cannot be written */
  constructor(options: TraceCollectorOptions) {
    const { mem, layout, path, actors } = options;
    const { traceBytes, actorCount } = layout.config;
    invariant(traceBytes > 0 && actors.length <= actorCount, 'a layout without these trace rings');
    this.#options = options;
    this.#clock = options.clock ?? (() => Number(process.hrtime.bigint()));
    this.#readers = actors.map(
      (_, actor) => new TraceReader(mem, layout.traces + actor * traceBytes, traceBytes),
    );
    this.#lastTimes = actors.map(() => 0);
    try {
      this.#fd = openSync(path, 'w');
    } catch (cause) {
      throw cannotWrite(path, cause);
    }
    this.#rates = rates(mem, layout);
    this.#format = path.endsWith('.jsonl') ? 'json-lines' : 'perfetto';
    const Sink = this.#format === 'perfetto' ? PerfettoSink : JsonLinesSink;
    this.#sink = new Sink({ actors, counters: this.#rates, write: (bytes) => this.#write(bytes) });
  }

  /**
   * Writes out what has been recorded so far; nothing once it is closed. Never throws: a file that cannot be written is
   * reported by `close`.
   */
  drain(): void {
    if (this.#closed) return;
    for (const [actor, reader] of this.#readers.entries()) {
      this.#records += reader.drain((record) => {
        this.#lastTimes[actor] = record.time;
        this.#sink.record(actor, record);
      });
    }
    const now = this.#clock();
    for (const [index, rate] of this.#rates.entries()) {
      const value = rate.sample(now);
      if (value !== null) this.#sink.counter(index, now, value);
    }
    this.#sink.flush();
  }

  /**
   * Drains a last time, ends what is still open, and closes the file. The actors must have stopped.
   *
   * @throws SimError SIM_FILE when not all of it could be written
   */
  async close(): Promise<TraceSummary> {
    invariant(!this.#closed, 'a trace closed twice');
    this.drain();
    this.#closed = true;
    for (const [actor, reader] of this.#readers.entries()) {
      if (reader.lostAtEnd > 0)
        this.#sink.record(actor, lostRecord(this.#lastTimes[actor]!, reader.lostAtEnd));
    }
    this.#sink.close(Math.max(0, ...this.#lastTimes));
    const { path } = this.#options;
    try {
      closeSync(this.#fd);
    } catch (cause) {
      this.#failure ??= cause;
    }
    if (this.#failure !== null) throw cannotWrite(path, this.#failure);
    let lost = 0;
    for (const reader of this.#readers) lost += reader.lost;
    return { path, format: this.#format, bytes: this.#bytes, records: this.#records, lost };
  }

  #write(bytes: Uint8Array): void {
    if (this.#failure !== null) return;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      this.#bytes += bytes.length;
    } catch (cause) {
      // The machine goes on without its trace; the rings are still emptied.
      this.#failure = cause;
    }
  }
}

function cannotWrite(path: string, cause: unknown): SimError {
  return new SimError('SIM_FILE', `cannot write the trace '${path}'`, { cause });
}

function lostRecord(time: number, lost: number): TraceRecord {
  return { time, phase: PHASE_LOST, kind: 0, lane: 0, depth: 0, a: lost, b: 0, c: 0, flow: 0, wide: 0n };
}

/** A number that only grows, shown as what it grows by in a second. */
class Rate implements TraceCounter {
  readonly name: string;
  readonly actor: number;
  readonly #read: () => number;
  #value = 0;
  #time = -1;

  constructor(name: string, actor: number, read: () => number) {
    this.name = name;
    this.actor = actor;
    this.#read = read;
  }

  /** Null when there is nothing to compare with yet. */
  sample(time: number): number | null {
    const value = this.#read();
    const grown = value - this.#value;
    const passed = time - this.#time;
    const first = this.#time < 0;
    if (!first && passed <= 0) return null;
    this.#value = value;
    this.#time = time;
    return first ? null : Math.max(0, Math.round((grown * 1e9) / passed));
  }
}

function rates(mem: Mem, layout: MachineLayout): Rate[] {
  const vcpus = Array.from({ length: layout.config.vcpuCount }, (_, index) => index);
  // SHARED: plain reads of counters that move.
  const retired = (index: number) =>
    Number(mem.u64[(layout.cpus + index * layout.cpuStride + CPU.at.RETIRED) / 8]!);
  const sent = (index: number) => {
    const at = (layout.vcpus + index * VCPU.bytes + VCPU.at.EVENTS_SENT) / 8;
    return Number(mem.u64[at]! + mem.u64[at + 1]! + mem.u64[at + 2]!);
  };
  return [
    ...vcpus.map((index) => new Rate('instructions per second', index, () => retired(index))),
    new Rate('events per second', -1, () => vcpus.reduce((sum, index) => sum + sent(index), 0)),
  ];
}
