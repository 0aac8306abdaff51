/**
 * From a missing permission to a mapping, or to the decision that the instruction must be emulated.
 *
 * @source arch/x86/kvm/mmu/mmu.c (5.17): kvm_mmu_page_fault, direct_page_fault, page_fault_handle_page_track,
 *         fast_page_fault, is_page_fault_stale, handle_abnormal_pfn
 */
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import {
  SLOT_INVALID,
  SLOT_LOG_DIRTY,
  TRACK_PREEXEC,
  TRACK_PREREAD,
  TRACK_PREWRITE,
  TRACK_WRITE,
} from '../../shared/layout/memslot.ts';
import {
  SPTE_HOST_WRITABLE,
  SPTE_MMU_WRITABLE,
  SPTE_R,
  SPTE_SAVED_R,
  SPTE_SAVED_X,
  SPTE_W,
  SPTE_X,
} from '../../shared/layout/spte.ts';
import { OUTSIDE_GUEST, READING_TABLES } from '../../shared/layout/vcpu.ts';
import {
  BUG_INVALID_AS_MMIO,
  BUG_MMIO_IN_FLUX,
  BUG_NO_NOTIFIER_RETRY,
  BUG_NO_ROOT_RECHECK,
  REF_MMIO_OVER_MAPPING,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { LOCK_MMU, SRCU_KVM, WAIT_ACK } from '../../shared/sync/lock-class.ts';
import { type Path, reading, relaxing, updating, waiting, writing } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { FAULT_RESULTS, TRACE_FAULT } from '../../shared/trace/kinds.ts';
import { activeSet, findSlot, GENERATION_IN_FLUX, type Slot, setGeneration } from './memslots.ts';
import { flushRemoteTlbs } from './protect.ts';
import { leaveGuestMode } from './requests.ts';
import { rootIsAlive, rootIsStale } from './roots.ts';
import { dirtyWord, rmapWord } from './slot-arena.ts';
import {
  isMmio,
  isPresent,
  isTracked,
  makeMmioSpte,
  makeSpte,
  mmioGeneration,
  spteAccess,
  spteAddress,
  spteMmioGeneration,
  stretchWord,
} from './spte.ts';
import type { Vm } from './vm.ts';

/** What the fault path needs of the vCPU that faulted. */
export interface FaultingVcpu {
  readonly vm: Vm;
  readonly actor: Actor;
  readonly index: number;
  /** From the last exit to the next entry the vCPU is inside kvm.srcu; it leaves it to sleep. */
  leaveSrcu(): Path<void>;
  enterSrcu(): Path<void>;
}

export type FaultResult =
  /** The mapping allows the access now: enter the guest again. */
  | 'fixed-slow'
  | 'fixed-fast'
  | 'spurious'
  /** Something changed meanwhile: enter again and see. */
  | 'retry'
  /** The page is tracked for this access: emulate the instruction, with callbacks. */
  | 'emulate'
  /** There is no RAM: emulate as MMIO. */
  | 'mmio';

/** Longest sleep over an INVALID slot. Requests need no wake-up then: a vCPU outside guest mode is not waited for. */
const INVALID_SLEEP_MS = 2;

/**
 * kvm_mmu_page_fault for one access to a final translation.
 *
 * @param access  exactly one of ACCESS_R, ACCESS_W, ACCESS_X, or R|W for a read-modify-write
 * @locking inside a kvm.srcu section when called and when it returns, not necessarily the same one; may take mmu_lock
 */
export function* handlePageFault(vcpu: FaultingVcpu, gfn: number, access: number): Path<FaultResult> {
  const { tracer } = vcpu.actor;
  tracer?.begin(TRACE_FAULT, gfn, access);
  const result = yield* resolvePageFault(vcpu, gfn, access);
  tracer?.end(TRACE_FAULT, FAULT_RESULTS.indexOf(result));
  return result;
}

function* resolvePageFault(vcpu: FaultingVcpu, gfn: number, access: number): Path<FaultResult> {
  const { vm, index } = vcpu;
  const { mem } = vm;
  if (gfn >= vm.layout.config.gfnCount) return 'mmio';
  // ORDER: the count before the set. A slot found INVALID below is republished after this value.
  yield reading(vm.word('SLOT_PUBLICATIONS'));
  const published = mem.load(vm.word('SLOT_PUBLICATIONS'));
  const set = activeSet(vm, mem.load(vm.vcpuWord(index, 'AS_ID')));
  const root = mem.load(vm.vcpuWord(index, 'ROOT'));
  if (root < 0) return 'retry';

  const address = spteAddress(vm, root, gfn);
  yield reading(address);
  const spte = mem.load64(address);
  if (isMmio(spte)) {
    const generation = setGeneration(vm, set);
    const current = (generation & GENERATION_IN_FLUX) === 0n;
    if (current && spteMmioGeneration(spte) === mmioGeneration(generation)) return 'mmio';
  }

  // Sampled before the lookup: an invalidation that ends later shows in it (RC-37).
  yield reading(vm.word('MMU_NOTIFIER_SEQ'));
  const notifierSeq = mem.load(vm.word('MMU_NOTIFIER_SEQ'));
  vcpu.actor.checks?.expectHeld('L8', 'a slot used', SRCU_KVM);
  let slot = findSlot(vm, set, gfn);
  if (slot !== null && (slot.flags & SLOT_INVALID) !== 0) {
    if (!vm.quirk(BUG_INVALID_AS_MMIO)) {
      yield* awaitPublication(vcpu, published);
      return 'retry';
    }
    slot = null;
  }
  if (slot !== null && trackedFor(vm, slot, gfn, access)) return 'emulate';
  if (slot !== null && isPresent(spte) && (access & ACCESS_X) === 0) {
    const fast = yield* fastPageFault(vcpu, slot, gfn, access);
    if (fast !== null) return fast;
  }
  return yield* slowPageFault(vcpu, set, slot, gfn, access, notifierSeq);
}

/**
 * Where the kernel would fault again and again until the slot is gone or back, this vCPU gives its core to whoever
 * changes the slot: a few looks, then a bounded sleep.
 *
 * @locking leaves kvm.srcu meanwhile: the change it waits for waits for the readers
 */
function* awaitPublication(vcpu: FaultingVcpu, published: number): Path<void> {
  const { vm, actor } = vcpu;
  const word = vm.word('SLOT_PUBLICATIONS');
  yield* vcpu.leaveSrcu();
  actor.checks?.mayBlock('slots to be published');
  for (let looks = actor.spinLimit; looks >= 0; looks--) {
    yield reading(word);
    if (vm.mem.load(word) !== published) break;
    if (looks > 0) continue;
    actor.expect = published;
    actor.timeoutMs = INVALID_SLEEP_MS;
    yield waiting(word);
  }
  yield* vcpu.enterSrcu();
}

/**
 * For an instruction that met the INVALID slot of `gfn` elsewhere than in a fault of that page: while the slot is still
 * INVALID the vCPU sleeps, as above, before it starts again.
 *
 * @locking as {@link handlePageFault}: nothing found in the section before it may be used after it
 */
export function* awaitSlot(vcpu: FaultingVcpu, gfn: number): Path<void> {
  const { vm, index } = vcpu;
  // ORDER: the count before the set, as in resolvePageFault.
  yield reading(vm.word('SLOT_PUBLICATIONS'));
  const published = vm.mem.load(vm.word('SLOT_PUBLICATIONS'));
  const slot = findSlot(vm, activeSet(vm, vm.mem.load(vm.vcpuWord(index, 'AS_ID'))), gfn);
  if (slot !== null && (slot.flags & SLOT_INVALID) !== 0) yield* awaitPublication(vcpu, published);
}

/** page_fault_handle_page_track; unlike stock KVM it does not ask for a present entry. A hint, read without locks. */
function trackedFor(vm: Vm, slot: Slot, gfn: number, access: number): boolean {
  if ((access & ACCESS_R) !== 0 && isTracked(vm, slot, gfn, TRACK_PREREAD)) return true;
  if ((access & ACCESS_X) !== 0 && isTracked(vm, slot, gfn, TRACK_PREEXEC)) return true;
  if ((access & ACCESS_W) === 0) return false;
  return isTracked(vm, slot, gfn, TRACK_PREWRITE) || isTracked(vm, slot, gfn, TRACK_WRITE);
}

/** Lost races before the fast path leaves it to the slow one. */
const FAST_RETRIES = 4;

/** fast_page_fault: gives back what may be given without mmu_lock, or null to go the slow way. */
function* fastPageFault(
  vcpu: FaultingVcpu,
  slot: Slot,
  gfn: number,
  access: number,
): Path<'fixed-fast' | 'spurious' | null> {
  const { vm, index } = vcpu;
  const { mem } = vm;
  const mode = vm.vcpuWord(index, 'MODE');
  // ORDER: the mode before the walk. Whoever frees tables waits for READING_TABLES to end.
  yield writing(mode);
  mem.store(mode, READING_TABLES);
  vcpu.actor.checks?.owes(WAIT_ACK);
  let result: 'fixed-fast' | 'spurious' | null = null;
  const root = mem.load(vm.vcpuWord(index, 'ROOT'));
  // Whoever threw the root away before the mode was set did not wait for us, and it may be another space's by now.
  yield reading(vm.word('MMU_VALID_GEN'));
  const stale = rootIsStale(vm, root, mem.load(vm.vcpuWord(index, 'ROOT_GEN')));
  for (let tries = 0; !stale && tries < FAST_RETRIES; tries++) {
    const address = spteAddress(vm, root, gfn);
    yield reading(address);
    const old = mem.load64(address);
    reportIfFreed(vm, index, root);
    if (!isPresent(old)) break;
    if ((spteAccess(old) & access) === access) {
      result = 'spurious';
      break;
    }
    let next = old;
    if ((old & SPTE_SAVED_R) !== 0n) next = (next & ~SPTE_SAVED_R) | SPTE_R;
    if ((old & SPTE_SAVED_X) !== 0n) next = (next & ~SPTE_SAVED_X) | SPTE_X;
    const writable = SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE;
    if ((access & ACCESS_W) !== 0 && (old & writable) === writable) next |= SPTE_W;
    if (next === old || (spteAccess(next) & access) !== access) break;
    yield updating(address);
    if (mem.cas64(address, old, next) === old) {
      if ((next & ~old & SPTE_W) !== 0n) markDirty(vm, slot, gfn);
      result = 'fixed-fast';
      break;
    }
  }
  yield writing(mode);
  mem.store(mode, OUTSIDE_GUEST);
  yield* leaveGuestMode(vm, index, vcpu.actor.tracer);
  vcpu.actor.checks?.settles(WAIT_ACK);
  return result;
}

/** The oracle of the tables' lifetime: a root that was good after READING_TABLES was published is not freed under it. */
function reportIfFreed(vm: Vm, index: number, root: number): void {
  if (!vm.checked || rootIsAlive(vm, root, vm.mem.load(vm.vcpuWord(index, 'ROOT_GEN')))) return;
  vm.onFinding({ id: 'I7', detail: `vCPU ${index} reads sptes of root ${root}, which was freed under it` });
}

function* slowPageFault(
  vcpu: FaultingVcpu,
  set: number,
  slot: Slot | null,
  gfn: number,
  access: number,
  notifierSeq: number,
): Path<FaultResult> {
  const { vm, actor, index } = vcpu;
  const { mem } = vm;
  const current = vm.quirk(BUG_MMIO_IN_FLUX) ? activeSet(vm, mem.load(vm.vcpuWord(index, 'AS_ID'))) : set;
  const generation = setGeneration(vm, current);
  yield* writeLock(actor, vm.mmuLock);
  let hostIsAtIt = false;
  let result: FaultResult;
  actor.checks?.expectHeld('L9', 'an spte decided and installed', LOCK_MMU);
  const root = mem.load(vm.vcpuWord(index, 'ROOT'));
  // Everything read before the lock was only a hint (L9).
  const stale = rootIsStale(vm, root, mem.load(vm.vcpuWord(index, 'ROOT_GEN')));
  if (stale && !vm.quirk(BUG_NO_ROOT_RECHECK)) result = 'retry';
  else if (slot !== null && invalidated(vm, slot, gfn, notifierSeq)) {
    result = 'retry';
    hostIsAtIt = true;
  } else if (slot !== null && !stillVisible(vcpu, slot, gfn)) result = 'retry';
  else if (slot === null) {
    const address = spteAddress(vm, root, gfn);
    // Somebody has mapped the page meanwhile: there is a slot by now (RC-84).
    if (isPresent(mem.load64(address)) && !vm.quirk(REF_MMIO_OVER_MAPPING)) result = 'retry';
    else {
      if ((generation & GENERATION_IN_FLUX) === 0n) {
        yield updating(address);
        install(vm, root, gfn, makeMmioSpte(gfn, generation));
      }
      result = 'mmio';
    }
  } else if (trackedFor(vm, slot, gfn, access)) result = 'emulate';
  else if ((spteAccess(mem.load64(spteAddress(vm, root, gfn))) & access) === access) result = 'spurious';
  else {
    const spte = makeSpte(vm, slot, gfn, (access & ACCESS_W) !== 0);
    yield updating(spteAddress(vm, root, gfn));
    const old = install(vm, root, gfn, spte);
    // For the dirty log W is given with a write only; whoever has written the page may have it in a TLB.
    if ((spteAccess(old) & ~spteAccess(spte)) !== 0) yield* flushRemoteTlbs(actor, vm);
    mem.or(rmapWord(vm, slot.arch, gfn - slot.baseGfn), 1 << root);
    if ((access & ACCESS_W) !== 0) markDirty(vm, slot, gfn);
    // A write to a read-only slot, or to a page that may not be written without tracking it, is done by hand.
    result = (spteAccess(spte) & access) === access ? 'fixed-slow' : 'emulate';
  }
  yield* writeUnlock(actor, vm.mmuLock);
  if (hostIsAtIt) yield relaxing(vm.word('MMU_NOTIFIER_COUNT'));
  return result;
}

/**
 * Is the slot that the fault found not on its way out? An INVALID slot takes no track counts, so that one may not be
 * mapped any more although nothing says that it is tracked. mmu_lock held: what SET_PAGE_ACCESS has seen is seen here.
 */
function stillVisible(vcpu: FaultingVcpu, slot: Slot, gfn: number): boolean {
  const { vm, index } = vcpu;
  const now = findSlot(vm, activeSet(vm, vm.mem.load(vm.vcpuWord(index, 'AS_ID'))), gfn);
  return now !== null && now.instance === slot.instance && (now.flags & SLOT_INVALID) === 0;
}

/** mmu_notifier_retry_hva: was the backing of `gfn` taken away since `seq` was read? mmu_lock held. */
function invalidated(vm: Vm, slot: Slot, gfn: number, seq: number): boolean {
  if (vm.quirk(BUG_NO_NOTIFIER_RETRY)) return false;
  const { mem } = vm;
  const page = slot.ramPage + gfn - slot.baseGfn;
  if (mem.load(vm.word('MMU_NOTIFIER_COUNT')) !== 0) {
    const start = mem.load(vm.word('MMU_NOTIFIER_START'));
    const end = mem.load(vm.word('MMU_NOTIFIER_END'));
    if (page >= start && page < end) return true;
  }
  return mem.load(vm.word('MMU_NOTIFIER_SEQ')) !== seq;
}

/** Puts an entry in its place. Returns what was there. mmu_lock held for write. */
function install(vm: Vm, root: number, gfn: number, spte: bigint): bigint {
  const old = vm.mem.exchange64(spteAddress(vm, root, gfn), spte);
  if (old === 0n) vm.mem.add(stretchWord(vm, root, gfn), 1);
  return old;
}

/** mark_page_dirty_in_slot: only while the slot logs. */
export function markDirty(vm: Vm, slot: Slot, gfn: number): void {
  if ((slot.flags & SLOT_LOG_DIRTY) === 0) return;
  const page = gfn - slot.baseGfn;
  vm.mem.or(dirtyWord(vm, slot.arch, page), 1 << (page % 32));
}
