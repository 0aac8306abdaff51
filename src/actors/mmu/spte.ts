/**
 * What an spte may say, and what it should say now.
 *
 * @source arch/x86/kvm/mmu/spte.c: make_spte, make_mmio_spte; the tracking filter from KVMI patch "page track: add
 *         support for preread, prewrite and preexec" (v10 and later: inside the builder)
 */
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import {
  SLOT_LOG_DIRTY,
  SLOT_READONLY,
  TRACK_PREEXEC,
  TRACK_PREREAD,
  TRACK_PREWRITE,
  TRACK_WRITE,
} from '../../shared/layout/memslot.ts';
import {
  SPTE_ACCESSED,
  SPTE_HOST_WRITABLE,
  SPTE_MMIO,
  SPTE_MMIO_GEN_MASK,
  SPTE_MMIO_GEN_SHIFT,
  SPTE_MMU_WRITABLE,
  SPTE_PFN_MASK,
  SPTE_PFN_SHIFT,
  SPTE_PRESENT,
  SPTE_R,
  SPTE_SAVED_R,
  SPTE_SAVED_X,
  SPTE_STRETCH,
  SPTE_W,
  SPTE_X,
} from '../../shared/layout/spte.ts';
import { REF_READ_PROTECT_KEEPS_MMU_W } from '../../shared/quirks.ts';
import { trackCounter } from './slot-arena.ts';
import type { Slot } from './slot-sets.ts';
import type { Vm } from './vm.ts';

/** Address of the spte of `gfn` under root `root`. */
export function spteAddress(vm: Vm, root: number, gfn: number): number {
  return vm.layout.sptes + (root * vm.layout.config.gfnCount + gfn) * 8;
}

/** Address of the count of non-empty sptes in the stretch that holds `gfn`. */
export function stretchWord(vm: Vm, root: number, gfn: number): number {
  const stretches = Math.ceil(vm.layout.config.gfnCount / SPTE_STRETCH);
  return vm.layout.stretches + (root * stretches + Math.floor(gfn / SPTE_STRETCH)) * 4;
}

/** kvm_page_track_is_active: lock-free; a hint unless mmu_lock is held. */
export function isTracked(vm: Vm, slot: Slot, gfn: number, mode: number): boolean {
  return vm.mem.load16(trackCounter(vm, slot.arch, mode, gfn - slot.baseGfn)) !== 0;
}

/**
 * make_spte: permissions for `gfn` as slot and tracking allow them at this moment.
 *
 * @param write  the fault is a write: with dirty logging on, only then W is given (and the page marked dirty)
 * @locking      mmu_lock held: tracking must not change between this and the installation
 */
export function makeSpte(vm: Vm, slot: Slot, gfn: number, write: boolean): bigint {
  const hostWritable = (slot.flags & SLOT_READONLY) === 0;
  let readable = true;
  let mmuWritable = hostWritable;
  let spte = SPTE_PRESENT | SPTE_ACCESSED | (BigInt(slot.ramPage + gfn - slot.baseGfn) << SPTE_PFN_SHIFT);
  if (hostWritable) spte |= SPTE_HOST_WRITABLE;
  if (isTracked(vm, slot, gfn, TRACK_PREREAD)) {
    readable = false;
    // W without R is an EPT misconfiguration; the reference drops R alone (RC-12).
    if (!vm.quirk(REF_READ_PROTECT_KEEPS_MMU_W)) mmuWritable = false;
  }
  if (isTracked(vm, slot, gfn, TRACK_PREWRITE) || isTracked(vm, slot, gfn, TRACK_WRITE)) mmuWritable = false;
  if (readable) spte |= SPTE_R;
  if (!isTracked(vm, slot, gfn, TRACK_PREEXEC)) spte |= SPTE_X;
  if (mmuWritable) {
    spte |= SPTE_MMU_WRITABLE;
    if (write || (slot.flags & SLOT_LOG_DIRTY) === 0) spte |= SPTE_W;
  }
  return spte;
}

/** make_mmio_spte: "no slot at gfn", good while the memslot generation is `generation`. */
export function makeMmioSpte(gfn: number, generation: bigint): bigint {
  return SPTE_MMIO | (mmioGeneration(generation) << SPTE_MMIO_GEN_SHIFT) | (BigInt(gfn) << SPTE_PFN_SHIFT);
}

/** The 19 bits of a memslot generation that an MMIO spte keeps, low address-space bit stripped. */
export function mmioGeneration(generation: bigint): bigint {
  return (generation >> 1n) & 0x7ffffn;
}

export function spteMmioGeneration(spte: bigint): bigint {
  return (spte & SPTE_MMIO_GEN_MASK) >> SPTE_MMIO_GEN_SHIFT;
}

export function isMmio(spte: bigint): boolean {
  return (spte & SPTE_MMIO) !== 0n;
}

export function isPresent(spte: bigint): boolean {
  return (spte & (SPTE_PRESENT | SPTE_MMIO)) === SPTE_PRESENT;
}

/** RAM page it maps. */
export function sptePfn(spte: bigint): number {
  return Number((spte & SPTE_PFN_MASK) >> SPTE_PFN_SHIFT);
}

/** ACCESS_* bits the entry grants right now. */
export function spteAccess(spte: bigint): number {
  if (!isPresent(spte)) return 0;
  return Number(spte & (SPTE_R | SPTE_W | SPTE_X));
}

/** Why `spte` is not a legal entry, or null. The text names the rule (I5). */
export function illegalSpte(spte: bigint): string | null {
  if (!isPresent(spte)) return null;
  const has = (bit: bigint) => (spte & bit) !== 0n;
  if (has(SPTE_W) && !has(SPTE_R)) return 'W without R is an EPT misconfiguration';
  if (has(SPTE_W) && !has(SPTE_MMU_WRITABLE)) return 'W without MMU-writable';
  if (has(SPTE_MMU_WRITABLE) && !has(SPTE_HOST_WRITABLE)) return 'MMU-writable without host-writable';
  if (has(SPTE_SAVED_R) && has(SPTE_R)) return 'R both granted and saved';
  if (has(SPTE_SAVED_X) && has(SPTE_X)) return 'X both granted and saved';
  return null;
}

export function describeAccess(access: number): string {
  return `${access & ACCESS_R ? 'r' : '-'}${access & ACCESS_W ? 'w' : '-'}${access & ACCESS_X ? 'x' : '-'}`;
}
