/**
 * The line to a tool, what QEMU is to KVM: connects (or listens), shakes hands, has the machine hooked, and when the
 * session is over has it unhooked and begins again.
 *
 * @source QEMU branch kvmi-v12: accel/kvm/vmi.c
 */
import { existsSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { SimError } from '../../../shared/errors.ts';
import { EAGAIN } from '../../mmu/errno.ts';
import type { KvmiEndpoint, KvmiPlan } from '../introspector.api.ts';
import { Capture } from './capture.ts';
import { type ByteChannel, SocketChannel } from './channel.ts';
import { encodeIdentity, HandshakeAnswer } from './handshake.ts';

export interface ToolLinkOptions {
  readonly plan: KvmiPlan;
  /** Hooks the machine, and begins a session with {@link ToolLink.takeConnection}. @returns 0, or a negative errno */
  hook(): Promise<number>;
  unhook(): Promise<void>;
  /** Says what happens, for people. */
  remark(text: string): void;
  /** The run is not what it was meant to be; told at the end of the line. */
  fail(error: SimError): void;
}

/** A tool that has shaken hands. */
export interface Connection {
  readonly channel: ByteChannel;
  /** Bytes that came behind its half of the handshake. */
  readonly early: Uint8Array;
}

/** How long until the next try to hook: a vCPU may still be leaving the last session. */
const HOOK_RETRY_MS = 5;

export class ToolLink {
  readonly #options: ToolLinkOptions;
  /** Channels that wait for their turn. */
  readonly #arrived: ByteChannel[] = [];
  #wake: () => void = () => {};
  #server: Server | null = null;
  #current: ByteChannel | null = null;
  #ready: Connection | null = null;
  #sessionOver: () => void = () => {};
  #closed = false;
  #capture: Capture | null = null;
  #captureError: SimError | null = null;
  #lastRemark = '';

  constructor(options: ToolLinkOptions) {
    this.#options = options;
  }

  /** Begins. @throws SimError SIM_FILE when it cannot listen, or not write its capture */
  async open(): Promise<void> {
    const { endpoint, pcap } = this.#options.plan;
    if (pcap !== null) this.#capture = this.#openCapture(pcap);
    if (endpoint?.kind === 'listen') await this.#listen(endpoint.path);
    void this.#serve();
  }

  /** One more tool, over a channel of its own: it is served when the one before it has gone. */
  accept(channel: ByteChannel): void {
    if (this.#closed) {
      channel.shut();
      return;
    }
    this.#arrived.push(channel);
    this.#wake();
  }

  /** The tool that the machine has just been hooked for; null when there is none. Once. */
  takeConnection(): Connection | null {
    const connection = this.#ready;
    this.#ready = null;
    return connection;
  }

  /** The session begun with its connection is over. */
  sessionEnded(): void {
    this.#sessionOver();
  }

  /** Ends the line for good. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#server?.close();
    for (const channel of this.#arrived.splice(0)) channel.shut();
    this.#current?.shut();
    this.#wake();
    this.#sessionOver();
    this.#closeCapture();
  }

  async #serve(): Promise<void> {
    while (!this.#closed) {
      const next = await this.#nextChannel();
      if (next === null) return;
      const channel = this.#capture?.watch(next) ?? next;
      this.#current = channel;
      const early = await this.#shakeHands(channel);
      if (early === null) {
        channel.shut();
        await this.#delay(this.#options.plan.reconnectMs);
      } else await this.#session({ channel, early });
      this.#current = null;
    }
  }

  async #session(connection: Connection): Promise<void> {
    const over = new Promise<void>((resolve) => {
      this.#sessionOver = resolve;
    });
    this.#ready = connection;
    let error = await this.#options.hook();
    while (error === -EAGAIN && !this.#closed) {
      await this.#delay(HOOK_RETRY_MS);
      error = await this.#options.hook();
    }
    if (error < 0 || this.#ready !== null) {
      // The machine ends, or is introspected by somebody else.
      this.#ready = null;
      connection.channel.shut();
      await this.#delay(this.#options.plan.reconnectMs);
      return;
    }
    this.#remark('connected');
    await over;
    this.#lastRemark = '';
    await this.#options.unhook();
  }

  // ── connecting ────────────────────────────────────────────────────────────────────────────────────────────

  /** Null when the line is closed. */
  async #nextChannel(): Promise<ByteChannel | null> {
    const { endpoint, reconnectMs } = this.#options.plan;
    while (!this.#closed) {
      const channel = this.#arrived.shift();
      if (channel !== undefined) return channel;
      if (endpoint?.kind !== 'connect') {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const socket = await connected(endpoint);
      if (!(socket instanceof Error)) {
        if (!this.#closed) return new SocketChannel(socket);
        socket.destroy();
        return null;
      }
      this.#remark(`waits for a tool at ${endpoint.path} (${(socket as NodeJS.ErrnoException).code})`);
      await this.#delay(reconnectMs);
    }
    return null;
  }

  /** @returns bytes that came behind the tool's half; null when it is refused */
  #shakeHands(channel: ByteChannel): Promise<Uint8Array | null> {
    const { identity, secret, handshakeMs } = this.#options.plan;
    const answer = new HandshakeAnswer(secret);
    return new Promise((resolve) => {
      const refuse = (why: string) => {
        clearTimeout(timer);
        if (!this.#closed) this.#remark(`refused: ${why}`);
        resolve(null);
      };
      const timer = setTimeout(refuse, handshakeMs, `no handshake within ${handshakeMs} ms`);
      channel.use({
        received: (bytes) => {
          const state = answer.feed(bytes);
          if (state.kind === 'refused') refuse(state.why);
          if (state.kind !== 'accepted') return;
          clearTimeout(timer);
          channel.pause();
          resolve(state.rest);
        },
        drained: () => {},
        closed: () => refuse('it has closed the connection in the middle of the handshake'),
      });
      channel.write(encodeIdentity(identity));
    });
  }

  async #listen(path: string): Promise<void> {
    if (existsSync(path) && (await connected({ kind: 'connect', path })) instanceof Error) unlinkSync(path);
    const server = createServer((socket) => {
      // As QEMU's chardev: one at a time.
      if (this.#current !== null || this.#arrived.length > 0) socket.destroy();
      else this.accept(new SocketChannel(socket));
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('listening', resolve);
      server.once('error', (cause) => {
        reject(
          new SimError('SIM_FILE', `cannot listen at ${path}`, {
            hint: 'name a place where a unix socket can be made, and nobody listens yet',
            cause,
          }),
        );
      });
      server.listen(path);
    });
    this.#remark(`listens at ${path}`);
  }

  // ── the capture ───────────────────────────────────────────────────────────────────────────────────────────

  #openCapture(path: string): Capture {
    const { endpoint } = this.#options.plan;
    const peer = endpoint === null ? 'a stream' : `${endpoint.kind} ${endpoint.path}`;
    return new Capture({
      path,
      peer,
      failed: (error) => {
        this.#captureError = error;
        this.#options.remark(`${error.message}; the session goes on without it`);
      },
    });
  }

  /** A run whose capture is not all that there was has failed, though it need not end for that. */
  #closeCapture(): void {
    if (this.#capture === null) return;
    this.#capture.close();
    if (this.#captureError !== null) this.#options.fail(this.#captureError);
    else {
      const { packets } = this.#capture;
      this.#options.remark(`${packets} message${packets === 1 ? '' : 's'} in ${this.#options.plan.pcap}`);
    }
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Not the same again and again. */
  #remark(text: string): void {
    if (text === this.#lastRemark) return;
    this.#lastRemark = text;
    this.#options.remark(text);
  }
}

/** A socket, or why there is none. */
function connected({ path }: KvmiEndpoint): Promise<Socket | Error> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.pause();
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', resolve);
  });
}
