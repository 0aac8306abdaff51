/**
 * The vCPU's half of introspection: running its jobs, sending events, waiting for replies. Runs in the vCPU's thread.
 *
 * @source virt/kvm/introspection/kvmi.c: kvmi_handle_requests, kvmi_run_jobs, kvmi_handle_common_event_actions;
 *         kvmi_msg.c: kvmi_send_vcpu_event, kvmi_wait_for_reply, kvmi_msg_vcpu_reply; the seed: kvmi_pf_event,
 *         kvmi_msg_send_vcpu_pf
 */

import { ByteRing, type RingRecord } from '../../shared/byte-ring.ts';
import { ACCESS_R } from '../../shared/layout/cpu.ts';
import { RING_BYTES } from '../../shared/layout/ring.ts';
import { REQ_INTROSPECTION, REQ_VM_DEAD, VCPU_WAITING } from '../../shared/layout/vcpu.ts';
import { STOP_NOW } from '../../shared/layout/vm.ts';
import {
  BUG_CRASH_LOCAL,
  BUG_EVENT_UNDER_TREE_LOCK,
  BUG_LOST_WAKEUP_REPLY,
  BUG_NESTED_EVENT,
  BUG_RELEASE_BEFORE_SHUTDOWN,
  BUG_REPLY_NO_SEQ_CHECK,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import type { AdaptiveSpin } from '../../shared/sync/adaptive-spin.ts';
import { WAIT_REPLY } from '../../shared/sync/lock-class.ts';
import {
  type Path,
  reading,
  relaxing,
  stepping,
  updating,
  waiting,
  writing,
} from '../../shared/sync/point.ts';
import { readLock, readUnlock } from '../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spinlock.ts';
import {
  eventFlow,
  JOBS,
  TRACE_EVENT,
  TRACE_JOB,
  TRACE_PAUSE,
  TRACE_PF,
  TRACE_REPLIED,
} from '../../shared/trace/kinds.ts';
import type { Tracer } from '../../shared/trace/tracer.ts';
import { EINTR, EINVAL, EOPNOTSUPP, EPERM } from '../mmu/errno.ts';
import { restrictedPageAccess } from '../mmu/gfn-access.ts';
import { kvmiGet, kvmiPut } from '../mmu/kvmi-ref.ts';
import { kick, makeRequest } from '../mmu/requests.ts';
import type { Vm } from '../mmu/vm.ts';
import { declareDead } from '../mmu/vm-dead.ts';
import { eventAllowed, ringBell, shutConnection } from './hook.ts';
import type { Intercepts } from './intercepts.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_EVENT,
  KVMI_VCPU_EVENT_PAUSE,
  KVMI_VCPU_EVENT_PF,
  KVMI_VCPU_GET_REGISTERS,
  KVMI_VCPU_SET_REGISTERS,
} from './kvmi/constants.ts';
import { JOB_RELEASE, JOB_STRAY_REPLY } from './kvmi/machine-ids.ts';
import {
  decodeEventReply,
  decodePf,
  encodeEvent,
  encodePf,
  encodeReply,
  vcpuEventBit,
} from './kvmi/messages.ts';
import { kvm_regs, kvmi_control_events } from './kvmi/protocol.ts';
import { wireOf } from './kvmi/wires.ts';
import { vcpuCommand } from './vcpu-commands.ts';

