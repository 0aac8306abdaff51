/**
 * Memory and locks of the models: what KVM has and our machine has not, made small beside it. A model's words lie in a
 * page of guest RAM that no slot covers, so that they are part of the world that is saved and restored.
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import type { Struct } from '../../../shared/struct.ts';
import { LOCK_BYTES, LOCK_TDP_PAGES, LOCK_UNSYNC_PAGES } from '../../../shared/sync/lock-class.ts';
import { SpinLock } from '../../../shared/sync/spinlock.ts';

/** Where in that page its locks are. */
const LOCKS = 2048;

/** Where a model keeps its struct: the last page of guest RAM. */
function modelPage(vm: Vm): number {
  return vm.ramPage(vm.layout.config.ramPages - 1);
}

/** Addresses of the words of a model's struct. */
export function wordsOf<Names extends string>(layout: Struct<Names>): (vm: Vm, field: Names) => number {
  return (vm, field) => modelPage(vm) + layout.at[field];
}

/** What protects the list of table pages while mmu_lock is held for read. */
export function tdpPagesLock(vm: Vm): SpinLock {
  return new SpinLock(modelPage(vm) + LOCKS, LOCK_TDP_PAGES);
}

/** What protects the unsync marks while mmu_lock is held for read. */
export function unsyncPagesLock(vm: Vm): SpinLock {
  return new SpinLock(modelPage(vm) + LOCKS + LOCK_BYTES, LOCK_UNSYNC_PAGES);
}
