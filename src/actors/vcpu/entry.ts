/**
 * Into guest mode and out of it: the vCPU's half of the request protocol.
 *
 * @source arch/x86/kvm/x86.c: vcpu_enter_guest, kvm_vcpu_exit_request
 */
import {
  IN_GUEST,
  REQ_CODE_FLUSH,
  REQ_INTROSPECTION,
  REQ_MMU_RELOAD,
  REQ_PARK,
  REQ_STOP,
  REQ_TLB_FLUSH,
  REQ_VM_DEAD,
  VCPU_RUNNING,
} from '../../shared/layout/vcpu.ts';
import { BUG_CLEAR_AFTER_HANDLE, BUG_DEKKER_ORDER, BUG_PAUSE_ABORTS_BLOCK } from '../../shared/quirks.ts';
import { WAIT_ACK, WAIT_PARKED } from '../../shared/sync/lock-class.ts';
import { notifying, type Path, reading, updating, waiting, writing } from '../../shared/sync/point.ts';
import { TRACE_PARKED, TRACE_SERVE } from '../../shared/trace/kinds.ts';
import { handleIntrospectionRequest } from '../introspector/vcpu-side.ts';
import { beginTurn, endTurn, leaveGuestMode, requestWord } from '../mmu/requests.ts';
import { loadRoot, rootIsStale } from '../mmu/roots.ts';
import { flushTlb } from './tlb.ts';
import type { Vcpu } from './vcpu.ts';

/**
 * Serves requests until none is left and guest mode is entered; kvm.srcu is left on the way.
 *
 * @returns false when the vCPU must not run any more (VM dead, machine stopping)
 * @locking inside a kvm.srcu section when called, outside when it returns true
 */
export function* enterGuest(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, index } = vcpu;
  const requests = requestWord(vm, index);
  const mode = vm.vcpuWord(index, 'MODE');
  for (;;) {
    yield* endTurn(vcpu.actor, vm, index);
    yield reading(requests);
    if (mem.load(requests) !== 0) {
      if (!(yield* serveRequests(vcpu))) return false;
      continue;
    }
    if (rootIsStale(vm, mem.load(vcpu.word('ROOT')), mem.load(vcpu.word('ROOT_GEN')))) {
      yield* loadRoot(vcpu.actor, vm, index);
      flushTlb(mem, vcpu.cpu);
    }
    yield* vcpu.leaveSrcu();
    // ORDER: mode before requests. A requester writes its bit, then reads the mode: one of us sees the other (RC-20).
    yield writing(mode);
    beginTurn(vcpu.actor, vm, index);
    mem.store(mode, IN_GUEST);
    vcpu.actor.checks?.owes(WAIT_ACK);
    // There was none before the mode was published.
    if (vm.quirk(BUG_DEKKER_ORDER)) return true;
    yield reading(requests);
    if (mem.load(requests) === 0) return true;
    yield* exitGuest(vcpu);
  }
}

/** Leaves guest mode and becomes a reader of the memslots again. */
export function* exitGuest(vcpu: Vcpu): Path<void> {
  yield* leaveGuestMode(vcpu.vm, vcpu.index, vcpu.actor.tracer);
  vcpu.actor.checks?.settles(WAIT_ACK);
  vcpu.count('EXITS');
  yield* vcpu.enterSrcu();
}

/**
 * HLT: stands still until a request has been served. False when the vCPU must not run any more.
 * A halted vCPU is no reader of the memslots, so that nobody waits for it.
 */
export function* sleepHalted(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, index, actor } = vcpu;
  const requests = requestWord(vm, index);
  yield* endTurn(vcpu.actor, vm, index);
  // ORDER: the wake word before the requests. A kick after this load is not slept over.
  yield reading(vcpu.word('WAKE_SEQ'));
  const seen = mem.load(vcpu.word('WAKE_SEQ'));
  yield reading(requests);
  if (mem.load(requests) !== 0) {
    if (vm.quirk(BUG_PAUSE_ABORTS_BLOCK)) mem.store(vcpu.word('STATE'), VCPU_RUNNING);
    const goesOn = yield* serveRequests(vcpu);
    // The tool has something for it to do.
    if (vcpu.intercepts.injection !== null) mem.store(vcpu.word('STATE'), VCPU_RUNNING);
    return goesOn;
  }
  const sleepMs = vcpu.platform?.sleepMs() ?? Number.POSITIVE_INFINITY;
  if (sleepMs === 0) return true;
  yield* vcpu.leaveSrcu();
  actor.checks?.mayBlock('a kick');
  actor.expect = seen;
  actor.timeoutMs = sleepMs;
  yield waiting(vcpu.word('WAKE_SEQ'));
  yield* vcpu.enterSrcu();
  return true;
}

/**
 * Takes all request bits, then acts on them: cleared before acting, so that a later request is not lost (RC-78).
 *
 * @returns false when the vCPU must not run any more
 * @locking inside a kvm.srcu section when called and when it returns, not necessarily the same one
 */
export function* serveRequests(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, index } = vcpu;
  const requests = requestWord(vm, index);
  const clearLate = vm.quirk(BUG_CLEAR_AFTER_HANDLE);
  yield updating(requests);
  const bits = clearLate ? mem.load(requests) : mem.exchange(requests, 0);
  vcpu.actor.tracer?.instant(TRACE_SERVE, bits);
  if ((bits & REQ_VM_DEAD) !== 0 || mem.load(vm.word('DEAD')) !== 0) return false;
  if ((bits & REQ_STOP) !== 0) return false;
  if ((bits & REQ_MMU_RELOAD) !== 0) {
    yield writing(vcpu.word('ROOT'));
    mem.store(vcpu.word('ROOT'), -1);
  }
  if ((bits & (REQ_TLB_FLUSH | REQ_MMU_RELOAD)) !== 0) {
    vcpu.count('TLB_FLUSHES');
    flushTlb(mem, vcpu.cpu);
  }
  if ((bits & REQ_CODE_FLUSH) !== 0) vcpu.dropStaleCode();
  if ((bits & REQ_INTROSPECTION) !== 0) yield* handleIntrospectionRequest(vcpu);
  if ((bits & REQ_PARK) !== 0) {
    vcpu.actor.tracer?.begin(TRACE_PARKED);
    yield* park(vcpu);
    vcpu.actor.tracer?.end(TRACE_PARKED);
  }
  if (clearLate) {
    yield updating(requests);
    mem.and(requests, ~bits);
  }
  return mem.load(vm.word('DEAD')) === 0;
}

/** Stands still for the invariant checker, outside every section and with nothing held. */
function* park(vcpu: Vcpu): Path<void> {
  const { vm, mem } = vcpu;
  yield* vcpu.leaveSrcu();
  vcpu.settleFlags();
  vcpu.actor.awaiting(WAIT_PARKED);
  mem.store(vcpu.word('PARKED'), 1);
  yield updating(vm.word('PARKED'));
  mem.add(vm.word('PARKED'), 1);
  yield notifying(vm.word('PARKED'));
  mem.notify(vm.word('PARKED'));
  for (;;) {
    yield reading(vm.word('PARK'));
    const round = mem.load(vm.word('PARK'));
    if (round === 0) break;
    vcpu.actor.expect = round;
    yield waiting(vm.word('PARK'));
  }
  yield updating(vm.word('PARKED'));
  mem.add(vm.word('PARKED'), -1);
  mem.store(vcpu.word('PARKED'), 0);
  vcpu.actor.awaited(WAIT_PARKED);
  yield notifying(vm.word('PARKED'));
  mem.notify(vm.word('PARKED'));
  yield* vcpu.enterSrcu();
}
