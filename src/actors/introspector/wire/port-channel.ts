/**
 * A channel over a message port: the other end, in another thread, holds the stream that a user has given us
 * (machine/stream-relay.ts). Streams cannot be sent to another thread; their bytes can.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ByteChannel, ChannelUser } from './channel.ts';

/** What crosses the port, either way. */
export type PortMessage =
  | { readonly is: 'bytes'; readonly bytes: Uint8Array }
  /** So many bytes have been taken. */
  | { readonly is: 'taken'; readonly count: number }
  | { readonly is: 'pause' | 'resume' | 'end' };

const NOBODY: ChannelUser = { received: () => {}, drained: () => {}, closed: () => {} };

export class PortChannel implements ByteChannel {
  readonly #port: MessagePort;
  #user = NOBODY;
  #paused = true;
  /** Came while it was paused: it was on its way already. */
  readonly #waiting: Uint8Array[] = [];
  #written = 0;
  #taken = 0;
  #ended = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (message: PortMessage) => this.#receive(message));
    port.on('close', () => this.#end());
  }

  use(user: ChannelUser): void {
    this.#user = user;
    this.resume();
    if (this.#ended) user.closed();
  }

  write(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#written += bytes.length;
    this.#send({ is: 'bytes', bytes });
  }

  get backlog(): number {
    return this.#written - this.#taken;
  }

  pause(): void {
    this.#paused = true;
    this.#send({ is: 'pause' });
  }

  resume(): void {
    this.#paused = false;
    for (let bytes = this.#waiting.shift(); bytes !== undefined; bytes = this.#waiting.shift()) {
      this.#user.received(bytes);
      if (this.#paused) return;
    }
    this.#send({ is: 'resume' });
  }

  shut(): void {
    this.#send({ is: 'end' });
    this.#end();
  }

  #send(message: PortMessage): void {
    if (!this.#ended) this.#port.postMessage(message);
  }

  #receive(message: PortMessage): void {
    if (this.#ended) return;
    if (message.is === 'bytes') {
      if (this.#paused) this.#waiting.push(message.bytes);
      else this.#user.received(message.bytes);
    } else if (message.is === 'taken') {
      this.#taken += message.count;
      this.#user.drained();
    } else if (message.is === 'end') this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.close();
    this.#user.closed();
  }
}
