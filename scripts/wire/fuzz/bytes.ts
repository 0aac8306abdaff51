/** Bytes put together and looked at by hand: the fuzzer shares no codec with what it tries. */

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);
export const u16 = (value: number): Uint8Array => Uint8Array.of(value, value >>> 8);
export const u32 = (value: number): Uint8Array =>
  Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
export function u64(value: bigint | number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
}
export const zeros = (count: number): Uint8Array => new Uint8Array(count);
export const join = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts);

export const HEADER_BYTES = 8;
/** Bytes after the header of the longest message. */
export const PAYLOAD_BYTES_MAX = 8184;

export interface Message {
  readonly id: number;
  readonly seq: number;
  readonly payload: Payload;
}

export function message(id: number, seq: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const payload = join(...parts);
  return join(u16(id), u16(payload.length), u32(seq), payload);
}

/** What follows a header, or part of it. Beyond its end everything is 0. */
export class Payload {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get length(): number {
    return this.bytes.length;
  }
  from(at: number): Payload {
    return new Payload(this.bytes.subarray(Math.min(at, this.length)));
  }
  u8(at: number): number {
    return this.bytes[at] ?? 0;
  }
  u16(at: number): number {
    return this.u8(at) | (this.u8(at + 1) << 8);
  }
  u32(at: number): number {
    return (this.u16(at) | (this.u16(at + 2) << 16)) >>> 0;
  }
  u64(at: number): bigint {
    return BigInt(this.u32(at)) | (BigInt(this.u32(at + 4)) << 32n);
  }
  /** Are these all 0? */
  zero(from: number, to: number): boolean {
    for (let at = from; at < to; at++) if (this.u8(at) !== 0) return false;
    return true;
  }
}
