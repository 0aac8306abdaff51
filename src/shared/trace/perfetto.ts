/**
 * A trace as Perfetto reads it: a stream of TracePackets, written as the records come.
 *
 * One process, a thread track per actor, and below it a track for each further lane of that actor. Names, categories
 * and argument names are interned: written once, and referred to by number.
 *
 * @source protos/perfetto/trace: trace_packet.proto, track_event/track_event.proto, track_descriptor.proto,
 *         thread_descriptor.proto, process_descriptor.proto, counter_descriptor.proto, debug_annotation.proto,
 *         interned_data/interned_data.proto
 */
import {
  LANE_MAIN,
  LANE_OPEN_EVENT,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
  PHASE_LOST,
} from '../layout/trace.ts';
import { KIND_ARGS, kindOf, type PlacedArg, wordFor } from './args.ts';
import { TRACE_KINDS } from './kinds.ts';
import { LaneNesting, type NestedSlices } from './nesting.ts';
import { ProtobufWriter } from './protobuf.ts';
import type { TraceRecord } from './reader.ts';
import type { TraceSink, TraceSinkOptions } from './sink.ts';

// biome-ignore-start format: table
const TRACE = { packet: 1 };
const PACKET = {
  timestamp: 8,
  trustedPacketSequenceId: 10,
  trackEvent: 11,
  internedData: 12,
  sequenceFlags: 13,
  trackDescriptor: 60,
};
const INTERNED = { eventCategories: 1, eventNames: 2, debugAnnotationNames: 3 };
const INTERNED_ENTRY = { iid: 1, name: 2 };
const TRACK = { uuid: 1, name: 2, process: 3, thread: 4, parentUuid: 5, counter: 8 };
const PROCESS = { pid: 1, processName: 6 };
const THREAD = { pid: 1, tid: 2, threadName: 5 };
const COUNTER = { unit: 3 };
const EVENT = {
  categoryIids: 3,
  debugAnnotations: 4,
  type: 9,
  nameIid: 10,
  trackUuid: 11,
  counterValue: 30,
  flowIds: 47,
};
const ANNOTATION = { nameIid: 1, boolValue: 2, intValue: 4, stringValue: 6, pointerValue: 7 };
// biome-ignore-end format: table

const TYPE_SLICE_BEGIN = 1;
const TYPE_SLICE_END = 2;
const TYPE_INSTANT = 3;
const TYPE_COUNTER = 4;
const SEQ_INCREMENTAL_STATE_CLEARED = 1;
const SEQ_NEEDS_INCREMENTAL_STATE = 2;
const UNIT_COUNT = 2;

/** All packets are one sequence: they share the interned names. */
const SEQUENCE = 1;
const PID = 1;
const PROCESS_UUID = 1;
/** LANES_MAX tracks per actor, from here; the counters behind them. */
const FIRST_TRACK_UUID = 256;
const LANES_MAX = 256;

/** Bytes gathered before they are written. */
const CHUNK_BYTES = 256 * 1024;

/** One lane of one actor. */
class Track implements NestedSlices {
  readonly uuid: number;
  readonly nesting: LaneNesting;
  readonly #sink: PerfettoSink;

  constructor(sink: PerfettoSink, uuid: number) {
    this.uuid = uuid;
    this.nesting = new LaneNesting(this);
    this.#sink = sink;
  }

  open(begin: TraceRecord, time: number, continued: boolean): void {
    this.#sink.event(this.uuid, TYPE_SLICE_BEGIN, time, begin, continued);
  }

  shut(time: number, end: TraceRecord | null): void {
    this.#sink.event(this.uuid, TYPE_SLICE_END, time, end, false);
  }
}

export class PerfettoSink implements TraceSink {
  readonly #options: TraceSinkOptions;
  readonly #out = new ProtobufWriter(CHUNK_BYTES + 64 * 1024);
  /** By actor, then lane. */
  readonly #tracks: (Track | undefined)[][];
  /** Latest time written for each actor. */
  readonly #times: number[];
  /** By kind; made at its first record. */
  readonly #kinds: (InternedKind | undefined)[] = [];
  readonly #names = new Interned();
  readonly #categories = new Interned();
  readonly #argNames = new Interned();

  constructor(options: TraceSinkOptions) {
    this.#options = options;
    this.#tracks = options.actors.map(() => []);
    this.#times = options.actors.map(() => 0);
    this.#processDescriptor();
    for (const [actor] of options.actors.entries()) this.#track(actor, LANE_MAIN);
    for (const [index] of options.counters.entries()) this.#counterDescriptor(index);
  }

