/**
 * What goes over the wire, as a file for Wireshark: a packet for each message, an interface for each connection.
 *
 * Everything is written when it happens, in whole blocks: what was sent is in the file, however the process ends. The
 * dissector that the package brings (wireshark/kvmi.lua) takes packets by the names given here.
 */
import { closeSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { SimError } from '../../../shared/errors.ts';
import {
  exportedPdu,
  interfaceDescription,
  packetBlock,
  sectionHeader,
} from '../../../shared/trace/pcapng.ts';
import type { WireChoice, WireVersion } from '../introspector.api.ts';
import { KVMI_MSG_HDR_BYTES } from '../kvmi/constants.ts';
import { kvmi_msg_hdr } from '../kvmi/protocol.ts';
import type { ByteChannel, ChannelUser } from './channel.ts';
import { type Piece, PieceSplitter } from './piece-splitter.ts';
import { recognise } from './recognise.ts';

/** Names of dissectors: of the handshake, and of messages by the wire they belong to. */
export const DISSECTORS = { handshake: 'kvmi_handshake', 12: 'kvmi12', 7: 'kvmi7' } as const;

type Head = keyof typeof DISSECTORS;
const HEADS = new Map<Head, Uint8Array>(
  (
    [
      ['handshake', DISSECTORS.handshake],
      [12, DISSECTORS[12]],
      [7, DISSECTORS[7]],
    ] as const
  ).map(([what, name]) => [what, exportedPdu(name)]),
);

export interface CaptureOptions {
  /** The file; an old one is replaced. */
  readonly path: string;
  /** What can be said of the other side of every connection. */
  readonly peer: string;
  /** What is spoken. With 'auto' each connection is judged by itself, as its session judges it. */
  readonly wire: WireChoice;
  /** It cannot go on, once: what is missing from now on is all that comes. */
  readonly failed: (error: SimError) => void;
}

export class Capture {
  readonly #options: CaptureOptions;
  readonly #fd: number;
  /** What the monotonic clock has to be advanced by to show the time since 1970, ns. */
  readonly #epochNs: bigint;
  #interfaces = 0;
  #packets = 0;
  /** Of whole blocks. */
  #bytes = 0;
  #over = false;

  /** @throws SimError SIM_FILE when the file cannot be written, or is none that can be written in order */
  constructor(options: CaptureOptions) {
    this.#options = options;
    const { path } = options;
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO() === true) {
      throw new SimError('SIM_FILE', `cannot write the capture '${path}': it is a pipe`, {
        hint: 'name a file, and watch it grow: tail -c +1 -f FILE | wireshark -k -i -',
      });
    }
    try {
      this.#fd = openSync(path, 'w');
    } catch (cause) {
      throw cannotWrite(path, cause);
    }
    this.#epochNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();
    try {
      this.#put(sectionHeader('faultline'));
    } catch (cause) {
      closeSync(this.#fd);
      throw cannotWrite(path, cause);
    }
  }

  /** Messages that are in the file. */
  get packets(): number {
    return this.#packets;
  }

  /** The same channel, with all that goes through it written down. */
  watch(channel: ByteChannel): ByteChannel {
    const on = this.#interfaces++;
    const { peer: description, wire } = this.#options;
    this.#write(() => interfaceDescription({ name: `kvmi ${on + 1}`, description }));
    return new CapturedChannel(channel, wire, (piece, inbound, spoken) => {
      const head = HEADS.get(piece.handshake ? 'handshake' : spoken)!;
      const timeNs = process.hrtime.bigint() + this.#epochNs;
      const { data, bytes } = piece;
      if (this.#write(() => packetBlock({ on, timeNs, inbound, data, bytes, head }))) this.#packets += 1;
    });
  }

  /** Nothing is written any more. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    closeSync(this.#fd);
  }

  #write(block: () => Uint8Array): boolean {
    if (this.#over) return false;
    try {
      this.#put(block());
      return true;
    } catch (cause) {
      // The session goes on without its capture, which ends with the last block that is whole.
      ftruncateSync(this.#fd, this.#bytes);
      this.close();
      this.#options.failed(cannotWrite(this.#options.path, cause));
      return false;
    }
  }

  #put(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    this.#bytes += bytes.length;
  }
}

function cannotWrite(path: string, cause: unknown): SimError {
  const { message, code } = cause as NodeJS.ErrnoException;
  return new SimError('SIM_FILE', `cannot write the capture '${path}': ${code ?? message}`, {
    hint: 'name a file in a folder that exists, with room on its disk',
    cause,
  });
}

type Saw = (piece: Piece, inbound: boolean, wire: WireVersion) => void;

class CapturedChannel implements ByteChannel {
  readonly #channel: ByteChannel;
  readonly #saw: Saw;
  readonly #inbound = new PieceSplitter();
  readonly #outbound = new PieceSplitter();
  #wire: WireVersion;
  /** Until a message speaks for one wire it is taken for wire-12: what comes before is the same on both. */
  #decided: boolean;

  constructor(channel: ByteChannel, wire: WireChoice, saw: Saw) {
    this.#channel = channel;
    this.#saw = saw;
    this.#wire = wire === 7 ? 7 : 12;
    this.#decided = wire !== 'auto';
  }

  use(user: ChannelUser): void {
    this.#channel.use({
      received: (bytes) => {
        for (const piece of this.#inbound.feed(bytes)) {
          this.#recognise(piece);
          this.#saw(piece, true, this.#wire);
        }
        user.received(bytes);
      },
      drained: () => user.drained(),
      closed: () => {
        this.#rest();
        user.closed();
      },
    });
  }

  write(bytes: Uint8Array): void {
    for (const piece of this.#outbound.feed(bytes)) this.#saw(piece, false, this.#wire);
    this.#channel.write(bytes);
  }

  #recognise({ handshake, data }: Piece): void {
    if (this.#decided || handshake) return;
    const spoken = recognise({ ...kvmi_msg_hdr.decode(data), payload: data.subarray(KVMI_MSG_HDR_BYTES) });
    if (spoken === null) return;
    this.#decided = true;
    this.#wire = spoken;
  }

  get backlog(): number {
    return this.#channel.backlog;
  }

  pause(): void {
    this.#channel.pause();
  }

  resume(): void {
    this.#channel.resume();
  }

  shut(): void {
    this.#rest();
    this.#channel.shut();
  }

  /** The beginnings of messages whose ends never came. */
  #rest(): void {
    for (const piece of this.#inbound.rest()) this.#saw(piece, true, this.#wire);
    for (const piece of this.#outbound.rest()) this.#saw(piece, false, this.#wire);
  }
}
