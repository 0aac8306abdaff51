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
    const { payload } = record;
    const bytes = RECORD.bytes + roundUp(payload.length, 8);
    const tail = this.#tail();
    if (((tail - this.#head()) >>> 0) + bytes > RING_DATA_BYTES) return false;
    this.#putWord(tail + RECORD.at.BYTES, payload.length);
    this.#putWord(tail + RECORD.at.KIND, record.kind);
    this.#putWord(tail + RECORD.at.SEQ, record.seq);
    this.#putWord(tail + RECORD.at.VCPU, record.vcpu);
    this.#write(tail + RECORD.bytes, payload);
    // ORDER: the bytes before the tail. The consumer that sees the tail reads a whole record.
    this.#mem.store(this.#base + RING.at.TAIL, (tail + bytes) | 0);
    return true;
  }

  /** Takes the oldest record out, or null. The payload is a copy. */
  shift(): RingRecord | null {
    const from = this.#head();
    if (from === this.#tail()) return null;
    const length = this.#word(from + RECORD.at.BYTES);
    const record = {
      kind: this.#word(from + RECORD.at.KIND),
      seq: this.#word(from + RECORD.at.SEQ),
      vcpu: this.#word(from + RECORD.at.VCPU),
      payload: this.#read(from + RECORD.bytes, length),
    };
    // ORDER: the bytes before the head. The producer that sees the head may overwrite them.
    this.#mem.store(this.#base + RING.at.HEAD, (from + RECORD.bytes + roundUp(length, 8)) | 0);
    return record;
  }

  #head(): number {
    return this.#mem.load(this.#base + RING.at.HEAD) >>> 0;
  }
  #tail(): number {
    return this.#mem.load(this.#base + RING.at.TAIL) >>> 0;
  }

  // SHARED: plain accesses. Between head and tail everything belongs to the consumer, the rest to the producer.
  #word(position: number): number {
    return this.#mem.peek(this.#base + RING.bytes + (position % RING_DATA_BYTES));
  }
  #putWord(position: number, value: number): void {
    this.#mem.poke(this.#base + RING.bytes + (position % RING_DATA_BYTES), value);
  }

  /** Byte by byte: messages are short, and a view of a part costs more than copying one. */
  #write(position: number, bytes: Uint8Array): void {
    const { u8 } = this.#mem;
    const data = this.#base + RING.bytes;
    const first = position % RING_DATA_BYTES;
    this.#mem.touch(data + first, Math.min(bytes.length, RING_DATA_BYTES - first));
    if (first + bytes.length > RING_DATA_BYTES) this.#mem.touch(data, first + bytes.length - RING_DATA_BYTES);
    for (let i = 0; i < bytes.length; i++) u8[data + ((position + i) % RING_DATA_BYTES)] = bytes[i]!;
  }

  #read(position: number, length: number): Uint8Array<ArrayBuffer> {
    const { u8 } = this.#mem;
    const data = this.#base + RING.bytes;
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = u8[data + ((position + i) % RING_DATA_BYTES)]!;
    return bytes;
  }
}
