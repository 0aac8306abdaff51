/**
 * The access tree: what the introspector allows per gfn. A radix tree (64-way) over gfn; absent means full access.
 * Guarded by mmu_lock and access_tree_lock for writing, access_tree_lock for reading.
 */
import { i32, i64, struct } from '../struct.ts';
import { SLOT_LIMIT, TRACK_MODES } from './memslot.ts';
import { ADDRESS_SPACES } from './vm.ts';

export const TREE_FANOUT = 64;
/** 64⁴ gfns: 64 GiB of guest physical space. */
export const TREE_LEVELS = 4;

/** Words of one `active` bitset: a bit per (address space, slot id). */
export const ACTIVE_WORDS = (ADDRESS_SPACES * SLOT_LIMIT) / 32;

/** struct kvmi_mem_access. */
export const MEM_ACCESS = struct(
  'mem-access',
  {
    GFN: i32('mmu_lock + tree lock', 'guest frame'),
    ACCESS: i32('mmu_lock + tree lock', 'KVMI_PAGE_ACCESS_R | W | X that remain allowed'),
    VERSION: i32('mmu_lock + tree lock', 'POLICY_SEQ of the last tightening: an older approval is void'),
    GEN: i32('allocator', 'bumped on every allocation (I12)'),
    NEXT: i32('allocator', 'free list: 1 + index'),
    ACTIVE: i32(
      'mmu_lock',
      'per mode: slots in which this entry holds a track count',
      TRACK_MODES * ACTIVE_WORDS,
    ),
  },
  32,
);

export const TREE_NODE = struct(
  'tree-node',
  {
    CHILD: i32(
      'mmu_lock + tree lock',
      '1 + index of a tree node, at the last level of a mem-access entry',
      TREE_FANOUT,
    ),
    USED: i32('mmu_lock + tree lock', 'children that are not 0'),
    NEXT: i32('allocator', 'free list: 1 + index'),
  },
  8,
);

/** A pool of equal records with a lock-free free list: nodes are allocated before any lock is taken. */
export const POOL = struct(
  'pool',
  {
    HEAD: i64('anyone (cas)', 'tag << 32 | 1 + index of the first free record. The tag defeats ABA (RC-76)'),
    FRESH: i32('anyone (add)', 'records taken that were never used before'),
    USED: i32('anyone (add)', 'records allocated now'),
  },
  64,
);
/** The pools, in the order in which they stand: see mmu/access-tree.ts. */
export const POOL_NAMES = ['access-nodes', 'tree-nodes'] as const;

export const FULL_ACCESS = 7;

/** Page-track notifier node: `struct kvm_page_track_notifier_node`. */
export const NOTIFIER = struct('notifier', {
  KIND: i32('register', 'NOTIFIER_*: which callbacks it stands for; 0 when free'),
  NEXT: i32('mmu_lock', '1 + index of the next node, 0 at the end'),
  GEN: i32('register', 'bumped when the node is freed: a dispatcher that still uses it violates I12'),
  REGISTERED: i32('mmu_lock', '1 while linked'),
});
export const NOTIFIER_LIMIT = 8;
/** KVM's own node: drops shadow pages of a flushed slot. */
export const NOTIFIER_MMU = 1;
/** KVMI's node: kvmi_track_*. */
export const NOTIFIER_KVMI = 2;
/** A recording node for tests. */
export const NOTIFIER_TEST = 3;
/** The second tracker of the race corpus (RC-74). */
export const NOTIFIER_TRACKER = 4;
/** The tracker of one access of the race corpus (RC-67). */
export const NOTIFIER_ONE_SHOT = 5;