  record(actor: number, record: TraceRecord): void {
    const time = this.#timeOf(actor, record.time);
    const track = this.#track(actor, record.lane);
    switch (record.phase) {
      case PHASE_BEGIN:
        track.nesting.begin(record, time);
        break;
      case PHASE_END:
        track.nesting.end(record, time);
        break;
      case PHASE_INSTANT:
        this.event(track.uuid, TYPE_INSTANT, time, record, false);
        break;
      case PHASE_LOST:
        for (const lane of this.#tracks[actor]!) lane?.nesting.cut(time);
        this.#lostEvent(track.uuid, time, record.a);
        break;
    }
    if (this.#out.length >= CHUNK_BYTES) this.flush();
  }

  counter(index: number, time: number, value: number): void {
    const packet = this.#openPacket(time);
    const event = this.#out.open(PACKET.trackEvent);
    this.#out.int(EVENT.type, TYPE_COUNTER);
    this.#out.int(EVENT.trackUuid, this.#counterUuid(index));
    this.#out.int(EVENT.counterValue, value);
    this.#out.close(event);
    this.#out.close(packet);
  }

  close(time: number): void {
    for (const [actor, lanes] of this.#tracks.entries()) {
      const end = this.#timeOf(actor, time);
      for (const lane of lanes) lane?.nesting.cut(end);
    }
    this.flush();
  }

  flush(): void {
    this.#options.write(this.#out.written);
    this.#out.clear();
  }

  /** Writes one TrackEvent; `record` gives its name and arguments, null for the end of a slice that was cut off. */
  event(uuid: number, type: number, time: number, record: TraceRecord | null, continued: boolean): void {
    const out = this.#out;
    const kind = record === null ? null : this.#kind(record);
    const name = kind === null || type === TYPE_SLICE_END ? 0 : this.#nameIid(kind, record!.a);
    const packet = this.#openPacket(time);
    const event = out.open(PACKET.trackEvent);
    out.int(EVENT.type, type);
    out.int(EVENT.trackUuid, uuid);
    if (record !== null && kind !== null) {
      if (name !== 0) {
        out.int(EVENT.categoryIids, kind.category);
        out.int(EVENT.nameIid, name);
      }
      const args = type === TYPE_SLICE_END ? kind.end : kind.begin;
      for (let i = 0; i < args.length; i++) this.#annotation(args[i]!, record);
      if (continued) this.#continuation();
      else if (record.flow !== 0) out.fixed64(EVENT.flowIds, record.flow);
    }
    out.close(event);
    out.close(packet);
  }

  #lostEvent(uuid: number, time: number, lost: number): void {
    const name = this.#intern(this.#names, INTERNED.eventNames, `${lost} records lost`);
    const category = this.#intern(this.#categories, INTERNED.eventCategories, 'trace');
    const packet = this.#openPacket(time);
    const event = this.#out.open(PACKET.trackEvent);
    this.#out.int(EVENT.type, TYPE_INSTANT);
    this.#out.int(EVENT.trackUuid, uuid);
    this.#out.int(EVENT.categoryIids, category);
    this.#out.int(EVENT.nameIid, name);
    this.#out.close(event);
    this.#out.close(packet);
  }

  // ── arguments ─────────────────────────────────────────────────────────────────────────────────────────────
  #annotation(arg: InternedArg, record: TraceRecord): void {
    const out = this.#out;
    const annotation = out.open(EVENT.debugAnnotations);
    out.int(ANNOTATION.nameIid, arg.iid);
    const value = record[arg.slot];
    if (typeof value === 'bigint') {
      out.uint64(ANNOTATION.pointerValue, value);
    } else {
      const word = wordFor(arg, value);
      if (word !== null) out.text(ANNOTATION.stringValue, word);
      else out.int(arg.format === 'hex' ? ANNOTATION.pointerValue : ANNOTATION.intValue, value);
    }
    out.close(annotation);
  }

  #continuation(): void {
    const out = this.#out;
    const annotation = out.open(EVENT.debugAnnotations);
    out.int(ANNOTATION.nameIid, this.#argNames.get(CONTINUED));
    out.int(ANNOTATION.boolValue, 1);
    out.close(annotation);
  }

