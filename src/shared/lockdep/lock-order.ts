/**
 * The declared order: who may be waited for while what is held, and why. What happens and does not follow from here is a
 * finding, even where it could not deadlock yet.
 *
 * Ranks (sync/lock-class.ts) say in which order locks nest at all; this says which of them do. Only waits are listed:
 * entering an srcu section, or taking a KVMI reference, never waits and needs no permission. To the left of an arrow
 * stands what is held: a lock, a section, a debt (an event that is to be answered, a reference, a vCPU in guest mode). To
 * the right stands what is waited for: a lock, a grace period, whatever settles the debt.
 *
 * The list is closed under going on: a → b and b → c allow a → c where b is a lock, which one holds after having waited
 * for it.
 *
 * @source linux Documentation/virt/kvm/locking.rst; spec section 10, "Chains that really occur"
 */
import {
  DONE_KVMI,
  HOST_INVALIDATION,
  LOCK_ACCESS_TREE,
  LOCK_BOARD,
  LOCK_CONNECTION,
  LOCK_JOB,
  LOCK_KVM,
  LOCK_KVMI,
  LOCK_MMU,
  LOCK_MN_INVALIDATE,
  LOCK_SLOTS,
  LOCK_SLOTS_ARCH,
  LOCK_SPLIT,
  LOCK_TDP_PAGES,
  LOCK_UNSYNC_PAGES,
  LOCK_VCPU,
  type LockClass,
  type LockKind,
  NO_RANK,
  SRCU_KVM,
  SRCU_TRACK,
  WAIT_ACK,
  WAIT_REPLY,
  WAIT_TURN,
} from '../sync/lock-class.ts';
import { type How, RECURSIVE } from './dependency.ts';

export interface DeclaredEdge {
  readonly from: LockClass;
  readonly to: LockClass;
  /** One clause: who does it, and what for. */
  readonly why: string;
}

export interface LockOrder {
  readonly edges: readonly DeclaredEdge[];
  /** Ids of the classes that may be waited for under the class of this id. */
  readonly after: ReadonlyMap<number, ReadonlySet<number>>;
}

/** What is held after it has been waited for. */
const LOCKS: readonly LockKind[] = ['mutex', 'rwlock', 'spinlock'];

function edge(from: LockClass, to: LockClass, why: string): DeclaredEdge {
  return { from, to, why };
}

