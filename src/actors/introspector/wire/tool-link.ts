/**
 * The line to a tool, what QEMU is to KVM: connects (or listens), shakes hands, has the machine hooked, and when the
 * session is over has it unhooked and begins again.
 *
 * @source QEMU branch kvmi-v12: accel/kvm/vmi.c
 */
import { createServer, type Server } from 'node:net';
import type { SimError } from '../../../shared/errors.ts';
import { EAGAIN } from '../../mmu/errno.ts';
import { errnoName } from '../command-error.ts';
import type { KvmiPlan } from '../introspector.api.ts';
import { Capture } from './capture.ts';
import { type ByteChannel, SocketChannel } from './channel.ts';
import { encodeIdentity, HandshakeAnswer } from './handshake.ts';
import { cannotListen, clearPlace, connected } from './unix-socket.ts';

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
// LIMIT: tools that wait for their turn. Whoever comes then is sent away.
const WAITING_MAX = 16;

export class ToolLink {
  readonly #options: ToolLinkOptions;
  /** Channels that wait for their turn. */
  readonly #arrived: ByteChannel[] = [];
  #wake: () => void = () => {};
  #server: Server | null = null;
  #current: ByteChannel | null = null;
  #ready: Connection | null = null;
  #sessionOver: () => void = () => {};
  /** Settles when nobody is served any more, nor will be. */
  #served: Promise<void> = Promise.resolve();
  /** Nobody else comes. */
  #retired = false;
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
    this.#served = this.#serve();
  }

  /** One more tool, over a channel of its own: it is served when the one before it has gone. */
  accept(channel: ByteChannel): void {
    if (this.#retired || this.#arrived.length >= WAITING_MAX) {
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
    if (connection !== null) this.#remark('connected');
    return connection;
  }

  /** The session begun with its connection is over. */
  sessionEnded(): void {
    this.#sessionOver();
  }

  /** Lets nobody else come. @returns settles when whoever is there has gone, too */
  retire(): Promise<void> {
    this.#retired = true;
    this.#server?.close();
    for (const channel of this.#arrived.splice(0)) channel.shut();
    this.#wake();
    return this.#served;
  }

  /** Ends the line for good. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    void this.retire();
    this.#current?.shut();
    this.#sessionOver();
    this.#closeCapture();
  }

  async #serve(): Promise<void> {
    while (!this.#retired) {
      const next = await this.#nextChannel();
      if (next === null) return;
      const channel = this.#capture?.watch(next) ?? next;
      const sinceMs = performance.now();
      this.#current = channel;
      const early = await this.#shakeHands(channel);
      if (early === null) channel.shut();
      else await this.#session({ channel, early });
      this.#current = null;
      await this.#pace(sinceMs);
    }
  }

  /** A tool that sends us away as soon as we come is not asked more often than one that is not there. */
  async #pace(sinceMs: number): Promise<void> {
    const { endpoint, reconnectMs } = this.#options.plan;
    const left = sinceMs + reconnectMs - performance.now();
    if (endpoint?.kind === 'connect' && left > 0 && !this.#retired) await this.#delay(left);
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
      if (error < 0 && !this.#retired)
        this.#remark(`sent away: the machine cannot be hooked (${errnoName(error)})`);
      connection.channel.shut();
      return;
    }
    await over;
    this.#lastRemark = '';
    await this.#options.unhook();
  }

  // ── connecting ────────────────────────────────────────────────────────────────────────────────────────────

  /** Null when nobody is to come any more. */
  async #nextChannel(): Promise<ByteChannel | null> {
    const { endpoint, reconnectMs } = this.#options.plan;
    while (!this.#retired) {
      const channel = this.#arrived.shift();
      if (channel !== undefined) return channel;
      if (endpoint?.kind !== 'connect') {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const socket = await connected(endpoint.path);
      if (!(socket instanceof Error)) {
        if (!this.#retired) return new SocketChannel(socket);
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
      let over = false;
      const refuse = (why: string) => {
        // Whom we have refused closes its end, too.
        if (over) return;
        over = true;
        clearTimeout(timer);
        if (!this.#closed) this.#remark(`refused: ${why}`);
        resolve(null);
      };
      const timer = setTimeout(refuse, handshakeMs, `no handshake within ${handshakeMs} ms`);
      channel.use({
        received: (bytes) => {
          if (over) return;
          const state = answer.feed(bytes);
          if (state.kind === 'refused') refuse(state.why);
          if (state.kind !== 'accepted') return;
          over = true;
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
    await clearPlace(path);
    // As QEMU's chardev: one at a time. Others wait until it has gone.
    const server = createServer((socket) => this.accept(new SocketChannel(socket)));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('listening', resolve);
      server.once('error', (cause) => reject(cannotListen(path, cause)));
      server.listen(path);
    });
    this.#remark(`listens at ${path}`);
  }

  // ── the capture ───────────────────────────────────────────────────────────────────────────────────────────

  #openCapture(path: string): Capture {
    const { endpoint, wire } = this.#options.plan;
    const peer = endpoint === null ? 'a stream' : `${endpoint.kind} ${endpoint.path}`;
    return new Capture({
      path,
      peer,
      wire,
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