/** What this module needs of the vCPU whose thread it runs in. */
export interface IntrospectedVcpu {
  readonly vm: Vm;
  readonly actor: Actor;
  readonly index: number;
  /** How long it looks for a reply before it sleeps. */
  readonly replySpin: AdaptiveSpin;
  readonly intercepts: Intercepts;
  /** What the lazy flags amount to. */
  readonly flags: { rflags(): bigint };
  /** 0: unknown. */
  readonly tscHz: bigint;
  readonly xcr0: bigint;
  /** As MTRRs have it, by the address of a byte. */
  memoryType(gpa: bigint): number;
  /** Extended state as an XSAVE area in the standard format: no longer than what there is. */
  readXsave(): Uint8Array<ArrayBuffer>;
  /** False for an area that it does not take. */
  writeXsave(area: Uint8Array): boolean;
  /** Null for an MSR that does not exist. */
  readMsr(number: number): bigint | null;
  /** Null for a leaf that does not exist. */
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number } | null;
  /** Where the guest's tables map an address for a read of the kernel; all ones for nowhere. Takes kvm.srcu. */
  translate(gva: bigint): Path<bigint>;
  /** Brings the flags into the form in which others can read them. */
  settleFlags(): void;
  /** Replaces kvm_regs; takes effect with the reply of the event being waited for. */
  setRegisters(regs: Uint8Array): void;
  /** The reply has come: they hold from now on, also for a command right behind it. */
  applyRegisters(): void;
  /** Called around the sleep for a reply: leave and re-enter kvm.srcu, give buffers back, and so on. */
  beforeEventWait(): Path<void>;
  afterEventWait(): Path<void>;
  /** Bumps a counter of the control block. */
  count(
    name: 'EVENTS_SENT' | 'PF_CONTINUE' | 'PF_RETRY' | 'PF_CRASH' | 'PF_FAIL_OPEN' | 'PAUSES' | 'JOBS_RUN',
    kind?: number,
  ): void;
}

export function jobRing(vm: Vm, index: number): ByteRing {
  return new ByteRing(vm.mem, vm.layout.jobRings + index * RING_BYTES);
}

export function messageRing(vm: Vm, index: number): ByteRing {
  return new ByteRing(vm.mem, vm.layout.messageRings + index * RING_BYTES);
}

/**
 * kvmi_add_job: queues work for a vCPU and makes it look. False when its job list is full.
 * Producers are the receiver and unhook; job_lock keeps their records whole.
 */
export function* addJob(actor: Actor, vm: Vm, index: number, job: RingRecord): Path<boolean> {
  yield* spinLock(actor, vm.jobLocks[index]!);
  const stored = jobRing(vm, index).push(job);
  yield* spinUnlock(actor, vm.jobLocks[index]!);
  yield* makeRequest(vm, index, REQ_INTROSPECTION);
  yield* kick(vm, index);
  return stored;
}

/** kvmi_run_jobs: one after the other, each without any lock held. */
export function* runJobs(vcpu: IntrospectedVcpu): Path<void> {
  const { vm, actor, index } = vcpu;
  const jobs = jobRing(vm, index);
  for (;;) {
    yield* spinLock(actor, vm.jobLocks[index]!);
    const job = jobs.shift();
    yield* spinUnlock(actor, vm.jobLocks[index]!);
    if (job === null) return;
    vcpu.count('JOBS_RUN');
    actor.tracer?.begin(TRACE_JOB, jobCode(job.kind), job.seq);
    yield* runJob(vcpu, job);
    actor.tracer?.end(TRACE_JOB);
  }
}

function* runJob(vcpu: IntrospectedVcpu, job: RingRecord): Path<void> {
  const { vm, index } = vcpu;
  const { mem } = vm;
  switch (job.kind) {
    case KVMI_VCPU_EVENT:
      yield* acceptReply(vcpu, job);
      return;
    case JOB_RELEASE:
      if (vm.checked) reportIfStale(vm, index, job.seq);
      mem.store(vm.vcpuWord(index, 'PAUSE_REQUESTS'), 0);
      // The kernel's release leaves events on, so that its order is all that it has (RC-22).
      if (!vm.quirk(BUG_RELEASE_BEFORE_SHUTDOWN)) mem.store(vm.vcpuWord(index, 'EVENTS'), 0);
      vcpu.intercepts.clear();
      yield writing(vm.vcpuWord(index, 'WAITING'));
      mem.store(vm.vcpuWord(index, 'WAITING'), 0);
      mem.store(vm.vcpuWord(index, 'KVMI_BLOCK'), 0);
      return;
    case KVMI_VCPU_CONTROL_EVENTS: {
      const { events, rules } = wireOf(vm);
      const { event_id, enable } = kvmi_control_events.decode(job.payload);
      const event = events.get(event_id);
      const right = kvmi_control_events.clean(job.payload) && (enable <= 1 || !rules.flagsAreBits);
      if (!right || event?.switchedBy.includes('vcpu') !== true) return yield* answer(vcpu, job, -EINVAL);
      if (!eventAllowed(vm, event.machine)) return yield* answer(vcpu, job, -EPERM);
      const word = vm.vcpuWord(index, 'EVENTS');
      const bit = vcpuEventBit(event.machine);
      yield updating(word);
      if (enable !== 0) mem.or(word, bit);
      else mem.and(word, ~bit);
      return yield* answer(vcpu, job, 0);
    }
    case KVMI_VCPU_SET_REGISTERS: {
      const { payload } = job;
      if (payload.length < kvm_regs.bytes && wireOf(vm).rules.wholeStructs) {
        return yield* answer(vcpu, job, -EINVAL);
      }
      if (mem.load(vm.vcpuWord(index, 'WAITING')) === 0) return yield* answer(vcpu, job, -EOPNOTSUPP);
      vcpu.setRegisters(kvm_regs.decode(payload).regs);
      mem.store(vm.vcpuWord(index, 'PENDING_REGS'), 1);
      return yield* answer(vcpu, job, 0);
    }
    case JOB_STRAY_REPLY:
      // handle_event_reply, v7: nobody waits, nothing is wrong; but a reply to another event than the awaited is.
      if (mem.load(vm.vcpuWord(index, 'WAITING')) !== 0) yield* shutConnection(vm);
      return yield* answer(vcpu, job, 0);
    default: {
      const { error, data } = yield* vcpuCommand(vcpu, job.kind, job.payload);
      return yield* answer(vcpu, job, error, data);
    }
  }
}

