/** A control script for tests: takes mmu_lock under access_tree_lock, and lets go of both. It deadlocks nothing today. */
import type { ScriptContext } from '../../src/actors/mmu/control.api.ts';
import { drive } from '../../src/shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../src/shared/sync/rw-lock.ts';

export default function wrongOrder({ vm, actor }: ScriptContext): () => void {
  return () => {
    drive(actor, readLock(actor, vm.accessTreeLock));
    drive(actor, writeLock(actor, vm.mmuLock));
    drive(actor, writeUnlock(actor, vm.mmuLock));
    drive(actor, readUnlock(actor, vm.accessTreeLock));
  };
}
