/**
 * Blocks of a pcapng file, and the head that tells Wireshark which dissector a packet is for. Bytes only: whoever has
 * packets writes them one after the other.
 *
 *   section header ▸ interface ▸ packet ▸ packet ▸ interface ▸ packet ▸ …
 *
 * Interfaces are numbered from 0 in the order in which they are described; each block is whole, so that a file that is
 * cut off between two of them is a good one.
 *
 * @source IETF draft-ietf-opsawg-pcapng, "General File Structure"; Wireshark, wsutil/exported_pdu_tlvs.h
 */

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Length of the section: not known while it is written. */
const UNKNOWN_LENGTH = 0xffff_ffff_ffff_ffffn;

/** Packets of this link type begin with {@link exportedPdu}. */
export const LINKTYPE_WIRESHARK_UPPER_PDU = 252;

/** Options: what may stand at the end of a block, by its number there. */
const OPTION = {
  END: 0,
  SHB_USERAPPL: 4,
  IF_NAME: 2,
  IF_DESCRIPTION: 3,
  IF_TSRESOL: 9,
  EPB_FLAGS: 2,
} as const;
/** Time stamps in 10⁻⁹ s. */
const NANOSECONDS = 9;
const DIRECTION_INBOUND = 1;
const DIRECTION_OUTBOUND = 2;

/** The most that fits into a packet's length. */
const LENGTH_MAX = 0xffff_ffff;

/** The beginning of a file. `application`: what writes it. */
export function sectionHeader(application: string): Uint8Array<ArrayBuffer> {
  const fixed = new Uint8Array(16);
  const view = new DataView(fixed.buffer);
  view.setUint32(0, BYTE_ORDER_MAGIC, true);
  view.setUint16(4, 1, true);
  view.setBigUint64(8, UNKNOWN_LENGTH, true);
  return block(SECTION_HEADER, fixed, option(OPTION.SHB_USERAPPL, text(application)), END);
}

export interface CaptureInterface {
  readonly name: string;
  readonly description: string;
}

/** One more interface, of exported PDUs, with no limit to a packet's length and time in ns. */
export function interfaceDescription({ name, description }: CaptureInterface): Uint8Array<ArrayBuffer> {
  const fixed = new Uint8Array(8);
  new DataView(fixed.buffer).setUint16(0, LINKTYPE_WIRESHARK_UPPER_PDU, true);
  return block(
    INTERFACE_DESCRIPTION,
    fixed,
    option(OPTION.IF_NAME, text(name)),
    option(OPTION.IF_DESCRIPTION, text(description)),
    option(OPTION.IF_TSRESOL, Uint8Array.of(NANOSECONDS)),
    END,
  );
}

export interface CapturedPacket {
  /** Number of its interface. */
  readonly on: number;
  /** ns since 1970. */
  readonly timeNs: bigint;
  /** Has it come to us, or gone out? */
  readonly inbound: boolean;
  /** All that there is of it. */
  readonly data: Uint8Array;
  /** What it would have been, whole; not less than there is. */
  readonly bytes: number;
  /** As of {@link exportedPdu}. */
  readonly head: Uint8Array;
}

export function packetBlock({
  on,
  timeNs,
  inbound,
  data,
  bytes,
  head,
}: CapturedPacket): Uint8Array<ArrayBuffer> {
  const fixed = new Uint8Array(20);
  const view = new DataView(fixed.buffer);
  view.setUint32(0, on, true);
  view.setUint32(4, Number(timeNs >> 32n), true);
  view.setUint32(8, Number(timeNs & 0xffff_ffffn), true);
  view.setUint32(12, head.length + data.length, true);
  view.setUint32(16, Math.min(head.length + bytes, LENGTH_MAX), true);
  const packet = padded(head, data);
  return block(ENHANCED_PACKET, fixed, packet, inbound ? INBOUND : OUTBOUND, END);
}

/** Tags of exported PDUs; big endian, unlike the file around them. */
const EXP_PDU_TAG_DISSECTOR_NAME = 12;

/** What stands before a packet's bytes: the name of the dissector that takes them. */
export function exportedPdu(dissector: string): Uint8Array<ArrayBuffer> {
  const name = padded(text(dissector));
  const bytes = new Uint8Array(4 + name.length + 4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, EXP_PDU_TAG_DISSECTOR_NAME);
  view.setUint16(2, name.length);
  bytes.set(name, 4);
  return bytes;
}

function block(type: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const total = parts.reduce((sum, part) => sum + part.length, 12);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, total, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, total, true);
  return bytes;
}

function option(number: number, value: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(4);
  const view = new DataView(head.buffer);
  view.setUint16(0, number, true);
  view.setUint16(2, value.length, true);
  return padded(head, value);
}

const END = option(OPTION.END, new Uint8Array(0));
const INBOUND = option(OPTION.EPB_FLAGS, Uint8Array.of(DIRECTION_INBOUND, 0, 0, 0));
const OUTBOUND = option(OPTION.EPB_FLAGS, Uint8Array.of(DIRECTION_OUTBOUND, 0, 0, 0));

/** Everything in a file stands at a multiple of 4. */
function padded(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array((length + 3) & ~3);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function text(words: string): Uint8Array {
  return new TextEncoder().encode(words);
}
