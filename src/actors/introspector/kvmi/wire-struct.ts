/**
 * Structs of the wire as data: fields in order, each aligned to its own size, little endian. C structs whose padding is
 * written out, so that nothing is left to alignment: a field that would not stand where the one before ends is refused.
 *
 * A message may be shorter than its struct: what is missing reads as 0, as in the kernel's zeroed receive buffer. What
 * is longer has its tail ignored.
 */
import { invariant } from '../../../shared/invariant.ts';

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
  return {
    name,
    fields,
    bytes,
    at: Object.fromEntries(places.map((place) => [place.name, place.at])) as never,
    decode: (message, offset = 0) => {
      const whole = extended(message, offset, bytes);
      const view = new DataView(whole.buffer, whole.byteOffset, bytes);
      const values: Record<string, unknown> = {};
      for (const place of places) {
        const { field, at } = place;
        if (typeof field === 'string') values[place.name] = read(view, field, at);
        else if ('bytes' in field) values[place.name] = whole.slice(at, at + field.bytes);
      }
      return values as never;
    },
    clean: (message, offset = 0) =>
      places.every(({ field, at }) => {
        if (typeof field === 'string' || 'bytes' in field) return true;
        return message.subarray(offset + at, offset + at + field.pad).every((byte) => byte === 0);
      }),
    encode: (values) => {
      const whole = new Uint8Array(bytes);
      const view = new DataView(whole.buffer);
      for (const { name: key, field, at } of places) {
        const value = (values as Record<string, unknown>)[key];
        if (value === undefined) continue;
        if (typeof field === 'string') write(view, field, at, value as number | bigint);
        else whole.set(value as Uint8Array, at);
      }
      return whole;
    },
  };
}

function fieldBytes(field: WireField): number {
  if (typeof field === 'string') return SCALAR_BYTES[field];
  return 'pad' in field ? field.pad : field.bytes;
}

/** `bytes` bytes of a message from `offset` on; zeros beyond its end. */
function extended(message: Uint8Array, offset: number, bytes: number): Uint8Array {
  const part = message.subarray(offset, offset + bytes);
  if (part.length === bytes) return part;
  const whole = new Uint8Array(bytes);
  whole.set(part);
  return whole;
}

function read(view: DataView, type: Scalar, at: number): number | bigint {
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
function write(view: DataView, type: Scalar, at: number, value: number | bigint): void {
  if (type === 'u8') view.setUint8(at, Number(value));
  else if (type === 'u16') view.setUint16(at, Number(value), true);
  else if (type === 'u32') view.setUint32(at, Number(value), true);
  else if (type === 's32') view.setInt32(at, Number(value), true);
  else view.setBigUint64(at, BigInt(value), true);
}
