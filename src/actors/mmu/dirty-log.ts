/**
 * Harvesting the dirty log: which pages of a slot have been written since the last time.
 *
 * @source virt/kvm/kvm_main.c (5.17): kvm_get_dirty_log_protect; arch/x86/kvm/mmu/mmu.c:
 *         kvm_arch_mmu_enable_log_dirty_pt_masked
 */
import { SLOT_LOG_DIRTY } from '../../shared/layout/memslot.ts';
import { BUG_HARVEST_NO_FLUSH } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { type Path, updating } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { ENOENT } from './errno.ts';
import { flushRemoteTlbs, writeProtectGfn } from './protect.ts';
import { dirtyWord } from './slot-arena.ts';
import { activeSet, slotsOf } from './slot-sets.ts';
import type { Vm } from './vm.ts';

/**
 * KVM_GET_DIRTY_LOG: the log as it is, and a new one begun. Every page in it has been write-protected again, so that the
 * next write to it faults and is logged: what a page held when this returns, or later, is in this log or in the next.
 *
 * @returns bit `n % 32` of word `n / 32`: page `n` of the slot was written; −ENOENT for a slot that does not log
 * @locking takes slots_lock → mmu_lock; waits for TLB acknowledgements under slots_lock
 */
export function* harvestDirtyLog(actor: Actor, vm: Vm, asId: number, id: number): Path<number[] | number> {
  const { mem } = vm;
  yield* mutexLock(actor, vm.slotsLock);
  const slot = slotsOf(vm, activeSet(vm, asId)).find((candidate) => candidate.id === id);
  if (slot === undefined || (slot.flags & SLOT_LOG_DIRTY) === 0) {
    yield* mutexUnlock(actor, vm.slotsLock);
    return -ENOENT;
  }
  const log: number[] = [];
  yield* writeLock(actor, vm.mmuLock);
  for (let first = 0; first < slot.npages; first += 32) {
    const word = dirtyWord(vm, slot.arch, first);
    // ORDER: the bits before the protection. A write between the two is in the new log, if not in this one (RC-77).
    yield updating(word);
    const bits = mem.exchange(word, 0);
    log.push(bits);
    for (let page = first; page < Math.min(first + 32, slot.npages); page++) {
      if ((bits & (1 << (page % 32))) !== 0) yield* writeProtectGfn(vm, slot, slot.baseGfn + page);
    }
  }
  yield* writeUnlock(actor, vm.mmuLock);
  if (log.some((bits) => bits !== 0) && !vm.quirk(BUG_HARVEST_NO_FLUSH)) yield* flushRemoteTlbs(actor, vm);
  yield* mutexUnlock(actor, vm.slotsLock);
  return log;
}
