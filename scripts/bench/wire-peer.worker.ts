/**
 * The threads that the wire's measurements run beside and against, all of them bare: bytes by hand, no codec, no client.
 * One thread has one role; it reports when it is ready, and what it has measured.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import {
  ANSWER_BYTES,
  EVENT_BYTES,
  type PeerMessage,
  type PeerTask,
  READ_ANSWER_BYTES,
  READ_BYTES,
} from './wire-peer.ts';

const task = workerData as PeerTask;
const tell = (message: PeerMessage) => parentPort!.postMessage(message);

/** Calls `each` with every whole message of `size` bytes; 0: as its header says. */
function messages(socket: Socket, size: number, each: (message: Buffer) => void): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    pending = pending.length === 0 ? bytes : Buffer.concat([pending, bytes]);
    for (;;) {
      const next =
        size !== 0 ? size : pending.length < 8 ? Number.POSITIVE_INFINITY : 8 + pending.readUInt16LE(2);
      if (pending.length < next) return;
      const message = pending.subarray(0, next);
      pending = pending.subarray(next);
      each(message);
    }
  });
}

async function accepted(path: string): Promise<Socket> {
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  tell({ is: 'ready' });
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return socket;
}

/** How long turns take, one after the other. */
class Turns {
  readonly #ns: Float64Array;
  #count = 0;
  #began = 0n;
  #last = 0n;

  constructor(count: number) {
    this.#ns = new Float64Array(count);
  }

  /** From here to the first `end` is the first turn. */
  begin(): void {
    this.#began = process.hrtime.bigint();
    this.#last = this.#began;
  }

  /** False once there are as many as were asked for. */
  end(): boolean {
    const now = process.hrtime.bigint();
    this.#ns[this.#count++] = Number(now - this.#last);
    this.#last = now;
    return this.#count < this.#ns.length;
  }

  taken(counts: readonly number[] = []): PeerMessage {
    const sorted = this.#ns.slice().sort();
    const allNs = Number(this.#last - this.#began);
    return { is: 'taken', medianNs: sorted[sorted.length >> 1]!, meanNs: allNs / sorted.length, counts };
  }
}

/** Answers so many bytes with so many others. */
async function answerer(path: string, asked: number, answered: number): Promise<void> {
  const socket = await accepted(path);
  const answer = Buffer.alloc(answered);
  messages(socket, asked, () => socket.write(answer));
}

/** Asks, and waits for the answer, again and again. */
async function asker(path: string, asked: number, answered: number, turns: number): Promise<void> {
  const socket = connect(path);
  await once(socket, 'connect');
  const question = Buffer.alloc(asked);
  const taken = new Turns(turns);
  messages(socket, answered, () => {
    if (taken.end()) socket.write(question);
    else {
      tell(taken.taken());
      socket.destroy();
    }
  });
  taken.begin();
  socket.write(question);
}

/** Shakes hands with the machine that connects. What comes after it waits. */
async function machine(path: string): Promise<Socket> {
  const socket = await accepted(path);
  let hello: Buffer | null = null;
  while (hello === null) {
    await once(socket, 'readable');
    hello = socket.read(104) as Buffer | null;
  }
  const answer = Buffer.alloc(24);
  answer.writeUInt32LE(24);
  socket.write(answer);
  return socket;
}

function frame(id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** KVMI_VM_READ_PHYSICAL of a whole page, one after the other. */
async function reader(path: string, turns: number): Promise<void> {
  const socket = await machine(path);
  const payload = Buffer.alloc(READ_BYTES - 8);
  payload.writeUInt16LE(4096, 8);
  const request = frame(12, payload);
  const taken = new Turns(turns);
  messages(socket, READ_ANSWER_BYTES, (answer) => {
    if (answer.readInt32LE(8) !== 0) throw new Error(`READ_PHYSICAL: error ${answer.readInt32LE(8)}`);
    if (taken.end()) socket.write(request);
    else tell(taken.taken());
  });
  parentPort!.once('message', () => {
    taken.begin();
    socket.write(request);
  });
  tell({ is: 'ready' });
}

/**
 * Takes W away from a page and answers its events: RETRY and CONTINUE by turns, so that a store is two of them. Counts
 * each vCPU's among the first `turns`.
 */
async function guard(path: string, vcpuCount: number, gpa: number, turns: number): Promise<void> {
  const socket = await machine(path);
  const access = Buffer.alloc(8 + 16);
  access.writeUInt16LE(1, 0);
  access.writeBigUInt64LE(BigInt(gpa), 8);
  access[16] = 5;
  socket.write(frame(20, access));
  for (let vcpu = 0; vcpu < vcpuCount; vcpu++) {
    const enable = Buffer.alloc(16);
    enable.writeUInt16LE(vcpu, 0);
    enable[8] = 17;
    enable[10] = 1;
    socket.write(frame(5, enable));
  }
  const reply = Buffer.alloc(ANSWER_BYTES);
  reply.writeUInt16LE(1, 0);
  reply.writeUInt16LE(ANSWER_BYTES - 8, 2);
  reply[17] = 17;
  const counts = new Array<number>(vcpuCount).fill(0);
  const taken = new Turns(turns);
  let events = 0;
  let commands = 0;
  messages(socket, 0, (message) => {
    if (message.length !== EVENT_BYTES) {
      if (message.readInt32LE(8) !== 0) throw new Error(`command ${message.readUInt16LE(0)} is refused`);
      commands += 1;
      if (commands === 1 + vcpuCount) tell({ is: 'ready' });
      return;
    }
    const vcpu = message.readUInt16LE(8 + 10);
    if (events <= turns) {
      reply[16] = counts[vcpu]! & 1 ? 0 : 1;
      counts[vcpu]! += 1;
    } else reply[16] = 0;
    message.copy(reply, 4, 4, 8);
    reply.writeUInt16LE(vcpu, 8);
    // The reply is changed while it is on its way otherwise.
    socket.write(Buffer.from(reply));
    events += 1;
    // A turn is from one event to the next.
    if (events === 1) taken.begin();
    else if (events <= turns + 1 && !taken.end()) tell(taken.taken(counts));
  });
}

switch (task.role) {
  case 'answerer':
    await answerer(task.path, task.asked, task.answered);
    break;
  case 'asker':
    await asker(task.path, task.asked, task.answered, task.turns);
    break;
  case 'reader':
    await reader(task.path, task.turns);
    break;
  case 'guard':
    await guard(task.path, task.vcpuCount, task.gpa, task.turns);
}
