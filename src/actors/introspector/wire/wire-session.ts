/**
 * One session of a tool at the other end of a wire: its messages become calls of the {@link Session}, what the session
 * gives becomes messages. The receiver answers VM commands, vCPUs answer theirs, each in the order asked.
 *
 * Whatever the tool sends ends in the error or the close that the kernel has for it. A vCPU that is owed too much has its
 * commands kept here in order, and a tool that does not read, or asks for more than can be done, is not listened to
 * until it has caught up.
 *
 * @source virt/kvm/introspection/kvmi_msg.c: kvmi_msg_dispatch, handle_vm_*; arch/x86/kvm/kvmi_msg.c
 */
import type { Actor } from '../../../shared/sync/actor.ts';
import { drive } from '../../../shared/sync/point.ts';
import { EBUSY, EFAULT, ENOENT, ENOSYS, EPERM } from '../../mmu/errno.ts';
import type { Vm } from '../../mmu/vm.ts';
import { commandAllowed } from '../hook.ts';
import type { WireChoice, WireVersion } from '../introspector.api.ts';
import { JOB_STRAY_REPLY } from '../kvmi/machine-ids.ts';
import { encodeReply } from '../kvmi/messages.ts';
import { kvmi_vcpu_hdr } from '../kvmi/protocol.ts';
import { Session, type SessionEvent, type SessionMessage } from '../session.ts';
import { readEventState } from '../vcpu-state.ts';
import type { ByteChannel } from './channel.ts';
import { CLOSE, type Dialect, INVALID, lives, type Replies, type VmAnswer } from './dialect.ts';
import { Dialect7 } from './dialect-7.ts';
import { Dialect12 } from './dialect-12.ts';
import { Framing, frame, type WireMessage } from './framing.ts';
import { recognise } from './recognise.ts';

// LIMIT: bytes that wait for the tool to read them, and messages that wait for vCPUs. Beyond it is not listened to.
const BACKLOG_BYTES_MAX = 1024 * 1024;
const DEFERRED_MAX = 256;

export interface WireSessionOptions {
  readonly actor: Actor;
  readonly vm: Vm;
  readonly channel: ByteChannel;
  readonly wire: WireChoice;
  /** The session is over. Once. */
  readonly ended: (reason: string) => void;
  /** Something that people should know about this tool. */
  readonly remark: (text: string) => void;
  /** vCPUs have got commands or replies, and may send something soon. */
  readonly given: () => void;
}

/** A message for a vCPU. */
interface VcpuMessage extends WireMessage {
  readonly vcpu: number;
  /** The command inside the machine; null for the reply to an event. */
  readonly machine: number | null;
  /** What was in force when it came. */
  readonly replies: Replies;
}

/** A vCPU command whose answer is still to come. */
type Asked = Omit<VcpuMessage, 'payload'>;

export class WireSession {
  readonly #actor: Actor;
  readonly #vm: Vm;
  readonly #session: Session;
  readonly #channel: ByteChannel;
  readonly #options: WireSessionOptions;
  readonly #framing = new Framing();
  #dialect: Dialect;
  /** Which wire this is has been decided, or found out. */
  #decided: boolean;
  /** By the session's numbers. */
  readonly #asked = new Map<number, Asked>();
  /** Per vCPU: messages that it has no room for yet. */
  readonly #deferred: VcpuMessage[][];
  #deferredCount = 0;
  #paused = false;
  /** vCPUs have got something of what was received. */
  #given = false;
  #ending = false;
  #over = false;
  /** What the tool seems to speak has been looked at. */
  #recognised = false;

  constructor(options: WireSessionOptions) {
    this.#options = options;
    this.#actor = options.actor;
    this.#vm = options.vm;
    this.#channel = options.channel;
    this.#session = new Session(options.actor, options.vm);
    this.#deferred = Array.from({ length: options.vm.vcpuCount }, () => []);
    this.#decided = options.wire !== 'auto';
    this.#dialect = this.#speak(options.wire === 7 ? 7 : 12);
  }

