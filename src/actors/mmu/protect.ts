/**
 * Taking permissions away from existing sptes.
 *
 * One rule decides about the flush: *any* permission bit removed, saved bits and MMU-writable included, means that a
 * TLB may still grant it. The reference's exceptions are quirks (RC-07, RC-12, RC-26).
 *
 * @source arch/x86/kvm/mmu/mmu.c: spte_write_protect, rmap_write_protect; KVMI: spte_read_protect, spte_exec_protect
 */
import { ACCESS_W } from '../../shared/layout/cpu.ts';
import { TRACK_PREEXEC, TRACK_PREREAD } from '../../shared/layout/memslot.ts';
import {
  ROOT_LIMIT,
  SPTE_MMU_WRITABLE,
  SPTE_R,
  SPTE_RWX,
  SPTE_SAVED_R,
  SPTE_SAVED_X,
  SPTE_W,
  SPTE_X,
} from '../../shared/layout/spte.ts';
import { REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import {
  BUG_FLUSH_NO_WAIT,
  BUG_RO_MEANS_CLEAN,
  BUG_SPTE_NON_ATOMIC_CLEAR,
  BUG_SPTE_TWO_WORDS,
  BUG_WP_SKIP_RO,
  REF_ACC_TRACK_RESTORE,
  REF_EXEC_PROTECT_NO_FLUSH,
  REF_READ_PROTECT_KEEPS_MMU_W,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { requestAll } from './requests.ts';
import { rmapWord } from './slot-arena.ts';
import type { Slot } from './slot-sets.ts';
import { isPresent, spteAccess, spteAddress, stretchWord } from './spte.ts';
import type { Vm } from './vm.ts';

/** kvm_flush_remote_tlbs: no vCPU uses an older translation when this returns. */
export function* flushRemoteTlbs(actor: Actor, vm: Vm): Path<void> {
  yield* requestAll(actor, vm, { bits: REQ_TLB_FLUSH, wait: !vm.quirk(BUG_FLUSH_NO_WAIT) });
}

/** Every root that maps `gfn` of this slot: addresses of its sptes. mmu_lock held. */
function mappings(vm: Vm, slot: Slot, gfn: number): number[] {
  const roots = vm.mem.load(rmapWord(vm, slot.arch, gfn - slot.baseGfn));
  const addresses: number[] = [];
  for (let root = 0; root < ROOT_LIMIT; root++) {
    if ((roots & (1 << root)) !== 0) addresses.push(spteAddress(vm, root, gfn));
  }
  return addresses;
}

/** Clears `bits` by compare-exchange, since the fast path may be setting W meanwhile. Returns the bits removed. */
function* clearBits(vm: Vm, address: number, bits: bigint): Path<bigint> {
  for (;;) {
    yield reading(address);
    const old = vm.mem.load64(address);
    if (!isPresent(old) || (old & bits) === 0n) return 0n;
    if (vm.quirk(BUG_SPTE_TWO_WORDS)) {
      yield* storeHalves(vm, address, old & ~bits);
      return old & bits;
    }
    yield updating(address);
    if (vm.mem.cas64(address, old, old & ~bits) === old) return old & bits;
  }
}

/** What a store is where an spte is two words: permissions first, pfn and writable bits after. */
function* storeHalves(vm: Vm, address: number, spte: bigint): Path<void> {
  yield writing(address);
  vm.mem.store(address, Number(BigInt.asIntN(32, spte)));
  yield writing(address + 4);
  vm.mem.store(address + 4, Number(BigInt.asIntN(32, spte >> 32n)));
}

/**
 * Tightens all mappings of `gfn` for one tracking mode.
 *
 * @returns whether remote TLBs must be flushed before anyone may rely on it
 * @locking mmu_lock held for write
 */
export function* protectForTracking(vm: Vm, slot: Slot, gfn: number, mode: number): Path<boolean> {
  let bits: bigint;
  if (mode === TRACK_PREEXEC) {
    bits = SPTE_X;
    if (!vm.quirk(REF_ACC_TRACK_RESTORE)) bits |= SPTE_SAVED_X;
  } else if (mode === TRACK_PREREAD) {
    bits = SPTE_R | SPTE_W;
    if (!vm.quirk(REF_READ_PROTECT_KEEPS_MMU_W)) bits |= SPTE_MMU_WRITABLE;
    if (!vm.quirk(REF_ACC_TRACK_RESTORE)) bits |= SPTE_SAVED_R;
  } else {
    bits = SPTE_W | SPTE_MMU_WRITABLE;
  }
  const writes = mode !== TRACK_PREEXEC && mode !== TRACK_PREREAD;
  let flush = false;
  for (const address of mappings(vm, slot, gfn)) {
    // Read-only already, and "nothing to do": MMU-writable stays, with which the fast path gives W back.
    if (writes && vm.quirk(BUG_WP_SKIP_RO) && (spteAccess(vm.mem.load64(address)) & ACCESS_W) === 0) continue;
    const removed = yield* clearBits(vm, address, bits);
    if (removed !== 0n && !passesForClean(vm, removed)) flush = true;
  }
  return flush;
}

/** Where "any bit removed" is not what decides about the flush. */
function passesForClean(vm: Vm, removed: bigint): boolean {
  // The reference derives "flush" from lost writability only.
  if (vm.quirk(REF_EXEC_PROTECT_NO_FLUSH) && removed === SPTE_X) return true;
  // W had been taken before: but it need not have been flushed.
  return vm.quirk(BUG_RO_MEANS_CLEAN) && (removed & SPTE_RWX) === 0n;
}

/**
 * kvm_mmu_slot_remove_write_access: every page of the slot faults on its next write, for the dirty log.
 *
 * The flush comes after mmu_lock has been given up, as in the kernel: until then an spte without W says nothing about
 * the TLBs. Whoever tightens such an entry finds MMU-writable in it, removes that and flushes (RC-27).
 */
export function* writeProtectSlot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  let flush = false;
  for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
    if (yield* writeProtectGfn(vm, slot, gfn)) flush = true;
  }
  yield* writeUnlock(actor, vm.mmuLock);
  if (flush) yield* flushRemoteTlbs(actor, vm);
}

