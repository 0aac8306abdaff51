/**
 * One introspection session: the receiver thread's work. It takes messages from the vCPUs, hands events to the tool,
 * turns the tool's commands into effects or jobs, and lets replies through only to whom they belong.
 *
 * It does not know who the tool is: an in-process front calls these paths with typed values, a wire front will call
 * them with decoded messages.
 *
 * @source virt/kvm/introspection/kvmi.c, kvmi_msg.c: kvmi_recv_thread, kvmi_msg_process, handle_vcpu_cmd
 */

import type { RingRecord } from '../../shared/byte-ring.ts';
import { LANE_OPEN_EVENT } from '../../shared/layout/trace.ts';
import { REQ_INTROSPECTION, REQ_UNBLOCK } from '../../shared/layout/vcpu.ts';
import {
  BUG_PAUSE_COUNTER,
  BUG_PAUSE_IGNORES_EMU,
  BUG_RELEASE_BEFORE_SHUTDOWN,
  BUG_REPLY_NO_SEQ_CHECK,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { WAIT_REPLY } from '../../shared/sync/lock-class.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { readLock, readUnlock } from '../../shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock } from '../../shared/sync/srcu.ts';
import { eventFlow, TRACE_HANDLE_EVENT, TRACE_HANDLE_PF, TRACE_REPLY } from '../../shared/trace/kinds.ts';
import type { Tracer } from '../../shared/trace/tracer.ts';
import { readPolicy } from '../mmu/access-tree.ts';
import { codePageWritten } from '../mmu/code-map.ts';
import { EBUSY, EINTR, EINVAL, ENOENT } from '../mmu/errno.ts';
import { setGfnAccess } from '../mmu/gfn-access.ts';
import { kvmiPut } from '../mmu/kvmi-ref.ts';
import { awaitEndOfTurn, kick, makeRequest, requestAll } from '../mmu/requests.ts';
import { activeIndexWord, activeSet, gfnToSlot, isVisible, slotsOf } from '../mmu/slot-sets.ts';
import type { Vm } from '../mmu/vm.ts';
import { shutConnection } from './hook.ts';
import {
  KVMI_MAX_MSG_SIZE,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_EVENT,
  KVMI_VCPU_EVENT_PF,
  KVMI_VCPU_GET_REGISTERS,
  KVMI_VCPU_SET_REGISTERS,
} from './kvmi/constants.ts';
import { JOB_RELEASE } from './kvmi/machine-ids.ts';
import {
  decodeEvent,
  decodePf,
  decodeReply,
  EVENT_REPLY_BYTES_MAX,
  encodeControlEvents,
  encodeEventReply,
  type PfEvent,
} from './kvmi/messages.ts';
import { COMMANDS, kvm_msr_entry, kvmi_vcpu_get_registers } from './kvmi/protocol.ts';
import { WIRE_7 } from './kvmi/wires.ts';
import { addJob, messageRing } from './vcpu-side.ts';

/** An event as the tool sees it. */
export interface SessionEvent {
  readonly vcpu: number;
  readonly seq: number;
  /** KVMI_VCPU_EVENT_*. */
  readonly event: number;
  /** The event's own struct, as bytes. */
  readonly data: Uint8Array;
  /** Decoded for KVMI_VCPU_EVENT_PF, else null. */
  readonly pf: PfEvent | null;
}

/** What {@link Session.poll} found. */
export type SessionMessage =
  | { readonly kind: 'event'; readonly event: SessionEvent }
  | {
      readonly kind: 'answer';
      readonly vcpu: number;
      readonly seq: number;
      readonly error: number;
      readonly data: Uint8Array;
    };

// LIMIT: commands of one vCPU without their answer, and bytes of them or of their answers. So neither its jobs nor its
// answers can fill a ring, and there is always room for an event, a reply and the release at the end.
const OUTSTANDING_MAX = 64;
const OUTSTANDING_BYTES_MAX = 48 * 1024;

/** Pending pauses of one vCPU above this: EBUSY. */
const PAUSE_REQUESTS_MAX = 1001;

/** Numbers of commands in one session, and sessions until they are used again: numbers are positive 32-bit integers. */
const COMMAND_NUMBERS = 2 ** 20;
const SESSION_MASK = 2 ** 11 - 1;

