/**
 * Requests and kicks: how one actor makes a vCPU notice something.
 *
 * Both sides follow the two-variable protocol: the requester writes REQUESTS, then reads MODE; the vCPU writes MODE,
 * then reads REQUESTS. Whichever comes second sees the other (RC-20).
 *
 * @source virt/kvm/kvm_main.c: kvm_make_all_cpus_request, kvm_vcpu_kick; Documentation/virt/kvm/vcpu-requests.rst
 */
import { CPU } from '../../shared/layout/cpu.ts';
import { EXITING_GUEST, IN_GUEST, OUTSIDE_GUEST } from '../../shared/layout/vcpu.ts';
import type { Mem } from '../../shared/mem.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { WAIT_ACK, WAIT_TURN } from '../../shared/sync/lock-class.ts';
import { notifying, type Path, reading, updating, waiting } from '../../shared/sync/point.ts';
import { ackFlow, TRACE_ACK, TRACE_ASK, TRACE_FLUSH } from '../../shared/trace/kinds.ts';
import type { Tracer } from '../../shared/trace/tracer.ts';
import type { Vm } from './vm.ts';

/** Address of the request word of vCPU `index`. */
export function requestWord(vm: Vm, index: number): number {
  return vm.cpu(index) + CPU.at.REQUESTS;
}

/** kvm_make_request: sets bits for one vCPU. Almost always to be followed by a kick. */
export function* makeRequest(vm: Vm, index: number, bits: number): Path<void> {
  yield updating(requestWord(vm, index));
  vm.mem.or(requestWord(vm, index), bits);
}

/**
 * kvm_vcpu_kick: wakes a sleeping vCPU. One in guest mode polls its request word, so posting was enough for it; the
 * mode is moved to EXITING_GUEST so that people (and the oracle) can see that it has been told.
 */
export function* kick(vm: Vm, index: number): Path<void> {
  const mode = vm.vcpuWord(index, 'MODE');
  yield updating(mode);
  vm.mem.cas(mode, IN_GUEST, EXITING_GUEST);
  const wake = vm.vcpuWord(index, 'WAKE_SEQ');
  yield updating(wake);
  vm.mem.add(wake, 1);
  yield notifying(wake);
  vm.mem.notify(wake);
}

export interface RequestAll {
  readonly bits: number;
  /** Wait until every vCPU that was not outside guest mode has left it once. */
  readonly wait: boolean;
  /** Wake vCPUs that sleep; without it they see the request before they enter the guest. */
  readonly wakeup?: boolean;
  /** vCPU that need not be told: the caller itself. −1 for none. */
  readonly except?: number;
}

/**
 * kvm_make_all_cpus_request.
 *
 * @locking allowed under mmu_lock even when it waits: a vCPU acknowledges by leaving guest mode, for which it needs no
 *          lock, and one that is outside guest mode is not waited for
 */
export function* requestAll(actor: Actor, vm: Vm, request: RequestAll): Path<void> {
  const { mem } = vm;
  const { tracer } = actor;
  const waitFor: number[] = [];
  const counts: number[] = [];
  if (request.wait) tracer?.begin(TRACE_FLUSH, request.bits);
  yield updating(vm.word('FLUSH_REQUESTS'));
  mem.add(vm.word('FLUSH_REQUESTS'), 1);
  for (let index = 0; index < vm.vcpuCount; index++) {
    if (index === request.except) continue;
    yield* makeRequest(vm, index, request.bits);
    const asked = tracer?.now() ?? 0;
    // ORDER: count before mode. A vCPU that leaves between the two has changed the count we compare with.
    const countWord = vm.vcpuWord(index, 'OUTSIDE_COUNT');
    yield reading(countWord);
    const count = mem.load(countWord);
    const modeWord = vm.vcpuWord(index, 'MODE');
    yield reading(modeWord);
    if (mem.load(modeWord) !== OUTSIDE_GUEST && (yield* tellToLeave(mem, modeWord))) {
      waitFor.push(index);
      counts.push(count);
      // The time before the count was read: the acknowledgement that this flow leads to comes after it.
      if (request.wait) tracer?.instantAt(asked, TRACE_ASK, index, 0, 0, ackFlow(index, count + 1));
    }
    if (request.wakeup === true) yield* kick(vm, index);
  }
  if (!request.wait) return;
  if (waitFor.length === 0) {
    tracer?.end(TRACE_FLUSH, 0);
    return;
  }

  const began = actor.clock();
  actor.awaiting(WAIT_ACK);
  for (const [i, index] of waitFor.entries()) {
    const countWord = vm.vcpuWord(index, 'OUTSIDE_COUNT');
    for (;;) {
      yield reading(countWord);
      if (mem.load(countWord) !== counts[i]) break;
      actor.expect = counts[i]!;
      yield waiting(countWord);
    }
    yield updating(vm.word('FLUSH_ACKS'));
    mem.add(vm.word('FLUSH_ACKS'), 1);
  }
  actor.awaited(WAIT_ACK);
  tracer?.end(TRACE_FLUSH, waitFor.length);
  const waitedUs = Math.round((actor.clock() - began) / 1000);
  const longest = vm.word('FLUSH_WAIT_US_MAX');
  for (let seen = mem.load(longest); waitedUs > seen; ) {
    const found = mem.cas(longest, seen, waitedUs);
    if (found === seen) break;
    seen = found;
  }
}

