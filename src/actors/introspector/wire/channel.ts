/** A stream of bytes to a tool and back, whatever it is made of. */
import type { Socket } from 'node:net';

/** What comes of it. Set once, by whoever uses the channel; bytes that came before wait. */
export interface ChannelUser {
  received(bytes: Uint8Array): void;
  /** The other side takes bytes again. */
  drained(): void;
  /** Nothing comes any more, in neither direction. Once. */
  closed(): void;
}

export interface ByteChannel {
  use(user: ChannelUser): void;
  write(bytes: Uint8Array): void;
  /** Bytes that were written and that the other side has not taken. */
  readonly backlog: number;
  /** Take nothing from the other side until told otherwise. */
  pause(): void;
  resume(): void;
  /** Sends what was written, if the other side takes it soon, and ends both directions. */
  shut(): void;
  /** It has turned out which wire the tool speaks: for those who look on. */
  speaks?(wire: 7 | 12): void;
}

/** How long the other side may take for the last bytes, ms. */
const FLUSH_MS_MAX = 1000;

export class SocketChannel implements ByteChannel {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.pause();
    // What is wrong with a connection shows in its end.
    socket.on('error', () => {});
  }

  use(user: ChannelUser): void {
    const socket = this.#socket;
    socket.removeAllListeners('data').removeAllListeners('drain').removeAllListeners('close');
    socket.on('data', (bytes: Buffer) => user.received(bytes));
    socket.on('drain', () => user.drained());
    socket.on('close', () => user.closed());
    if (socket.destroyed) user.closed();
    else socket.resume();
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  get backlog(): number {
    return this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  shut(): void {
    const socket = this.#socket;
    socket.destroySoon();
    const late = setTimeout(() => socket.destroy(), FLUSH_MS_MAX);
    socket.once('close', () => clearTimeout(late));
  }
}