  #speak(wire: WireVersion): Dialect {
    // ORDER: before any message of this session that depends on it reaches a vCPU.
    this.#vm.mem.store(this.#vm.word('KVMI_WIRE'), wire);
    this.#channel.speaks?.(wire);
    const receiver = { actor: this.#actor, vm: this.#vm, session: this.#session };
    return wire === 7 ? new Dialect7(receiver) : new Dialect12(receiver, this.#decided);
  }

  get over(): boolean {
    return this.#over;
  }

  /** A vCPU has found a protocol error, or the machine was unhooked: the session has to be ended. */
  get shut(): boolean {
    return this.#session.shut;
  }

  /** Begins to listen. `early`: bytes that came with the handshake. */
  start(early: Uint8Array): void {
    this.#channel.use({
      received: (bytes) => this.#received(bytes),
      drained: () => this.#listen(),
      closed: () => this.end('the tool has closed the connection'),
    });
    if (early.length > 0) this.#received(early);
  }

  /** Takes one message of a vCPU, or returns false when there was none. */
  poll(): boolean {
    if (this.#over) return false;
    if (this.#forward()) return true;
    if (this.#asked.size > 0) this.#giveUpEnded();
    return false;
  }

  /** kvm_introspection_preunhook: asks the tool to end the session. @returns 0, −EFAULT, or −ENOENT if it does not listen */
  preUnhook(): number {
    if (this.#over) return -EFAULT;
    const message = this.#dialect.unhookEvent();
    if (message === null) return -ENOENT;
    this.#send(message);
    return 0;
  }

  /** Ends the session: every vCPU that waits goes on as if the connection were lost. Once. */
  end(reason: string): void {
    if (this.#ending) return;
    this.#ending = true;
    // What vCPUs had said before comes before the end. It may be one more reason for it.
    while (this.#forward());
    this.#over = true;
    drive(this.#actor, this.#session.close());
    this.#asked.clear();
    this.#channel.shut();
    this.#options.ended(reason);
  }

  // ── from the tool ─────────────────────────────────────────────────────────────────────────────────────────

  #received(bytes: Uint8Array): void {
    if (this.#over) return;
    const goesOn = this.#framing.feed(bytes, (message) => this.#dispatch(message));
    if (!goesOn) this.end('the tool has sent what is no message');
    else this.#listen();
    if (this.#given) this.#options.given();
    this.#given = false;
  }

  /** Stops listening while too much waits, and begins again. */
  #listen(): void {
    const full = this.#channel.backlog > BACKLOG_BYTES_MAX || this.#deferredCount > DEFERRED_MAX;
    if (full === this.#paused || this.#over) return;
    this.#paused = full;
    if (full) this.#channel.pause();
    else this.#channel.resume();
  }

  /** False: close. */
  #dispatch(message: WireMessage): boolean {
    if (this.#over) return false;
    this.#recognise(message);
    const { id, seq, payload } = message;
    const { wire, replies, dirtyHeader } = this.#dialect;
    const spec = wire.commands.get(id);
    if (spec === undefined && id !== wire.eventReply) return this.#refuse(id, seq, -ENOSYS);
    if (spec !== undefined && !commandAllowed(this.#vm, spec.machine)) return this.#refuse(id, seq, -EPERM);
    if (spec?.answers === 'vm')
      return this.#answerNow(id, seq, this.#dialect.vmCommand(spec.machine, payload));
    const { vcpu } = kvmi_vcpu_hdr.decode(payload);
    if (!kvmi_vcpu_hdr.clean(payload)) return this.#answerNow(id, seq, dirtyHeader);
    if (!lives(this.#vm, vcpu)) return this.#answerNow(id, seq, INVALID);
    const machine = spec?.machine ?? null;
    const forVcpu = { id, seq, payload: payload.subarray(kvmi_vcpu_hdr.bytes), vcpu, machine, replies };
    const waiting = this.#deferred[vcpu]!;
    if (waiting.length > 0 || !this.#submit(forVcpu)) {
      waiting.push(forVcpu);
      this.#deferredCount += 1;
    }
    return true;
  }

  /** Hands a message to a vCPU. False: there is no room now. */
  #submit({ payload, ...asked }: VcpuMessage): boolean {
    this.#given = true;
    const { vcpu, seq, machine } = asked;
    const { wire } = this.#dialect;
    if (machine !== null) return this.#command(asked, machine, payload);
    // Whether a reply that no event has is wrong, the vCPU knows when its turn comes.
    if (wire.version === 7 && !this.#session.isOpen(vcpu, seq)) {
      return this.#command({ ...asked, replies: 'none' }, JOB_STRAY_REPLY, payload.subarray(0, 0));
    }
    return drive(this.#actor, this.#session.rawReply(vcpu, seq, payload)) !== -EBUSY;
  }

  #command(asked: Asked, kind: number, payload: Uint8Array): boolean {
    const number = drive(this.#actor, this.#session.command(asked.vcpu, kind, payload));
    if (number === -EBUSY) return false;
    this.#asked.set(number, asked);
    return true;
  }

  /** A vCPU has room again. */
  #submitDeferred(vcpu: number): void {
    const waiting = this.#deferred[vcpu]!;
    while (waiting.length > 0 && this.#submit(waiting[0]!)) {
      waiting.shift();
      this.#deferredCount -= 1;
    }
    this.#listen();
  }

  /** What the tool speaks: it is followed, or said what will go wrong, and why. */
  #recognise(message: WireMessage): void {
    if (message.id === PLACEHOLDER_COMMAND && this.#dialect.wire.version === 12) {
      this.#options.remark(
        'it wraps its commands in id 0xffff, which does not exist: libkvmi for wire-12 does that',
      );
    }
    const spoken = this.#recognised ? null : recognise(message);
    if (spoken === null) return;
    this.#recognised = true;
    if (!this.#decided) {
      this.#decided = true;
      this.#dialect = this.#speak(spoken);
      this.#options.remark(`it speaks wire-${spoken}`);
    } else if (spoken !== this.#dialect.wire.version && message.payload.length === 0) {
      this.#options.remark(
        spoken === 7
          ? 'it speaks wire-7 (libkvmi up to master, LibVMI), and this is wire-12: take --wire 7, or --wire auto'
          : 'it speaks wire-12, and this is wire-7: take --wire 12, or --wire auto',
      );
    }
  }

  // ── to the tool ───────────────────────────────────────────────────────────────────────────────────────────

  /** What cannot be done at all. False: close. */
  #refuse(id: number, seq: number, error: number): boolean {
    return this.#dialect.replies === 'all' && this.#answer(id, seq, { error }, 'all');
  }

  /** What the receiver answers. False: close. */
  #answerNow(id: number, seq: number, answer: VmAnswer): boolean {
    if (answer === CLOSE) return false;
    // Only now: what the command has changed about replies can hold for its own.
    const goesOn = this.#answer(id, seq, answer, this.#dialect.replies);
    answer.after?.();
    return goesOn;
  }

  /** False: close, for data that the tool does not want. */
  #answer(
    id: number,
    seq: number,
    { error, data }: { readonly error: number; readonly data?: Uint8Array },
    replies: Replies,
  ): boolean {
    if (replies === 'all') {
      this.#send(frame(id, seq, encodeReply(error, data)));
      return true;
    }
    if (error === 0) return data === undefined || data.length === 0;
    if (replies === 'errors as events') {
      const event = this.#dialect.errorEvent(id, seq, error);
      if (event !== null) this.#send(event);
    }
    return true;
  }

  /** One message of a vCPU. False when there was none. */
  #forward(): boolean {
    const message: SessionMessage | null = drive(this.#actor, this.#session.poll());
    if (message === null) return false;
    if (message.kind === 'event') this.#sendEvent(message.event);
    else {
      const asked = this.#asked.get(message.seq);
      this.#asked.delete(message.seq);
      if (asked !== undefined && !this.#answer(asked.id, asked.seq, message, asked.replies)) {
        this.end('the tool has asked for what it does not want to be told');
      } else this.#submitDeferred(message.vcpu);
    }
    return true;
  }

  #sendEvent(event: SessionEvent): void {
    const state = readEventState(this.#vm, event.vcpu);
    this.#send(this.#dialect.event(this.#session.wireSeq(event.seq), event, state));
  }

  #send(bytes: Uint8Array): void {
    this.#channel.write(bytes);
  }

  /** vCPUs whose thread has ended answer nothing any more: they are none. Their last messages have been taken. */
  #giveUpEnded(): void {
    for (const [number, { vcpu, id, seq, replies }] of this.#asked) {
      if (lives(this.#vm, vcpu)) continue;
      this.#asked.delete(number);
      this.#answer(id, seq, INVALID, replies);
    }
    for (const [vcpu, waiting] of this.#deferred.entries()) {
      if (waiting.length === 0 || lives(this.#vm, vcpu)) continue;
      for (const { id, seq, replies } of waiting.splice(0)) {
        this.#deferredCount -= 1;
        this.#answer(id, seq, INVALID, replies);
      }
    }
    this.#listen();
  }
}

/** The id that libkvmi for wire-12 sends where a command has been taken out of the protocol. */
const PLACEHOLDER_COMMAND = 0xffff;
