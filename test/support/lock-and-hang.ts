/** A control script for tests: takes mmu_lock, says so, and never comes back. */
import type { ScriptContext } from '../../src/actors/mmu/control.api.ts';
import { drive } from '../../src/shared/sync/point.ts';
import { writeLock } from '../../src/shared/sync/rw-lock.ts';

export default function lockAndHang({ vm, actor }: ScriptContext): () => void {
  return () => {
    drive(actor, writeLock(actor, vm.mmuLock));
    vm.onFinding({ id: 'test', detail: 'holds mmu_lock' });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  };
}