/** The oracle of the blocks' lifetime: a release ends the session that it belongs to, and no later one (RC-71). */
function reportIfStale(vm: Vm, index: number, session: number): void {
  const now = vm.mem.load(vm.word('KVMI_SESSION'));
  if (session === now) return;
  vm.onFinding({
    id: 'I12',
    detail: `vCPU ${index} is released from session ${now} by the end of session ${session}`,
  });
}

/** The job as an index into JOBS of the trace. */
function jobCode(kind: number): number {
  switch (kind) {
    case KVMI_VCPU_EVENT:
      return JOBS.indexOf('event reply');
    case JOB_RELEASE:
      return JOBS.indexOf('release');
    case KVMI_VCPU_CONTROL_EVENTS:
      return JOBS.indexOf('control events');
    case KVMI_VCPU_GET_REGISTERS:
      return JOBS.indexOf('get registers');
    case KVMI_VCPU_SET_REGISTERS:
      return JOBS.indexOf('set registers');
    default:
      return JOBS.indexOf('other');
  }
}

function* answer(vcpu: IntrospectedVcpu, job: RingRecord, error: number, data?: Uint8Array): Path<void> {
  yield* post(vcpu, { kind: job.kind, seq: job.seq, vcpu: vcpu.index, payload: encodeReply(error, data) });
}

/** Puts a message to the receiver. False when the connection is shut or the receiver does not keep up. */
function* post(vcpu: IntrospectedVcpu, message: RingRecord): Path<boolean> {
  const { vm, index } = vcpu;
  yield reading(vm.word('KVMI_SHUT'));
  if (vm.mem.load(vm.word('KVMI_SHUT')) !== 0) return false;
  yield stepping();
  if (!messageRing(vm, index).push(message)) return false;
  yield* ringBell(vm);
  return true;
}

/** handle_vcpu_event_reply: accepted only for the event and the session it belongs to (I9). */
function* acceptReply(vcpu: IntrospectedVcpu, job: RingRecord): Path<void> {
  const { vm, index } = vcpu;
  const { mem } = vm;
  const event = wireOf(vm).eventOf.get(mem.load(vm.vcpuWord(index, 'REPLY_EVENT')));
  const reply = decodeEventReply(job.payload, event?.reply ?? null);
  const right = mem.load(vm.vcpuWord(index, 'REPLY_SEQ')) === job.seq;
  const expected =
    mem.load(vm.vcpuWord(index, 'WAITING')) === 1 &&
    (right || vm.quirk(BUG_REPLY_NO_SEQ_CHECK)) &&
    mem.load(vm.vcpuWord(index, 'REPLY_SESSION')) === mem.load(vm.word('KVMI_SESSION'));
  if (!expected || reply === null) {
    // A protocol error: as in the kernel it costs the tool its connection.
    yield* shutConnection(vm);
    return;
  }
  if (vm.checked && !right) reportWrongReply(vm, index, job.seq);
  vcpu.actor.tracer?.instant(TRACE_REPLIED, job.seq, reply.action, 0, eventFlow(job.seq));
  mem.store(vm.vcpuWord(index, 'REPLY_ACTION'), reply.action);
  mem.store64(vm.vcpuWord(index, 'REPLY_VALUE'), reply.value);
  vcpu.intercepts.reply = reply;
  mem.store(vm.vcpuWord(index, 'REPLY_ERROR'), 0);
  vcpu.applyRegisters();
  yield writing(vm.vcpuWord(index, 'WAITING'));
  mem.store(vm.vcpuWord(index, 'WAITING'), 0);
}

