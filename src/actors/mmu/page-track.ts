/**
 * Page tracking: who wants to be told about accesses to a page, and the calls that tell them.
 *
 * @source arch/x86/kvm/mmu/page_track.c with KVMI's "page track" patches (preread, prewrite, preexec, create_slot)
 */
import { NOTIFIER, NOTIFIER_LIMIT, NOTIFIER_MMU } from '../../shared/layout/access-tree.ts';
import { TRACK_MODE_NAMES, TRACK_PREWRITE } from '../../shared/layout/memslot.ts';
import { BUG_UNREGISTER_NO_SYNC, REF_PREWRITE_NO_PROTECT } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, writing } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../shared/sync/srcu.ts';
import type { Slot } from './memslots.ts';
import { protectForTracking } from './protect.ts';
import { zapAllRoots } from './roots.ts';
import { trackCounter } from './slot-arena.ts';
import type { Vm } from './vm.ts';

const COUNT_MAX = 0xffff;

/**
 * kvm_slot_page_track_add_page.
 *
 * @returns whether remote TLBs must be flushed; the caller flushes before it releases mmu_lock
 * @locking mmu_lock held for write; the slot kept alive by kvm.srcu or slots_lock
 */
export function* trackAdd(vm: Vm, slot: Slot, gfn: number, mode: number): Path<boolean> {
  const counter = trackCounter(vm, slot.arch, mode, gfn - slot.baseGfn);
  yield writing(counter);
  const count = vm.mem.load16(counter);
  if (count === COUNT_MAX) {
    vm.onFinding({
      id: 'I4',
      detail: `${TRACK_MODE_NAMES[mode]} count of gfn 0x${gfn.toString(16)} would overflow`,
    });
    return false;
  }
  vm.mem.store16(counter, count + 1);
  if (mode === TRACK_PREWRITE && vm.quirk(REF_PREWRITE_NO_PROTECT)) return false;
  return yield* protectForTracking(vm, slot, gfn, mode);
}

/** kvm_slot_page_track_remove_page. Sptes stay tight: the next fault finds the page untracked. */
export function* trackRemove(vm: Vm, slot: Slot, gfn: number, mode: number): Path<void> {
  const counter = trackCounter(vm, slot.arch, mode, gfn - slot.baseGfn);
  yield writing(counter);
  const count = vm.mem.load16(counter);
  if (count === 0) {
    vm.onFinding({
      id: 'I4',
      detail: `${TRACK_MODE_NAMES[mode]} count of gfn 0x${gfn.toString(16)} in slot ${slot.id} would go below 0`,
    });
    return;
  }
  vm.mem.store16(counter, count - 1);
}

/** The vCPU that makes an emulated access. */
export interface TrackedVcpu {
  readonly vm: Vm;
  readonly actor: Actor;
  readonly index: number;
}

/** One page's piece of an emulated access, as notifiers see it. */
export interface TrackedAccess {
  readonly gpa: number;
  readonly gva: bigint;
  /** Exactly one of ACCESS_R, ACCESS_W, ACCESS_X. */
  readonly access: number;
}

/**
 * Access callbacks of one notifier kind. They are asked about every emulated access, of tracked pages and others; each
 * decides by itself whether it cares. KVMI's own is not among them: what it answers is more than yes or no
 * (vcpu/tracked-access.ts).
 */
export interface AccessCallbacks {
  /** track_preread, track_prewrite, track_preexec. False stops the access: the guest is entered again. */
  before?(vcpu: TrackedVcpu, access: TrackedAccess): Path<boolean>;
  /** track_write: a store has been made. */
  stored?(vcpu: TrackedVcpu, access: TrackedAccess): Path<void>;
}

const accessCallbacks = new Map<number, AccessCallbacks>();
/** Does any kind want to be told of stores? */
let storesAreTold = false;

/** Tells this thread what a notifier kind does about accesses; null: nothing any more. Code, not state. */
export function provideAccessCallbacks(kind: number, callbacks: AccessCallbacks | null): void {
  if (callbacks === null) accessCallbacks.delete(kind);
  else accessCallbacks.set(kind, callbacks);
  storesAreTold = [...accessCallbacks.values()].some(({ stored }) => stored !== undefined);
}

/** One node's word on an access; true from a kind that has none. */
export function* askBefore(kind: number, vcpu: TrackedVcpu, access: TrackedAccess): Path<boolean> {
  const before = accessCallbacks.get(kind)?.before;
  return before === undefined ? true : yield* before(vcpu, access);
}

/** kvm_page_track_write: tells every node of a store that has been made. No lock held. */
export function* pageTrackStored(vcpu: TrackedVcpu, access: TrackedAccess): Path<void> {
  if (!storesAreTold) return;
  yield* dispatch(vcpu.actor, vcpu.vm, (kind) => tellStored(kind, vcpu, access));
}

function* tellStored(kind: number, vcpu: TrackedVcpu, access: TrackedAccess): Path<void> {
  const stored = accessCallbacks.get(kind)?.stored;
  if (stored !== undefined) yield* stored(vcpu, access);
}

