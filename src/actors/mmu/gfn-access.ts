/**
 * Page access as KVMI sets it: policy into the access tree, mechanism into track counters and sptes.
 *
 * @source the seed patch: kvmi_get_gfn_access, kvmi_restricted_page_access, kvmi_add_memslot, kvmi_remove_memslot;
 *         virt/kvm/introspection/kvmi.c: kvmi_set_gfn_access; arch/x86/kvm/kvmi.c: kvmi_arch_update_page_tracking
 */
import { FULL_ACCESS, NOTIFIER_KVMI } from '../../shared/layout/access-tree.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { TRACK_PREEXEC, TRACK_PREREAD, TRACK_PREWRITE } from '../../shared/layout/memslot.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import {
  BUG_ACCESS_AFTER_UNLOCK,
  BUG_FLUSH_SLOT_READ_LOCK,
  BUG_FLUSH_THEN_TIGHTEN,
  BUG_LOCK_ORDER_SWAP,
  BUG_NO_REMOTE_FLUSH,
  BUG_NO_TREE_READ_LOCK,
  BUG_SET_ACCESS_SLOTS_LOCK,
  BUG_SLOTS_LOCK_IN_SRCU,
  REF_ACTIVE_KEY_NO_AS,
  REF_SLOTS_NEED_SESSION,
  REF_TRACK_INVALID_SLOT,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock } from '../../shared/sync/srcu.ts';
import { TRACE_RETRACK, TRACE_SET_ACCESS } from '../../shared/trace/kinds.ts';
import {
  entriesOf,
  entryWord,
  insertEntry,
  isActive,
  lookupEntry,
  lookupInSteps,
  type Policy,
  readEntry,
  readPolicy,
  releaseReserve,
  removeEntry,
  reserveEntry,
  setActive,
} from './access-tree.ts';
import { EINVAL, ENOMEM } from './errno.ts';
import { kvmiGet, kvmiPut } from './kvmi-ref.ts';
import { activeSet, findSlot, isVisible, pendingSlot, type Slot } from './memslots.ts';
import { provideSlotCallbacks, trackAdd, trackRemove } from './page-track.ts';
import { flushRemoteTlbs, zapGfn } from './protect.ts';
import type { Vm } from './vm.ts';

/** Access bit ↔ tracking mode, in the order they are processed. */
export const TRACKED_BITS = [
  { bit: ACCESS_R, mode: TRACK_PREREAD },
  { bit: ACCESS_W, mode: TRACK_PREWRITE },
  { bit: ACCESS_X, mode: TRACK_PREEXEC },
] as const;

/**
 * kvmi_arch_update_page_tracking: makes the track counts of one slot agree with `access`. Idempotent per slot.
 *
 * @returns whether remote TLBs must be flushed before mmu_lock is released
 * @locking mmu_lock for write, access_tree_lock held, slot kept alive
 */
function* updateTracking(
  vm: Vm,
  slot: Slot,
  gfn: number,
  entry: number,
  access: number,
  mayAdd = true,
): Path<boolean> {
  let flush = false;
  for (const { bit, mode } of TRACKED_BITS) {
    const tracked = isActive(vm, entry, mode, slot);
    const allowed = (access & bit) !== 0;
    if (allowed && tracked) {
      yield* trackRemove(vm, slot, gfn, mode);
      setActive(vm, entry, mode, slot, false);
    } else if (!allowed && !tracked && mayAdd) {
      if (yield* trackAdd(vm, slot, gfn, mode)) flush = true;
      setActive(vm, entry, mode, slot, true);
    }
  }
  return flush;
}

/** A slot whose tracking follows the policy of a gfn. */
interface TrackedSlot {
  readonly slot: Slot;
  /** False for a slot on its way out: what it holds may be given up, nothing may be added. */
  readonly mayAdd: boolean;
}

