/**
 * One thread's view of a byte ring in shared memory (layout: shared/layout/ring.ts): whole records, oldest first.
 *
 * One consumer. Several producers need a lock around `push` (job rings: job_lock); a single producer needs none.
 */
import { RECORD, RING, RING_DATA_BYTES } from './layout/ring.ts';
import type { Mem } from './mem.ts';
import { roundUp } from './struct.ts';

export interface RingRecord {
  readonly kind: number;
  readonly seq: number;
  readonly vcpu: number;
  readonly payload: Uint8Array;
}

export class ByteRing {
  readonly #mem: Mem;
  readonly #base: number;

  /** `base`: address of the RING head; the data follows it. */
  constructor(mem: Mem, base: number) {
    this.#mem = mem;
    this.#base = base;
  }

  get empty(): boolean {
    return this.#head() === this.#tail();
  }

  /** False when there is no room: the record is not stored. */
  push(record: RingRecord): boolean {
    const bytes = RECORD.bytes + roundUp(record.payload.length, 8);
    const tail = this.#tail();
    if (((tail - this.#head()) >>> 0) + bytes > RING_DATA_BYTES) return false;
    const head = new Uint8Array(RECORD.bytes);
    const words = new Int32Array(head.buffer);
    words[RECORD.at.BYTES / 4] = record.payload.length;
    words[RECORD.at.KIND / 4] = record.kind;
    words[RECORD.at.SEQ / 4] = record.seq;
    words[RECORD.at.VCPU / 4] = record.vcpu;
    this.#write(tail, head);
    this.#write(tail + RECORD.bytes, record.payload);
    // ORDER: the bytes before the tail. The consumer that sees the tail reads a whole record.
    this.#mem.store(this.#base + RING.at.TAIL, (tail + bytes) | 0);
    return true;
  }

  /** Takes the oldest record out, or null. The payload is a copy. */
  shift(): RingRecord | null {
    const from = this.#head();
    if (from === this.#tail()) return null;
    const words = new Int32Array(this.#read(from, RECORD.bytes).buffer);
    const length = words[RECORD.at.BYTES / 4]!;
    const payload = this.#read(from + RECORD.bytes, length);
    this.#mem.store(this.#base + RING.at.HEAD, (from + RECORD.bytes + roundUp(length, 8)) | 0);
    return {
      kind: words[RECORD.at.KIND / 4]!,
      seq: words[RECORD.at.SEQ / 4]!,
      vcpu: words[RECORD.at.VCPU / 4]!,
      payload,
    };
  }

  #head(): number {
    return this.#mem.load(this.#base + RING.at.HEAD) >>> 0;
  }
  #tail(): number {
    return this.#mem.load(this.#base + RING.at.TAIL) >>> 0;
  }

  #write(position: number, bytes: Uint8Array): void {
    const data = this.#base + RING.bytes;
    const at = position % RING_DATA_BYTES;
    const first = Math.min(bytes.length, RING_DATA_BYTES - at);
    this.#mem.u8.set(bytes.subarray(0, first), data + at);
    this.#mem.u8.set(bytes.subarray(first), data);
  }

  #read(position: number, length: number): Uint8Array<ArrayBuffer> {
    const data = this.#base + RING.bytes;
    const at = position % RING_DATA_BYTES;
    const first = Math.min(length, RING_DATA_BYTES - at);
    const bytes = new Uint8Array(length);
    bytes.set(this.#mem.u8.subarray(data + at, data + at + first));
    bytes.set(this.#mem.u8.subarray(data, data + length - first), first);
    return bytes;
  }
}
