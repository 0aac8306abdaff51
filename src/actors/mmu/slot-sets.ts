/**
 * Memslots as they are read: sets of slots, one of them active in each address space. How they change: memslots.ts.
 *
 * @source virt/kvm/kvm_main.c, include/linux/kvm_host.h (5.17): struct kvm_memslots, search_memslots,
 *         gfn_to_memslot, kvm_is_visible_memslot
 */
import { SLOT, SLOT_INVALID, SLOT_SET, SLOT_SET_BYTES, USER_SLOT_IDS } from '../../shared/layout/memslot.ts';
import { type Path, reading } from '../../shared/sync/point.ts';
import type { Vm } from './vm.ts';

/** One version of a memslot, copied out of its set. Immutable: a change makes another version. */
export interface Slot {
  readonly id: number;
  readonly asId: number;
  /** SLOT_LOG_DIRTY | SLOT_READONLY | SLOT_INVALID. */
  readonly flags: number;
  readonly baseGfn: number;
  readonly npages: number;
  /** Index of its first page in guest RAM: what userspace_addr is to KVM. */
  readonly ramPage: number;
  readonly arch: number;
  /** Number of the CREATE or MOVE that made it. */
  readonly instance: number;
}

/** Bit 63 of a generation: an update is in flux, nothing derived from it may be cached. */
export const GENERATION_IN_FLUX = 1n << 63n;

/** kvm_is_visible_memslot: a user slot that is not being removed. */
export function isVisible(slot: Slot): boolean {
  return slot.id < USER_SLOT_IDS && (slot.flags & SLOT_INVALID) === 0;
}

/** Each space has two sets: one is active, the other is where the next one is made. */
export function slotSetAddress(vm: Vm, asId: number, which: number): number {
  return vm.layout.slotSets + (asId * 2 + which) * SLOT_SET_BYTES;
}

/** Which of the two is active. */
export function activeIndexWord(vm: Vm, asId: number): number {
  return vm.word('ACTIVE_SET') + asId * 4;
}

/** The active set of an address space. Read once per srcu section; the set does not change under a reader. */
export function activeSet(vm: Vm, asId: number): number {
  return slotSetAddress(vm, asId, vm.mem.load(activeIndexWord(vm, asId)));
}

/** Of a set: its number, and whether it is in flux ({@link GENERATION_IN_FLUX}). */
export function generationOf(vm: Vm, set: number): bigint {
  return vm.mem.load64(set + SLOT_SET.at.GENERATION);
}

/** All slots of a set, by base gfn. */
export function slotsOf(vm: Vm, set: number): Slot[] {
  const count = vm.mem.peek(set + SLOT_SET.at.COUNT);
  const slots: Slot[] = [];
  for (let index = 0; index < count; index++) {
    slots.push(readSlot(vm, set + SLOT_SET.bytes + index * SLOT.bytes));
  }
  return slots;
}

/**
 * search_memslots: the slot that covers `gfn`, **even an INVALID one**: each caller decides what that means to it.
 *
 * @locking inside a kvm.srcu section (or slots_lock): the set is not edited while a reader may be in it
 */
export function findSlot(vm: Vm, set: number, gfn: number): Slot | null {
  const { mem } = vm;
  // SHARED: plain reads. A set is only written while inactive, and reused only after a grace period.
  const count = mem.peek(set + SLOT_SET.at.COUNT);
  for (let index = 0; index < count; index++) {
    const at = set + SLOT_SET.bytes + index * SLOT.bytes;
    const base = mem.peek(at + SLOT.at.BASE_GFN);
    if (gfn >= base && gfn < base + mem.peek(at + SLOT.at.NPAGES)) return readSlot(vm, at);
  }
  return null;
}

/** gfn_to_memslot for one address space: reads the active set, then searches it. Inside a kvm.srcu section. */
export function* gfnToSlot(vm: Vm, asId: number, gfn: number): Path<Slot | null> {
  yield reading(activeIndexWord(vm, asId));
  return findSlot(vm, activeSet(vm, asId), gfn);
}

/** The slot being created in this address space: allocated, about to be scanned, not findable yet. mmu_lock held. */
export function pendingSlot(vm: Vm, asId: number): Slot | null {
  if (vm.mem.load(vm.word('PENDING_SLOT') + asId * 4) === 0) return null;
  return readSlot(vm, vm.layout.pendingSlots + asId * SLOT.bytes);
}

function readSlot(vm: Vm, at: number): Slot {
  const { mem } = vm;
  return {
    id: mem.peek(at + SLOT.at.ID),
    asId: mem.peek(at + SLOT.at.AS_ID),
    flags: mem.peek(at + SLOT.at.FLAGS),
    baseGfn: mem.peek(at + SLOT.at.BASE_GFN),
    npages: mem.peek(at + SLOT.at.NPAGES),
    ramPage: mem.peek(at + SLOT.at.RAM_PAGE),
    arch: mem.peek(at + SLOT.at.ARCH),
    instance: mem.peek(at + SLOT.at.INSTANCE),
  };
}
