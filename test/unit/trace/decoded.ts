/**
 * Reads a Perfetto file as its own documentation describes it, sharing nothing with the writer: a decoder for the
 * protocol buffer wire, and the few fields of Perfetto's messages by number.
 *
 * It is strict: an unknown field, a name that was never interned, an end without a beginning is an error.
 */

// ── protocol buffers, any message ───────────────────────────────────────────────────────────────────────────

export interface WireField {
  readonly number: number;
  /** 0 varint, 1 fixed64, 2 bytes, 5 fixed32. */
  readonly type: number;
  readonly value: bigint;
  readonly bytes: Uint8Array;
}

export function decodeMessage(bytes: Uint8Array): WireField[] {
  const fields: WireField[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= bytes.length || shift > 63n) throw new Error(`a varint that does not end, at byte ${at}`);
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
  };
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new Error(`${length} bytes wanted at ${at} of ${bytes.length}`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  const none = new Uint8Array(0);
  while (at < bytes.length) {
    const tag = Number(varint());
    const number = tag >>> 3;
    const type = tag & 7;
    if (number === 0) throw new Error(`field number 0 at byte ${at}`);
    if (type === 0) fields.push({ number, type, value: varint(), bytes: none });
    else if (type === 2) fields.push({ number, type, value: 0n, bytes: take(Number(varint())) });
    else if (type === 1 || type === 5) {
      const raw = take(type === 1 ? 8 : 4);
      const value = raw.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      fields.push({ number, type, value, bytes: raw });
    } else throw new Error(`wire type ${type} at byte ${at}`);
  }
  return fields;
}

/** The fields of one message, refusing numbers and wire types it does not have. */
class Message {
  readonly #fields: readonly WireField[];

  constructor(name: string, bytes: Uint8Array, known: Readonly<Record<number, number>>) {
    this.#fields = decodeMessage(bytes);
    for (const { number, type } of this.#fields) {
      if (known[number] !== type) throw new Error(`${name} has field ${number} of wire type ${type}`);
    }
  }

  all(number: number): WireField[] {
    return this.#fields.filter((field) => field.number === number);
  }

  one(number: number): WireField | undefined {
    const found = this.all(number);
    // Perfetto's reader takes the last of several; a writer that relies on that is wrong.
    if (found.length > 1) throw new Error(`field ${number} stands ${found.length} times`);
    return found[0];
  }

  number(number: number): number | undefined {
    const field = this.one(number);
    return field === undefined ? undefined : Number(BigInt.asIntN(64, field.value));
  }

  text(number: number): string | undefined {
    const field = this.one(number);
    return field === undefined ? undefined : new TextDecoder('utf-8', { fatal: true }).decode(field.bytes);
  }
}

// ── Perfetto ────────────────────────────────────────────────────────────────────────────────────────────────

export interface Track {
  readonly uuid: number;
  readonly name: string;
  readonly kind: 'process' | 'thread' | 'counter' | 'other';
  readonly parent: number | undefined;
  readonly pid: number | undefined;
  readonly tid: number | undefined;
}

export type ArgValue = string | number | boolean | bigint;

export interface Event {
  readonly type: 'begin' | 'end' | 'instant' | 'counter';
  readonly time: number;
  readonly track: Track;
  readonly name: string;
  readonly category: string;
  readonly flows: readonly number[];
  /** Pointers, which people read in hexadecimal, are bigints here. */
  readonly args: Readonly<Record<string, ArgValue>>;
  readonly value: number | undefined;
}

export interface Slice {
  readonly name: string;
  readonly category: string;
  readonly track: Track;
  readonly begin: number;
  readonly end: number;
  readonly depth: number;
  readonly parent: Slice | null;
  readonly flows: readonly number[];
  /** Of the begin and of the end, as the viewer merges them. */
  readonly args: Readonly<Record<string, ArgValue>>;
}

