/**
 * Structs of the wire as data: fields in order, each aligned to its own size, little endian. C structs whose padding is
 * written out, so that nothing is left to alignment: a field that would not stand where the one before ends is refused.
 *
 * A message may be shorter than its struct: what is missing reads as 0, as in the kernel's zeroed receive buffer. What
 * is longer has its tail ignored.
 */
import { invariant } from '../../../shared/invariant.ts';
import { KVMI_MAX_MSG_SIZE, KVMI_MSG_HDR_BYTES } from './constants.ts';

export type Scalar = 'u8' | 'u16' | 'u32' | 's32' | 'u64';
/** Bytes that must be 0. */
export interface Padding {
  readonly pad: number;
}
/** Bytes that are taken as they are. */
export interface Blob {
  readonly bytes: number;
  /** What it is made of, if it is known: for whoever shows messages. */
  readonly of?: AnyWireStruct;
}
export type WireField = Scalar | Padding | Blob;
export type WireFields = Readonly<Record<string, WireField>>;

/** u64 is a bigint; every other number fits. Padding has no value. */
export type WireValues<Fields extends WireFields> = {
  -readonly [Name in keyof Fields as Fields[Name] extends Padding ? never : Name]: Fields[Name] extends 'u64'
    ? bigint
    : Fields[Name] extends Blob
      ? Uint8Array
      : number;
};

export interface WireStruct<Fields extends WireFields = WireFields> {
  readonly name: string;
  readonly fields: Fields;
  readonly bytes: number;
  /** Byte offset of each field. */
  readonly at: Readonly<Record<keyof Fields & string, number>>;
  /** From `offset` of the message on. */
  decode(message: Uint8Array, offset?: number): WireValues<Fields>;
  /** Is all of its padding 0? */
  clean(message: Uint8Array, offset?: number): boolean;
  /** Every byte that has no value is 0. */
  encode(values: Partial<WireValues<Fields>>): Uint8Array<ArrayBuffer>;
}

/** Any struct, to look at and not to decode with. */
export type AnyWireStruct = Pick<WireStruct, 'name' | 'fields' | 'bytes'>;

const SCALAR_BYTES: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

export const pad = (bytes: number): Padding => ({ pad: bytes });
export const blob = (bytes: number, of?: AnyWireStruct): Blob =>
  of === undefined ? { bytes } : { bytes, of };

export function wireStruct<const Fields extends WireFields>(
  name: string,
  fields: Fields,
): WireStruct<Fields> {
  const places: { readonly name: string; readonly field: WireField; readonly at: number }[] = [];
  let bytes = 0;
  for (const [fieldName, field] of Object.entries(fields)) {
    const size = fieldBytes(field);
    invariant(typeof field !== 'string' || bytes % size === 0, `${name}.${fieldName} is not aligned`);
    places.push({ name: fieldName, field, at: bytes });
    bytes += size;
  }
  invariant(bytes <= scratch.length, `${name} does not fit into a message`);
  const padding = places.flatMap(({ field, at }) =>
    typeof field === 'object' && 'pad' in field ? Array.from({ length: field.pad }, (_, i) => at + i) : [],
  );
  return {
    name,
    fields,
    bytes,
    at: Object.fromEntries(places.map((place) => [place.name, place.at])) as never,
    decode: (message, offset = 0) => {
      const there = Math.max(0, Math.min(message.length - offset, bytes));
      if (there > BY_BYTES_MAX) scratch.set(message.subarray(offset, offset + there));
      else for (let i = 0; i < there; i++) scratch[i] = message[offset + i]!;
      scratch.fill(0, there, bytes);
      const values: Record<string, unknown> = {};
      for (const place of places) {
        const { field, at } = place;
        if (typeof field === 'string') values[place.name] = read(field, at);
        else if ('bytes' in field) values[place.name] = scratch.slice(at, at + field.bytes);
      }
      return values as never;
    },
    clean: (message, offset = 0) => {
      for (const at of padding) if ((message[offset + at] ?? 0) !== 0) return false;
      return true;
    },
    encode: (values) => {
      scratch.fill(0, 0, bytes);
      for (const { name: key, field, at } of places) {
        const value = (values as Record<string, unknown>)[key];
        if (value === undefined) continue;
        if (typeof field === 'string') write(field, at, value as number | bigint);
        else scratch.set(value as Uint8Array, at);
      }
      return scratch.slice(0, bytes);
    },
  };
}

/**
 * Codecs work on one scratch buffer and copy: a view of a fresh array's own buffer would cost more than all else. Nothing
 * runs between their first byte and their last.
 */
const scratch = new Uint8Array(KVMI_MSG_HDR_BYTES + KVMI_MAX_MSG_SIZE);
const view = new DataView(scratch.buffer);
/** Up to here single bytes are copied sooner than an array of them is made. */
const BY_BYTES_MAX = 64;

function fieldBytes(field: WireField): number {
  if (typeof field === 'string') return SCALAR_BYTES[field];
  return 'pad' in field ? field.pad : field.bytes;
}

function read(type: Scalar, at: number): number | bigint {
  switch (type) {
    case 'u8':
      return view.getUint8(at);
    case 'u16':
      return view.getUint16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 's32':
      return view.getInt32(at, true);
    case 'u64':
      return view.getBigUint64(at, true);
  }
}

/** Stores what fits of a value. */
function write(type: Scalar, at: number, value: number | bigint): void {
  if (type === 'u8') view.setUint8(at, Number(value));
  else if (type === 'u16') view.setUint16(at, Number(value), true);
  else if (type === 'u32') view.setUint32(at, Number(value), true);
  else if (type === 's32') view.setInt32(at, Number(value), true);
  else view.setBigUint64(at, BigInt(value), true);
}
