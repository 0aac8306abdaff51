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
import { EBUSY, EFAULT, EINVAL, ENOENT, ENOSYS, EPERM } from '../../mmu/errno.ts';
import type { Vm } from '../../mmu/vm.ts';
import { commandAllowed, eventAllowed } from '../hook.ts';
import {
  KVMI_GET_VERSION,
  KVMI_MAX_MSG_SIZE,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_EVENT,
  KVMI_VCPU_EVENT_PAUSE,
  KVMI_VERSION,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
  KVMI_VM_CONTROL_CLEANUP,
  KVMI_VM_CONTROL_EVENTS,
  KVMI_VM_EVENT,
  KVMI_VM_EVENT_UNHOOK,
  KVMI_VM_GET_INFO,
  KVMI_VM_PAUSE_VCPU,
  KVMI_VM_READ_PHYSICAL,
  KVMI_VM_SET_PAGE_ACCESS,
  KVMI_VM_WRITE_PHYSICAL,
} from '../kvmi/constants.ts';
import { encodeReply } from '../kvmi/messages.ts';
import {
  COMMANDS,
  EVENTS,
  kvmi_control_events,
  kvmi_event_hdr,
  kvmi_get_version_reply,
  kvmi_page_access_entry,
  kvmi_vcpu_hdr,
  kvmi_vm_access_physical,
  kvmi_vm_check_command,
  kvmi_vm_check_event,
  kvmi_vm_control_cleanup,
  kvmi_vm_get_info_reply,
  kvmi_vm_pause_vcpu,
  kvmi_vm_set_page_access,
} from '../kvmi/protocol.ts';
import { Session, type SessionEvent, type SessionMessage } from '../session.ts';
import { readEventState } from '../vcpu-state.ts';
import type { ByteChannel } from './channel.ts';
import { Framing, frame, type WireMessage } from './framing.ts';

// LIMIT: bytes that wait for the tool to read them, and messages that wait for vCPUs. Beyond it is not listened to.
const BACKLOG_BYTES_MAX = 1024 * 1024;
const DEFERRED_MAX = 256;
const PAGE = 4096;

export interface WireSessionOptions {
  readonly actor: Actor;
  readonly vm: Vm;
  readonly channel: ByteChannel;
  /** The session is over. Once. */
  readonly ended: (reason: string) => void;
  /** Something that people should know about this tool. */
  readonly remark: (text: string) => void;
}

/** A vCPU command whose answer is still to come. */
interface Asked {
  readonly vcpu: number;
  readonly id: number;
  /** The tool's number. */
  readonly seq: number;
}

/** What the receiver answers: a negative errno or 0, and what follows it; null: the connection is to be closed. */
type VmAnswer = readonly [error: number, data?: Uint8Array] | null;

const CLOSE = null;
const OK: VmAnswer = [0];
const INVALID: VmAnswer = [-EINVAL];

export class WireSession {
  readonly #actor: Actor;
  readonly #vm: Vm;
  readonly #session: Session;
  readonly #channel: ByteChannel;
  readonly #options: WireSessionOptions;
  readonly #framing = new Framing();
  /** By the session's numbers. */
  readonly #asked = new Map<number, Asked>();
  /** Per vCPU: messages that it has no room for yet. */
  readonly #deferred: WireMessage[][];
  #deferredCount = 0;
  #unhookEvents = false;
  #paused = false;
  #over = false;
  /** Commands so far: the second tells which wire a tool speaks. */
  #messages = 0;

