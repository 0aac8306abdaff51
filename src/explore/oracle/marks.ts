/**
 * How the cells of shared memory may be accessed, where that is not what the scheduling points say.
 *
 * An access that was announced by a point is *marked*: READ_ONCE, WRITE_ONCE, an atomic operation. It is no data race,
 * and it orders: a read after a write of the same cell happens after what came before that write. Every other load,
 * store, peek and poke is *plain* and must be ordered by something. The tables name the exceptions, with the kernel's
 * annotation or the reason.
 */
import type { MachineLayout } from '../../shared/layout/machine.ts';
import { placeOf } from '../../shared/state/cell-name.ts';

/** Announced accesses are marked and order, others are plain. */
export const NORMAL = 1;
/** Announced accesses are marked and order; other accesses through Atomics are marked and order nothing. */
export const ATOMIC = 2;
/** Announced accesses are marked, others are plain; nothing orders: who relies on a value seen here has a race. */
export const RELAXED = 3;
/** All accesses through Atomics are marked; nothing orders. */
export const MARKED = 4;
/** All accesses through Atomics are marked and order. */
export const SYNC = 5;
/** Belongs to one actor, or to the guest: not looked at. */
export const PRIVATE = 6;
export type CellClass = 1 | 2 | 3 | 4 | 5 | 6;

/** Whole regions. */
const REGIONS: Readonly<Record<string, CellClass>> = {
  // Lock code announces all it does; what it leaves out (statistics) is its own.
  locks: SYNC,
  'vcpu-locks': SYNC,
  // Fast path and protecting side meet in one compare-exchange; nothing else may follow from a value seen here.
  sptes: MARKED,
  // gfn_track, rmap, dirty bits. That a count is read without mmu_lock (READ_ONCE in kvm_page_track_is_active) shows in
  // its size: see races.ts.
  'slot-arch-arena': RELAXED,
  'lock-statistics': PRIVATE,
  'trace-rings': PRIVATE,
  // Registers and TLBs are their vCPU's; REQUESTS is below.
  cpus: PRIVATE,
  // Races on plain guest memory are the guest's own affair (NC-11).
  ram: PRIVATE,
  header: PRIVATE,
};

/** Single fields: `struct.FIELD`. */
const FIELDS: Readonly<Record<string, CellClass>> = {
  'cpu.REQUESTS': SYNC,
  // Heads and tails hand the bytes between them over.
  'ring.HEAD': SYNC,
  'ring.TAIL': SYNC,
  // Given up last when a vCPU is released, looked at first by the next hook.
  'vcpu.KVMI_BLOCK': SYNC,
  // Set once, before the block is given up for the last time: see hook.
  'vcpu.ENDED': SYNC,
  // A waited pause and the vCPU: each writes its own word, then looks at the other's.
  'vcpu.TURN': SYNC,
  'vcpu.TURN_WAITERS': ATOMIC,
  // srcu_dereference, rcu_assign_pointer.
  'vm.ACTIVE_SET': SYNC,
  'vm.NOTIFIER_HEAD': SYNC,
  // Flags that only ever say "stop", and a count that is looked at to see whether there is any: nothing is read because
  // of them.
  'vm.DEAD': ATOMIC,
  'vm.STOP': ATOMIC,
  'vm.KVMI_SHUT': ATOMIC,
  'vm.KVMI_REF': ATOMIC,
  // Which session it is: counts up, and says nothing else.
  'vm.KVMI_SESSION': ATOMIC,
  // atomic_t in the kernel. A vCPU that ends its turn looks whether anybody waits, whatever session it is.
  'vcpu.PAUSE_REQUESTS': ATOMIC,
  // Zeroed by hook, set by the vCPU itself, which looks at it once more at an effect, without a reference: it finds its
  // own bits or none.
  'vcpu.EVENTS': ATOMIC,
  // The next free record, read before the compare-exchange that says whether it was right: the head has a tag (RC-76).
  'mem-access.NEXT': MARKED,
  'tree-node.NEXT': MARKED,
  // One 64-bit word that says itself when it must not be relied on (GENERATION_IN_FLUX).
  'slot-set.GENERATION': MARKED,
  // Is this root obsolete? A hint outside mmu_lock, asked again under it (is_page_fault_stale).
  'vm.MMU_VALID_GEN': MARKED,
  'root.STATE': MARKED,
  'root.VALID_GEN': MARKED,
  'root.GEN': MARKED,
  // Written before anybody runs.
  'vm.QUIRKS': PRIVATE,
  'vm.CHECKED': PRIVATE,
  'vm.STRICT': PRIVATE,
  // Counters.
  'vm.EVENT_SEQ': MARKED,
  'vm.FLUSH_REQUESTS': MARKED,
  'vm.FLUSH_ACKS': MARKED,
  'vm.FLUSH_WAIT_US_MAX': MARKED,
  'vm.MMIO_ACCESSES': MARKED,
  'vm.SPLIT_LOCKS': MARKED,
  'vm.MAPPED': MARKED,
};

/** What holds for the cell at `addr`. */
export function classOf(layout: MachineLayout, addr: number): CellClass {
  const place = placeOf(layout, addr);
  if (place === null) return PRIVATE;
  return FIELDS[`${place.part.struct.name}.${place.field.name}`] ?? REGIONS[place.region.name] ?? NORMAL;
}