function reportWrongReply(vm: Vm, index: number, seq: number): void {
  const awaited = vm.mem.load(vm.vcpuWord(index, 'REPLY_SEQ'));
  vm.onFinding({
    id: 'I9',
    detail: `vCPU ${index}, waiting for the reply to event ${awaited}, accepted that to event ${seq}`,
  });
}

/**
 * kvmi_send_vcpu_event: sends an event and sleeps until its reply, running jobs meanwhile.
 *
 * @returns the action, or −EINTR when no valid reply came (the connection was lost)
 * @locking holds a KVMI reference and nothing else (L4)
 */
export function* sendVcpuEvent(vcpu: IntrospectedVcpu, event: number, data: Uint8Array): Path<number> {
  const { vm, actor, index } = vcpu;
  const { mem } = vm;
  const word = (name: Parameters<Vm['vcpuWord']>[1]) => vm.vcpuWord(index, name);
  yield updating(vm.word('EVENT_SEQ'));
  const seq = mem.add(vm.word('EVENT_SEQ'), 1) + 1;
  if (actor.tracer !== null) traceSend(actor.tracer, seq, event, data);
  const state = mem.load(word('STATE'));
  mem.store(word('REPLY_SEQ'), seq);
  mem.store(word('REPLY_SESSION'), mem.load(vm.word('KVMI_SESSION')));
  mem.store(word('REPLY_ERROR'), -EINTR);
  mem.store(word('REPLY_EVENT'), event);
  mem.store(word('PENDING_REGS'), 0);
  // ORDER: waiting before the message. The reply can come before this thread has gone to sleep.
  yield writing(word('WAITING'));
  mem.store(word('WAITING'), 1);
  yield* vcpu.beforeEventWait();
  // Its registers are part of the event: whoever sends it to a tool reads them where they are.
  vcpu.settleFlags();
  actor.awaiting(WAIT_REPLY);
  const sent = yield* post(vcpu, {
    kind: KVMI_VCPU_EVENT,
    seq,
    vcpu: index,
    payload: encodeEvent(event, data),
  });
  if (!sent) {
    mem.store(word('WAITING'), 0);
  }
  mem.store(word('STATE'), VCPU_WAITING);
  const jobs = jobRing(vm, index);
  const sentAt = actor.clock();
  for (;;) {
    // ORDER: the wake word before the conditions. A wake-up after this load is not slept over (RC-21).
    yield reading(word('WAKE_SEQ'));
    let seen = mem.load(word('WAKE_SEQ'));
    if (vm.quirk(BUG_NESTED_EVENT)) yield* handleIntrospectionRequest(vcpu);
    else yield* runJobs(vcpu);
    yield reading(word('WAITING'));
    if (mem.load(word('WAITING')) === 0) break;
    if (mem.load(vm.word('DEAD')) !== 0 || mem.load(vm.word('STOP')) === STOP_NOW) {
      mem.store(word('WAITING'), 0);
      break;
    }
    if (!jobs.empty) continue;
    // A tool that answers at once does so sooner than this thread could fall asleep and wake up.
    if (yield* spinForWake(vcpu, seen)) continue;
    if (vm.quirk(BUG_LOST_WAKEUP_REPLY)) {
      yield reading(word('WAKE_SEQ'));
      seen = mem.load(word('WAKE_SEQ'));
    }
    actor.expect = seen;
    yield waiting(word('WAKE_SEQ'));
  }
  actor.awaited(WAIT_REPLY);
  vcpu.replySpin.learn(actor.clock() - sentAt);
  mem.store(word('STATE'), state);
  // Events do not nest: there is one reply slot (RC-33).
  if (vm.checked && mem.load(word('REPLY_SEQ')) !== seq) reportWrongReply(vm, index, seq);
  yield* vcpu.afterEventWait();
  const action = mem.load(word('REPLY_ERROR')) === 0 ? mem.load(word('REPLY_ACTION')) : -EINTR;
  actor.tracer?.end(eventKind(event), action);
  return action;
}

