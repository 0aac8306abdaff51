/**
 * Taking permissions away from existing sptes.
 *
 * One rule decides about the flush: *any* permission bit removed, saved bits and MMU-writable included, means that a
 * TLB may still grant it. The reference's exceptions are quirks (RC-07, RC-12, RC-26).
 *
 * @source arch/x86/kvm/mmu/mmu.c: spte_write_protect, rmap_write_protect; KVMI: spte_read_protect, spte_exec_protect
 */
import { TRACK_PREEXEC, TRACK_PREREAD } from '../../shared/layout/memslot.ts';
import {
  ROOT_LIMIT,
  SPTE_MMU_WRITABLE,
  SPTE_R,
  SPTE_SAVED_R,
  SPTE_SAVED_X,
  SPTE_W,
  SPTE_X,
} from '../../shared/layout/spte.ts';
import { REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import {
  BUG_FLUSH_NO_WAIT,
  REF_ACC_TRACK_RESTORE,
  REF_EXEC_PROTECT_NO_FLUSH,
  REF_READ_PROTECT_KEEPS_MMU_W,
} from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import type { Slot } from './memslots.ts';
import { requestAll } from './requests.ts';
import { rmapWord } from './slot-arena.ts';
import { isPresent, spteAddress, stretchWord } from './spte.ts';
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
    yield updating(address);
    if (vm.mem.cas64(address, old, old & ~bits) === old) return old & bits;
  }
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
  let flush = false;
  for (const address of mappings(vm, slot, gfn)) {
    const removed = yield* clearBits(vm, address, bits);
    // The reference derives "flush" from lost writability only.
    if (removed !== 0n && !(vm.quirk(REF_EXEC_PROTECT_NO_FLUSH) && removed === SPTE_X)) flush = true;
  }
  return flush;
}

/** kvm_mmu_slot_remove_write_access: every page of the slot faults on its next write, for the dirty log. */
export function* writeProtectSlot(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  let flush = false;
  for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
    for (const address of mappings(vm, slot, gfn)) {
      if ((yield* clearBits(vm, address, SPTE_W)) !== 0n) flush = true;
    }
  }
  if (flush) yield* flushRemoteTlbs(actor, vm);
  yield* writeUnlock(actor, vm.mmuLock);
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

/** Removes every mapping of `gfn`. Returns whether a flush is due. mmu_lock held for write. */
export function* zapGfn(vm: Vm, slot: Slot, gfn: number): Path<boolean> {
  const rmap = rmapWord(vm, slot.arch, gfn - slot.baseGfn);
  const roots = vm.mem.load(rmap);
  for (let root = 0; root < ROOT_LIMIT; root++) {
    if ((roots & (1 << root)) === 0) continue;
    const address = spteAddress(vm, root, gfn);
    yield updating(address);
    vm.mem.exchange64(address, 0n);
    vm.mem.add(stretchWord(vm, root, gfn), -1);
  }
  vm.mem.store(rmap, 0);
  return roots !== 0;
}