  constructor(options: WireSessionOptions) {
    this.#options = options;
    this.#actor = options.actor;
    this.#vm = options.vm;
    this.#channel = options.channel;
    this.#session = new Session(options.actor, options.vm);
    this.#deferred = Array.from({ length: options.vm.vcpuCount }, () => []);
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
    if (!this.#unhookEvents) return -ENOENT;
    const seq = drive(this.#actor, this.#session.vmEventSeq());
    this.#send(frame(KVMI_VM_EVENT, seq, kvmi_event_hdr.encode({ event: KVMI_VM_EVENT_UNHOOK })));
    return 0;
  }

  /** Ends the session: every vCPU that waits goes on as if the connection were lost. Once. */
  end(reason: string): void {
    if (this.#over) return;
    // What vCPUs had said before comes before the end.
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
    const { id, seq, payload } = message;
    this.#messages += 1;
    this.#recognise(message);
    const command = COMMANDS.get(id);
    if (command === undefined && id !== KVMI_VCPU_EVENT) return this.#answer(id, seq, [-ENOSYS]);
    if (command !== undefined && !commandAllowed(this.#vm, id)) return this.#answer(id, seq, [-EPERM]);
    if (command?.answers === 'vm') return this.#answer(id, seq, this.#vmCommand(id, payload));
    const { vcpu } = kvmi_vcpu_hdr.decode(payload);
    if (!kvmi_vcpu_hdr.clean(payload) || !this.#lives(vcpu)) return this.#answer(id, seq, INVALID);
    const waiting = this.#deferred[vcpu]!;
    if (waiting.length > 0 || !this.#submit(vcpu, message)) {
      waiting.push(message);
      this.#deferredCount += 1;
    }
    return true;
  }

  /** Hands a message to a vCPU. False: there is no room now. */
  #submit(vcpu: number, { id, seq, payload }: WireMessage): boolean {
    const body = payload.subarray(kvmi_vcpu_hdr.bytes);
    if (id === KVMI_VCPU_EVENT) {
      return drive(this.#actor, this.#session.rawReply(vcpu, seq, body)) !== -EBUSY;
    }
    const number = drive(this.#actor, this.#session.command(vcpu, id, body));
    if (number === -EBUSY) return false;
    this.#asked.set(number, { vcpu, id, seq });
    return true;
  }

  /** A vCPU has room again. */
  #submitDeferred(vcpu: number): void {
    const waiting = this.#deferred[vcpu]!;
    while (waiting.length > 0 && this.#submit(vcpu, waiting[0]!)) {
      waiting.shift();
      this.#deferredCount -= 1;
    }
    this.#listen();
  }

  #lives(vcpu: number): boolean {
    return vcpu < this.#vm.vcpuCount && this.#vm.mem.load(this.#vm.vcpuWord(vcpu, 'ENDED')) === 0;
  }

  /** Tools of the other wire shake hands and ask for the version in the same way: say what will go wrong, and why. */
  #recognise({ id, payload }: WireMessage): void {
    if (this.#messages === 2 && id === KVMI_VCPU_CONTROL_EVENTS && payload.length === 0) {
      this.#options.remark(
        'it speaks wire-7 (libkvmi up to master, LibVMI), and this is wire-12: its GET_GUEST_INFO is no command here',
      );
    }
    if (id === PLACEHOLDER_COMMAND) {
      this.#options.remark(
        'it wraps its commands in id 0xffff, which does not exist: libkvmi for wire-12 does that',
      );
    }
  }

  // ── VM commands ───────────────────────────────────────────────────────────────────────────────────────────

  #vmCommand(id: number, payload: Uint8Array): VmAnswer {
    switch (id) {
      case KVMI_GET_VERSION: {
        const reply = { version: KVMI_VERSION, max_msg_size: KVMI_MAX_MSG_SIZE, singlestep: 1 };
        return [0, kvmi_get_version_reply.encode(reply)];
      }
      case KVMI_VM_CHECK_COMMAND: {
        if (!kvmi_vm_check_command.clean(payload)) return INVALID;
        const { id: asked } = kvmi_vm_check_command.decode(payload);
        if (!COMMANDS.has(asked)) return [-ENOENT];
        return commandAllowed(this.#vm, asked) ? OK : [-EPERM];
      }
      case KVMI_VM_CHECK_EVENT: {
        if (!kvmi_vm_check_event.clean(payload)) return INVALID;
        const { id: asked } = kvmi_vm_check_event.decode(payload);
        if (!EVENTS.has(asked)) return [-ENOENT];
        return eventAllowed(this.#vm, asked) ? OK : [-EPERM];
      }
      case KVMI_VM_GET_INFO:
        return [0, kvmi_vm_get_info_reply.encode({ vcpu_count: this.#vm.vcpuCount })];
      case KVMI_VM_CONTROL_EVENTS:
        return this.#controlEvents(payload);
      case KVMI_VM_READ_PHYSICAL:
        return this.#readPhysical(payload);
      case KVMI_VM_WRITE_PHYSICAL:
        return this.#writePhysical(payload);
      case KVMI_VM_PAUSE_VCPU:
        return this.#pauseVcpu(payload);
      case KVMI_VM_CONTROL_CLEANUP: {
        const { enable } = kvmi_vm_control_cleanup.decode(payload);
        if (!kvmi_vm_control_cleanup.clean(payload) || enable > 1) return INVALID;
        drive(this.#actor, this.#session.controlCleanup(enable === 1));
        return OK;
      }
      case KVMI_VM_SET_PAGE_ACCESS:
        return this.#setPageAccess(payload);
      default:
        return [-ENOSYS];
    }
  }

  #controlEvents(payload: Uint8Array): VmAnswer {
    const { event_id: event, enable } = kvmi_control_events.decode(payload);
    if (!kvmi_control_events.clean(payload) || enable > 1) return INVALID;
    if (EVENTS.get(event)?.of !== 'vm') return INVALID;
    if (!eventAllowed(this.#vm, event)) return [-EPERM];
    this.#unhookEvents = enable === 1;
    return OK;
  }

  #readPhysical(payload: Uint8Array): VmAnswer {
    const { gpa, size } = kvmi_vm_access_physical.decode(payload);
    if (!kvmi_vm_access_physical.clean(payload) || !inOnePage(gpa, size)) return INVALID;
    const data = drive(this.#actor, this.#session.readPhysical(Number(gpa), size));
    return data === null ? [-ENOENT] : [0, data];
  }

  #writePhysical(payload: Uint8Array): VmAnswer {
    const { bytes } = kvmi_vm_access_physical;
    const { gpa, size } = kvmi_vm_access_physical.decode(payload);
    if (bytes + size > payload.length) return CLOSE;
    if (!kvmi_vm_access_physical.clean(payload) || !inOnePage(gpa, size)) return INVALID;
    if (gpa > Number.MAX_SAFE_INTEGER) return [-ENOENT];
    const data = payload.subarray(bytes, bytes + size);
    return [drive(this.#actor, this.#session.writePhysical(Number(gpa), data))];
  }

  #pauseVcpu(payload: Uint8Array): VmAnswer {
    const { vcpu, wait } = kvmi_vm_pause_vcpu.decode(payload);
    if (!kvmi_vm_pause_vcpu.clean(payload) || wait > 1) return INVALID;
    if (!eventAllowed(this.#vm, KVMI_VCPU_EVENT_PAUSE)) return [-EPERM];
    if (!this.#lives(vcpu)) return INVALID;
    return [drive(this.#actor, this.#session.pause(vcpu, wait === 1))];
  }

  #setPageAccess(payload: Uint8Array): VmAnswer {
    const head = kvmi_vm_set_page_access.bytes;
    const each = kvmi_page_access_entry.bytes;
    const { count } = kvmi_vm_set_page_access.decode(payload);
    if (head + each * count > payload.length) return CLOSE;
    if (!kvmi_vm_set_page_access.clean(payload)) return INVALID;
    const pages = Array.from({ length: count }, (_, i) => {
      const { gpa, access } = kvmi_page_access_entry.decode(payload, head + each * i);
      // An entry with something in its padding becomes one that the session refuses.
      const clean = kvmi_page_access_entry.clean(payload, head + each * i);
      return { gpa: Number(gpa), access: clean ? access : -1 };
    });
    return [drive(this.#actor, this.#session.setPagesAccess(pages))];
  }

  // ── to the tool ───────────────────────────────────────────────────────────────────────────────────────────

  /** False: close. */
  #answer(id: number, seq: number, answer: VmAnswer): boolean {
    if (answer === CLOSE) return false;
    const [error, data] = answer;
    this.#send(frame(id, seq, encodeReply(error, data)));
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
      if (asked !== undefined) this.#answer(asked.id, asked.seq, [message.error, message.data]);
      this.#submitDeferred(message.vcpu);
    }
    return true;
  }

  #sendEvent({ vcpu, seq, event, data }: SessionEvent): void {
    const head = kvmi_event_hdr.encode({ event });
    const state = readEventState(this.#vm, vcpu);
    this.#send(frame(KVMI_VCPU_EVENT, this.#session.wireSeq(seq), head, state, data));
  }

  #send(bytes: Uint8Array): void {
    this.#channel.write(bytes);
  }

  /** vCPUs whose thread has ended answer nothing any more: they are none. Their last messages have been taken. */
  #giveUpEnded(): void {
    for (const [number, { vcpu, id, seq }] of this.#asked) {
      if (this.#lives(vcpu)) continue;
      this.#asked.delete(number);
      this.#answer(id, seq, INVALID);
    }
    for (const [vcpu, waiting] of this.#deferred.entries()) {
      if (waiting.length === 0 || this.#lives(vcpu)) continue;
      for (const { id, seq } of waiting.splice(0)) {
        this.#deferredCount -= 1;
        this.#answer(id, seq, INVALID);
      }
    }
    this.#listen();
  }
}

/** The id that libkvmi for wire-12 sends where a command has been taken out of the protocol. */
const PLACEHOLDER_COMMAND = 0xffff;

function inOnePage(gpa: bigint, size: number): boolean {
  return size > 0 && Number(gpa & BigInt(PAGE - 1)) + size <= PAGE;
}