export class Session {
  readonly #actor: Actor;
  readonly #vm: Vm;
  /** Answers to a session before this one may still come: numbers of one session and the next do not meet. */
  readonly #commandBase: number;
  #commands = 0;
  /** EVENT_SEQ at the hook. Nothing was enabled then, so what bears an older number is left over. */
  readonly #eventsBefore: number;
  /** Per vCPU: commands without their answer, with the room set aside for each. */
  readonly #outstanding: readonly Map<number, number>[];
  readonly #reserved: number[];
  /** Events sent to the tool and not answered yet: seq → event. Answered once, by the right vCPU's number (I9). */
  readonly #open = new Map<number, SessionEvent>();

  constructor(actor: Actor, vm: Vm) {
    this.#actor = actor;
    this.#vm = vm;
    this.#commandBase = (vm.mem.load(vm.word('KVMI_SESSION')) & SESSION_MASK) * COMMAND_NUMBERS;
    this.#eventsBefore = vm.mem.load(vm.word('EVENTS_BEFORE'));
    this.#outstanding = Array.from({ length: vm.vcpuCount }, () => new Map());
    this.#reserved = this.#outstanding.map(() => 0);
  }

  /** What an event's number is to the tool: each session counts from 1. */
  wireSeq(seq: number): number {
    return (seq - this.#eventsBefore) >>> 0;
  }

  get openEvents(): number {
    return this.#open.size;
  }

  get shut(): boolean {
    return this.#vm.mem.load(this.#vm.word('KVMI_SHUT')) !== 0;
  }

  /** Takes one message from each vCPU in turn; null when none has any. */
  *poll(): Path<SessionMessage | null> {
    const { vcpuCount } = this.#vm;
    yield reading(this.#vm.word('RECEIVER_BELL'));
    for (let i = 0; i < vcpuCount; i++) {
      const vcpu = (this.#nextVcpu + i) % vcpuCount;
      const ring = messageRing(this.#vm, vcpu);
      for (let record = ring.shift(); record !== null; record = ring.shift()) {
        const message = this.#received(vcpu, record);
        if (message === null) continue;
        // The next poll begins with the next vCPU: one that raises events all the time does not starve the others.
        this.#nextVcpu = (vcpu + 1) % vcpuCount;
        return message;
      }
    }
    return null;
  }
  #nextVcpu = 0;

  /** Null for what is left over from the session before. */
  #received(vcpu: number, record: RingRecord): SessionMessage | null {
    const { kind, seq, payload } = record;
    if (kind !== KVMI_VCPU_EVENT) {
      if (!this.#settle(vcpu, seq)) return null;
      return { kind: 'answer', vcpu, seq, ...decodeReply(payload) };
    }
    if (((seq - this.#eventsBefore) | 0) <= 0) return null;
    const { event, data } = decodeEvent(payload);
    const pf = event === KVMI_VCPU_EVENT_PF ? decodePf(data) : null;
    const sent: SessionEvent = { vcpu, seq, event, data, pf };
    this.#open.set(seq, sent);
    this.#actor.checks?.owes(WAIT_REPLY);
    if (this.#actor.tracer !== null) traceTaken(this.#actor.tracer, sent);
    return { kind: 'event', event: sent };
  }

  /**
   * Answers an event.
   *
   * @returns 0, or −ENOENT when no such event is open (answered already, another vCPU's, another session's)
   */
  *reply(vcpu: number, seq: number, action: number): Path<number> {
    const event = this.#open.get(seq);
    if (event === undefined || event.vcpu !== vcpu) return -ENOENT;
    // The event that came first of those that are open.
    const oldest = this.#open.values().next().value ?? event;
    const to = this.#vm.quirk(BUG_REPLY_NO_SEQ_CHECK) ? oldest.vcpu : vcpu;
    yield* this.#answer(event, to, encodeEventReply({ action, event: event.event }));
    return 0;
  }

  /**
   * An event reply as it came over the wire, right or wrong: the vCPU accepts it, or shuts the connection, when its turn
   * comes after the commands before it.
   *
   * @param wireSeq  as of {@link wireSeq}
   * @param payload  what follows the kvmi_vcpu_hdr
   * @returns 0, −EINVAL for a vCPU that does not exist, −EBUSY when its job list has no room now
   */
  *rawReply(vcpu: number, wireSeq: number, payload: Uint8Array): Path<number> {
    if (!this.#exists(vcpu)) return -EINVAL;
    const event = this.#open.get((wireSeq + this.#eventsBefore) | 0);
    if (event !== undefined && event.vcpu === vcpu) {
      // More than any event asks for is as wrong as all of it.
      yield* this.#answer(event, vcpu, payload.subarray(0, EVENT_REPLY_BYTES_MAX + 1));
      return 0;
    }
    // Nobody waits for it. An empty reply is wrong whatever happens meanwhile; one is enough.
    if (this.#doomed.has(vcpu)) return 0;
    this.#doomed.add(vcpu);
    const job = { kind: KVMI_VCPU_EVENT, seq: 0, vcpu, payload: new Uint8Array(0) };
    return (yield* addJob(this.#actor, this.#vm, vcpu, job)) ? 0 : -EBUSY;
  }

  /** Is this the number of an event of this vCPU that has no reply yet? */
  isOpen(vcpu: number, wireSeq: number): boolean {
    return this.#open.get((wireSeq + this.#eventsBefore) | 0)?.vcpu === vcpu;
  }

  /** vCPUs that will shut the connection. */
  readonly #doomed = new Set<number>();

  *#answer(event: SessionEvent, to: number, payload: Uint8Array): Path<void> {
    const { seq } = event;
    this.#open.delete(seq);
    if (this.#actor.tracer !== null) traceAnswered(this.#actor.tracer, event, payload[0] ?? 0);
    yield* addJob(this.#actor, this.#vm, to, { kind: KVMI_VCPU_EVENT, seq, vcpu: to, payload });
    this.#actor.checks?.settles(WAIT_REPLY);
  }

  /** Number of an event of the VM itself, as the tool gets it. */
  *vmEventSeq(): Path<number> {
    const word = this.#vm.word('EVENT_SEQ');
    yield updating(word);
    return this.wireSeq(this.#vm.mem.add(word, 1) + 1);
  }

  /** KVMI_VM_CONTROL_CLEANUP. */
  *controlCleanup(enable: boolean): Path<void> {
    const word = this.#vm.word('KVMI_CLEANUP');
    yield writing(word);
    this.#vm.mem.store(word, enable ? 1 : 0);
  }

  /** KVMI_VM_SET_PAGE_ACCESS for one page. When it returns 0 the new access holds for every vCPU. */
  *setPageAccess(gpa: number, access: number, opts = { needSlot: true }): Path<number> {
    if (!Number.isSafeInteger(gpa) || gpa < 0) return -EINVAL;
    return yield* setGfnAccess(this.#actor, this.#vm, Math.floor(gpa / 4096), access, opts);
  }

  /** KVMI_VM_SET_PAGE_ACCESS: processed to the end; returns the first error, what came before and after it holds. */
  *setPagesAccess(
    pages: readonly { readonly gpa: number; readonly access: number }[],
    opts = { needSlot: true },
  ): Path<number> {
    let first = 0;
    for (const { gpa, access } of pages) {
      const error = yield* this.setPageAccess(gpa, access, opts);
      if (first === 0) first = error;
    }
    return first;
  }

  /** ACCESS_* bits that are left allowed on a page, or −EINVAL. */
  *getPageAccess(gpa: number): Path<number> {
    const vm = this.#vm;
    if (!Number.isSafeInteger(gpa) || gpa < 0) return -EINVAL;
    const gfn = Math.floor(gpa / 4096);
    if (gfn >= vm.layout.config.gfnCount) return -EINVAL;
    yield* readLock(this.#actor, vm.accessTreeLock);
    const { access } = readPolicy(vm, gfn);
    yield* readUnlock(this.#actor, vm.accessTreeLock);
    return access;
  }

  /** KVMI_VCPU_CONTROL_EVENTS: a job; its answer comes through {@link poll} with the returned number. */
  *controlEvents(vcpu: number, event: number, enable: boolean): Path<number> {
    return yield* this.command(vcpu, KVMI_VCPU_CONTROL_EVENTS, encodeControlEvents(event, enable));
  }

  /** KVMI_VCPU_GET_REGISTERS without MSRs: the answer's data is a kvmi_vcpu_get_registers_reply. */
  *getRegisters(vcpu: number): Path<number> {
    return yield* this.command(vcpu, KVMI_VCPU_GET_REGISTERS, new Uint8Array(kvmi_vcpu_get_registers.bytes));
  }

  /** KVMI_VCPU_SET_REGISTERS: only while the vCPU waits for an event reply; takes effect with that reply. */
  *setRegisters(vcpu: number, regs: Uint8Array): Path<number> {
    return yield* this.command(vcpu, KVMI_VCPU_SET_REGISTERS, regs);
  }

  /**
   * Any command that a vCPU carries out: a job; its answer comes through {@link poll} with the returned number.
   *
   * @param payload  what follows the kvmi_vcpu_hdr
   * @returns a number > 0, −EINVAL for a vCPU that does not exist, −EBUSY for one that is owed too much already
   */
  *command(vcpu: number, kind: number, payload: Uint8Array): Path<number> {
    if (!this.#exists(vcpu)) return -EINVAL;
    const room = RECORD_ROOM + Math.max(payload.length, answerBytes(kind, payload));
    const owed = this.#outstanding[vcpu]!;
    if (owed.size >= OUTSTANDING_MAX || this.#reserved[vcpu]! + room > OUTSTANDING_BYTES_MAX) return -EBUSY;
    // From 1 to the last, and again: those of that long ago are answered.
    this.#commands = (this.#commands % (COMMAND_NUMBERS - 1)) + 1;
    const seq = this.#commandBase + this.#commands;
    if (!(yield* addJob(this.#actor, this.#vm, vcpu, { kind, seq, vcpu, payload }))) return -EBUSY;
    owed.set(seq, room);
    this.#reserved[vcpu]! += room;
    return seq;
  }

  /** An answer has come. False for one that nobody waits for. */
  #settle(vcpu: number, seq: number): boolean {
    const room = this.#outstanding[vcpu]!.get(seq);
    if (room === undefined) return false;
    this.#outstanding[vcpu]!.delete(seq);
    this.#reserved[vcpu]! -= room;
    return true;
  }

  #exists(vcpu: number): boolean {
    return Number.isInteger(vcpu) && vcpu >= 0 && vcpu < this.#vm.vcpuCount;
  }

  /**
   * KVMI_VM_PAUSE_VCPU: one PAUSE event for each call.
   *
   * @param wait  return only when the vCPU has left guest mode and is done with what it left it for, or waits for a
   *              reply: it has no effect any more that the tool has not let through (I15)
   */
  *pause(vcpu: number, wait: boolean): Path<number> {
    const vm = this.#vm;
    if (!this.#exists(vcpu)) return -EINVAL;
    const pauses = vm.vcpuWord(vcpu, 'PAUSE_REQUESTS');
    yield updating(pauses);
    if (vm.mem.load(pauses) > PAUSE_REQUESTS_MAX) return -EBUSY;
    if (vm.quirk(BUG_PAUSE_COUNTER)) {
      const before = vm.mem.load(pauses);
      yield writing(pauses);
      vm.mem.store(pauses, before + 1);
    } else {
      vm.mem.add(pauses, 1);
    }
    yield* makeRequest(vm, vcpu, REQ_INTROSPECTION);
    yield* kick(vm, vcpu);
    if (!wait) return 0;
    yield* requestAll(this.#actor, vm, { bits: REQ_UNBLOCK, wait: true });
    if (!vm.quirk(BUG_PAUSE_IGNORES_EMU)) yield* awaitEndOfTurn(this.#actor, vm, vcpu);
    return 0;
  }

  /** KVMI_GET_MAX_GFN: the first frame behind the highest memslot. */
  *maxGfn(): Path<number> {
    const vm = this.#vm;
    const section = yield* srcuReadLock(this.#actor, vm.srcu);
    yield reading(activeIndexWord(vm, 0));
    const ends = slotsOf(vm, activeSet(vm, 0)).map((slot) => slot.baseGfn + slot.npages);
    yield* srcuReadUnlock(this.#actor, vm.srcu, section);
    return Math.max(0, ...ends);
  }

  /** KVMI_VM_READ_PHYSICAL. Null: not RAM, or across a page. Ignores restrictions, raises no events. */
  *readPhysical(gpa: number, bytes: number): Path<Uint8Array | null> {
    const host = yield* this.#hostAddress(gpa, bytes);
    return host < 0 ? null : this.#vm.mem.u8.slice(host, host + bytes);
  }

  /** KVMI_VM_WRITE_PHYSICAL. Not synchronised with running vCPUs. */
  *writePhysical(gpa: number, data: Uint8Array): Path<number> {
    if (!withinPage(gpa, data.length)) return -EINVAL;
    const host = yield* this.#hostAddress(gpa, data.length);
    if (host < 0) return -ENOENT;
    this.#vm.mem.touch(host, data.length);
    this.#vm.mem.u8.set(data, host);
    const ramPage = Math.floor((host - this.#vm.layout.ram) / 4096);
    yield* codePageWritten(this.#actor, this.#vm, ramPage, -1);
    return 0;
  }

  *#hostAddress(gpa: number, bytes: number): Path<number> {
    const vm = this.#vm;
    if (!withinPage(gpa, bytes)) return -1;
    const section = yield* srcuReadLock(this.#actor, vm.srcu);
    const gfn = Math.floor(gpa / 4096);
    const slot = yield* gfnToSlot(vm, 0, gfn);
    yield* srcuReadUnlock(this.#actor, vm.srcu, section);
    if (slot === null || !isVisible(slot)) return -1;
    return vm.ramPage(slot.ramPage + gfn - slot.baseGfn) + (gpa % 4096);
  }

  /**
   * The end of the receiver: shut the connection, release every vCPU, give the receiver's reference back, in this
   * order (RC-22): a vCPU that sends after its release would otherwise wait for a reply nobody can give.
   */
  *close(): Path<void> {
    const shutFirst = !this.#vm.quirk(BUG_RELEASE_BEFORE_SHUTDOWN);
    // Unhook waits for the reference that goes below, so that it is still this one.
    const session = this.#vm.mem.load(this.#vm.word('KVMI_SESSION'));
    if (shutFirst) yield* shutConnection(this.#vm);
    for (let vcpu = 0; vcpu < this.#vm.vcpuCount; vcpu++) {
      yield* addJob(this.#actor, this.#vm, vcpu, {
        kind: JOB_RELEASE,
        seq: session,
        vcpu,
        payload: new Uint8Array(0),
      });
    }
    if (!shutFirst) yield* shutConnection(this.#vm);
    for (const event of this.#open.values()) {
      this.#actor.tracer?.endOn(LANE_OPEN_EVENT + event.vcpu, handleKind(event), -EINTR);
      this.#actor.checks?.settles(WAIT_REPLY);
    }
    this.#open.clear();
    // Whoever closes for a receiver that has died may come second: the reference is given back once.
    yield updating(this.#vm.word('KVMI_RECEIVER'));
    if (this.#vm.mem.exchange(this.#vm.word('KVMI_RECEIVER'), 0) === 0) return;
    this.#actor.referenced(1);
    yield* kvmiPut(this.#actor, this.#vm);
  }
}

/** Head of a record, error code, and what rounding up takes. */
const RECORD_ROOM = 40;

/** The most that the answer to a command takes. */
function answerBytes(kind: number, payload: Uint8Array): number {
  const fixed = (COMMANDS.get(kind) ?? WIRE_7.commandOf.get(kind))?.reply?.bytes ?? 0;
  if (kind !== KVMI_VCPU_GET_REGISTERS) return fixed;
  const { nmsrs } = kvmi_vcpu_get_registers.decode(payload);
  return Math.min(fixed + nmsrs * kvm_msr_entry.bytes, KVMI_MAX_MSG_SIZE);
}

function withinPage(gpa: number, bytes: number): boolean {
  return (
    Number.isSafeInteger(gpa) &&
    gpa >= 0 &&
    Number.isInteger(bytes) &&
    bytes > 0 &&
    (gpa % 4096) + bytes <= 4096
  );
}

/** From here to its answer an event is open, in a lane of its vCPU: a tool need not answer in the order of arrival. */
function traceTaken(tracer: Tracer, sent: SessionEvent): void {
  const { vcpu, seq, event, pf } = sent;
  const lane = LANE_OPEN_EVENT + vcpu;
  if (pf === null) tracer.beginOn(lane, TRACE_HANDLE_EVENT, seq, event, 0, eventFlow(seq));
  else tracer.beginOn(lane, TRACE_HANDLE_PF, seq, pf.gpa, pf.access, eventFlow(seq), pf.gva);
}

/** Before the vCPU can see the reply. */
function traceAnswered(tracer: Tracer, event: SessionEvent, action: number): void {
  tracer.instant(TRACE_REPLY, event.seq, action, event.vcpu, eventFlow(event.seq));
  tracer.endOn(LANE_OPEN_EVENT + event.vcpu, handleKind(event), action);
}

function handleKind(event: SessionEvent): number {
  return event.pf === null ? TRACE_HANDLE_EVENT : TRACE_HANDLE_PF;
}