  // ── interned texts ────────────────────────────────────────────────────────────────────────────────────────
  #kind(record: TraceRecord): InternedKind {
    const known = this.#kinds[record.kind];
    if (known !== undefined) return known;
    const kind = kindOf(record);
    const { begin, end } = KIND_ARGS[kind.id]!;
    const intern = (arg: PlacedArg): InternedArg => ({
      ...arg,
      iid: this.#intern(this.#argNames, INTERNED.debugAnnotationNames, arg.name),
    });
    this.#intern(this.#argNames, INTERNED.debugAnnotationNames, CONTINUED);
    const made = {
      id: kind.id,
      category: this.#intern(this.#categories, INTERNED.eventCategories, kind.category),
      names: [],
      name: 0,
      begin: begin.map(intern),
      end: end.map(intern),
    };
    this.#kinds[record.kind] = made;
    return made;
  }

  /** The number of the name that a record of this kind gets for its argument `a`. */
  #nameIid(kind: InternedKind, a: number): number {
    const { name, names } = TRACE_KINDS[kind.id]!;
    const special = names[a];
    if (special === undefined) {
      if (kind.name === 0) kind.name = this.#intern(this.#names, INTERNED.eventNames, name);
      return kind.name;
    }
    const known = kind.names[a];
    if (known !== undefined) return known;
    const iid = this.#intern(this.#names, INTERNED.eventNames, special);
    kind.names[a] = iid;
    return iid;
  }

  /** The number of a text. A new one gets a packet of its own, ahead of the one that is about to use it. */
  #intern(table: Interned, field: number, text: string): number {
    const known = table.get(text);
    if (known !== 0) return known;
    const iid = table.add(text);
    const out = this.#out;
    const packet = out.open(TRACE.packet);
    out.int(PACKET.trustedPacketSequenceId, SEQUENCE);
    out.int(PACKET.sequenceFlags, SEQ_NEEDS_INCREMENTAL_STATE);
    const data = out.open(PACKET.internedData);
    const entry = out.open(field);
    out.int(INTERNED_ENTRY.iid, iid);
    out.text(INTERNED_ENTRY.name, text);
    out.close(entry);
    out.close(data);
    out.close(packet);
    return iid;
  }

  // ── tracks ────────────────────────────────────────────────────────────────────────────────────────────────
  #track(actor: number, lane: number): Track {
    const lanes = this.#tracks[actor]!;
    const known = lanes[lane];
    if (known !== undefined) return known;
    const track = new Track(this, this.#trackUuid(actor, lane));
    lanes[lane] = track;
    const out = this.#out;
    const name = this.#options.actors[actor]!;
    const packet = out.open(TRACE.packet);
    out.int(PACKET.trustedPacketSequenceId, SEQUENCE);
    const descriptor = out.open(PACKET.trackDescriptor);
    out.int(TRACK.uuid, track.uuid);
    if (lane === LANE_MAIN) {
      const thread = out.open(TRACK.thread);
      out.int(THREAD.pid, PID);
      // Thread ids order the tracks; the process id itself would mean the main thread.
      out.int(THREAD.tid, PID + 1 + actor);
      out.text(THREAD.threadName, name);
      out.close(thread);
    } else {
      out.text(
        TRACK.name,
        lane === LANE_SRCU ? `${name}: srcu` : `open event of vcpu ${lane - LANE_OPEN_EVENT}`,
      );
      out.int(TRACK.parentUuid, this.#trackUuid(actor, LANE_MAIN));
    }
    out.close(descriptor);
    out.close(packet);
    return track;
  }

  #trackUuid(actor: number, lane: number): number {
    return FIRST_TRACK_UUID + actor * LANES_MAX + lane;
  }

  #counterUuid(index: number): number {
    return this.#trackUuid(this.#options.actors.length, index);
  }

  #processDescriptor(): void {
    const out = this.#out;
    const packet = out.open(TRACE.packet);
    out.int(PACKET.trustedPacketSequenceId, SEQUENCE);
    out.int(PACKET.sequenceFlags, SEQ_INCREMENTAL_STATE_CLEARED);
    const descriptor = out.open(PACKET.trackDescriptor);
    out.int(TRACK.uuid, PROCESS_UUID);
    const process = out.open(TRACK.process);
    out.int(PROCESS.pid, PID);
    out.text(PROCESS.processName, 'faultline');
    out.close(process);
    out.close(descriptor);
    out.close(packet);
  }

  #counterDescriptor(index: number): void {
    const out = this.#out;
    const { name, actor } = this.#options.counters[index]!;
    const packet = out.open(TRACE.packet);
    out.int(PACKET.trustedPacketSequenceId, SEQUENCE);
    const descriptor = out.open(PACKET.trackDescriptor);
    out.int(TRACK.uuid, this.#counterUuid(index));
    out.text(TRACK.name, name);
    out.int(TRACK.parentUuid, actor < 0 ? PROCESS_UUID : this.#trackUuid(actor, LANE_MAIN));
    const counter = out.open(TRACK.counter);
    out.int(COUNTER.unit, UNIT_COUNT);
    out.close(counter);
    out.close(descriptor);
    out.close(packet);
  }

  // ── packets ───────────────────────────────────────────────────────────────────────────────────────────────
  #openPacket(time: number): number {
    const packet = this.#out.open(TRACE.packet);
    this.#out.int(PACKET.timestamp, time);
    this.#out.int(PACKET.trustedPacketSequenceId, SEQUENCE);
    this.#out.int(PACKET.sequenceFlags, SEQ_NEEDS_INCREMENTAL_STATE);
    return packet;
  }

  /** Times of one actor never go back, or its slices would not nest. */
  #timeOf(actor: number, time: number): number {
    const now = Math.max(Math.round(time), this.#times[actor]!);
    this.#times[actor] = now;
    return now;
  }
}

const CONTINUED = 'continued';

interface InternedArg extends PlacedArg {
  readonly iid: number;
}

/** One kind with the numbers of its texts; a name gets its number when it is first used. */
interface InternedKind {
  readonly id: number;
  readonly category: number;
  /** By argument `a`, where that decides the name. */
  readonly names: (number | undefined)[];
  name: number;
  readonly begin: readonly InternedArg[];
  readonly end: readonly InternedArg[];
}

/** Texts by number, from 1. */
class Interned {
  readonly #numbers = new Map<string, number>();

  /** 0 for a text that has no number yet. */
  get(text: string): number {
    return this.#numbers.get(text) ?? 0;
  }

  add(text: string): number {
    const number = this.#numbers.size + 1;
    this.#numbers.set(text, number);
    return number;
  }
}
