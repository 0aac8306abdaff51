/**
 * The other end of the guest's serial port: the terminal, a file, or a stream socket.
 *
 *   stdio         this terminal; from a keyboard, Ctrl-A x ends the machine, and Ctrl-A twice is one Ctrl-A
 *   file:PATH     what the guest sends, and nothing for it to receive
 *   unix:PATH     connects to a socket
 *   listen:PATH   waits for somebody to connect; what the guest sends before is lost
 */
import type { EventEmitter } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { Machine } from '../machine.ts';
import { SimError } from '../shared/errors.ts';
import { usage } from './flags.ts';

export type SerialPlace =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'none' }
  | { readonly kind: 'file' | 'unix' | 'listen'; readonly path: string };

/** @throws SimError SIM_USAGE */
export function parseSerial(text: string): SerialPlace {
  if (text === 'stdio' || text === 'mon:stdio') return { kind: 'stdio' };
  if (text === 'none') return { kind: 'none' };
  const [, kind, path] = /^(file|unix|listen):(.+)$/s.exec(text) ?? [];
  if (kind === undefined) {
    throw usage(`--serial ${text}`, 'write stdio, none, file:PATH, unix:PATH or listen:PATH');
  }
  return { kind: kind as 'file' | 'unix' | 'listen', path: path! };
}

export interface SerialLine {
  /** What the guest has sent. */
  send(bytes: Uint8Array): void;
  close(): Promise<void>;
}

/** How often input that found no room is offered again, ms. */
const RETRY_MS = 10;
const CTRL_A = 0x01;
const LETTER_X = 0x78;

/**
 * @param fail  is told when the line breaks, with what to say about it
 * @throws      SimError SIM_FILE when the place is not there
 */
export async function openSerial(
  place: SerialPlace,
  machine: Pick<Machine, 'sendSerial' | 'stop'>,
  fail: (error: SimError) => void,
): Promise<SerialLine> {
  const input = new Input(machine);
  switch (place.kind) {
    case 'none':
      return { send: () => {}, close: async () => {} };
    case 'stdio':
      return terminal(input, () => void machine.stop());
    case 'file': {
      const file = createWriteStream(place.path);
      await settled(file, 'open', place.path);
      return writeTo(file, place.path, fail);
    }
    case 'unix': {
      const socket = createConnection(place.path);
      await settled(socket, 'connect', place.path);
      socket.on('data', (bytes) => input.offer(bytes));
      return writeTo(socket, place.path, fail, input);
    }
    case 'listen':
      return await listen(place.path, input, fail);
  }
}

/** Input that waits until the guest's ring has room for it. */
class Input {
  readonly #machine: Pick<Machine, 'sendSerial'>;
  readonly #waiting: Uint8Array[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;

  constructor(machine: Pick<Machine, 'sendSerial'>) {
    this.#machine = machine;
  }

  offer(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    if (this.#timer === null) this.#push();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #push(): void {
    this.#timer = null;
    for (let bytes = this.#waiting[0]; bytes !== undefined && !this.#closed; bytes = this.#waiting[0]) {
      const taken = this.#machine.sendSerial(bytes);
      if (taken < bytes.length) {
        this.#waiting[0] = bytes.subarray(taken);
        this.#timer = setTimeout(() => this.#push(), RETRY_MS);
        return;
      }
      this.#waiting.shift();
    }
  }
}

function terminal(input: Input, stop: () => void): SerialLine {
  const { stdin, stdout } = process;
  const keyboard = stdin.isTTY;
  let escaped = false;
  const onData = (bytes: Uint8Array) => {
    if (!keyboard) {
      input.offer(bytes);
      return;
    }
    const passed: number[] = [];
    for (const byte of bytes) {
      if (escaped) {
        escaped = false;
        if (byte === LETTER_X) stop();
        else passed.push(byte);
      } else if (byte === CTRL_A) escaped = true;
      else passed.push(byte);
    }
    if (passed.length > 0) input.offer(Uint8Array.from(passed));
  };
  if (keyboard) stdin.setRawMode(true);
  stdin.on('data', onData);
  return {
    send: (bytes) => void stdout.write(bytes),
    close: async () => {
      input.close();
      stdin.off('data', onData);
      if (keyboard) stdin.setRawMode(false);
      stdin.pause();
    },
  };
}

function writeTo(
  stream: Writable,
  path: string,
  fail: (error: SimError) => void,
  input: Input | null = null,
): SerialLine {
  let ended = false;
  stream.on('error', (cause) => {
    if (!ended) fail(lineError(path, cause));
    ended = true;
  });
  return {
    send: (bytes) => {
      if (!ended) stream.write(bytes);
    },
    close: async () => {
      ended = true;
      input?.close();
      await new Promise<void>((resolve) => {
        stream.end(() => resolve());
        if (stream.destroyed) resolve();
      });
    },
  };
}

async function listen(path: string, input: Input, fail: (error: SimError) => void): Promise<SerialLine> {
  let peer: Socket | null = null;
  const server = createServer((socket) => {
    // One at a time: a second one takes the line over.
    peer?.destroy();
    peer = socket;
    socket.on('data', (bytes) => input.offer(bytes));
    // A peer that goes is no error: another one may come.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (peer === socket) peer = null;
    });
  });
  server.listen(path);
  await settled(server, 'listening', path);
  server.on('error', (cause) => fail(lineError(path, cause)));
  return {
    send: (bytes) => void peer?.write(bytes),
    close: async () => {
      input.close();
      peer?.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function settled(what: EventEmitter, event: string, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const failed = (cause: Error) => reject(lineError(path, cause));
    what.once('error', failed);
    what.once(event, () => {
      what.off('error', failed);
      resolve();
    });
  });
}

function lineError(path: string, cause: Error): SimError {
  return new SimError('SIM_FILE', `serial line ${path}: ${cause.message}`, {
    hint: 'say with --serial where the guest is to write to',
    cause,
  });
}
