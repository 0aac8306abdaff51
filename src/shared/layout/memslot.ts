/** Memslots: two sets per address space, and the per-slot arch blocks that both versions of a slot share. */
import { i32, i64, struct } from '../struct.ts';

/** Slots one set can hold. KVM allows 32764; ids are reused all the same. */
export const SLOT_LIMIT = 64;
/** KVMI_MEM_SLOTS_NUM is SHRT_MAX in the kernel: the positions of an `active` bitset. Ours, per address space. */
export const USER_SLOT_IDS = SLOT_LIMIT - 3;

const SLOTS = 'slots_lock holder, inactive set only';

export const SLOT = struct('slot', {
  ID: i32(SLOTS, 'slot id within its address space'),
  AS_ID: i32(SLOTS, 'address space'),
  FLAGS: i32(SLOTS, 'SLOT_LOG_DIRTY | SLOT_READONLY | SLOT_INVALID'),
  BASE_GFN: i32(SLOTS, 'first gfn'),
  NPAGES: i32(SLOTS, 'length in pages'),
  RAM_PAGE: i32(SLOTS, 'userspace_addr: index of its first page in guest RAM'),
  ARCH: i32(SLOTS, 'index of its arch block'),
  INSTANCE: i32(SLOTS, 'number of the CREATE or MOVE that made it; tells two slots with one id apart'),
});

/** Head of a set; SLOT_LIMIT slots follow it. */
export const SLOT_SET = struct(
  'slot-set',
  {
    GENERATION: i64('slots_lock', 'memslot generation; bit 63 while an update is in flux'),
    COUNT: i32(SLOTS, 'slots in use, sorted by base gfn'),
  },
  64,
);

export const SLOT_SET_BYTES = SLOT_SET.bytes + SLOT_LIMIT * SLOT.bytes;

export const SLOT_LOG_DIRTY = 1;
export const SLOT_READONLY = 2;
/** KVM_MEMSLOT_INVALID: internal, never accepted from outside. */
export const SLOT_INVALID = 1 << 16;

/** Arch block: `struct kvm_arch_memory_slot`. Shared by old and new version of a slot on FLAGS_ONLY. */
export const ARCH = struct('slot-arch', {
  STATE: i32('slots_lock', 'ARCH_FREE | ARCH_LIVE | ARCH_POISONED'),
  GEN: i32('slots_lock', 'bumped on every allocation: a stale index is recognised'),
  NPAGES: i32('slots_lock', 'pages covered'),
  TRACK: i32('slots_lock', 'address of gfn_track: u16 [mode][page]; guarded by mmu_lock'),
  RMAP: i32('slots_lock', 'address of rmap: u32 [page], bit r set: root r maps it; guarded by mmu_lock'),
  DIRTY: i32('slots_lock', 'address of the dirty bitmap: u32 words, or 0; set with atomic or'),
  BYTES: i32('slots_lock', 'arena bytes behind TRACK, RMAP and DIRTY'),
  BLOCK: i32('slots_lock', 'address of the arena block'),
});

/** Head of one arena block; blocks tile the arena, first fit, neighbours merged on free. */
export const ARENA_BLOCK = struct(
  'arena-block',
  {
    BYTES: i32('slots_lock', 'whole block, head included; 0 in a fresh arena: everything is one free block'),
    USED: i32('slots_lock', '1 while allocated'),
  },
  64,
);

export const ARCH_LIMIT = 4 * SLOT_LIMIT;
export const ARCH_FREE = 0;
export const ARCH_LIVE = 1;
/** Freed; its arrays were overwritten. Anyone who still reaches it violates I7. */
export const ARCH_POISONED = 2;

// Page-track modes, in the order of enum kvm_page_track_mode (KVMI v12).
export const TRACK_PREREAD = 0;
export const TRACK_PREWRITE = 1;
export const TRACK_WRITE = 2;
export const TRACK_PREEXEC = 3;
export const TRACK_MODES = 4;
export const TRACK_MODE_NAMES = ['PREREAD', 'PREWRITE', 'WRITE', 'PREEXEC'] as const;
