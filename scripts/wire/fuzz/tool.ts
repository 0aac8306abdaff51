/** One tool of the fuzzer: a conversation from its first byte to its end, held against the oracle. */
import type { Socket } from 'node:net';
import { Prng } from '../../../src/shared/prng.ts';
import { HEADER_BYTES, join, message, Payload, u8, u16, u32, zeros } from './bytes.ts';
import { mutated, prelude, type Speaker, something, strayReply } from './conversations.ts';
import { harmful } from './harm.ts';
import { Oracle } from './oracle.ts';
import type { FuzzedMachine, SeenEvent, WireRules } from './rules.ts';

export interface Tally {
  conversations: number;
  /** Before the end of their conversation. */
  messages: number;
  answers: number;
  events: number;
  /** Conversations that the machine has closed, as it should. */
  closed: number;
}

/** Nothing that is waited for takes so long, however busy the host is. */
const HANG_MS = 60_000;
const LOOK_MS = 20;
const HISTORY_MAX = 60;
/** What is said after the end is not heard. */
const LAST_WORDS = 10;
const MESSAGES_MAX = 500;
const HELLO_BYTES = 104;

/** @throws Error that says what the machine did wrong */
export class FuzzTool implements Speaker {
  readonly version: 7 | 12;
  readonly vcpuCount: number;
  patient = false;
  /** What is said is a matter of the seed alone; how events are answered has a generator of its own. */
  readonly prng: Prng;
  readonly #replies: Prng;
  readonly #oracle: Oracle;
  readonly #machine: FuzzedMachine;
  readonly #socket: Socket;
  readonly #tally: Tally;
  #skip = HELLO_BYTES;
  #received: Uint8Array = new Uint8Array(0);
  #seq: number;
  #closed = false;
  /** Its own end failed: what was on its way to it may be lost. */
  #lossy = false;
  #wrong: string | null = null;
  #lastReply: Uint8Array | null = null;
  /** Events that are left unanswered for a while. */
  readonly #held: SeenEvent[] = [];
  readonly #history: string[] = [];
  #changed: () => void = () => {};