export interface DecodedTrace {
  readonly tracks: readonly Track[];
  readonly events: readonly Event[];
  /** In order of their ends. */
  readonly slices: readonly Slice[];
  readonly instants: readonly Event[];
  readonly counters: readonly Event[];
  track(name: string): Track;
}

const TYPES: Readonly<Record<number, Event['type']>> = { 1: 'begin', 2: 'end', 3: 'instant', 4: 'counter' };

export function decodeTrace(bytes: Uint8Array): DecodedTrace {
  const tracks = new Map<number, Track>();
  const names = new Map<number, string>();
  const categories = new Map<number, string>();
  const argNames = new Map<number, string>();
  const events: Event[] = [];
  let cleared = false;

  for (const field of decodeMessage(bytes)) {
    if (field.number !== 1 || field.type !== 2) throw new Error(`Trace has field ${field.number}`);
    const packet = new Message('TracePacket', field.bytes, { 8: 0, 10: 0, 11: 2, 12: 2, 13: 0, 60: 2 });
    if (packet.number(10) === undefined) throw new Error('a packet without a sequence');
    const flags = packet.number(13) ?? 0;
    if ((flags & 1) !== 0) cleared = true;
    const needsState = packet.one(12) !== undefined || packet.one(11) !== undefined;
    if (needsState && !((flags & 2) !== 0 && cleared)) throw new Error('a packet that a reader may skip');

    const interned = packet.one(12);
    if (interned !== undefined) {
      const data = new Message('InternedData', interned.bytes, { 1: 2, 2: 2, 3: 2 });
      for (const [number, table] of [
        [1, categories],
        [2, names],
        [3, argNames],
      ] as const) {
        for (const entry of data.all(number)) {
          const message = new Message('interned entry', entry.bytes, { 1: 0, 2: 2 });
          const iid = message.number(1) ?? 0;
          if (iid === 0 || table.has(iid)) throw new Error(`interned twice, or as 0: ${iid}`);
          table.set(iid, message.text(2) ?? '');
        }
      }
    }
    const descriptor = packet.one(60);
    if (descriptor !== undefined) {
      const track = decodeTrack(descriptor.bytes);
      if (tracks.has(track.uuid)) throw new Error(`track ${track.uuid} described twice`);
      if (track.parent !== undefined && !tracks.has(track.parent))
        throw new Error(`${track.name}: no parent`);
      tracks.set(track.uuid, track);
    }
    const event = packet.one(11);
    if (event !== undefined) {
      const time = packet.number(8);
      if (time === undefined) throw new Error('an event without a time');
      events.push(decodeEvent(event.bytes, time, { tracks, names, categories, argNames }));
    }
  }
  const described = [...tracks.values()];
  return {
    tracks: described,
    events,
    slices: slicesOf(events),
    instants: events.filter((event) => event.type === 'instant'),
    counters: events.filter((event) => event.type === 'counter'),
    track(name) {
      const found = described.filter((track) => track.name === name);
      if (found.length !== 1) throw new Error(`${found.length} tracks are called '${name}'`);
      return found[0]!;
    },
  };
}

function decodeTrack(bytes: Uint8Array): Track {
  const message = new Message('TrackDescriptor', bytes, { 1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 8: 2 });
  const uuid = message.number(1);
  if (uuid === undefined) throw new Error('a track without uuid');
  const process = message.one(3);
  const thread = message.one(4);
  const counter = message.one(8);
  if (counter !== undefined) new Message('CounterDescriptor', counter.bytes, { 3: 0 });
  const parent = message.number(5);
  if (process !== undefined) {
    const inner = new Message('ProcessDescriptor', process.bytes, { 1: 0, 6: 2 });
    return {
      uuid,
      name: inner.text(6) ?? '',
      kind: 'process',
      parent,
      pid: inner.number(1),
      tid: undefined,
    };
  }
  if (thread !== undefined) {
    const inner = new Message('ThreadDescriptor', thread.bytes, { 1: 0, 2: 0, 5: 2 });
    return {
      uuid,
      name: inner.text(5) ?? '',
      kind: 'thread',
      parent,
      pid: inner.number(1),
      tid: inner.number(2),
    };
  }
  const kind = counter === undefined ? 'other' : 'counter';
  return { uuid, name: message.text(2) ?? '', kind, parent, pid: undefined, tid: undefined };
}

