/**
 * A trace as JSON lines: every record as it was made, one object a line.
 *
 * The first line names the format and the actors, the last one counts. Times are ns as numbers, addresses `"0x…"`.
 */
import {
  LANE_OPEN_EVENT,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
  PHASE_LOST,
} from '../layout/trace.ts';
import { argsOf, kindOf, nameOf, wordFor } from './args.ts';
import type { TraceArg } from './kinds.ts';
import type { TraceRecord } from './reader.ts';
import type { TraceSink, TraceSinkOptions } from './sink.ts';

export const JSON_TRACE_VERSION = 1;

/** Characters gathered before they are written. */
const CHUNK_CHARS = 256 * 1024;

const PHASES: Readonly<Record<number, string>> = {
  [PHASE_BEGIN]: 'begin',
  [PHASE_END]: 'end',
  [PHASE_INSTANT]: 'instant',
  [PHASE_LOST]: 'lost',
};

export class JsonLinesSink implements TraceSink {
  readonly #options: TraceSinkOptions;
  readonly #encoder = new TextEncoder();
  #gathered = '';
  #records = 0;
  #lost = 0;

  constructor(options: TraceSinkOptions) {
    this.#options = options;
    this.#line({ event: 'trace', version: JSON_TRACE_VERSION, actors: options.actors });
  }

  record(actor: number, record: TraceRecord): void {
    this.#records += 1;
    const { time, phase, lane, depth, a, flow } = record;
    const head = { time, actor: this.#options.actors[actor], event: PHASES[phase] };
    if (phase === PHASE_LOST) {
      this.#lost += a;
      this.#line({ ...head, records: a });
      return;
    }
    this.#line({
      ...head,
      name: nameOf(record),
      category: kindOf(record).category,
      ...(lane === LANE_SRCU ? { lane: 'srcu' } : {}),
      ...(lane >= LANE_OPEN_EVENT ? { lane: `vcpu ${lane - LANE_OPEN_EVENT}` } : {}),
      ...(phase === PHASE_INSTANT ? {} : { depth }),
      ...(flow === 0 ? {} : { flow }),
      args: namedArgs(record),
    });
  }

  counter(index: number, time: number, value: number): void {
    const { name, actor } = this.#options.counters[index]!;
    this.#line({ time, actor: this.#options.actors[actor] ?? 'machine', event: 'counter', name, value });
  }

  close(time: number): void {
    this.#line({ time, event: 'end', records: this.#records, lost: this.#lost });
    this.flush();
  }

  flush(): void {
    this.#options.write(this.#encoder.encode(this.#gathered));
    this.#gathered = '';
  }

  #line(value: unknown): void {
    this.#gathered += `${JSON.stringify(value)}\n`;
    if (this.#gathered.length >= CHUNK_CHARS) this.flush();
  }
}

function namedArgs(record: TraceRecord): Record<string, string | number> {
  const { a, b, c, wide } = argsOf(record);
  const args: Record<string, string | number> = {};
  if (a !== undefined) args[a.name] = shown(a, record.a);
  if (b !== undefined) args[b.name] = shown(b, record.b);
  if (c !== undefined) args[c.name] = shown(c, record.c);
  if (wide !== undefined) args[wide.name] = `0x${record.wide.toString(16)}`;
  return args;
}

function shown(arg: TraceArg, value: number): string | number {
  return wordFor(arg.format, value) ?? (arg.format === 'hex' ? `0x${value.toString(16)}` : value);
}
