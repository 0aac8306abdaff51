/**
 * Tools that say whatever comes into their heads: conversations made of right, nearly right and senseless messages, cut
 * anywhere, ended anywhere; with a small description of what the machine must make of each.
 *
 * Nothing here may harm the guest where a right tool could: no write to its code, no registers, no exception that it has
 * no handler for, no CRASH.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { KvmiListener } from '../../src/kvmi-client/listener.ts';
import type { Prng } from '../../src/shared/prng.ts';
import {
  EBUSY,
  EINVAL,
  ENOENT,
  ENOSYS,
  EOPNOTSUPP,
  join8,
  TEST_GPA,
  u8,
  u16,
  u32,
  u64,
  zeros,
} from './rig.ts';

const MAX_SIZE = 8184;
/** id → bytes of its reply when it goes well; −1: depends on the request. */
const VM_COMMANDS = new Map([[2, 16], [4, 0], [6, 0], [8, 16], [10, 0], [12, -1], [14, 0], [16, 0], [18, 0], [20, 0]]); // biome-ignore format: table
const VCPU_COMMANDS = new Map([
  [3, 8], [5, 0], [7, -1], [9, 0], [11, 16], [13, 0], [15, 0], [17, 8], [19, 4096], [21, 0], [23, 8], [25, 0], [27, 0], [29, 8],
]); // biome-ignore format: table
const ERRORS = [0, -ENOENT, -EBUSY, -EINVAL, -EOPNOTSUPP, -12];
/** Event id → bytes that a reply may carry; RETRY is legal. */
const EVENTS = new Map([
  [1, { extra: 0, retry: false }],
  [3, { extra: 0, retry: false }],
  [5, { extra: 0, retry: true }],
  [7, { extra: 8, retry: false }],
  [9, { extra: 0, retry: false }],
  [13, { extra: 0, retry: true }],
  [15, { extra: 8, retry: false }],
  [17, { extra: 0, retry: true }],
  [19, { extra: 0, retry: false }],
]);

export interface Tally {
  conversations: number;
  messages: number;
  answers: number;
  errors: number;
  events: number;
  /** Conversations that the machine has ended. */
  closed: number;
}

/** What must become of a message. */
interface Expectation {
  readonly id: number;
  /** Null: any that exists. */
  readonly error: number | null;
  /** Of the reply, when there is no error; −1: not looked at. */
  readonly bytes: number;
}

/** @throws Error that says what the machine did wrong */
export class FuzzTool {
  readonly #prng: Prng;
  readonly #vcpuCount: number;
  readonly #tally: Tally;
  readonly #socket: Socket;
  readonly #expected = new Map<number, Expectation>();
  #buffer: Buffer = Buffer.alloc(0);
  #seq: number;
  /** A message has been sent that costs the connection. */
  #mayClose = false;
  #closed = false;
  #wrong: Error | null = null;
  /** The last reply to an event, to be said again. */
  #lastReply: Uint8Array | null = null;
  #changed: () => void = () => {};

  constructor(socket: Socket, prng: Prng, vcpuCount: number, tally: Tally) {
    this.#socket = socket;
    this.#prng = prng;
    this.#vcpuCount = vcpuCount;
    this.#tally = tally;
    this.#seq = prng.u32();
    socket.on('data', (bytes: Buffer) => this.#received(bytes));
    socket.on('close', () => {
      this.#closed = true;
      this.#changed();
    });
    socket.on('error', () => {});
    socket.resume();
  }

  /** One conversation with the next machine that connects. */
  static async converse(listener: KvmiListener, prng: Prng, vcpuCount: number, tally: Tally): Promise<void> {
    const socket = await listener.nextSocket();
    const hello = Buffer.alloc(24);
    hello.writeUInt32LE(24);
    // The machine speaks first.
    const tool = new FuzzTool(socket, prng, vcpuCount, tally);
    tool.#buffer = Buffer.alloc(0);
    tool.#skip = 104;
    socket.write(hello);
    await tool.#talk();
  }
  #skip = 0;

  async #talk(): Promise<void> {
    const count = 1 + this.#prng.below(120);
    const pending: Uint8Array[] = [];
    for (let i = 0; i < count && !this.#closed; i++) {
      pending.push(this.#message());
      if (this.#prng.below(3) === 0) this.#write(pending.splice(0));
      if (this.#prng.below(20) === 0) await this.#turn();
      if (this.#wrong !== null) throw this.#wrong;
    }
    this.#write(pending);
    this.#tally.conversations += 1;
    // Some go away with answers and events outstanding, some in the middle of a message.
    const manner = this.#prng.below(4);
    if (manner === 0) this.#socket.write(join8(u16(12), u16(500), u32(1), zeros(this.#prng.below(300))));
    if (manner >= 2) await this.#settled();
    if (!this.#closed) {
      this.#socket.destroy();
      await once(this.#socket, 'close');
    } else this.#tally.closed += 1;
    if (this.#wrong !== null) throw this.#wrong;
  }

  /** Every command has its answer, or the connection is gone for a reason. */
  async #settled(): Promise<void> {
    while (!this.#closed && this.#expected.size > 0 && this.#wrong === null) await this.#turn();
    if (this.#closed && !this.#mayClose) throw new Error('the machine has closed without a reason');
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
      setImmediate(resolve);
    });
  }

  // ── messages ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes in pieces of any size. */
  #write(messages: readonly Uint8Array[]): void {
    const bytes = join8(...messages);
    let from = 0;
    while (from < bytes.length && !this.#socket.destroyed) {
      const to = this.#prng.below(2) === 0 ? bytes.length : from + 1 + this.#prng.below(bytes.length - from);
      this.#socket.write(bytes.subarray(from, to));
      from = to;
    }
  }

  #message(): Uint8Array {
    this.#tally.messages += 1;
    switch (this.#prng.below(16)) {
      case 0:
        return this.#senseless();
      case 1:
        // Rarely: these end the conversation.
        return this.#prng.below(8) === 0 ? this.#fatal() : this.#command();
      default:
        return this.#command();
    }
  }

  #frame(id: number, payload: Uint8Array, seq: number): Uint8Array {
    return join8(u16(id), u16(payload.length), u32(seq), payload);
  }

  #next(): number {
    this.#seq = (this.#seq + 1) >>> 0;
    return this.#seq;
  }

  #random(bytes: number): Uint8Array {
    return Uint8Array.from({ length: bytes }, () => this.#prng.below(256));
  }

  /** An id that there is not, with whatever behind it. */
  #senseless(): Uint8Array {
    const seq = this.#next();
    let id = this.#prng.below(0x10000);
    if (VM_COMMANDS.has(id) || VCPU_COMMANDS.has(id) || id === 1) id = 0xffff;
    this.#expected.set(seq, { id, error: -ENOSYS, bytes: 0 });
    return this.#frame(id, this.#random(this.#prng.below(40)), seq);
  }

