/**
 * What must come of a stream of bytes: which answers, from whom, in what order, and whether the connection is closed.
 *
 * It reads the very bytes that are sent, so that mutations of any kind need no explaining. The receiver and each vCPU
 * answer in the order asked; between them there is no order. What a vCPU is waiting for is only known from the events
 * that have arrived: where that is not enough, both outcomes are right.
 */
import { HEADER_BYTES, type Message, PAYLOAD_BYTES_MAX, Payload } from './bytes.ts';
import {
  type Answer,
  EINVAL,
  ENOSYS,
  type FuzzedMachine,
  refused,
  type SeenEvent,
  type WireRules,
} from './rules.ts';

interface Expected {
  readonly id: number;
  readonly seq: number;
  readonly answer: Answer;
  /** The connection may be closed before it. */
  optional: boolean;
}

/** Numbers of events that may be on their way when a reply is made up. */
const EVENTS_AHEAD = 4096;

export type Closing = 'no' | 'may' | 'must';

export class Oracle {
  readonly rules: WireRules;
  readonly #machine: FuzzedMachine;
  #pending: Uint8Array = new Uint8Array(0);
  /** The receiver's, then each vCPU's: all that was ever asked. */
  readonly #queues: Expected[][];
  /**
   * How many of each queue have been answered. More than one is possible where a tool has said a number twice, to
   * different vCPUs: then it is not known whose answer has come.
   */
  #places: (readonly number[])[];
  readonly #open = new Map<number, SeenEvent>();
  #lastEvent = 0;
  #closing: Closing = 'no';
  /** The receiver listens no more. */
  #deaf = false;
  #replies = true;

  constructor(rules: WireRules, machine: FuzzedMachine) {
    this.rules = rules;
    this.#machine = machine;
    this.#queues = Array.from({ length: 1 + machine.vcpuCount }, () => []);
    this.#places = [this.#queues.map(() => 0)];
  }

  get closing(): Closing {
    return this.#closing;
  }