/**
 * Has a vCPU that leaves guest mode notify whoever waits for it. False when it is outside by now: it sees the request
 * before its next entry.
 */
function* tellToLeave(mem: Mem, modeWord: number): Path<boolean> {
  yield updating(modeWord);
  return mem.cas(modeWord, IN_GUEST, EXITING_GUEST) !== OUTSIDE_GUEST;
}

/**
 * vCPU `index` is about to enter the guest, or goes on with what it left it for: until {@link endTurn} it may have
 * effects that no request it has not seen yet can prevent.
 */
export function beginTurn(actor: Actor, vm: Vm, index: number): void {
  actor.checks?.owes(WAIT_TURN);
  // SHARED: this vCPU writes the word, nobody else.
  const turn = vm.vcpuWord(index, 'TURN');
  vm.mem.store(turn, vm.mem.load(turn) | 1);
}

/** It has no effects before it has looked at its requests. Nothing to do for one that is between turns already. */
export function* endTurn(actor: Actor, vm: Vm, index: number): Path<void> {
  const { mem } = vm;
  const turn = vm.vcpuWord(index, 'TURN');
  const now = mem.load(turn);
  if ((now & 1) === 0) return;
  actor.checks?.settles(WAIT_TURN);
  mem.store(turn, (now + 1) | 0);
  // ORDER: the turn before the waiters. Who waits counts itself first and looks at the turn then: one sees the other.
  if (mem.load(vm.vcpuWord(index, 'TURN_WAITERS')) === 0) return;
  yield notifying(turn);
  mem.notify(turn);
}

/**
 * Waits until vCPU `index` is between two turns, or has been since. It sees the requests posted before.
 *
 * @locking with no lock held that a vCPU may need
 */
export function* awaitEndOfTurn(actor: Actor, vm: Vm, index: number): Path<void> {
  const turn = vm.vcpuWord(index, 'TURN');
  const waiters = vm.vcpuWord(index, 'TURN_WAITERS');
  yield updating(waiters);
  vm.mem.add(waiters, 1);
  yield reading(turn);
  const seen = vm.mem.load(turn);
  if ((seen & 1) !== 0) {
    actor.awaiting(WAIT_TURN);
    for (let now = seen; now === seen; now = vm.mem.load(turn)) {
      actor.expect = seen;
      yield waiting(turn);
      yield reading(turn);
    }
    actor.awaited(WAIT_TURN);
  }
  yield updating(waiters);
  vm.mem.add(waiters, -1);
}

/**
 * Publishes that the vCPU is outside guest mode and lets waiting requesters go on.
 *
 * @param tracer  of the vCPU's actor: notes an acknowledgement when requests are pending
 */
export function* leaveGuestMode(vm: Vm, index: number, tracer: Tracer | null = null): Path<void> {
  const { mem } = vm;
  yield updating(vm.vcpuWord(index, 'MODE'));
  const mode = mem.exchange(vm.vcpuWord(index, 'MODE'), OUTSIDE_GUEST);
  const count = vm.vcpuWord(index, 'OUTSIDE_COUNT');
  yield updating(count);
  const left = mem.add(count, 1) + 1;
  if (tracer !== null) traceAcknowledgement(vm, index, left, tracer);
  yield notifying(count);
  // Who waits for a vCPU in guest mode has said so, which it cannot of one that reads tables.
  if (mode !== IN_GUEST) mem.notify(count);
}

/** A request that is waited for was posted before its sender read the count: who counts after that sees the bits. */
function traceAcknowledgement(vm: Vm, index: number, left: number, tracer: Tracer): void {
  const pending = vm.mem.load(requestWord(vm, index));
  if (pending !== 0) tracer.instant(TRACE_ACK, pending, 0, 0, ackFlow(index, left));
}