/**
 * Slots to bring into line with the policy of `gfn`, in every address space: the visible one, one being created, and
 * one that is INVALID, for removal only.
 *
 * The obvious repair of RC-02, to pass over INVALID slots altogether, is a trap of its own: if an entry is forgotten
 * between the publication of INVALID and flush_slot, nobody drops its counts, and a MOVE that then fails brings the
 * slot back with counts that no entry owns (test/races/storm.test.ts found it).
 */
function slotsToTrack(vm: Vm, gfn: number): TrackedSlot[] {
  const slots: TrackedSlot[] = [];
  // The reference looks the slot up in address space 0 only (RC-04) ...
  const spaces = vm.quirk(REF_ACTIVE_KEY_NO_AS) ? 1 : ADDRESS_SPACES;
  for (let asId = 0; asId < spaces; asId++) {
    const slot = findSlot(vm, activeSet(vm, asId), gfn);
    const pending = pendingSlot(vm, asId);
    // A MOVE onto itself: the old place, flushed before the new one was announced, holds nothing any more, and the
    // entry's bit, which goes by slot id, is the new place's.
    const replaced = pending !== null && pending.id === slot?.id && pending.instance !== slot.instance;
    if (slot !== null && !replaced) {
      const returning = slot.instance === pending?.instance;
      // ... and takes an INVALID one for good (RC-02).
      slots.push({ slot, mayAdd: isVisible(slot) || returning || vm.quirk(REF_TRACK_INVALID_SLOT) });
    }
    if (pending === null || pending.instance === slot?.instance) continue;
    if (gfn >= pending.baseGfn && gfn < pending.baseGfn + pending.npages)
      slots.push({ slot: pending, mayAdd: true });
  }
  return slots;
}

/**
 * kvmi_set_gfn_access: what the introspector allows on `gfn` from now on.
 *
 * When it returns, no vCPU can perform an access that `access` denies without a new event: sptes are tight, TLBs are
 * flushed, and emulated accesses re-validate at their effect (I2).
 *
 * @param access  ACCESS_R | ACCESS_W | ACCESS_X that remain allowed; 7 forgets the page
 * @param opts.needSlot  refuse a gfn without a visible slot, as the wire command does; otherwise the policy is stored
 *                       and takes hold when a slot appears
 * @returns 0, −EINVAL or −ENOMEM
 * @locking takes kvm.srcu → mmu_lock → access_tree_lock; waits for TLB acknowledgements under them
 */
export function* setGfnAccess(
  actor: Actor,
  vm: Vm,
  gfn: number,
  access: number,
  opts: { needSlot: boolean } = { needSlot: false },
): Path<number> {
  if ((access & ~FULL_ACCESS) !== 0 || gfn < 0 || gfn >= vm.layout.config.gfnCount) return -EINVAL;
  if (opts.needSlot && !(yield* hasVisibleSlot(actor, vm, gfn))) return -EINVAL;
  const reserve = yield* reserveEntry(vm);
  if (reserve === null) return -ENOMEM;

  actor.tracer?.begin(TRACE_SET_ACCESS, gfn, access);
  const slotsToo = vm.quirk(BUG_SET_ACCESS_SLOTS_LOCK);
  if (slotsToo) yield* mutexLock(actor, vm.slotsLock);
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield* writeLock(actor, vm.mmuLock);
  yield* writeLock(actor, vm.accessTreeLock);
  const found = lookupEntry(vm, gfn);
  let flush = false;
  if (found >= 0 || access !== FULL_ACCESS) {
    const before = found >= 0 ? vm.mem.load(entryWord(vm, found, 'ACCESS')) : FULL_ACCESS;
    const entry = found >= 0 ? found : insertEntry(vm, gfn, access, reserve);
    yield updating(entryWord(vm, entry, 'ACCESS'));
    vm.mem.store(entryWord(vm, entry, 'ACCESS'), access);
    if ((before & ~access) !== 0) {
      // Approvals given before this moment no longer hold for what it denies.
      vm.mem.store(entryWord(vm, entry, 'VERSION'), vm.mem.add(vm.word('POLICY_SEQ'), 1) + 1);
    }
    const flushFirst = vm.quirk(BUG_FLUSH_THEN_TIGHTEN);
    if (flushFirst) yield* flushRemoteTlbs(actor, vm);
    for (const { slot, mayAdd } of slotsToTrack(vm, gfn)) {
      if (yield* updateTracking(vm, slot, gfn, entry, access, mayAdd)) flush = true;
      // A slot on its way out takes no counts, but its mappings live until it is flushed: they must not outlive this.
      if (!mayAdd && access !== FULL_ACCESS && (yield* zapGfn(vm, slot, gfn))) flush = true;
    }
    if (flush && !flushFirst && !vm.quirk(BUG_NO_REMOTE_FLUSH)) yield* flushRemoteTlbs(actor, vm);
  }
  let removed = reserve;
  if (found >= 0 && access === FULL_ACCESS) {
    removed = { entry: -1, nodes: [] };
    removeEntry(vm, gfn, removed);
  }
  yield* writeUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
  if (slotsToo) yield* mutexUnlock(actor, vm.slotsLock);

  if (removed !== reserve) yield* releaseReserve(vm, removed);
  yield* releaseReserve(vm, reserve);
  actor.tracer?.end(TRACE_SET_ACCESS, flush ? 1 : 0);
  return 0;
}

