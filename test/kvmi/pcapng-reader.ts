/** Reads back what a capture has written, from the format's description and not with the code under test. */

export interface Packet {
  /** Number of its interface. */
  readonly on: number;
  readonly timeNs: bigint;
  readonly inbound: boolean;
  /** Of the exported PDU. */
  readonly dissector: string;
  readonly data: Buffer;
  /** What it had on the wire. */
  readonly bytes: number;
}

/** @throws Error for anything that is no whole pcapng file of exported PDUs */
export function readPcapng(file: Buffer): Packet[] {
  const packets: Packet[] = [];
  let interfaces = 0;
  for (let at = 0; at < file.length; ) {
    const [type, length] = [file.readUInt32LE(at), file.readUInt32LE(at + 4)];
    if (length % 4 !== 0 || length < 12 || at + length > file.length)
      throw new Error(`block at ${at}: ${length} bytes`);
    if (file.readUInt32LE(at + length - 4) !== length)
      throw new Error(`block at ${at}: its end says otherwise`);
    const body = file.subarray(at + 8, at + length - 4);
    if (at === 0) {
      if (type !== 0x0a0d0d0a || body.readUInt32LE(0) !== 0x1a2b3c4d) throw new Error('no section header');
    } else if (type === 1) {
      if (body.readUInt16LE(0) !== 252) throw new Error('not a link type of exported PDUs');
      interfaces += 1;
    } else if (type === 6) packets.push(packet(body, interfaces));
    else throw new Error(`a block of type ${type}`);
    at += length;
  }
  return packets;
}

function packet(body: Buffer, interfaces: number): Packet {
  const on = body.readUInt32LE(0);
  if (on >= interfaces) throw new Error(`interface ${on} of ${interfaces}`);
  const timeNs = (BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8));
  const [captured, original] = [body.readUInt32LE(12), body.readUInt32LE(16)];
  const pdu = body.subarray(20, 20 + captured);
  const options = body.subarray(20 + ((captured + 3) & ~3));
  if (options.readUInt16LE(0) !== 2 || options.readUInt16LE(2) !== 4) throw new Error('no epb_flags');
  const nameBytes = pdu.readUInt16BE(2);
  if (pdu.readUInt16BE(0) !== 12 || pdu.readUInt32BE(4 + nameBytes) !== 0) throw new Error('no exported PDU');
  const head = 4 + nameBytes + 4;
  return {
    on,
    timeNs,
    inbound: options.readUInt32LE(4) === 1,
    dissector: pdu
      .subarray(4, 4 + nameBytes)
      .toString()
      .replace(/\0+$/, ''),
    data: pdu.subarray(head),
    bytes: original - head,
  };
}
