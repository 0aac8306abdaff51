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
import { KIND_ARGS, kindOf, type PlacedArg, wordFor } from './args.ts';
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
  /** What lines of one actor, phase, kind and name have in common, by all four in one number. */
  readonly #heads = new Map<number, string>();
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
    if (phase === PHASE_LOST) {
      this.#lost += a;
      this.#line({ time, actor: this.#options.actors[actor], event: PHASES[phase], records: a });
      return;
    }
    // Put together by hand: it is done for every record, and JSON.stringify takes four times as long.
    let line = `{"time":${time}${this.#head(actor, record)}`;
    if (lane === LANE_SRCU) line += ',"lane":"srcu"';
    else if (lane >= LANE_OPEN_EVENT) line += `,"lane":"vcpu ${lane - LANE_OPEN_EVENT}"`;
    if (phase !== PHASE_INSTANT) line += `,"depth":${depth}`;
    if (flow !== 0) line += `,"flow":${flow}`;
    const kind = KIND_ARGS[record.kind] ?? KIND_ARGS[0]!;
    const args = phase === PHASE_END ? kind.end : kind.begin;
    if (args.length > 0) {
      line += ',"args":{';
      for (let i = 0; i < args.length; i++) {
        line += `${i === 0 ? '' : ','}"${args[i]!.name}":${shown(args[i]!, record)}`;
      }
      line += '}';
    }
    this.#append(`${line}}\n`);
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

  #head(actor: number, record: TraceRecord): string {
    const kind = kindOf(record);
    const named = record.phase !== PHASE_END || KIND_ARGS[kind.id]!.endIsNamed;
    const name = named ? (kind.names[record.a] ?? null) : null;
    const nameIndex = name === null ? 0 : record.a + 1;
    const key = ((actor * 8 + record.phase) * 256 + kind.id) * 256 + nameIndex;
    let head = this.#heads.get(key);
    if (head === undefined) {
      const parts = {
        actor: this.#options.actors[actor],
        event: PHASES[record.phase],
        name: name ?? kind.name,
        category: kind.category,
      };
      head = `,${JSON.stringify(parts).slice(1, -1)}`;
      this.#heads.set(key, head);
    }
    return head;
  }

  #line(value: unknown): void {
    this.#append(`${JSON.stringify(value)}\n`);
  }

  #append(line: string): void {
    this.#gathered += line;
    if (this.#gathered.length >= CHUNK_CHARS) this.flush();
  }
}

function shown(arg: PlacedArg, record: TraceRecord): string {
  const value = record[arg.slot];
  if (typeof value === 'bigint') return `"0x${value.toString(16)}"`;
  const word = wordFor(arg, value);
  if (word !== null) return `"${word}"`;
  return arg.format === 'hex' ? `"0x${value.toString(16)}"` : String(value);
}
