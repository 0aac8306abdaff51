/**
 * The handshake before KVMI: who the machine is, and what secret the tool knows. Both wire versions have the same.
 *
 * @source QEMU branch kvmi-v12: accel/kvm/vmi.c, include/sysemu/vmi-handshake.h
 */
import { createHash } from 'node:crypto';
import { blob, wireStruct } from '../kvmi/wire-struct.ts';

/** The machine's half, 104 bytes. Tools that know a shorter form read as much as they know. */
export const qemu_vmi_to_introspector = wireStruct('qemu_vmi_to_introspector', {
  struct_size: 'u32',
  uuid: blob(16),
  padding: 'u32',
  start_time: 'u64',
  name: blob(64),
  max_gpa: 'u64',
});
/** The tool's half, 24 bytes or more. */
export const qemu_vmi_from_introspector = wireStruct('qemu_vmi_from_introspector', {
  struct_size: 'u32',
  cookie_hash: blob(20),
});
/** Of a machine's name, which a NUL ends. */
export const NAME_BYTES_MAX = 63;
// LIMIT: bytes of either half. QEMU takes any size of a tool's; nobody has more to say than this.
export const HALF_BYTES_MAX = 65_536;
/** Of the machine's half, what a tool needs at least: all before the name. */
export const IDENTITY_BYTES_MIN = qemu_vmi_to_introspector.at.name;

/** What the machine says of itself. */
export interface MachineIdentity {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly name: string;
  /** Seconds since 1970. */
  readonly startTime: number;
  /** First byte after the highest RAM byte. */
  readonly maxGpa: number;
}

export function encodeIdentity(identity: MachineIdentity): Uint8Array<ArrayBuffer> {
  const { uuid, name, startTime, maxGpa } = identity;
  return qemu_vmi_to_introspector.encode({
    struct_size: qemu_vmi_to_introspector.bytes,
    uuid,
    start_time: BigInt(startTime),
    name: new TextEncoder().encode(name).subarray(0, NAME_BYTES_MAX),
    max_gpa: BigInt(maxGpa),
  });
}

/** SHA-1 of a secret. */
export function cookieHash(secret: string): Uint8Array {
  return createHash('sha1').update(secret).digest();
}

/** What became of the tool's half so far. */
export type HandshakeState =
  | { readonly kind: 'more' }
  /** `rest`: bytes that came behind it and belong to KVMI. */
  | { readonly kind: 'accepted'; readonly rest: Uint8Array }
  | { readonly kind: 'refused'; readonly why: string };

/** Collects the tool's half. */
export class HandshakeAnswer {
  readonly #secret: string | null;
  #bytes = new Uint8Array(0);

  /** `secret`: null accepts any tool. */
  constructor(secret: string | null) {
    this.#secret = secret;
  }

  feed(bytes: Uint8Array): HandshakeState {
    const all = new Uint8Array(this.#bytes.length + bytes.length);
    all.set(this.#bytes);
    all.set(bytes, this.#bytes.length);
    this.#bytes = all;
    if (all.length < 4) return { kind: 'more' };
    const { struct_size: size } = qemu_vmi_from_introspector.decode(all);
    if (size < qemu_vmi_from_introspector.bytes || size > HALF_BYTES_MAX) {
      return { kind: 'refused', why: `its half of the handshake is said to have ${size} bytes` };
    }
    if (all.length < size) return { kind: 'more' };
    const { cookie_hash: hash } = qemu_vmi_from_introspector.decode(all);
    if (this.#secret !== null && !Buffer.from(cookieHash(this.#secret)).equals(hash)) {
      return { kind: 'refused', why: 'it does not know the secret' };
    }
    return { kind: 'accepted', rest: all.subarray(size) };
  }
}
