/** Where a tool waits for machines: a unix socket. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { cannotListen, clearPlace } from '../actors/introspector/wire/unix-socket.ts';
import { type ClientOptions, KvmiClient } from './client.ts';
import { ConnectionClosed } from './connection.ts';

export class KvmiListener {
  readonly #server: Server;
  readonly #options: ClientOptions;
  readonly #came: Socket[] = [];
  readonly #wanted: { resolve(socket: Socket): void; reject(error: Error): void }[] = [];
  #closed = false;

  private constructor(server: Server, options: ClientOptions) {
    this.#server = server;
    this.#options = options;
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      const wanted = this.#wanted.shift();
      if (wanted === undefined) this.#came.push(socket);
      else wanted.resolve(socket);
    });
  }

  /**
   * Listens at `path`. A socket that nobody listens at any more is replaced.
   *
   * @throws SimError SIM_FILE when that cannot be
   */
  static async at(path: string, options: ClientOptions = {}): Promise<KvmiListener> {
    await clearPlace(path);
    const server = createServer({ pauseOnConnect: true });
    server.listen(path);
    try {
      await once(server, 'listening');
    } catch (cause) {
      throw cannotListen(path, cause);
    }
    return new KvmiListener(server, options);
  }

  /** The next machine that connects, after the handshake. @throws ConnectionClosed, also when the listener is closed */
  async next(): Promise<KvmiClient> {
    return KvmiClient.open(await this.nextSocket(), this.#options);
  }

  /** The same before it. */
  nextSocket(): Promise<Socket> {
    const socket = this.#came.shift();
    if (socket !== undefined) return Promise.resolve(socket);
    if (this.#closed) return Promise.reject(new ConnectionClosed('the listener is closed'));
    return new Promise((resolve, reject) => this.#wanted.push({ resolve, reject }));
  }

  /** Nobody else comes, and whoever has not been taken is sent away. Connections that were taken stay. */
  close(): void {
    this.#closed = true;
    this.#server.close();
    for (const socket of this.#came.splice(0)) socket.destroy();
    for (const { reject } of this.#wanted.splice(0)) reject(new ConnectionClosed('the listener is closed'));
  }
}

/** A machine that listens itself (`--kvmi listen:PATH`). Rejects when none does. */
export async function connectTo(path: string, options: ClientOptions = {}): Promise<KvmiClient> {
  const socket = connect(path);
  await once(socket, 'connect');
  return KvmiClient.open(socket, options);
}