function* hasVisibleSlot(actor: Actor, vm: Vm, gfn: number): Path<boolean> {
  const section = yield* srcuReadLock(actor, vm.srcu);
  const locked = vm.quirk(BUG_SLOTS_LOCK_IN_SRCU);
  if (locked) yield* mutexLock(actor, vm.slotsLock);
  const slot = findSlot(vm, activeSet(vm, 0), gfn);
  if (locked) yield* mutexUnlock(actor, vm.slotsLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
  return slot !== null && isVisible(slot);
}

/** What the policy says about one access. */
export interface Restriction {
  /** The introspector has cleared a bit that this access needs. */
  readonly restricted: boolean;
  /** Stamp of the tightening that an approval would answer. */
  readonly version: number;
}

/**
 * kvmi_restricted_page_access, with kvmi_get_gfn_access inside: only bits that were specifically cleared count.
 *
 * @locking takes access_tree_lock for read; the answer is a copy and may be old when it is used
 */
export function* restrictedPageAccess(actor: Actor, vm: Vm, gfn: number, access: number): Path<Restriction> {
  let policy: Policy;
  if (vm.quirk(BUG_ACCESS_AFTER_UNLOCK) || vm.quirk(BUG_NO_TREE_READ_LOCK)) {
    policy = yield* readPolicyUnlocked(actor, vm, gfn);
  } else {
    yield* readLock(actor, vm.accessTreeLock);
    policy = readPolicy(vm, gfn);
    yield* readUnlock(actor, vm.accessTreeLock);
  }
  return { restricted: (access & ~policy.access) !== 0, version: policy.version };
}

/** RC-15 and RC-16: the bits are read from an entry that no lock keeps; says so when it has been removed. */
function* readPolicyUnlocked(actor: Actor, vm: Vm, gfn: number): Path<Policy> {
  let entry: number;
  if (vm.quirk(BUG_NO_TREE_READ_LOCK)) {
    entry = yield* lookupInSteps(vm, gfn);
  } else {
    yield* readLock(actor, vm.accessTreeLock);
    entry = lookupEntry(vm, gfn);
    yield* readUnlock(actor, vm.accessTreeLock);
  }
  if (entry >= 0) yield reading(entryWord(vm, entry, 'ACCESS'));
  if (entry >= 0 && vm.checked && lookupEntry(vm, gfn) !== entry) {
    vm.onFinding({
      id: 'I12',
      detail: `access bits of gfn 0x${gfn.toString(16)} read from an entry that has been removed`,
    });
  }
  return readEntry(vm, entry);
}

/**
 * kvmi_add_memslot: policy that was there before the slot takes hold in it.
 *
 * Writes `active` bits under the tree *read* lock, as the seed does: mmu_lock is what protects them.
 */
export function* addMemslot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  actor.tracer?.begin(TRACE_RETRACK, 1, slot.id, slot.baseGfn);
  const section = yield* srcuReadLock(actor, vm.srcu);
  const swapped = vm.quirk(BUG_LOCK_ORDER_SWAP);
  if (swapped) yield* readLock(actor, vm.accessTreeLock);
  yield* writeLock(actor, vm.mmuLock);
  if (!swapped) yield* readLock(actor, vm.accessTreeLock);
  let flush = false;
  for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
    const entry = lookupEntry(vm, gfn);
    if (entry < 0) continue;
    const access = vm.mem.load(entryWord(vm, entry, 'ACCESS'));
    if (yield* updateTracking(vm, slot, gfn, entry, access)) flush = true;
  }
  if (flush) yield* flushRemoteTlbs(actor, vm);
  yield* readUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
  actor.tracer?.end(TRACE_RETRACK);
}

