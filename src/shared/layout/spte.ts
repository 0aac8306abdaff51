/**
 * Shadow page table entries, EPT style: one 64-bit atomic word each.
 *
 *   63      58 57 56  54        52…12        10  9 8     2 1 0
 *   ┌──┬────┬─┬─┬─┬─┬─┬──┬───────────────┬──┬──┬─┬─┬─────┬─┬─┬─┐
 *   │MM│    │M│H│x│ │r│  │ pfn (RAM page)│  │P │D│A│     │X│W│R│
 *   └──┴────┴─┴─┴─┴─┴─┴──┴───────────────┴──┴──┴─┴─┴─────┴─┴─┴─┘
 *   M 58 MMU-writable   H 57 host-writable   x 56, r 54 saved X, R of an access-tracked entry
 *   P 11 software present: a real mapping even if R W X are all clear   A 8, D 9 accessed, dirty
 *   MM 63 MMIO pattern: pfn field holds the gfn, bits 32… are not used; generation in the low bits 0x7ffff << 40
 *
 * @source arch/x86/kvm/mmu/spte.h (5.17): shadow_present_mask, EPT_SPTE_HOST_WRITABLE, EPT_SPTE_MMU_WRITABLE
 */
import { i32, i64, struct } from '../struct.ts';

export const SPTE_R = 1n;
export const SPTE_W = 1n << 1n;
export const SPTE_X = 1n << 2n;
export const SPTE_RWX = 7n;
export const SPTE_ACCESSED = 1n << 8n;
export const SPTE_DIRTY = 1n << 9n;
export const SPTE_PRESENT = 1n << 11n;
export const SPTE_SAVED_R = 1n << 54n;
export const SPTE_SAVED_X = 1n << 56n;
export const SPTE_HOST_WRITABLE = 1n << 57n;
export const SPTE_MMU_WRITABLE = 1n << 58n;
export const SPTE_MMIO = 1n << 63n;
export const SPTE_PFN_SHIFT = 12n;
export const SPTE_PFN_MASK = 0xfffffffn << SPTE_PFN_SHIFT;
/** MMIO entries carry 19 bits of the memslot generation here. */
export const SPTE_MMIO_GEN_SHIFT = 40n;
export const SPTE_MMIO_GEN_MASK = 0x7ffffn << SPTE_MMIO_GEN_SHIFT;

export const SPTE = struct('spte', { SPTE: i64('mmu_lock; fast path (cas)', 'one entry, bits as above') });

/** One root: a flat table of sptes, one per gfn, for one address space. */
export const ROOT = struct('root', {
  STATE: i32('mmu_lock', '1: in use'),
  AS_ID: i32('mmu_lock', 'address space it maps'),
  VALID_GEN: i32('mmu_lock', 'MMU_VALID_GEN when it was made; another value there: obsolete'),
  GEN: i32('mmu_lock', 'bumped every time this root is allocated: tells its lives apart'),
});
/** Two address spaces, each with a current and an obsolete root. */
export const ROOT_LIMIT = 4;
/** Sptes counted together, so that a zap skips empty stretches (what a non-leaf table does in hardware). */
export const SPTE_STRETCH = 512;
export const STRETCH = struct(
  'spte-stretch',
  { FILLED: i32('mmu_lock', 'entries of the stretch that are not 0') },
  4,
);