// biome-ignore format: table
export const LOCK_ORDER: LockOrder = lockOrder([
  edge(LOCK_KVM,          LOCK_VCPU,          'VM ioctls that stop at each vCPU'),
  edge(LOCK_VCPU,         LOCK_KVMI,          'a vCPU that frees its block'),
  edge(LOCK_VCPU,         LOCK_MMU,           'a vCPU holds its mutex while it runs, and faults'),
  edge(LOCK_VCPU,         LOCK_SLOTS_ARCH,    'the same, where metadata of a slot is missing'),
  edge(LOCK_VCPU,         LOCK_JOB,           'it runs jobs too'),
  edge(LOCK_VCPU,         WAIT_REPLY,         'a vCPU keeps its mutex while the tool thinks'),
  edge(SRCU_KVM,          LOCK_KVMI,          'a vCPU that frees its block, between exit and entry'),
  edge(SRCU_KVM,          LOCK_SLOTS_ARCH,    'metadata of a slot made when it is first needed; why its holder lets go before the grace period'),
  edge(SRCU_KVM,          LOCK_MMU,           'a slot is looked up, then its sptes and counts are changed: faults, SET_PAGE_ACCESS, create_slot, flush_slot'),
  edge(SRCU_KVM,          LOCK_JOB,           'a vCPU runs its jobs between exit and entry'),
  edge(SRCU_KVM,          LOCK_BOARD,         'port and MMIO accesses are made between exit and entry'),
  edge(SRCU_TRACK,        LOCK_MMU,           'create_slot and flush_slot are called from the notifier list'),
  edge(SRCU_TRACK,        LOCK_ACCESS_TREE,   'pre-access callbacks look at the policy'),
  edge(LOCK_KVMI,         DONE_KVMI,          'unhook waits for the last reference'),
  edge(LOCK_KVMI,         LOCK_MMU,           'hook and unhook edit the notifier list, unhook drops all tracking'),
  edge(LOCK_KVMI,         SRCU_TRACK,         'unhook waits until nobody walks over the notifier it has unlinked'),
  edge(LOCK_SLOTS,        LOCK_SLOTS_ARCH,    'a memslot change prepares and publishes the inactive set'),
  edge(LOCK_SLOTS,        SRCU_KVM,           'a memslot change waits until nobody reads the set it has replaced'),
  edge(LOCK_SLOTS,        LOCK_MMU,           'flush_slot takes mappings and counts of the old slot away'),
  edge(LOCK_SLOTS_ARCH,   LOCK_MN_INVALIDATE, 'sets are swapped between two host invalidations'),
  edge(LOCK_SLOTS_ARCH,   HOST_INVALIDATION,  'an invalidation that began on the old set ends on it'),
  edge(LOCK_SLOTS_ARCH,   LOCK_MMU,           'a new slot is announced, and tracked by create_slot, before it can be found'),
  edge(LOCK_MMU,          LOCK_ACCESS_TREE,   'policy and mechanism are changed as one'),
  edge(LOCK_MMU,          LOCK_TDP_PAGES,     'faults share mmu_lock, and the list of tables needs more than that (models)'),
  edge(LOCK_MMU,          LOCK_UNSYNC_PAGES,  'the same, and marks of unsync pages (models)'),
  edge(LOCK_MMU,          WAIT_ACK,           'no vCPU uses an older translation when the lock is released'),
  edge(LOCK_ACCESS_TREE,  WAIT_ACK,           'the same, before the policy can be read'),
  edge(LOCK_ACCESS_TREE,  LOCK_SPLIT,         'a misaligned LOCK access is made where its policy holds (E2)'),
  edge(HOST_INVALIDATION, LOCK_MMU,           'the host takes mappings away'),
  edge(HOST_INVALIDATION, LOCK_MN_INVALIDATE, 'the count of invalidations in progress'),
  edge(DONE_KVMI,         LOCK_MMU,           'callbacks of memslot changes hold a reference'),
  edge(DONE_KVMI,         LOCK_ACCESS_TREE,   'callbacks of accesses hold a reference'),
  edge(DONE_KVMI,         LOCK_JOB,           'a vCPU runs jobs while it waits for a reply'),
  edge(DONE_KVMI,         LOCK_CONNECTION,    'whoever sends holds a reference'),
  edge(DONE_KVMI,         WAIT_REPLY,         'an event is sent and awaited with a reference, and nothing else'),
  edge(WAIT_REPLY,        LOCK_MMU,           'SET_PAGE_ACCESS before the answer'),
  edge(WAIT_REPLY,        LOCK_JOB,           'commands to vCPUs before the answer, and the answer itself'),
  edge(WAIT_REPLY,        LOCK_CONNECTION,    'the answer is sent'),
  edge(WAIT_REPLY,        WAIT_TURN,          'a waited pause before the answer'),
  edge(WAIT_TURN,         LOCK_MMU,           'between two entries a vCPU faults, and emulates'),
]);

/** An order from its edges: everything that follows from them is in it. */
function lockOrder(edges: readonly DeclaredEdge[]): LockOrder {
  const after = new Map<number, Set<number>>();
  for (const { from } of edges) {
    const reached = new Set<number>();
    const open = [from.id];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      for (const next of edges) {
        if (next.from.id !== id || reached.has(next.to.id)) continue;
        reached.add(next.to.id);
        if (LOCKS.includes(next.to.kind)) open.push(next.to.id);
      }
    }
    after.set(from.id, reached);
  }
  return { edges, after };
}

/** May `next` be waited for while `held` is held? True also where another rule has the say (L1). */
export function declares(order: LockOrder, held: LockClass, next: LockClass, how: How): boolean {
  if (held.id === next.id) return true;
  if (next.kind === 'srcu' && how === RECURSIVE) return true;
  if (held.rank !== NO_RANK && next.rank !== NO_RANK && held.rank >= next.rank) return true;
  return order.after.get(held.id)?.has(next.id) === true;
}
