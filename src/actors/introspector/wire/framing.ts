/**
 * From a byte stream, split anywhere, to messages; and from a message to bytes.
 *
 * @source virt/kvm/introspection/kvmi_msg.c: kvmi_msg_recv, kvmi_msg_vm_reply
 */
import { KVMI_MAX_MSG_SIZE, KVMI_MSG_HDR_BYTES } from '../kvmi/constants.ts';
import { kvmi_msg_hdr } from '../kvmi/protocol.ts';

export interface WireMessage {
  readonly id: number;
  /** Unsigned 32 bits. */
  readonly seq: number;
  /** What follows the header: as many bytes as it says. */
  readonly payload: Uint8Array;
}

/** Collects what the other side sends. */
export class Framing {
  /** Header and payload of the longest message that is accepted. */
  readonly #buffer = new Uint8Array(KVMI_MSG_HDR_BYTES + KVMI_MAX_MSG_SIZE);
  #filled = 0;

  /** Bytes of a message that has not come to its end. */
  get pending(): number {
    return this.#filled;
  }

  /**
   * Takes bytes, and gives each message that is complete to `deliver`, until that says false.
   *
   * @returns false when a message is longer than any may be, or `deliver` wants no more: what follows is lost
   */
  feed(bytes: Uint8Array, deliver: (message: WireMessage) => boolean): boolean {
    let at = 0;
    for (;;) {
      at += this.#take(bytes, at, KVMI_MSG_HDR_BYTES);
      if (this.#filled < KVMI_MSG_HDR_BYTES) return true;
      const { id, size, seq } = kvmi_msg_hdr.decode(this.#buffer);
      if (size > KVMI_MAX_MSG_SIZE) return false;
      at += this.#take(bytes, at, KVMI_MSG_HDR_BYTES + size);
      if (this.#filled < KVMI_MSG_HDR_BYTES + size) return true;
      this.#filled = 0;
      const payload = this.#buffer.slice(KVMI_MSG_HDR_BYTES, KVMI_MSG_HDR_BYTES + size);
      if (!deliver({ id, seq, payload })) return false;
    }
  }

  /** Fills the buffer up to `target` bytes. @returns how many it took */
  #take(bytes: Uint8Array, at: number, target: number): number {
    const count = Math.max(0, Math.min(target - this.#filled, bytes.length - at));
    this.#buffer.set(bytes.subarray(at, at + count), this.#filled);
    this.#filled += count;
    return count;
  }
}

/** One message in one piece: tools take it so, though they need not. */
export function frame(id: number, seq: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(KVMI_MSG_HDR_BYTES + size);
  bytes.set(kvmi_msg_hdr.encode({ id, size, seq }));
  let at = KVMI_MSG_HDR_BYTES;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
