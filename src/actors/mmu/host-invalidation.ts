/**
 * The host takes guest memory away from the MMU: to swap it out, to migrate it, to break a shared copy.
 *
 * Between the end of `invalidateRangeStart` and `invalidateRangeEnd` no vCPU reaches the pages through a mapping, and
 * none makes one: a fault that looked the slot up before looks again once it has mmu_lock (page-fault.ts).
 *
 * LIMIT: the emulator and the walker reach guest memory through the host's own mapping, which the host keeps up to date
 * by itself; that they may touch a page the host is at is not modelled.
 *
 * @source virt/kvm/kvm_main.c (5.17): kvm_mmu_notifier_invalidate_range_start and _end, kvm_handle_hva_range,
 *         kvm_inc_notifier_count, kvm_dec_notifier_count; arch/x86/kvm/mmu/mmu.c: kvm_unmap_gfn_range
 */
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import { BUG_YIELD_DROPS_FLUSH } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { HOST_INVALIDATION } from '../../shared/sync/lock-class.ts';
import { notifying, type Path, reading, updating } from '../../shared/sync/point.ts';
import { needsBreak, writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spinlock.ts';
import { srcuReadLock, srcuReadUnlock } from '../../shared/sync/srcu.ts';
import { flushRemoteTlbs, zapGfn } from './protect.ts';
import { activeSet, type Slot, slotsOf } from './slot-sets.ts';
import type { Vm } from './vm.ts';

/** Pages of guest RAM, by RAM page: what a range of host virtual addresses is to KVM. */
export interface HostRange {
  readonly ramPage: number;
  readonly npages: number;
}

/** The part of a range that one slot makes visible to the guest. */
interface Piece {
  readonly slot: Slot;
  readonly startGfn: number;
  /** After the last. */
  readonly endGfn: number;
}

/**
 * When it returns, no vCPU has a mapping or a TLB entry of the range, and none gets one until the end is announced.
 *
 * @locking takes mn_invalidate_lock, then kvm.srcu → mmu_lock for write, and waits for TLB acknowledgements under them.
 *          Neither slots_lock nor slots_arch_lock: whoever swaps slot sets under them waits for the end (L7)
 */
export function* invalidateRangeStart(actor: Actor, vm: Vm, range: HostRange): Path<void> {
  const { mem } = vm;
  // From here on the slot sets stay: start and end find the same slots (RC-49).
  yield* spinLock(actor, vm.mnInvalidateLock);
  yield updating(vm.word('MN_ACTIVE_INVALIDATE'));
  mem.add(vm.word('MN_ACTIVE_INVALIDATE'), 1);
  actor.checks?.owes(HOST_INVALIDATION);
  yield* spinUnlock(actor, vm.mnInvalidateLock);

  const section = yield* srcuReadLock(actor, vm.srcu);
  const pieces = yield* piecesOf(vm, range);
  if (pieces.length > 0) {
    yield* writeLock(actor, vm.mmuLock);
    beginUnderLock(vm, range);
    let flush = false;
    for (const { slot, startGfn, endGfn } of pieces) {
      for (let gfn = startGfn; gfn < endGfn; gfn++) {
        if (yield* zapGfn(vm, slot, gfn)) flush = true;
        yield reading(vm.mmuLock.addr);
        if (!needsBreak(mem, vm.mmuLock)) continue;
        // Whoever gets the lock meanwhile takes for dead what has been zapped: no TLB may still know it.
        if (flush && !vm.quirk(BUG_YIELD_DROPS_FLUSH)) yield* flushRemoteTlbs(actor, vm);
        flush = false;
        yield* writeUnlock(actor, vm.mmuLock);
        yield* writeLock(actor, vm.mmuLock);
      }
    }
    if (flush) yield* flushRemoteTlbs(actor, vm);
    yield* writeUnlock(actor, vm.mmuLock);
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);
}

/** The host is done with the range: faults on it find what is there now. */
export function* invalidateRangeEnd(actor: Actor, vm: Vm, range: HostRange): Path<void> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  const pieces = yield* piecesOf(vm, range);
  if (pieces.length > 0) {
    yield* writeLock(actor, vm.mmuLock);
    // ORDER: the number before the count. A fault that sees no invalidation in progress sees that one has ended.
    yield updating(vm.word('MMU_NOTIFIER_SEQ'));
    mem.add(vm.word('MMU_NOTIFIER_SEQ'), 1);
    yield updating(vm.word('MMU_NOTIFIER_COUNT'));
    if (mem.add(vm.word('MMU_NOTIFIER_COUNT'), -1) === 0) {
      vm.onFinding({
        id: 'I4',
        detail: 'a host invalidation ended that never began: the count went below 0',
      });
    }
    yield* writeUnlock(actor, vm.mmuLock);
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);

  yield* spinLock(actor, vm.mnInvalidateLock);
  yield updating(vm.word('MN_ACTIVE_INVALIDATE'));
  const wake = mem.add(vm.word('MN_ACTIVE_INVALIDATE'), -1) === 1;
  if (wake) mem.add(vm.word('MN_WAITERS'), 1);
  actor.checks?.settles(HOST_INVALIDATION);
  yield* spinUnlock(actor, vm.mnInvalidateLock);
  if (!wake) return;
  yield notifying(vm.word('MN_WAITERS'));
  mem.notify(vm.word('MN_WAITERS'));
}

/** kvm_inc_notifier_count: overlapping invalidations are remembered as one range. mmu_lock held for write. */
function beginUnderLock(vm: Vm, range: HostRange): void {
  const { mem } = vm;
  const start = vm.word('MMU_NOTIFIER_START');
  const end = vm.word('MMU_NOTIFIER_END');
  const first = mem.add(vm.word('MMU_NOTIFIER_COUNT'), 1) === 0;
  mem.store(start, first ? range.ramPage : Math.min(mem.load(start), range.ramPage));
  const after = range.ramPage + range.npages;
  mem.store(end, first ? after : Math.max(mem.load(end), after));
}

/** Where the guest sees the range, in all address spaces; INVALID slots are mapped until they are flushed. */
function* piecesOf(vm: Vm, { ramPage, npages }: HostRange): Path<Piece[]> {
  const pieces: Piece[] = [];
  for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
    yield reading(vm.word('ACTIVE_SET') + asId * 4);
    for (const slot of slotsOf(vm, activeSet(vm, asId))) {
      const from = Math.max(ramPage, slot.ramPage);
      const to = Math.min(ramPage + npages, slot.ramPage + slot.npages);
      if (from >= to) continue;
      const toGfn = slot.baseGfn - slot.ramPage;
      pieces.push({ slot, startGfn: from + toGfn, endGfn: to + toGfn });
    }
  }
  return pieces;
}
