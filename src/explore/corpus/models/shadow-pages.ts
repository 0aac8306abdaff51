/**
 * Shadow pages: the pool they are taken from, oldest first when it is empty, and the unsync marks with which a guest may
 * write its own table for a while.
 *
 * @source arch/x86/kvm/mmu/mmu.c (5.15): make_mmu_pages_available, kvm_mmu_zap_oldest_mmu_pages,
 *         mmu_try_to_unsync_pages, kvm_unsync_page
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_RECLAIM_READ_LOCK, BUG_UNSYNC_READ_LOCK } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, updating, writing } from '../../../shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../../shared/sync/spinlock.ts';
import { unsyncPagesLock, wordsOf } from './cells.ts';

/** Shadow pages of the pool, numbered from 1 in order of age. */
const PAGES = 4;

const POOL = struct('shadow-pool', {
  AVAILABLE: i32('mmu_lock', 'pages that may be taken'),
  OLDEST: i32('mmu_lock', 'first of the pages in use'),
  IN_USE: i32('mmu_lock', 'bit n: page n is in use'),
  UNSYNC: i32('mmu_unsync_pages_lock', '1: the page is written by the guest without faults'),
  UNSYNC_CHILDREN: i32('anyone (add)', 'of its parent: how many of its children are unsync'),
});

const word = wordsOf(POOL);

/** All pages are in use. */
export function fillPool(vm: Vm): void {
  vm.mem.store(word(vm, 'OLDEST'), 1);
  for (let page = 1; page <= PAGES; page++) vm.mem.or(word(vm, 'IN_USE'), 1 << page);
}

/** A fault that needs a shadow page. */
export function* takeShadowPage(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const shared = vm.quirk(BUG_RECLAIM_READ_LOCK);
  yield* (shared ? readLock : writeLock)(actor, vm.mmuLock);
  yield reading(word(vm, 'AVAILABLE'));
  if (mem.load(word(vm, 'AVAILABLE')) === 0) yield* zapOldest(vm);
  yield updating(word(vm, 'AVAILABLE'));
  mem.add(word(vm, 'AVAILABLE'), -1);
  yield* (shared ? readUnlock : writeUnlock)(actor, vm.mmuLock);
}

/** mmu_lock held for write, or so it thinks. */
function* zapOldest(vm: Vm): Path<void> {
  const { mem } = vm;
  yield reading(word(vm, 'OLDEST'));
  const page = mem.load(word(vm, 'OLDEST'));
  yield writing(word(vm, 'OLDEST'));
  mem.store(word(vm, 'OLDEST'), page + 1);
  yield updating(word(vm, 'IN_USE'));
  if ((mem.and(word(vm, 'IN_USE'), ~(1 << page)) & (1 << page)) === 0) {
    vm.onFinding({ id: 'I7', detail: `shadow page ${page} is zapped and freed a second time` });
  }
  yield updating(word(vm, 'AVAILABLE'));
  mem.add(word(vm, 'AVAILABLE'), 1);
}

/** A fault by which the guest may write its table from now on: the page goes out of sync, once. */
export function* unsyncPage(actor: Actor, vm: Vm): Path<void> {
  yield* readLock(actor, vm.mmuLock);
  yield reading(word(vm, 'UNSYNC'));
  if (vm.mem.load(word(vm, 'UNSYNC')) === 0) {
    if (vm.quirk(BUG_UNSYNC_READ_LOCK)) yield* markUnsync(vm);
    else {
      yield* spinLock(actor, unsyncPagesLock(vm));
      if (vm.mem.load(word(vm, 'UNSYNC')) === 0) yield* markUnsync(vm);
      yield* spinUnlock(actor, unsyncPagesLock(vm));
    }
  }
  yield* readUnlock(actor, vm.mmuLock);
}

function* markUnsync(vm: Vm): Path<void> {
  const { mem } = vm;
  yield updating(word(vm, 'UNSYNC_CHILDREN'));
  mem.add(word(vm, 'UNSYNC_CHILDREN'), 1);
  yield writing(word(vm, 'UNSYNC'));
  mem.store(word(vm, 'UNSYNC'), 1);
}

/** What the parent counts, and what it should. */
export function unsyncCounts(vm: Vm): { counted: number; unsync: number } {
  return { counted: vm.mem.load(word(vm, 'UNSYNC_CHILDREN')), unsync: vm.mem.load(word(vm, 'UNSYNC')) };
}
