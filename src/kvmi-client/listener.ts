/** Where a tool waits for machines: a unix socket. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type ClientOptions, KvmiClient } from './client.ts';

export class KvmiListener {
  readonly #server: Server;
  readonly #options: ClientOptions;
  readonly #came: Socket[] = [];
  readonly #wanted: ((socket: Socket) => void)[] = [];

  private constructor(server: Server, options: ClientOptions) {
    this.#server = server;
    this.#options = options;
    server.on('connection', (socket) => {
      socket.on('error', () => {});
      const wanted = this.#wanted.shift();
      if (wanted === undefined) this.#came.push(socket);
      else wanted(socket);
    });
  }

  /** Listens at `path`. Rejects when that cannot be. */
  static async at(path: string, options: ClientOptions = {}): Promise<KvmiListener> {
    const server = createServer({ pauseOnConnect: true });
    server.listen(path);
    await once(server, 'listening');
    return new KvmiListener(server, options);
  }

  /** The next machine that connects, after the handshake. */
  async next(): Promise<KvmiClient> {
    return KvmiClient.open(await this.nextSocket(), this.#options);
  }

  /** The same before it. */
  nextSocket(): Promise<Socket> {
    const socket = this.#came.shift();
    return socket === undefined
      ? new Promise((resolve) => this.#wanted.push(resolve))
      : Promise.resolve(socket);
  }

  /** Connections stay. */
  close(): void {
    this.#server.close();
  }
}

/** A machine that listens itself (`--kvmi listen:PATH`). Rejects when none does. */
export async function connectTo(path: string, options: ClientOptions = {}): Promise<KvmiClient> {
  const socket = connect(path);
  await once(socket, 'connect');
  return KvmiClient.open(socket, options);
}