  #fatal(): Uint8Array {
    this.#mayClose = true;
    switch (this.#prng.below(5)) {
      case 0:
        return join8(u16(this.#prng.below(40)), u16(MAX_SIZE + 1 + this.#prng.below(50_000)), u32(0));
      case 1:
        return this.#frame(
          14,
          join8(u64(TEST_GPA), u16(100), zeros(6), zeros(this.#prng.below(100))),
          this.#next(),
        );
      case 2:
        return this.#frame(20, join8(u16(2), zeros(6), zeros(this.#prng.below(32))), this.#next());
      case 3:
        if (this.#lastReply !== null) return this.#lastReply;
        return this.#frame(1, zeros(16), this.#prng.u32());
      default:
        return this.#frame(
          1,
          join8(u16(this.#prng.below(this.#vcpuCount)), zeros(6), this.#random(this.#prng.below(300))),
          this.#prng.u32(),
        );
    }
  }

  #command(): Uint8Array {
    const vcpuCommand = this.#prng.below(5) < 3;
    const ids = [...(vcpuCommand ? VCPU_COMMANDS : VM_COMMANDS).keys()];
    const id = ids[this.#prng.below(ids.length)]!;
    let body = this.#body(id);
    // Cut short, longer, or with one byte changed: but not what may reach the guest.
    const way = this.#prng.below(8);
    if (way === 0 && id !== 20 && id !== 14 && id !== 15)
      body = body.subarray(0, this.#prng.below(body.length + 1));
    if (way === 1) body = join8(body, this.#random(this.#prng.below(20)));
    if (way === 2 && body.length > 0 && id !== 14 && id !== 15 && id !== 9) {
      body = body.slice();
      const at = this.#prng.below(Math.min(body.length, 16));
      // The count of entries is what the connection depends on.
      if (id !== 20 || at >= 2) body[at]! ^= 1 << this.#prng.below(8);
    }
    const seq = this.#next();
    if (!vcpuCommand) {
      this.#expected.set(seq, { id, error: null, bytes: VM_COMMANDS.get(id)! });
      return this.#frame(id, body, seq);
    }
    const strange = this.#prng.below(20) === 0;
    const vcpu = strange ? this.#vcpuCount + this.#prng.below(100) : this.#prng.below(this.#vcpuCount);
    const padded = this.#prng.below(30) === 0;
    const head = join8(u16(vcpu), padded ? u16(1) : u16(0), zeros(4));
    const error = strange || padded ? -EINVAL : null;
    this.#expected.set(seq, { id, error, bytes: VCPU_COMMANDS.get(id)! });
    return this.#frame(id, join8(head, body), seq);
  }

  /** A request that is right, or nearly; of a vCPU command what follows its header. */
  #body(id: number): Uint8Array {
    const { below } = { below: (n: number) => this.#prng.below(n) };
    const enable = u8(below(20) === 0 ? 2 : below(2));
    const gpa = u64(TEST_GPA + below(4 * 4096));
    switch (id) {
      case 4:
      case 6:
        return join8(u16(below(40)), zeros(6));
      case 10:
        return join8(u16(below(3)), enable, zeros(5));
      case 12:
        return join8(
          u64(below(4) === 0 ? below(2 ** 30) * 1024 : below(2 ** 20)),
          u16(below(5000)),
          zeros(6),
        );
      case 14: {
        const size = below(200);
        return join8(gpa, u16(size), zeros(6), this.#random(size));
      }
      case 16:
        return join8(u16(below(this.#vcpuCount + 1)), enable, zeros(5));
      case 18:
        return join8(enable, zeros(7));
      case 20: {
        const count = below(6);
        const entries = Array.from({ length: count }, () =>
          join8(u64(TEST_GPA + below(8) * 4096), u8(below(9)), zeros(7)),
        );
        return join8(u16(count), zeros(6), ...entries);
      }
      case 5:
        return join8(u16(below(22)), enable, zeros(5));
      case 7: {
        const count = below(8) === 0 ? below(600) : below(4);
        const msrs = Array.from({ length: count }, () =>
          u32(below(10) === 0 ? this.#prng.u32() : 0xc0000080),
        );
        return join8(u16(count), zeros(6), ...msrs);
      }
      // Registers: too short to be taken.
      case 9:
        return this.#random(below(100));
      case 11:
        return join8(u32(below(3) * 0x40000000 + below(10)), u32(below(2)));
      case 13:
        return join8(u8(below(6)), enable, zeros(6));
      case 15:
        return join8(u8(below(2) === 0 ? 3 : 6), zeros(3), zeros(12));
      case 17:
        return join8(u8(below(2)), zeros(7));
      case 21:
        return below(2) === 0 ? zeros(4096) : this.#random(below(4200));
      case 23:
      case 29:
        return below(2) === 0 ? gpa : this.#random(8);
      case 25:
        return join8(enable, zeros(3), u32(below(3) === 0 ? this.#prng.u32() : 0x140));
      case 27:
        return join8(enable, zeros(7));
      default:
        return zeros(0);
    }
  }

  // ── answers and events ────────────────────────────────────────────────────────────────────────────────────

  #received(bytes: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
    if (this.#skip > 0) {
      if (this.#buffer.length < this.#skip) return;
      this.#buffer = this.#buffer.subarray(this.#skip);
      this.#skip = 0;
    }
    while (this.#buffer.length >= 8 && this.#buffer.length >= 8 + this.#buffer.readUInt16LE(2)) {
      const size = this.#buffer.readUInt16LE(2);
      const [id, seq] = [this.#buffer.readUInt16LE(0), this.#buffer.readUInt32LE(4)];
      this.#took(id, seq, this.#buffer.subarray(8, 8 + size));
      this.#buffer = this.#buffer.subarray(8 + size);
    }
    this.#changed();
  }

  #took(id: number, seq: number, payload: Buffer): void {
    if (id === 1 && payload.length >= 552) {
      this.#event(seq, payload);
      return;
    }
    // To a reply whose header was wrong.
    if (id === 1 && payload.length === 8) return;
    if (id === 0 && payload.length === 8) return;
    const expected = this.#expected.get(seq);
    if (expected === undefined || expected.id !== id) {
      this.#fail(`an answer to command ${id}, number ${seq}, which was not sent`);
      return;
    }
    this.#expected.delete(seq);
    this.#tally.answers += 1;
    const error = payload.readInt32LE(0);
    if (error !== 0) this.#tally.errors += 1;
    const rightError = expected.error === null ? ERRORS.includes(error) : error === expected.error;
    if (!rightError) this.#fail(`command ${id}: error ${error}`);
    if (error !== 0 ? payload.length !== 8 : expected.bytes >= 0 && payload.length !== 8 + expected.bytes) {
      this.#fail(`command ${id}: error ${error}, ${payload.length} bytes`);
    }
  }

  #event(seq: number, payload: Buffer): void {
    this.#tally.events += 1;
    const id = payload.readUInt16LE(0);
    const vcpu = payload.readUInt16LE(10);
    const kind = EVENTS.get(id);
    if (kind === undefined || vcpu >= this.#vcpuCount) {
      this.#fail(`event ${id} of vCPU ${vcpu}`);
      return;
    }
    const wrong = this.#prng.below(100) === 0;
    if (wrong) this.#mayClose = true;
    // Of CR and MSR events: what the guest wanted.
    const extra = kind.extra === 0 ? zeros(0) : payload.subarray(552 + 16, 552 + 24);
    const action = wrong ? 3 + this.#prng.below(200) : kind.retry && this.#prng.below(8) === 0 ? 1 : 0;
    const reply = join8(u16(vcpu), zeros(6), u8(action), u8(id), zeros(6), extra);
    this.#lastReply = this.#frame(1, reply, seq);
    this.#tally.messages += 1;
    this.#socket.write(this.#lastReply);
  }

  #fail(what: string): void {
    this.#wrong ??= new Error(what);
  }
}
