/**
 * The receiver with a tool behind it, as a participant: takes messages, lets the tool answer events, carries out
 * commands that need an answer of a vCPU. A connection that somebody else shuts is closed, as the kernel's receiver does
 * on its way out; with the next hook it begins again.
 */
import { hook } from '../../actors/introspector/hook.ts';
import { KVM_REGS_BYTES, KVMI_EVENT_ACTION_CONTINUE } from '../../actors/introspector/kvmi/constants.ts';
import { kvmi_vcpu_get_registers_reply } from '../../actors/introspector/kvmi/protocol.ts';
import type { Session, SessionEvent, SessionMessage } from '../../actors/introspector/session.ts';
import type { Vm } from '../../actors/mmu/vm.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, relaxing, waiting } from '../../shared/sync/point.ts';
import type { Participant } from '../engine/execution.ts';

/** What a scenario's tool does with an event: an action, after whatever commands it likes. */
export type Tool = (event: SessionEvent, session: Session) => Path<number>;

export type Answer = Extract<SessionMessage, { kind: 'answer' }>;

/** Order of struct kvm_regs. */
const REGISTER_NAMES = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp',
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags',
] as const; // biome-ignore format: table
export type RegisterName = (typeof REGISTER_NAMES)[number];
/** What GET_REGISTERS answers and SET_REGISTERS takes, by name. */
export type Registers = Record<RegisterName, bigint>;

export class ToolSide {
  readonly receiver: Actor;
  /** Of the hook that is in force. */
  session: Session;
  /** Every event the tool was shown. */
  readonly events: SessionEvent[] = [];
  /** Answers to commands that nobody waited for. */
  readonly answers: Answer[] = [];
  readonly #vm: Vm;
  readonly #newSession: () => Session;
  /** Messages that came while somebody waited for an answer. */
  readonly #later: SessionMessage[] = [];
  /** Until there is a session, and once its connection is given up. */
  #hungUp: boolean;
  /** The last session that is over. */
  #ended: number;

  constructor(receiver: Actor, vm: Vm, newSession: () => Session) {
    this.receiver = receiver;
    this.#vm = vm;
    this.#newSession = newSession;
    this.#hungUp = vm.mem.load(vm.word('KVMI_HOOKED')) === 0;
    this.#ended = this.#hungUp ? this.#number : this.#number - 1;
    this.session = newSession();
  }

  participant(tool: Tool): Participant {
    return { name: 'receiver', waiter: this.receiver, path: this.#serve(tool), background: true };
  }

  *#serve(tool: Tool): Path<void> {
    for (;;) {
      if (this.#hungUp) yield* this.nextSession();
      const message = yield* this.#nextMessage();
      if (message === null) {
        yield* this.hangUp();
        continue;
      }
      if (message.kind === 'answer') {
        this.answers.push(message);
        continue;
      }
      this.events.push(message.event);
      const { session } = this;
      const action = yield* this.#ask(tool, message.event, session);
      yield* session.reply(message.event.vcpu, message.event.seq, action);
    }
  }

  *#ask(tool: Tool, event: SessionEvent, session: Session): Path<number> {
    try {
      return yield* tool(event, session);
    } catch (error) {
      // Nobody is there to hear the answer any more.
      if (error instanceof ConnectionLost) return KVMI_EVENT_ACTION_CONTINUE;
      throw error;
    }
  }

  /** Waits for a hook, after a hang-up. It is seen in memory alone: on real threads another object than this one hooks. */
  *nextSession(): Path<void> {
    const { mem } = this.#vm;
    const count = this.#vm.word('KVMI_REF');
    while (this.#number === this.#ended || mem.load(count) === 0) {
      yield relaxing(this.#vm.word('KVMI_SESSION'));
    }
    // As a thread that hook starts would: it sees what hook has written before.
    yield reading(count);
    mem.load(count);
    this.begin();
  }

  /** Takes part in the session that hook has just made. The receiver does so by itself when it next looks. */
  begin(): void {
    this.session = this.#newSession();
    this.#later.length = 0;
    this.#hungUp = false;
  }

  get #number(): number {
    return this.#vm.mem.load(this.#vm.word('KVMI_SESSION'));
  }

  /**
   * Hooks, again or for the first time, on `control`. The receiver begins its session when it sees that in memory: who
   * hooks may be another thread.
   *
   * @returns the session number, or a negative errno
   */
  *rehook(control: Actor): Path<number> {
    return yield* hook(control, this.#vm);
  }

  /** The tool goes away: connection shut, vCPUs released. */
  *hangUp(): Path<void> {
    if (this.#hungUp) return;
    this.#hungUp = true;
    this.#ended = this.#number;
    yield* this.session.close();
  }

  /** The next message, slept for if need be; null once the connection is shut. */
  *#nextMessage(): Path<SessionMessage | null> {
    const kept = this.#later.shift();
    if (kept !== undefined) return kept;
    const bell = this.#vm.word('RECEIVER_BELL');
    for (;;) {
      yield reading(bell);
      const seen = this.#vm.mem.load(bell);
      const message = yield* this.session.poll();
      if (message !== null) return message;
      if (this.session.shut) return null;
      this.receiver.expect = seen;
      yield waiting(bell);
    }
  }

  /** Sleeps until the answer to command `seq` comes; what comes before it is served later. On the receiver's path. */
  *answerTo(seq: number): Path<Answer> {
    const before: SessionMessage[] = [];
    for (;;) {
      const message = yield* this.#nextMessage();
      if (message === null) throw new ConnectionLost(seq);
      if (message.kind === 'answer' && message.seq === seq) {
        this.#later.unshift(...before);
        return message;
      }
      before.push(message);
    }
  }

  /** GET_REGISTERS, answered. On the receiver's path. */
  *registers(vcpu: number): Path<Registers> {
    const answer = yield* this.answerTo(yield* this.session.getRegisters(vcpu));
    const { regs } = kvmi_vcpu_get_registers_reply.decode(answer.data);
    const view = new DataView(regs.buffer);
    const values = REGISTER_NAMES.map((name, i) => [name, view.getBigUint64(i * 8, true)]);
    return Object.fromEntries(values) as Registers;
  }

  /** SET_REGISTERS: those given, the others as they are. @returns the answer's error. On the receiver's path */
  *setRegisters(vcpu: number, changes: Partial<Registers>): Path<number> {
    const all = { ...(yield* this.registers(vcpu)), ...changes };
    const bytes = new Uint8Array(KVM_REGS_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [i, name] of REGISTER_NAMES.entries()) view.setBigUint64(i * 8, all[name], true);
    const answer = yield* this.answerTo(yield* this.session.setRegisters(vcpu, bytes));
    return answer.error;
  }
}

/** A command of the tool has no answer any more. The tool's own answer does not matter then. */
class ConnectionLost extends Error {
  constructor(seq: number) {
    super(`connection shut before the answer to command ${seq}`);
  }
}