/** The next write to `gfn` faults. Returns whether a flush is due. mmu_lock held for write. */
export function* writeProtectGfn(vm: Vm, slot: Slot, gfn: number): Path<boolean> {
  let flush = false;
  for (const address of mappings(vm, slot, gfn)) {
    if ((yield* clearBits(vm, address, SPTE_W)) !== 0n) flush = true;
  }
  return flush;
}

/**
 * Ages `gfn`: no access without a fault, R and X remembered in the saved bits (mark_spte_for_access_track).
 * A host that looks for cold pages does this; the fast path undoes it on the next access.
 */
export function* ageGfn(actor: Actor, vm: Vm, slot: Slot, gfn: number): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  let flush = false;
  for (const address of mappings(vm, slot, gfn)) {
    for (;;) {
      yield reading(address);
      const old = vm.mem.load64(address);
      if (!isPresent(old) || (old & (SPTE_R | SPTE_X)) === 0n) break;
      let aged = old & ~(SPTE_R | SPTE_W | SPTE_X | SPTE_SAVED_R | SPTE_SAVED_X);
      if ((old & SPTE_R) !== 0n) aged |= SPTE_SAVED_R;
      if ((old & SPTE_X) !== 0n) aged |= SPTE_SAVED_X;
      yield updating(address);
      if (vm.mem.cas64(address, old, aged) === old) {
        flush = true;
        break;
      }
    }
  }
  if (flush) yield* flushRemoteTlbs(actor, vm);
  yield* writeUnlock(actor, vm.mmuLock);
}

/**
 * Removes every mapping of `gfn`. mmu_lock held for write.
 *
 * What an entry granted is known from what the exchange found: the fast path may have changed it a moment ago (RC-28).
 *
 * @returns whether a flush is due: an entry that grants nothing is in no TLB
 */
export function* zapGfn(vm: Vm, slot: Slot, gfn: number): Path<boolean> {
  const rmap = rmapWord(vm, slot.arch, gfn - slot.baseGfn);
  const roots = vm.mem.load(rmap);
  let flush = false;
  for (let root = 0; root < ROOT_LIMIT; root++) {
    if ((roots & (1 << root)) === 0) continue;
    if (spteAccess(yield* takeSpte(vm, spteAddress(vm, root, gfn))) !== 0) flush = true;
    vm.mem.add(stretchWord(vm, root, gfn), -1);
  }
  vm.mem.store(rmap, 0);
  return flush;
}

/** Empties an entry. Returns what it held. */
function* takeSpte(vm: Vm, address: number): Path<bigint> {
  if (vm.quirk(BUG_SPTE_NON_ATOMIC_CLEAR)) {
    yield reading(address);
    const old = vm.mem.load64(address);
    yield writing(address);
    vm.mem.store64(address, 0n);
    return old;
  }
  yield updating(address);
  return vm.mem.exchange64(address, 0n);
}
