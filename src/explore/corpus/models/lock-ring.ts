/**
 * Three who hold one thing and want the next: slots_lock and a grace period of kvm.srcu, kvm.lock and slots_lock, a
 * section of kvm.srcu and kvm.lock. No two of them are in each other's way. Our vCPUs never take kvm.lock.
 *
 * @source linux commit 44d174596260, "KVM: Use dedicated mutex to protect kvm_usage_count to avoid deadlock"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_RING_SRCU } from '../../../shared/quirks.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../../shared/sync/mutex.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../shared/sync/srcu.ts';

/** Something of the VM and its memslots is changed together. */
export function* lockedBoth(actor: Actor, vm: Vm): Path<void> {
  yield* mutexLock(actor, vm.kvmLock);
  yield* mutexLock(actor, vm.slotsLock);
  yield* mutexUnlock(actor, vm.slotsLock);
  yield* mutexUnlock(actor, vm.kvmLock);
}

/** A vCPU needs something of the VM, and looks at the memslots. */
export function* vmConfigured(actor: Actor, vm: Vm): Path<void> {
  const inside = vm.quirk(BUG_RING_SRCU);
  if (!inside) yield* mutexLock(actor, vm.kvmLock);
  const section = yield* srcuReadLock(actor, vm.srcu);
  if (inside) yield* mutexLock(actor, vm.kvmLock);
  yield* mutexUnlock(actor, vm.kvmLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
}
