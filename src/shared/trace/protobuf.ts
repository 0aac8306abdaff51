/**
 * Writes protocol buffer messages into a buffer, front to back.
 *
 * Nested messages are opened and closed; their length is filled in when they close. For that its varint always takes
 * two bytes, which readers accept for any length below 2¹⁴.
 *
 * @source protobuf.dev, "Encoding"
 */
import { invariant } from '../invariant.ts';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

const NESTED_BYTES_MAX = 2 ** 14 - 1;

export class ProtobufWriter {
  #bytes: Uint8Array;
  #at = 0;
  readonly #encoder = new TextEncoder();

  constructor(capacity = 64 * 1024) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#at;
  }

  /** What was written since the last `clear`. Valid until the next write. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  clear(): void {
    this.#at = 0;
  }

  /** An integer field. Negative ones take ten bytes, as int64 does. */
  int(field: number, value: number): void {
    this.#tag(field, VARINT);
    if (value < 0) this.#varint64(BigInt.asUintN(64, BigInt(value)));
    else this.#varint(value);
  }

  /** A uint64 field. */
  uint64(field: number, value: bigint): void {
    this.#tag(field, VARINT);
    this.#varint64(value);
  }

  /** A fixed64 field; `value` is a whole number of at most 53 bits. */
  fixed64(field: number, value: number): void {
    this.#tag(field, FIXED64);
    this.#reserve(8);
    let low = value >>> 0;
    let high = Math.floor(value / 2 ** 32);
    for (let i = 0; i < 4; i++) {
      this.#bytes[this.#at + i] = low & 0xff;
      this.#bytes[this.#at + 4 + i] = high & 0xff;
      low >>>= 8;
      high >>>= 8;
    }
    this.#at += 8;
  }

  text(field: number, value: string): void {
    this.#tag(field, BYTES);
    const from = this.#at;
    if (value.length < 128 && this.#ascii(value)) return;
    this.#at = from;
    const encoded = this.#encoder.encode(value);
    this.#varint(encoded.length);
    this.#reserve(encoded.length);
    this.#bytes.set(encoded, this.#at);
    this.#at += encoded.length;
  }

  /** Short texts without accents, which nearly all are: no encoder, no copy. */
  #ascii(value: string): boolean {
    this.#reserve(1 + value.length);
    this.#bytes[this.#at++] = value.length;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code >= 128) return false;
      this.#bytes[this.#at++] = code;
    }
    return true;
  }

  /** Begins a nested message; hand the result to {@link close}. */
  open(field: number): number {
    this.#tag(field, BYTES);
    this.#reserve(2);
    this.#at += 2;
    return this.#at;
  }

  close(from: number): void {
    const length = this.#at - from;
    invariant(length <= NESTED_BYTES_MAX, `a nested message of ${length} bytes`);
    this.#bytes[from - 2] = (length & 0x7f) | 0x80;
    this.#bytes[from - 1] = length >>> 7;
  }

  #tag(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }

  #varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest >= 2 ** 31) {
      this.#bytes[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #varint64(value: bigint): void {
    this.#reserve(10);
    let rest = value;
    while (rest >= 128n) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#at++] = Number(rest);
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#at + bytes));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