/** Slot callbacks of one notifier kind. */
export interface SlotCallbacks {
  createSlot?(actor: Actor, vm: Vm, slot: Slot): Path<void>;
  flushSlot?(actor: Actor, vm: Vm, slot: Slot): Path<void>;
}

const slotCallbacks = new Map<number, SlotCallbacks>([
  [NOTIFIER_MMU, { flushSlot: (actor, vm) => zapAllRoots(actor, vm) }],
]);

/** Tells this thread what a notifier kind does about slots. Code, not state: every thread says the same. */
export function provideSlotCallbacks(kind: number, callbacks: SlotCallbacks): void {
  slotCallbacks.set(kind, callbacks);
}

export function notifierWord(vm: Vm, node: number, field: keyof typeof NOTIFIER.at): number {
  return vm.layout.notifiers + node * NOTIFIER.bytes + NOTIFIER.at[field];
}

/** kvm_page_track_register_notifier: a new node at the head of the list. Returns its index. */
export function* registerNotifier(actor: Actor, vm: Vm, kind: number): Path<number> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  let node = 0;
  while (node < NOTIFIER_LIMIT && mem.load(notifierWord(vm, node, 'KIND')) !== 0) node++;
  if (node < NOTIFIER_LIMIT) {
    mem.store(notifierWord(vm, node, 'KIND'), kind);
    mem.store(notifierWord(vm, node, 'NEXT'), mem.load(vm.word('NOTIFIER_HEAD')));
    mem.store(notifierWord(vm, node, 'REGISTERED'), 1);
    // ORDER: the node before the head. A dispatcher that sees the head walks into a complete node.
    yield writing(vm.word('NOTIFIER_HEAD'));
    mem.store(vm.word('NOTIFIER_HEAD'), node + 1);
  }
  yield* writeUnlock(actor, vm.mmuLock);
  return node < NOTIFIER_LIMIT ? node : -1;
}

/** kvm_page_track_unregister_notifier: unlinks, then waits until no dispatcher can be using the node. */
export function* unregisterNotifier(actor: Actor, vm: Vm, node: number): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  let link = vm.word('NOTIFIER_HEAD');
  while (mem.load(link) !== node + 1) link = notifierWord(vm, mem.load(link) - 1, 'NEXT');
  yield writing(link);
  mem.store(link, mem.load(notifierWord(vm, node, 'NEXT')));
  mem.store(notifierWord(vm, node, 'REGISTERED'), 0);
  yield* writeUnlock(actor, vm.mmuLock);
  if (!vm.quirk(BUG_UNREGISTER_NO_SYNC)) yield* synchronizeSrcu(actor, vm.trackSrcu);
  yield writing(notifierWord(vm, node, 'KIND'));
  mem.store(notifierWord(vm, node, 'KIND'), 0);
  mem.add(notifierWord(vm, node, 'GEN'), 1);
}

/**
 * Walks the notifier list inside track_srcu and calls `each` with the kind of every node. (An arrow: a generator function
 * made for one call costs more than the whole walk.)
 * A callback may sleep; the node it belongs to stays valid as long as it is inside the section.
 */
export function* dispatch(actor: Actor, vm: Vm, each: (kind: number) => Path<void>): Path<void> {
  const { mem } = vm;
  yield reading(vm.word('NOTIFIER_HEAD'));
  if (mem.load(vm.word('NOTIFIER_HEAD')) === 0) return;
  const section = yield* srcuReadLock(actor, vm.trackSrcu);
  yield reading(vm.word('NOTIFIER_HEAD'));
  let next = mem.load(vm.word('NOTIFIER_HEAD'));
  while (next !== 0) {
    const node = next - 1;
    const gen = mem.load(notifierWord(vm, node, 'GEN'));
    const kind = mem.load(notifierWord(vm, node, 'KIND'));
    if (kind !== 0) yield* each(kind);
    if (mem.load(notifierWord(vm, node, 'GEN')) !== gen) {
      vm.onFinding({ id: 'I12', detail: `notifier node ${node} was freed while a dispatcher used it` });
    }
    yield reading(notifierWord(vm, node, 'NEXT'));
    next = mem.load(notifierWord(vm, node, 'NEXT'));
  }
  yield* srcuReadUnlock(actor, vm.trackSrcu, section);
}

/** kvm_page_track_create_slot: the slot is allocated but not findable yet. */
export function* pageTrackCreateSlot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  yield* dispatch(actor, vm, (kind) => tellSlot(kind, 'createSlot', actor, vm, slot));
}

/** kvm_page_track_flush_slot: the slot is INVALID for everyone. KVMI's node comes before the MMU's, being younger. */
export function* pageTrackFlushSlot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  yield* dispatch(actor, vm, (kind) => tellSlot(kind, 'flushSlot', actor, vm, slot));
}

function* tellSlot(kind: number, what: keyof SlotCallbacks, actor: Actor, vm: Vm, slot: Slot): Path<void> {
  const callback = slotCallbacks.get(kind)?.[what];
  if (callback !== undefined) yield* callback(actor, vm, slot);
}
