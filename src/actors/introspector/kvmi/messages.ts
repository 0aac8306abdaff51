/**
 * The KVMI structs that travel between a vCPU, the receiver and a tool: the same bytes in process and on the wire.
 *
 * @source include/uapi/linux/kvmi.h (v12): kvmi_vcpu_event_pf, kvmi_vcpu_event_reply, kvmi_error_code
 */

import { EVENTS, kvmi_vcpu_event_reply_value } from './protocol.ts';
import { EVENTS_7, kvmi_event_pf_reply, PF_CONTEXT_BYTES } from './protocol-7.ts';
import type { AnyWireStruct } from './wire-struct.ts';

/** struct kvmi_vcpu_event_pf, 24 bytes: u64 gva, u64 gpa, u8 access, padding. */
export interface PfEvent {
  readonly gva: bigint;
  /** Bytes. */
  readonly gpa: number;
  /** One of KVMI_PAGE_ACCESS_R, _W, _X. */
  readonly access: number;
}
export const PF_EVENT_BYTES = 24;

/**
 * Codecs work on one scratch buffer and copy: a view of a fresh array's own buffer would cost more than the event.
 */
const scratch = new DataView(new ArrayBuffer(PF_EVENT_BYTES));
const scratchBytes = new Uint8Array(scratch.buffer);

export function encodePf(event: PfEvent): Uint8Array {
  scratch.setBigUint64(0, event.gva, true);
  scratch.setBigUint64(8, BigInt(event.gpa), true);
  scratch.setBigUint64(16, BigInt(event.access), true);
  return scratchBytes.slice();
}

export function decodePf(bytes: Uint8Array): PfEvent {
  for (let i = 0; i < PF_EVENT_BYTES; i++) scratchBytes[i] = bytes[i]!;
  return {
    gva: scratch.getBigUint64(0, true),
    gpa: scratch.getUint32(8, true) + scratch.getUint32(12, true) * 2 ** 32,
    access: scratch.getUint8(16),
  };
}

const EVENT_ID_BYTES = 8;

/** An event between vCPU and receiver: u16 event id, padding, then the event's own struct. */
export function encodeEvent(event: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(EVENT_ID_BYTES + data.length);
  bytes[0] = event;
  bytes[1] = event >>> 8;
  bytes.set(data, EVENT_ID_BYTES);
  return bytes;
}

export function decodeEvent(bytes: Uint8Array): { event: number; data: Uint8Array } {
  return { event: bytes[0]! | (bytes[1]! << 8), data: bytes.slice(EVENT_ID_BYTES) };
}

/** struct kvmi_vcpu_event_reply, 8 bytes: u8 action, u8 event, u16 padding1, u32 padding2. */
export function encodeEventReply(reply: { action: number; event: number }): Uint8Array {
  return Uint8Array.of(reply.action, reply.event, 0, 0, 0, 0, 0, 0);
}

/** What the guest is to read at an address instead of what is there. */
export interface ReadContext {
  /** Linear. */
  readonly gva: bigint;
  readonly data: Uint8Array;
}

/** What a reply says beyond its action. */
export interface EventReply {
  readonly action: number;
  /** Of CR and MSR events; else 0. */
  readonly value: bigint;
  /** Wire-7, PF events: null for none. */
  readonly context: ReadContext | null;
  /** Wire-7, PF events: no more events of this REP instruction. */
  readonly repComplete: boolean;
}

/**
 * Null when it is too short, its padding is not 0, or more follows than the event asked for.
 *
 * @param extra  what may follow; what is missing of it counts as 0
 */
export function decodeEventReply(bytes: Uint8Array, extra: AnyWireStruct | null): EventReply | null {
  if (bytes.length < 8 || bytes.length > 8 + (extra?.bytes ?? 0)) return null;
  for (let i = 2; i < 8; i++) if (bytes[i] !== 0) return null;
  const action = bytes[0]!;
  if (bytes.length === 8) return { action, value: 0n, context: null, repComplete: false };
  if (extra !== kvmi_event_pf_reply) {
    const { new_val: value } = kvmi_vcpu_event_reply_value.decode(bytes, 8);
    return { action, value, context: null, repComplete: false };
  }
  const { ctx_addr: gva, ctx_size: size, ctx_data, rep_complete } = kvmi_event_pf_reply.decode(bytes, 8);
  if (!kvmi_event_pf_reply.clean(bytes, 8) || size > PF_CONTEXT_BYTES) return null;
  const context = size === 0 ? null : { gva, data: ctx_data.subarray(0, size) };
  return { action, value: 0n, context, repComplete: rep_complete === 1 };
}

/** Bytes of the longest reply that is right on some wire. */
export const EVENT_REPLY_BYTES_MAX = [...EVENTS.values(), ...EVENTS_7.values()].reduce(
  (most, { reply }) => Math.max(most, 8 + (reply?.bytes ?? 0)),
  8,
);

/** struct kvmi_error_code (s32 err, u32 padding), then the reply data if there was no error. */
export function encodeReply(error: number, data?: Uint8Array): Uint8Array {
  const rest = error === 0 && data !== undefined ? data : new Uint8Array(0);
  const bytes = new Uint8Array(8 + rest.length);
  new DataView(bytes.buffer).setInt32(0, error, true);
  bytes.set(rest, 8);
  return bytes;
}

export function decodeReply(bytes: Uint8Array): { error: number; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { error: view.getInt32(0, true), data: bytes.subarray(8) };
}

/** struct kvmi_vcpu_control_events without its vcpu_hdr: u16 event_id, u8 enable, padding. */
export function encodeControlEvents(event: number, enable: boolean): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint16(0, event, true);
  bytes[2] = enable ? 1 : 0;
  return bytes;
}

/** The bit of a vCPU event in VCPU.EVENTS, by its id inside the machine. */
export function vcpuEventBit(id: number): number {
  return 1 << ((id - 1) / 2);
}