interface Tables {
  readonly tracks: ReadonlyMap<number, Track>;
  readonly names: ReadonlyMap<number, string>;
  readonly categories: ReadonlyMap<number, string>;
  readonly argNames: ReadonlyMap<number, string>;
}

function lookUp<T>(table: ReadonlyMap<number, T>, key: number | undefined, what: string): T {
  const found = key === undefined ? undefined : table.get(key);
  if (found === undefined) throw new Error(`no ${what} ${key}`);
  return found;
}

function decodeEvent(bytes: Uint8Array, time: number, tables: Tables): Event {
  const known = { 3: 0, 4: 2, 9: 0, 10: 0, 11: 0, 30: 0, 47: 1 };
  const message = new Message('TrackEvent', bytes, known);
  const type = TYPES[message.number(9) ?? 0];
  if (type === undefined) throw new Error('an event without type');
  const track = lookUp(tables.tracks, message.number(11), 'track');
  if ((track.kind === 'counter') !== (type === 'counter'))
    throw new Error(`a ${type} on track ${track.name}`);
  const named = type === 'begin' || type === 'instant';
  const args: Record<string, ArgValue> = {};
  for (const { bytes: annotation } of message.all(4)) {
    const inner = new Message('DebugAnnotation', annotation, { 1: 0, 2: 0, 4: 0, 6: 2, 7: 0 });
    const name = lookUp(tables.argNames, inner.number(1), 'argument name');
    const truth = inner.number(2);
    const value = inner.text(6) ?? inner.number(4) ?? inner.one(7)?.value;
    if (value === undefined && truth === undefined) throw new Error(`argument ${name} has no value`);
    args[name] = value ?? truth === 1;
  }
  return {
    type,
    time,
    track,
    name: named ? lookUp(tables.names, message.number(10), 'name') : '',
    category: named ? lookUp(tables.categories, message.number(3), 'category') : '',
    flows: message.all(47).map((flow) => Number(flow.value)),
    args,
    value: message.number(30),
  };
}

/** Nests begins and ends track by track. Throws when times go back, an end has no begin, or a begin has no end. */
function slicesOf(events: readonly Event[]): Slice[] {
  interface Open {
    readonly event: Event;
    slice: { -readonly [K in keyof Slice]: Slice[K] };
  }
  const open = new Map<number, Open[]>();
  const last = new Map<number, number>();
  const slices: Slice[] = [];
  for (const event of events) {
    const { track, time, type } = event;
    if (time < (last.get(track.uuid) ?? 0)) throw new Error(`track ${track.name} goes back to ${time}`);
    last.set(track.uuid, time);
    const stack = open.get(track.uuid) ?? [];
    open.set(track.uuid, stack);
    if (type === 'begin') {
      const { name, category, flows, args } = event;
      const parent = stack.at(-1)?.slice ?? null;
      const slice = { name, category, track, begin: time, end: -1, depth: stack.length, parent, flows, args };
      stack.push({ event, slice });
    } else if (type === 'end') {
      const inner = stack.pop();
      if (inner === undefined) throw new Error(`an end without a begin on ${track.name} at ${time}`);
      inner.slice.end = time;
      inner.slice.args = { ...inner.slice.args, ...event.args };
      slices.push(inner.slice);
    }
  }
  for (const stack of open.values()) {
    const left = stack[0];
    if (left !== undefined) throw new Error(`'${left.event.name}' on ${left.event.track.name} does not end`);
  }
  return slices;
}