function traceSend(tracer: Tracer, seq: number, event: number, data: Uint8Array): void {
  if (event === KVMI_VCPU_EVENT_PF) {
    const { gva, gpa, access } = decodePf(data);
    tracer.begin(TRACE_PF, seq, gpa, access, eventFlow(seq), gva);
  } else {
    tracer.begin(eventKind(event), seq, event, 0, eventFlow(seq));
  }
}

function eventKind(event: number): number {
  if (event === KVMI_VCPU_EVENT_PF) return TRACE_PF;
  return event === KVMI_VCPU_EVENT_PAUSE ? TRACE_PAUSE : TRACE_EVENT;
}

/** Looks for a while whether the wake word has changed. False: it is time to sleep. */
function* spinForWake(vcpu: IntrospectedVcpu, seen: number): Path<boolean> {
  const { vm, actor, replySpin } = vcpu;
  if (replySpin.ns === 0) return false;
  const wake = vm.vcpuWord(vcpu.index, 'WAKE_SEQ');
  const startNs = actor.clock();
  for (let looks = 1; replySpin.again(looks, startNs, actor.clock); looks++) {
    yield reading(wake);
    if (vm.mem.load(wake) !== seen) return true;
  }
  return false;
}

/** What a PF event led to. */
export type PfVerdict =
  /** Not restricted, not introspected, or event disabled: go on, nobody was asked. */
  | { readonly kind: 'allowed' }
  /** CONTINUE (or fail-open): this access is approved, as far as tightening number `version` goes. */
  | { readonly kind: 'approved'; readonly version: number }
  /** A read that the tool has given an answer to: nothing is read. */
  | { readonly kind: 'given'; readonly value: bigint }
  /** RETRY, CRASH, or a protocol error: back to the instruction. */
  | { readonly kind: 'stopped' };

const ALLOWED: PfVerdict = { kind: 'allowed' };
const STOPPED: PfVerdict = { kind: 'stopped' };

export function* pfEventEnabled(vcpu: IntrospectedVcpu): Path<boolean> {
  const word = vcpu.vm.vcpuWord(vcpu.index, 'EVENTS');
  yield reading(word);
  return (vcpu.vm.mem.load(word) & vcpuEventBit(KVMI_VCPU_EVENT_PF)) !== 0;
}

/**
 * kvmi_track_preread, kvmi_track_prewrite, kvmi_track_preexec of the seed, which differ in `access` only.
 *
 * @param access  exactly one of ACCESS_R, ACCESS_W, ACCESS_X
 * @param bytes   of a read: how many
 * @locking takes a KVMI reference for the whole call; may sleep for the reply
 */
export function* trackPreAccess(
  vcpu: IntrospectedVcpu,
  gpa: number,
  gva: bigint,
  access: number,
  bytes: number,
): Path<PfVerdict> {
  if (!(yield* kvmiGet(vcpu.actor, vcpu.vm))) return ALLOWED;
  let verdict = ALLOWED;
  if (yield* pfEventEnabled(vcpu)) verdict = yield* pfEvent(vcpu, gpa, gva, access, bytes);
  yield* kvmiPut(vcpu.actor, vcpu.vm);
  return verdict;
}

