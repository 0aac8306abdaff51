/**
 * Memslots: which guest frames are RAM, and how that changes under running vCPUs.
 *
 * @source virt/kvm/kvm_main.c (5.17): __kvm_set_memory_region, kvm_set_memslot, kvm_swap_active_memslots,
 *         kvm_invalidate_memslot, kvm_prepare_memory_region, kvm_commit_memory_region
 */
import {
  SLOT,
  SLOT_INVALID,
  SLOT_LOG_DIRTY,
  SLOT_READONLY,
  SLOT_SET,
  SLOT_SET_BYTES,
  USER_SLOT_IDS,
} from '../../shared/layout/memslot.ts';
import { REQ_UNBLOCK } from '../../shared/layout/vcpu.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import {
  BUG_FLUSH_BEFORE_INVALID,
  BUG_GEN_WRAP_AS1,
  BUG_MMIO_IN_FLUX,
  BUG_MOVE_CREATE_FIRST,
  BUG_RESCAN_AFTER_ACTIVATE,
  BUG_SWAP_DURING_INVALIDATE,
  REF_CREATE_SLOT_GAP,
  REF_MOVE_FAIL_NO_RETRACK,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { HOST_INVALIDATION, LOCK_SLOTS } from '../../shared/sync/lock-class.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { notifying, type Path, reading, updating, waiting, writing } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spinlock.ts';
import { synchronizeSrcu } from '../../shared/sync/srcu.ts';
import { SLOT_CHANGES, TRACE_MEMSLOT } from '../../shared/trace/kinds.ts';
import { clearActiveBits } from './access-tree.ts';
import { EEXIST, EINVAL, ENOMEM } from './errno.ts';
import { pageTrackCreateSlot, pageTrackFlushSlot } from './page-track.ts';
import { writeProtectSlot } from './protect.ts';
import { requestAll } from './requests.ts';
import { zapAllRoots } from './roots.ts';
import { allocateArch, releaseArch } from './slot-arena.ts';
import { mmioGeneration } from './spte.ts';
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

/** What userspace asks for; npages 0 deletes. */
export interface SlotRequest {
  readonly id: number;
  readonly asId: number;
  readonly flags: number;
  readonly baseGfn: number;
  readonly npages: number;
  readonly ramPage: number;
}

/** Bit 63 of a generation: an update is in flux, nothing derived from it may be cached. */
export const GENERATION_IN_FLUX = 1n << 63n;

/** kvm_is_visible_memslot: a user slot that is not being removed. */
export function isVisible(slot: Slot): boolean {
  return slot.id < USER_SLOT_IDS && (slot.flags & SLOT_INVALID) === 0;
}

function setAddress(vm: Vm, asId: number, which: number): number {
  return vm.layout.slotSets + (asId * 2 + which) * SLOT_SET_BYTES;
}

function activeIndexWord(vm: Vm, asId: number): number {
  return vm.word('ACTIVE_SET') + asId * 4;
}

/** The active set of an address space. Read once per srcu section; the set does not change under a reader. */
export function activeSet(vm: Vm, asId: number): number {
  return setAddress(vm, asId, vm.mem.load(activeIndexWord(vm, asId)));
}