  /** Answers that must come, unless the connection is closed. */
  get owed(): number {
    return Math.min(...this.#places.map((place) => this.#left(place).length));
  }

  /** For messages about what has not come. */
  get owedText(): string {
    const [first] = this.#left(this.#places[0]!);
    return first === undefined ? 'nothing' : `command ${first.id}, number ${first.seq}`;
  }

  /** What must still be answered if so much has been. */
  #left(place: readonly number[]): Expected[] {
    return this.#queues.flatMap((queue, from) =>
      queue.slice(place[from]).filter(({ optional }) => !optional),
    );
  }

  open(seq: number): SeenEvent | undefined {
    return this.#open.get(seq);
  }

  /** The event that a vCPU waits with. */
  openOf(vcpu: number): SeenEvent | undefined {
    return [...this.#open.values()].find((event) => event.vcpu === vcpu);
  }

  /** The messages that these bytes would complete. */
  preview(bytes: Uint8Array): Message[] {
    return split(Buffer.concat([this.#pending, bytes])).messages;
  }

  sent(bytes: Uint8Array): void {
    const { messages, rest, tooLong } = split(Buffer.concat([this.#pending, bytes]));
    this.#pending = rest;
    for (const message of messages) if (!this.#deaf) this.#message(message);
    if (tooLong && !this.#deaf) this.#receiverCloses();
  }

  event(event: SeenEvent): void {
    this.#lastEvent = Math.max(this.#lastEvent, event.seq);
    this.#open.set(event.seq, event);
  }

  /** @returns what is wrong with an answer; null for a right one */
  answered(id: number, seq: number, payload: Payload): string | null {
    const error = payload.u32(0) | 0;
    const bytes = payload.length - 8;
    let near: string | null = null;
    const places = new Map<string, readonly number[]>();
    for (const place of this.#places) {
      for (const [from, queue] of this.#queues.entries()) {
        const next = queue[place[from]!];
        if (next === undefined || next.id !== id || next.seq !== seq) continue;
        const { errors, bytes: wanted } = next.answer;
        const right = errors.includes(error) && bytes === (error === 0 ? (wanted ?? bytes) : 0);
        if (right && payload.zero(4, 8)) {
          const moved = place.map((answered, i) => (i === from ? answered + 1 : answered));
          places.set(moved.join(), moved);
        } else {
          near = `command ${id}, number ${seq}: error ${error}, ${bytes} bytes; expected ${errors.join(' or ')}, ${wanted} bytes`;
        }
      }
    }
    if (places.size > 0) {
      this.#places = [...places.values()];
      return null;
    }
    return (
      near ?? `an answer that is nobody's turn: command ${id}, number ${seq}, error ${error}, ${bytes} bytes`
    );
  }

  // ── one message ───────────────────────────────────────────────────────────────────────────────────────────

  #message({ id, seq, payload }: Message): void {
    const { rules } = this;
    const vm = rules.vm.get(id);
    if (vm !== undefined) {
      const fate = vm(payload, this.#machine);
      const change = rules.repliesAfter?.(id, payload) ?? null;
      if (change?.now === true && fate !== 'close') this.#replies = change.on;
      if (fate === 'close') this.#receiverCloses();
      else this.#owe(0, id, seq, fate);
      if (change !== null) this.#replies = change.on;
      return;
    }
    const command = rules.vcpu.get(id);
    if (command === undefined && id !== rules.eventReply) {
      if (this.#replies) this.#owe(0, id, seq, refused(ENOSYS));
      else this.#receiverCloses();
      return;
    }
    const vcpu = payload.u16(0);
    if (!payload.zero(2, 8)) {
      if (rules.dirtyHeader === 'close') this.#receiverCloses();
      else this.#owe(0, id, seq, rules.dirtyHeader);
    } else if (vcpu >= this.#machine.vcpuCount) this.#owe(0, id, seq, refused(EINVAL));
    else if (command === undefined) this.#reply(vcpu, seq, payload.from(8));
    else this.#owe(1 + vcpu, id, seq, command(payload.from(8)));
  }

  /** An answer that is to come, or is not to come but might have to. */
  #owe(from: number, id: number, seq: number, answer: Answer): void {
    if (this.#replies) {
      this.#queues[from]!.push({ id, seq, answer, optional: this.#closing !== 'no' });
      return;
    }
    // Only data that nobody wants closes the connection.
    if (answer.bytes === 0 || !answer.errors.includes(0)) return;
    if (answer.errors.length > 1) this.#mayClose();
    else if (from === 0) this.#receiverCloses();
    else this.#vcpuCloses(from - 1);
  }

  #reply(vcpu: number, seq: number, body: Payload): void {
    const event = this.#open.get(seq);
    if (event === undefined || event.vcpu !== vcpu) {
      const coming = seq > this.#lastEvent && seq <= this.#lastEvent + EVENTS_AHEAD;
      // On wire-7 a reply is only wrong while the vCPU waits for another.
      const ignored = this.rules.version === 7 && this.openOf(vcpu) === undefined;
      if (coming || ignored) this.#mayClose();
      else this.#vcpuCloses(vcpu);
      return;
    }
    this.#open.delete(seq);
    const { extra, actions, padding = [] } = this.rules.events.get(event.event)!;
    const wrongForm = body.length < 8 || body.length > 8 + extra || !body.zero(2, 8);
    const dirty = padding.some(([from, to]) => !body.zero(8 + from, 8 + to));
    const wrongAction = !actions.includes(body.u8(0));
    if (wrongForm || dirty || (wrongAction && this.rules.wrongActionCloses)) this.#vcpuCloses(vcpu);
  }

  // ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** At once: what vCPUs still owe may never be said. */
  #receiverCloses(): void {
    this.#deaf = true;
    this.#closing = 'must';
    for (const queue of this.#queues.slice(1)) for (const expected of queue) expected.optional = true;
  }

  /** When its turn comes: what it owed before is said, and until then the others go on. */
  #vcpuCloses(vcpu: number): void {
    for (const [from, queue] of this.#queues.entries()) {
      // Of two that will close it either may come first.
      const sure = from === 0 || (from === 1 + vcpu && this.#closing !== 'must');
      if (!sure) for (const expected of queue) expected.optional = true;
    }
    this.#closing = 'must';
  }

  #mayClose(): void {
    if (this.#closing === 'must') return;
    this.#closing = 'may';
    for (const queue of this.#queues.slice(1)) for (const expected of queue) expected.optional = true;
  }
}

function split(bytes: Uint8Array): { messages: Message[]; rest: Uint8Array; tooLong: boolean } {
  const messages: Message[] = [];
  let rest = bytes;
  for (;;) {
    const head = new Payload(rest);
    if (rest.length < HEADER_BYTES) return { messages, rest, tooLong: false };
    const size = head.u16(2);
    if (size > PAYLOAD_BYTES_MAX) return { messages, rest: new Uint8Array(0), tooLong: true };
    if (rest.length < HEADER_BYTES + size) return { messages, rest, tooLong: false };
    const payload = new Payload(rest.subarray(HEADER_BYTES, HEADER_BYTES + size));
    messages.push({ id: head.u16(0), seq: head.u32(4), payload });
    rest = rest.subarray(HEADER_BYTES + size);
  }
}