/** kvmi_pf_event. */
function* pfEvent(
  vcpu: IntrospectedVcpu,
  gpa: number,
  gva: bigint,
  access: number,
  bytes: number,
): Path<PfVerdict> {
  const { vm, actor, intercepts } = vcpu;
  const { restricted, version } = yield* restrictedPageAccess(actor, vm, Math.floor(gpa / 4096), access);
  if (!restricted) return ALLOWED;
  const known = access === ACCESS_R ? intercepts.insn.given(gva, bytes) : null;
  if (known !== null) return { kind: 'given', value: known };
  if (intercepts.insn.silent) return { kind: 'approved', version };
  const kind = access === 4 ? 2 : access - 1;
  vcpu.count('EVENTS_SENT', kind);
  const locked = vm.quirk(BUG_EVENT_UNDER_TREE_LOCK);
  if (locked) yield* readLock(actor, vm.accessTreeLock);
  const action = yield* sendVcpuEvent(vcpu, KVMI_VCPU_EVENT_PF, encodePf({ gva, gpa, access }));
  if (locked) yield* readUnlock(actor, vm.accessTreeLock);
  switch (action) {
    case KVMI_EVENT_ACTION_CONTINUE:
      vcpu.count('PF_CONTINUE', kind);
      intercepts.insn.answered(intercepts.reply);
      if (access === ACCESS_R) {
        const value = intercepts.insn.given(gva, bytes);
        if (value !== null) return { kind: 'given', value };
      }
      return { kind: 'approved', version };
    case KVMI_EVENT_ACTION_RETRY:
      vcpu.count('PF_RETRY', kind);
      return STOPPED;
    case -EINTR:
      // The wait ended because the machine does: nobody has allowed this access, and no instruction comes after it.
      if (vm.mem.load(vm.word('DEAD')) !== 0 || vm.mem.load(vm.word('STOP')) === STOP_NOW) return STOPPED;
      // kvmi_msg_send_vcpu_pf: a transport error means CONTINUE. `--strict` retries instead (RC-35).
      vcpu.count('PF_FAIL_OPEN', kind);
      if (vm.mem.load(vm.word('STRICT')) === 0) return { kind: 'approved', version };
      // Until the receiver has released this vCPU there is no other answer.
      yield relaxing(vm.word('KVMI_SHUT'));
      return STOPPED;
    default:
      if (action === KVMI_EVENT_ACTION_CRASH) vcpu.count('PF_CRASH', kind);
      yield* handleCommonEventActions(vcpu, action);
      return STOPPED;
  }
}

/**
 * kvmi_handle_common_event_actions: CRASH brings the VM down; anything unknown costs the tool its connection on wire-12, and
 * is nothing on wire-7.
 */
export function* handleCommonEventActions(vcpu: IntrospectedVcpu, action: number): Path<void> {
  const { vm, actor, index } = vcpu;
  if (action !== KVMI_EVENT_ACTION_CRASH) {
    if (wireOf(vm).rules.wrongActionCloses) yield* shutConnection(vm);
    return;
  }
  if (vm.quirk(BUG_CRASH_LOCAL)) yield* makeRequest(vm, index, REQ_VM_DEAD);
  else yield* declareDead(actor, vm, index);
}

/**
 * The end of vCPU `index`: it runs no jobs any more, so its block goes with it.
 *
 * @returns false when it had ended before
 */
export function endIntrospection(vm: Vm, index: number): boolean {
  const { mem } = vm;
  const first = mem.cas(vm.vcpuWord(index, 'ENDED'), 0, 1) === 0;
  // ORDER: ended first. A hook that finds the block gone must not make another: nobody would give that up.
  mem.store(vm.vcpuWord(index, 'KVMI_BLOCK'), 0);
  return first;
}

/** kvmi_handle_requests: jobs, then one PAUSE event for each pause asked for. */
export function* handleIntrospectionRequest(vcpu: IntrospectedVcpu): Path<void> {
  const { vm, actor, index } = vcpu;
  const { mem } = vm;
  if (!(yield* kvmiGet(actor, vm))) {
    yield* runJobs(vcpu);
    return;
  }
  for (;;) {
    yield* runJobs(vcpu);
    const pauses = vm.vcpuWord(index, 'PAUSE_REQUESTS');
    yield updating(pauses);
    if (mem.load(pauses) <= 0) break;
    mem.add(pauses, -1);
    vcpu.count('PAUSES');
    const action = yield* sendVcpuEvent(vcpu, KVMI_VCPU_EVENT_PAUSE, new Uint8Array(0));
    if (action !== KVMI_EVENT_ACTION_CONTINUE && action !== -EINTR)
      yield* handleCommonEventActions(vcpu, action);
  }
  yield* kvmiPut(actor, vm);
}