  constructor(socket: Socket, seed: bigint, rules: WireRules, machine: FuzzedMachine, tally: Tally) {
    const prng = new Prng(seed);
    this.prng = prng.fork('messages');
    this.#replies = prng.fork('replies');
    this.version = rules.version;
    this.vcpuCount = machine.vcpuCount;
    this.#machine = machine;
    this.#oracle = new Oracle(rules, machine);
    this.#socket = socket;
    this.#tally = tally;
    this.#seq = this.prng.u32();
    socket.on('data', (bytes: Buffer) => this.#took(bytes));
    socket.on('error', () => {
      this.#lossy = true;
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#changed();
    });
    socket.resume();
  }

  openOf(vcpu: number): SeenEvent | undefined {
    return this.#oracle.openOf(vcpu);
  }

  async converse(): Promise<void> {
    const secret = zeros(this.prng.below(4) === 0 ? 40 : 20);
    this.#write(join(u32(4 + secret.length), secret), false);
    const count = 1 + this.prng.below(MESSAGES_MAX);
    const said: Uint8Array[] = this.prng.below(4) > 0 ? prelude(this, () => this.#count()) : [];
    // Once it has said what ends it a conversation goes on for a few words.
    let left = LAST_WORDS;
    for (let i = 0; i < count && left > 0 && !this.#closed; i++) {
      if (this.#oracle.closing === 'must') left -= 1;
      said.push(this.#next());
      if (this.patient || this.prng.below(3) === 0) this.#say(said.splice(0));
      if (this.patient) await this.#news();
      else if (this.prng.below(30) === 0) await this.#turn();
      this.patient = false;
      if (this.#wrong !== null) break;
    }
    this.#say(said);
    this.#tally.conversations += 1;
    // Some go away with answers and events outstanding.
    if (this.prng.below(4) > 0) await this.#settled();
    if (this.#closed) this.#tally.closed += 1;
    this.#socket.destroy();
    await this.#until(
      () => this.#closed,
      () => 'its own socket to close',
    );
    if (this.#wrong !== null) throw this.#failure(this.#wrong);
  }

  /** With the end of the conversation, for whoever has to find out why. */
  #failure(what: string): Error {
    return new Error(`${what}\n${this.#history.map((line) => `  ${line}`).join('\n')}`);
  }

  #note(line: string): void {
    this.#history.push(line);
    if (this.#history.length > HISTORY_MAX) this.#history.shift();
  }

  // ── saying ────────────────────────────────────────────────────────────────────────────────────────────────

  #next(): Uint8Array {
    if (this.prng.below(900) === 0) return strayReply(this);
    if (this.prng.below(1500) === 0 && this.#lastReply !== null) return this.#lastReply;
    return mutated(this, something(this, this.#count()));
  }

  /** Most count; some say the same number again. */
  #count(): number {
    if (this.prng.below(30) > 0) this.#seq = (this.#seq + 1) >>> 0;
    return this.#seq;
  }

  /** What would ruin the guest is left out. */
  #say(messages: readonly Uint8Array[]): void {
    for (const bytes of messages) {
      const completed = this.#oracle.preview(bytes);
      if (completed.some((one) => harmful(one, this.#oracle, this.#machine))) continue;
      for (const { id, seq, payload } of completed) {
        const start = Buffer.from(payload.bytes.subarray(0, 32)).toString('hex');
        this.#note(
          `→ ${id} number ${seq}, ${payload.length} bytes ${start} (closing: ${this.#oracle.closing})`,
        );
      }
      this.#oracle.sent(bytes);
      if (this.#oracle.closing !== 'must') this.#tally.messages += Math.max(1, completed.length);
      this.#write(bytes, this.prng.below(3) === 0);
    }
  }

  #write(bytes: Uint8Array, inPieces: boolean): void {
    let from = 0;
    while (from < bytes.length && !this.#socket.destroyed) {
      const left = bytes.length - from;
      const to = from + (inPieces ? 1 + this.prng.below(left) : left);
      this.#socket.write(bytes.subarray(from, to));
      from = to;
    }
  }

  // ── hearing ───────────────────────────────────────────────────────────────────────────────────────────────

  #took(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    if (this.#skip > 0) {
      if (this.#received.length < this.#skip) return;
      this.#received = this.#received.subarray(this.#skip);
      this.#skip = 0;
    }
    for (;;) {
      const head = new Payload(this.#received);
      const end = HEADER_BYTES + head.u16(2);
      if (this.#received.length < HEADER_BYTES || this.#received.length < end) break;
      this.#heard(head.u16(0), head.u32(4), new Payload(this.#received.slice(HEADER_BYTES, end)));
      this.#received = this.#received.subarray(end);
    }
    this.#changed();
  }

  #heard(id: number, seq: number, payload: Payload): void {
    const { rules } = this.#oracle;
    const event = rules.seen(id, seq, payload);
    const start = Buffer.from(payload.bytes.subarray(0, 16)).toString('hex');
    this.#note(`← ${id} number ${seq}, ${payload.length} bytes ${start}`);
    if (event === null) return;
    if (event === 'answer') {
      this.#tally.answers += 1;
      this.#wrong ??= this.#oracle.answered(id, seq, payload);
      return;
    }
    this.#tally.events += 1;
    if (!rules.events.has(event.event) || event.vcpu >= this.vcpuCount) {
      this.#wrong ??= `event ${event.event} of vCPU ${event.vcpu}`;
      return;
    }
    if (this.#oracle.openOf(event.vcpu) !== undefined) {
      this.#wrong ??= `vCPU ${event.vcpu} sends event ${seq} while it waits with another`;
      return;
    }
    this.#oracle.event(event);
    if (this.#replies.below(6) === 0) this.#held.push(event);
    else this.#reply(event);
  }

  #reply(event: SeenEvent): void {
    const { extra, actions, valueAt } = this.#oracle.rules.events.get(event.event)!;
    const value = valueAt === undefined ? zeros(0) : event.data.bytes.slice(valueAt, valueAt + 8);
    // As little as will do, or all of it.
    const rest = extra > 8 && this.#replies.below(2) === 0 ? zeros(extra) : value;
    const retry = actions.includes(1) && this.#replies.below(8) === 0;
    const wrong = this.#replies.below(200) === 0;
    const action = wrong ? 3 + this.#replies.below(200) : retry ? 1 : 0;
    const head = join(u16(event.vcpu), zeros(6), u8(action), u8(event.event), zeros(6));
    const right = message(this.#oracle.rules.eventReply, event.seq, head, rest);
    this.#lastReply = right;
    this.#say([right]);
  }

  // ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Every answer has come, or the connection has been closed where it had to be. */
  async #settled(): Promise<void> {
    const over = () => this.#closed || this.#wrong !== null;
    await this.#until(
      () => {
        for (const event of this.#held.splice(0)) this.#reply(event);
        return over() || (this.#oracle.owed === 0 && this.#oracle.closing !== 'must');
      },
      () => `${this.#oracle.owedText} (closing: ${this.#oracle.closing})`,
    );
    if (!this.#closed || this.#wrong !== null) return;
    if (this.#oracle.closing === 'no' && !this.#lossy)
      this.#wrong = 'the machine has closed without a reason';
    if (this.#oracle.closing === 'must' && !this.#lossy && this.#oracle.owed > 0) {
      this.#wrong = `closed before what was asked first was answered: ${this.#oracle.owedText}`;
    }
  }

  async #until(condition: () => boolean, what: () => string): Promise<void> {
    const began = performance.now();
    while (!condition()) {
      if (performance.now() - began > HANG_MS)
        throw this.#failure(`nothing came for ${HANG_MS} ms: ${what()}`);
      await this.#news();
    }
  }

  /** Lets the event loop do what is ready. */
  #turn(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  /** Until something has come, or it is time to look at the clock. */
  #news(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LOOK_MS);
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