/** kvmi_remove_memslot: tracking of this slot is dropped, the policy stays for the next slot at these frames. */
export function* removeMemslot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  actor.tracer?.begin(TRACE_RETRACK, 0, slot.id, slot.baseGfn);
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield* writeLock(actor, vm.mmuLock);
  const visible = vm.quirk(BUG_FLUSH_SLOT_READ_LOCK);
  if (visible) yield* readLock(actor, vm.accessTreeLock);
  else yield* writeLock(actor, vm.accessTreeLock);
  for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
    const entry = lookupEntry(vm, gfn);
    if (entry < 0) continue;
    const word = entryWord(vm, entry, 'ACCESS');
    const access = vm.mem.load(word);
    // As in the seed: full access for the moment of the update. The write lock hides it (RC-17).
    yield updating(word);
    vm.mem.store(word, FULL_ACCESS);
    yield* updateTracking(vm, slot, gfn, entry, FULL_ACCESS);
    yield updating(word);
    vm.mem.store(word, access);
  }
  if (visible) yield* readUnlock(actor, vm.accessTreeLock);
  else yield* writeUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
  actor.tracer?.end(TRACE_RETRACK);
}

/** Unhook: every page back to full access, all tracking dropped, all entries freed. */
export function* clearAllAccess(actor: Actor, vm: Vm): Path<void> {
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield* writeLock(actor, vm.mmuLock);
  yield* writeLock(actor, vm.accessTreeLock);
  const freed: { entry: number; nodes: number[] }[] = [];
  for (const [gfn, entry] of entriesOf(vm)) {
    vm.mem.store(entryWord(vm, entry, 'ACCESS'), FULL_ACCESS);
    for (const { slot } of slotsToTrack(vm, gfn)) yield* updateTracking(vm, slot, gfn, entry, FULL_ACCESS);
    const removed = { entry: -1, nodes: [] };
    removeEntry(vm, gfn, removed);
    freed.push(removed);
  }
  yield* writeUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
  yield* srcuReadUnlock(actor, vm.srcu, section);
  for (const removed of freed) yield* releaseReserve(vm, removed);
}

// kvmi_track_create_slot and kvmi_track_flush_slot of the seed.
provideSlotCallbacks(NOTIFIER_KVMI, {
  createSlot: (actor, vm, slot) => withPolicy(actor, vm, () => addMemslot(actor, vm, slot)),
  flushSlot: (actor, vm, slot) => withPolicy(actor, vm, () => removeMemslot(actor, vm, slot)),
});

/**
 * A reference first, as in the seed. But between the end of a session and unhook there is none to be had, and policy is
 * still there: a slot that moves then would leave its active bits behind and take no counts along, and unhook would give
 * up counts that nobody took (RC-83). What the callbacks use outlives them without a reference, too: unhook waits for
 * their track_srcu section before it lets the block go.
 */
function* withPolicy(actor: Actor, vm: Vm, follow: () => Path<void>): Path<void> {
  const referenced = yield* kvmiGet(actor, vm);
  if (referenced || !vm.quirk(REF_SLOTS_NEED_SESSION)) yield* follow();
  if (referenced) yield* kvmiPut(actor, vm);
}