export function setGeneration(vm: Vm, set: number): bigint {
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

function writeSlot(vm: Vm, at: number, slot: Slot): void {
  const { mem } = vm;
  mem.store(at + SLOT.at.ID, slot.id);
  mem.store(at + SLOT.at.AS_ID, slot.asId);
  mem.store(at + SLOT.at.FLAGS, slot.flags);
  mem.store(at + SLOT.at.BASE_GFN, slot.baseGfn);
  mem.store(at + SLOT.at.NPAGES, slot.npages);
  mem.store(at + SLOT.at.RAM_PAGE, slot.ramPage);
  mem.store(at + SLOT.at.ARCH, slot.arch);
  mem.store(at + SLOT.at.INSTANCE, slot.instance);
}

/** Writes the contents of the inactive set: the active one without `remove`, plus `add`. */
function editInactive(vm: Vm, asId: number, remove: Slot | null, add: Slot | null): void {
  const active = activeSet(vm, asId);
  const slots = slotsOf(vm, active).filter((slot) => slot.id !== remove?.id);
  if (add !== null) slots.push(add);
  slots.sort((a, b) => a.baseGfn - b.baseGfn);
  const inactive = setAddress(vm, asId, 1 - vm.mem.load(activeIndexWord(vm, asId)));
  for (const [index, slot] of slots.entries())
    writeSlot(vm, inactive + SLOT_SET.bytes + index * SLOT.bytes, slot);
  vm.mem.store(inactive + SLOT_SET.at.COUNT, slots.length);
}

/**
 * kvm_swap_active_memslots: publishes the inactive set and waits until nobody reads the other one.
 *
 * @locking slots_lock and slots_arch_lock held; slots_arch_lock is released before the grace period, because readers
 *          of kvm.srcu may take it
 */
function* swapActive(actor: Actor, vm: Vm, asId: number): Path<void> {
  const { mem } = vm;
  actor.checks?.expectHeld('L9', 'slot sets swapped', LOCK_SLOTS);
  const active = activeSet(vm, asId);
  const next = 1 - mem.load(activeIndexWord(vm, asId));
  const inactive = setAddress(vm, asId, next);
  const generation = setGeneration(vm, active);
  const nextGeneration = generation + BigInt(ADDRESS_SPACES);
  const inFlux = vm.quirk(BUG_MMIO_IN_FLUX) ? nextGeneration : generation | GENERATION_IN_FLUX;
  yield writing(inactive + SLOT_SET.at.GENERATION);
  mem.store64(inactive + SLOT_SET.at.GENERATION, inFlux);

  // A host invalidation that began on the old set must end on it.
  for (;;) {
    yield* spinLock(actor, vm.mnInvalidateLock);
    if (mem.load(vm.word('MN_ACTIVE_INVALIDATE')) === 0 || vm.quirk(BUG_SWAP_DURING_INVALIDATE)) break;
    const seen = mem.load(vm.word('MN_WAITERS'));
    yield* spinUnlock(actor, vm.mnInvalidateLock);
    actor.awaiting(HOST_INVALIDATION);
    actor.expect = seen;
    yield waiting(vm.word('MN_WAITERS'));
    actor.awaited(HOST_INVALIDATION);
  }
  yield writing(activeIndexWord(vm, asId));
  mem.store(activeIndexWord(vm, asId), next);
  // ORDER: the index before the count. A vCPU that read the old count and found an INVALID slot looks again.
  yield updating(vm.word('SLOT_PUBLICATIONS'));
  mem.add(vm.word('SLOT_PUBLICATIONS'), 1);
  yield notifying(vm.word('SLOT_PUBLICATIONS'));
  mem.notify(vm.word('SLOT_PUBLICATIONS'));
  yield* spinUnlock(actor, vm.mnInvalidateLock);
  yield* mutexUnlock(actor, vm.slotsArchLock);

  yield* synchronizeSrcu(actor, vm.srcu);
  yield* requestAll(actor, vm, { bits: REQ_UNBLOCK, wait: false });
  if (mmioGenerationWraps(vm, nextGeneration)) yield* zapAllRoots(actor, vm);
  yield writing(inactive + SLOT_SET.at.GENERATION);
  mem.store64(inactive + SLOT_SET.at.GENERATION, nextGeneration);
}

/**
 * kvm_mmu_invalidate_mmio_sptes: MMIO sptes keep some bits of the number. When those come round, the oldest sptes would
 * be valid again, so that all have to go first. The address space is the lowest bit of the number and none of theirs.
 */
function mmioGenerationWraps(vm: Vm, generation: bigint): boolean {
  const kept = mmioGeneration(generation);
  if (vm.quirk(BUG_GEN_WRAP_AS1)) return ((kept << 1n) | (generation & 1n)) === 0n;
  return kept === 0n;
}

/** Makes the inactive set equal to the active one again. */
function settle(vm: Vm, asId: number): void {
  editInactive(vm, asId, null, null);
}

/** What a request means, or why it is refused (a negative errno). Nothing is changed. */
export type SlotChange = 'create' | 'delete' | 'move' | 'flags' | 'none';

export function classify(vm: Vm, request: SlotRequest): SlotChange | number {
  const { id, asId, flags, baseGfn, npages, ramPage } = request;
  const { gfnCount, ramPages } = vm.layout.config;
  const whole = [id, asId, flags, baseGfn, npages, ramPage].every((n) => Number.isSafeInteger(n) && n >= 0);
  if (!whole || (flags & ~(SLOT_LOG_DIRTY | SLOT_READONLY)) !== 0) return -EINVAL;
  if (asId >= ADDRESS_SPACES || id >= USER_SLOT_IDS) return -EINVAL;
  if (baseGfn + npages > gfnCount || ramPage + npages > ramPages) return -EINVAL;
  const slots = slotsOf(vm, activeSet(vm, asId));
  const old = slots.find((slot) => slot.id === id);
  if (npages === 0) return old === undefined ? -EINVAL : 'delete';
  let change: SlotChange = 'create';
  if (old !== undefined) {
    if (old.ramPage !== ramPage || old.npages !== npages) return -EINVAL;
    if ((old.flags & SLOT_READONLY) !== (flags & SLOT_READONLY)) return -EINVAL;
    if (old.baseGfn === baseGfn) return old.flags === flags ? 'none' : 'flags';
    change = 'move';
  }
  const overlaps = slots.some(
    (slot) => slot.id !== id && baseGfn < slot.baseGfn + slot.npages && slot.baseGfn < baseGfn + npages,
  );
  return overlaps ? -EEXIST : change;
}

/**
 * kvm_vm_ioctl_set_memory_region.
 *
 * @returns 0, or a negative errno with nothing changed
 * @locking takes slots_lock; waits for grace periods and acknowledgements
 */
export function* setMemoryRegion(actor: Actor, vm: Vm, request: SlotRequest): Path<number> {
  yield* mutexLock(actor, vm.slotsLock);
  const change = classify(vm, request);
  let error = 0;
  if (typeof change === 'number') error = change;
  else if (change !== 'none') {
    actor.tracer?.begin(TRACE_MEMSLOT, SLOT_CHANGES.indexOf(change), request.id, request.baseGfn);
    error = yield* changeSlot(actor, vm, request, change);
    actor.tracer?.end(TRACE_MEMSLOT, error);
  }
  yield* mutexUnlock(actor, vm.slotsLock);
  return error;
}

const COUNTERS = {
  create: 'SLOT_CREATES',
  delete: 'SLOT_DELETES',
  move: 'SLOT_MOVES',
  flags: 'SLOT_FLAGS',
} as const;

/** kvm_set_memslot: the commit sequence. slots_lock held. */
function* changeSlot(
  actor: Actor,
  vm: Vm,
  request: SlotRequest,
  change: Exclude<SlotChange, 'none'>,
): Path<number> {
  const { mem } = vm;
  const { asId } = request;
  const old = slotsOf(vm, activeSet(vm, asId)).find((slot) => slot.id === request.id) ?? null;
  const removes = change === 'delete' || change === 'move';
  const creates = change === 'create' || change === 'move';

  const flushEarly = removes && vm.quirk(BUG_FLUSH_BEFORE_INVALID);
  const flushLate = change === 'move' && vm.quirk(BUG_MOVE_CREATE_FIRST);
  if (flushEarly && old !== null) yield* pageTrackFlushSlot(actor, vm, old);

  yield* mutexLock(actor, vm.slotsArchLock);
  if (removes && old !== null) {
    editInactive(vm, asId, old, { ...old, flags: old.flags | SLOT_INVALID });
    yield* swapActive(actor, vm, asId);
    // From here on nobody uses the valid version: what it mapped and tracked can go.
    if (!flushEarly && !flushLate) yield* pageTrackFlushSlot(actor, vm, old);
    yield* mutexLock(actor, vm.slotsArchLock);
  }

  let next: Slot | null = null;
  if (change !== 'delete') {
    let arch = old?.arch ?? -1;
    if (creates) arch = yield* allocateArch(vm, request.npages);
    if (arch < 0) {
      mem.add(vm.word('SLOT_FAILURES'), 1);
      if (old !== null) yield* reactivate(actor, vm, old);
      else yield* mutexUnlock(actor, vm.slotsArchLock);
      return -ENOMEM;
    }
    const instance = creates ? nextInstance(vm) : (old?.instance ?? 0);
    next = { ...request, arch, instance };
    if (creates) {
      const gap = vm.quirk(REF_CREATE_SLOT_GAP) || vm.quirk(BUG_RESCAN_AFTER_ACTIVATE);
      if (!gap) yield* markPending(actor, vm, next);
      yield* pageTrackCreateSlot(actor, vm, next);
      if (flushLate && old !== null) yield* pageTrackFlushSlot(actor, vm, old);
    }
  }

  editInactive(vm, asId, old, next);
  yield* swapActive(actor, vm, asId);
  settle(vm, asId);
  if (creates && next !== null) {
    if (vm.quirk(BUG_RESCAN_AFTER_ACTIVATE)) yield* pageTrackCreateSlot(actor, vm, next);
    yield* clearPending(actor, vm, asId);
  }

  if (change === 'flags' && old !== null && next !== null) {
    const logsNow = (next.flags & SLOT_LOG_DIRTY) !== 0 && (old.flags & SLOT_LOG_DIRTY) === 0;
    if (logsNow) yield* writeProtectSlot(actor, vm, next);
  }
  if (removes && old !== null) {
    if (change === 'delete') yield* clearActiveBits(actor, vm, old);
    releaseArch(vm, old.arch);
  }
  mem.add(vm.word(COUNTERS[change]), 1);
  return 0;
}

/** A change failed after the old slot was made INVALID: bring it back, tracked as before. Drops slots_arch_lock. */
function* reactivate(actor: Actor, vm: Vm, old: Slot): Path<void> {
  if (!vm.quirk(REF_MOVE_FAIL_NO_RETRACK)) {
    // Before it is findable again: a vCPU must not meet it untracked (RC-03).
    yield* markPending(actor, vm, old);
    yield* pageTrackCreateSlot(actor, vm, old);
  }
  editInactive(vm, old.asId, old, old);
  yield* swapActive(actor, vm, old.asId);
  settle(vm, old.asId);
  yield* clearPending(actor, vm, old.asId);
}

/** From here on a tightening of a page of this slot tracks it, although no lookup finds it yet (RC-01). */
function* markPending(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  writeSlot(vm, vm.layout.pendingSlots + slot.asId * SLOT.bytes, slot);
  vm.mem.store(vm.word('PENDING_SLOT') + slot.asId * 4, 1);
  yield* writeUnlock(actor, vm.mmuLock);
}

function* clearPending(actor: Actor, vm: Vm, asId: number): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  vm.mem.store(vm.word('PENDING_SLOT') + asId * 4, 0);
  yield* writeUnlock(actor, vm.mmuLock);
}

function nextInstance(vm: Vm): number {
  return vm.mem.load(vm.word('SLOT_CREATES')) + vm.mem.load(vm.word('SLOT_MOVES')) + 1;
}
