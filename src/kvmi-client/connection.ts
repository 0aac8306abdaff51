/**
 * The tool's end of the wire: shakes hands, sends messages, and gives every message that comes to whom it belongs.
 * Knows no command by name.
 */
import type { Duplex } from 'node:stream';
import { kvmi_error_code } from '../actors/introspector/kvmi/protocol.ts';
import { Framing, frame, type WireMessage } from '../actors/introspector/wire/framing.ts';
import {
  cookieHash,
  HALF_BYTES_MAX,
  IDENTITY_BYTES_MIN,
  qemu_vmi_from_introspector,
  qemu_vmi_to_introspector,
} from '../actors/introspector/wire/handshake.ts';

/** What the machine has said of itself. */
export interface VmIdentity {
  readonly uuid: Uint8Array;
  readonly name: string;
  readonly startTime: number;
  /** First byte after the highest RAM byte; 0 from a machine that does not say. */
  readonly maxGpa: bigint;
}

/** An answer as it came. */
export interface RawReply {
  /** 0, or a negative errno. */
  readonly error: number;
  readonly data: Uint8Array;
  /** Bytes after the message header. */
  readonly size: number;
}

export interface ConnectionOptions {
  /** What both sides have to know. */
  readonly secret?: string;
}

/** The connection has ended before the answer came. */
export class ConnectionClosed extends Error {
  override readonly name = 'ConnectionClosed';
  constructor(why = 'the connection to the machine is closed') {
    super(why);
  }
}

interface Waiting {
  readonly id: number;
  readonly resolve: (reply: RawReply) => void;
  readonly reject: (error: Error) => void;
}

/** Ids of messages that are no answers to commands. */
const EVENT_IDS: readonly number[] = [0, 1];

export class Connection {
  /** Settles when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #stream: Duplex;
  readonly #framing = new Framing();
  readonly #waiting = new Map<number, Waiting>();
  readonly #events: WireMessage[] = [];
  readonly #eventWanted: ((message: WireMessage | null) => void)[] = [];
  #seq = 0;
  #over = false;

  private constructor(stream: Duplex) {
    this.#stream = stream;
    this.closed = new Promise((resolve) => {
      stream.once('close', () => {
        this.#close();
        resolve();
      });
    });
    stream.on('data', (bytes: Buffer) => this.#received(bytes));
    // A machine that says nothing more has gone, even where the other direction could stay open.
    stream.on('end', () => stream.destroy());
    if (stream.destroyed) this.#close();
  }

  /**
   * Reads who the machine is and answers. The stream belongs to the connection from now on.
   *
   * @throws ConnectionClosed  the other side has gone, or is no machine
   */
  static async open(
    stream: Duplex,
    options: ConnectionOptions = {},
  ): Promise<{ readonly connection: Connection; readonly machine: VmIdentity }> {
    stream.on('error', () => {});
    const { struct_size: size } = qemu_vmi_to_introspector.decode(await readBytes(stream, 4));
    if (size < IDENTITY_BYTES_MIN || size > HALF_BYTES_MAX) {
      stream.destroy();
      throw new ConnectionClosed(`no machine: its half of the handshake is said to have ${size} bytes`);
    }
    const whole = new Uint8Array(size);
    whole.set(await readBytes(stream, size - 4), 4);
    const { uuid, name, start_time, max_gpa } = qemu_vmi_to_introspector.decode(whole);
    stream.write(
      qemu_vmi_from_introspector.encode({
        struct_size: qemu_vmi_from_introspector.bytes,
        cookie_hash: options.secret === undefined ? new Uint8Array(20) : cookieHash(options.secret),
      }),
    );
    const machine = {
      uuid,
      name: new TextDecoder().decode(name).replace(/\0.*$/s, ''),
      startTime: Number(start_time),
      maxGpa: max_gpa,
    };
    return { connection: new Connection(stream), machine };
  }

  /** Sends a command. @throws ConnectionClosed (rejects) when no answer can come any more */
  request(id: number, ...parts: readonly Uint8Array[]): Promise<RawReply> {
    const seq = this.nextSeq();
    return new Promise((resolve, reject) => {
      if (this.#over) {
        reject(new ConnectionClosed());
        return;
      }
      this.#waiting.set(seq, { id, resolve, reject });
      this.#stream.write(frame(id, seq, ...parts));
    });
  }

  /** Sends a message that gets no answer: an event reply, or what a test likes. */
  send(id: number, seq: number, ...parts: readonly Uint8Array[]): void {
    this.#stream.write(frame(id, seq, ...parts));
  }

  /** A number for a message that gets no answer. */
  nextSeq(): number {
    return this.#seq++;
  }

  /** What is sent meanwhile goes out in one piece. */
  together(send: () => void): void {
    this.#stream.cork();
    send();
    this.#stream.uncork();
  }

  sendBytes(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  /** The next event, whichever vCPU's; null when the connection has ended. */
  nextEvent(): Promise<WireMessage | null> {
    const event = this.#events.shift();
    if (event !== undefined) return Promise.resolve(event);
    if (this.#over) return Promise.resolve(null);
    return new Promise((resolve) => this.#eventWanted.push(resolve));
  }

  /** Events that came and that nobody has taken. */
  get eventsWaiting(): number {
    return this.#events.length;
  }

  close(): void {
    this.#stream.destroy();
  }

  #received(bytes: Uint8Array): void {
    if (!this.#framing.feed(bytes, (message) => this.#deliver(message))) this.#stream.destroy();
  }

  /** False for what is neither an event nor an answer to something asked. */
  #deliver(message: WireMessage): boolean {
    const { id, seq, payload } = message;
    const waiting = this.#waiting.get(seq);
    if (waiting !== undefined && waiting.id === id && payload.length >= kvmi_error_code.bytes) {
      this.#waiting.delete(seq);
      const { err: error } = kvmi_error_code.decode(payload);
      waiting.resolve({ error, data: payload.subarray(kvmi_error_code.bytes), size: payload.length });
      return true;
    }
    if (!EVENT_IDS.includes(id)) return false;
    const wanted = this.#eventWanted.shift();
    if (wanted === undefined) this.#events.push(message);
    else wanted(message);
    return true;
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    for (const { reject } of this.#waiting.values()) reject(new ConnectionClosed());
    this.#waiting.clear();
    for (const wanted of this.#eventWanted.splice(0)) wanted(null);
  }
}

/** Exactly so many bytes. */
function readBytes(stream: Duplex, count: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const bytes = stream.read(count) as Buffer | null;
      if (bytes === null) return;
      done();
      // At its end a stream gives less than was asked for.
      if (bytes.length === count) resolve(bytes);
      else reject(new ConnectionClosed());
    };
    const fail = () => {
      done();
      reject(new ConnectionClosed());
    };
    const done = () => {
      stream.off('readable', look);
      stream.off('close', fail);
      stream.off('end', fail);
    };
    stream.on('readable', look);
    stream.on('close', fail);
    stream.on('end', fail);
    if (stream.destroyed || stream.readableEnded) fail();
    else look();
  });
}
