/**
 * Arch data of a memslot that is allocated when it is needed first, into the slot that is live then. Ours is allocated
 * with the slot, so that a copy of it is never out of date.
 *
 * @source virt/kvm/kvm_main.c (5.15): kvm_set_memslot; arch/x86/kvm/x86.c: alloc_all_memslots_rmaps; commit "KVM: Ensure
 *         local memslot copies operate on up-to-date arch-specific data"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_ARCH_SNAPSHOT_EARLY } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../../shared/sync/mutex.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../shared/sync/srcu.ts';
import { wordsOf } from './cells.ts';

const SLOT_VERSIONS = struct('slot-versions', {
  ACTIVE: i32('slots_lock', '0 or 1: which version of the slot is live'),
  RMAPS: i32('slots_arch_lock', 'per version: its arrays; 0: not allocated', 2),
});

const word = wordsOf(SLOT_VERSIONS);
const rmaps = (vm: Vm, version: number): number => word(vm, 'RMAPS') + 4 * version;

/** KVM_MEM_FLAGS_ONLY: a new version of the slot, with the arch data of the old one. */
export function* changeFlags(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const early = vm.quirk(BUG_ARCH_SNAPSHOT_EARLY);
  yield* mutexLock(actor, vm.slotsLock);
  const old = mem.load(word(vm, 'ACTIVE'));
  yield reading(rmaps(vm, old));
  let copy = mem.load(rmaps(vm, old));
  yield* mutexLock(actor, vm.slotsArchLock);
  if (!early) {
    yield reading(rmaps(vm, old));
    copy = mem.load(rmaps(vm, old));
  }
  yield writing(rmaps(vm, 1 - old));
  mem.store(rmaps(vm, 1 - old), copy);
  yield writing(word(vm, 'ACTIVE'));
  mem.store(word(vm, 'ACTIVE'), 1 - old);
  yield* mutexUnlock(actor, vm.slotsArchLock);
  yield* synchronizeSrcu(actor, vm.srcu);
  yield* mutexUnlock(actor, vm.slotsLock);
}

/** A vCPU is the first that needs the arrays. */
export function* allocateRmaps(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield* mutexLock(actor, vm.slotsArchLock);
  yield reading(word(vm, 'ACTIVE'));
  const live = rmaps(vm, mem.load(word(vm, 'ACTIVE')));
  yield writing(live);
  mem.store(live, 1);
  yield* mutexUnlock(actor, vm.slotsArchLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
}

/** And then it uses them. */
export function* useRmaps(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield reading(word(vm, 'ACTIVE'));
  const live = rmaps(vm, mem.load(word(vm, 'ACTIVE')));
  yield reading(live);
  if (mem.load(live) === 0) {
    vm.onFinding({
      id: 'I7',
      detail: 'the live version of the slot has lost the arrays that were allocated for it',
    });
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);
}
