/**
 * One direction of a connection in pieces: its half of the handshake first, then message after message. For whoever
 * looks on: nothing is refused, and what never came to its end is given at the end.
 */
import { KVMI_MSG_HDR_BYTES } from '../kvmi/constants.ts';
import { kvmi_msg_hdr } from '../kvmi/protocol.ts';
import { qemu_vmi_from_introspector } from './handshake.ts';

export interface Piece {
  readonly handshake: boolean;
  readonly data: Uint8Array;
  /** What it says it has; `data` has less when the connection ended in the middle. */
  readonly bytes: number;
}

/** Both halves of the handshake begin with their size. */
const SIZE_BYTES = 4;

export class PieceSplitter {
  #handshake = true;
  #pending: Uint8Array = new Uint8Array(0);

  feed(bytes: Uint8Array): Piece[] {
    const pieces: Piece[] = [];
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    for (;;) {
      const size = this.#size();
      if (size === null || this.#pending.length < size) break;
      pieces.push(this.#take(size));
    }
    // What the other side has given us may be its buffer.
    this.#pending = this.#pending.slice();
    return pieces;
  }

  /** What has begun and not ended. */
  rest(): Piece[] {
    if (this.#pending.length === 0) return [];
    return [this.#take(this.#size() ?? this.#head())];
  }

  #take(size: number): Piece {
    const piece = { handshake: this.#handshake, data: this.#pending.subarray(0, size), bytes: size };
    this.#handshake = false;
    this.#pending = this.#pending.subarray(size);
    return piece;
  }

  /** What the first piece of what is pending says of its size; null when that has not come yet. */
  #size(): number | null {
    if (this.#pending.length < this.#head()) return null;
    if (!this.#handshake) return KVMI_MSG_HDR_BYTES + kvmi_msg_hdr.decode(this.#pending).size;
    return Math.max(SIZE_BYTES, qemu_vmi_from_introspector.decode(this.#pending).struct_size);
  }

  #head(): number {
    return this.#handshake ? SIZE_BYTES : KVMI_MSG_HDR_BYTES;
  }
}
