/**
 * One spte whose dirty bit the processor sets by itself, and the host page behind it: swapped out when the host wants it,
 * written to disk only if somebody has said that it is dirty.
 *
 * @source arch/x86/kvm/mmu/tdp_mmu.c: tdp_mmu_set_spte_atomic, __handle_changed_spte; age_gfn_range; commit "KVM: x86/mmu:
 *         Use atomic XCHG to write TDP MMU SPTEs with volatile bits"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_TDP_PLAIN_STORE } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, updating, writing } from '../../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { wordsOf } from './cells.ts';

const PRESENT = 1;
const ACCESSED = 2;
const DIRTY = 4;

const LEAF = struct('leaf', {
  SPTE: i32('mmu_lock; the processor (or)', 'PRESENT | ACCESSED | DIRTY; what is present may be written'),
  MEMORY: i32('the guest, the host', 'what the host page holds'),
  DISK: i32('the host', 'what the swap holds'),
});

const word = wordsOf(LEAF);

/** Mapped, read once, and the same on disk. */
export function mapClean(vm: Vm): void {
  vm.mem.store(word(vm, 'SPTE'), PRESENT | ACCESSED);
}

/** The guest stores; the processor sets the dirty bit with it. */
export function* storeByGuest(actor: Actor, vm: Vm, value: number): Path<void> {
  const { mem } = vm;
  const spte = word(vm, 'SPTE');
  for (;;) {
    // Translation, bits and store are one step: whoever takes the mapping away waits for it.
    yield updating(spte);
    if ((mem.load(spte) & PRESENT) !== 0) {
      mem.or(spte, ACCESSED | DIRTY);
      mem.store(word(vm, 'MEMORY'), value);
      return;
    }
    yield* writeLock(actor, vm.mmuLock);
    yield updating(spte);
    mem.store(word(vm, 'MEMORY'), mem.load(word(vm, 'DISK')));
    mem.store(spte, PRESENT | ACCESSED);
    yield* writeUnlock(actor, vm.mmuLock);
  }
}

/** The host looks whether the page is in use, which makes it look unused. mmu_lock held for write is not enough alone. */
export function* agePage(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const spte = word(vm, 'SPTE');
  yield* writeLock(actor, vm.mmuLock);
  if (vm.quirk(BUG_TDP_PLAIN_STORE)) {
    yield reading(spte);
    const aged = mem.load(spte) & ~ACCESSED;
    yield writing(spte);
    mem.store(spte, aged);
  } else {
    yield updating(spte);
    mem.and(spte, ~ACCESSED);
  }
  yield* writeUnlock(actor, vm.mmuLock);
}

/** The host takes the page, and writes it to disk if it was dirty. */
export function* swapOut(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  yield updating(word(vm, 'SPTE'));
  const old = mem.exchange(word(vm, 'SPTE'), 0);
  if ((old & DIRTY) !== 0) mem.store(word(vm, 'DISK'), mem.load(word(vm, 'MEMORY')));
  yield* writeUnlock(actor, vm.mmuLock);
}

/** What the guest would read there now. */
export function pageContents(vm: Vm): number {
  const { mem } = vm;
  const present = (mem.load(word(vm, 'SPTE')) & PRESENT) !== 0;
  return mem.load(word(vm, present ? 'MEMORY' : 'DISK'));
}
