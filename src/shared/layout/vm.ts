/** VM-wide words: what `struct kvm` and `struct kvm_introspection` keep outside their tables. */
import { QUIRK_LIMIT } from '../quirks.ts';
import { i32, i64, struct, volatile } from '../struct.ts';

export const ADDRESS_SPACES = 2;
/** Words of the set of commands that a tool may use. */
export const COMMAND_WORDS = 2;

export const VM = struct(
  'vm',
  {
    VCPU_COUNT: i32('machine', 'vCPUs created'),
    QUIRKS: i32('machine', 'which quirks are on: bits by id, see shared/quirks.ts', QUIRK_LIMIT / 32),
    STRICT: i32('machine', '1: a transport error while waiting for a reply means RETRY, not CONTINUE'),
    CHECKED: volatile(i32('machine', '1: oracles and held-lock checks are on')),
    DEAD: i32('anyone (store 1)', 'VM_DEAD: no vCPU may enter the guest again'),
    STOP: volatile(
      i32('machine', 'STOP_ORDERLY: actors finish what they are at; STOP_NOW: nobody waits any more'),
    ),
    STARTED: volatile(i32('machine', '1: vCPUs may enter the guest; until then they serve requests only')),
    LIVE_VCPUS: i32('vCPU (sub)', 'vCPUs whose run loop has not ended; waited on by the machine'),

    MMU_VALID_GEN: i32('mmu_lock', 'flipped (+1) by a zap of all roots'),
    MMU_NOTIFIER_SEQ: i32('mmu_lock', 'host invalidations finished'),
    MMU_NOTIFIER_COUNT: i32('mmu_lock', 'host invalidations in progress'),
    MMU_NOTIFIER_START: i32('mmu_lock', 'first RAM page of the invalidations in progress'),
    MMU_NOTIFIER_END: i32('mmu_lock', 'RAM page after their last'),
    MN_ACTIVE_INVALIDATE: i32('mn_invalidate_lock', 'invalidations that began on the active slot sets'),
    MN_WAITERS: volatile(i32('mn_invalidate_lock', 'sequence word: bumped when the count above reaches 0')),
    ACTIVE_SET: i32(
      'slots_lock holder',
      'per address space: index (0, 1) of the active slot set',
      ADDRESS_SPACES,
    ),
    SLOT_PUBLICATIONS: volatile(
      i32('slots_lock', 'slot sets published: what a vCPU that met an INVALID slot waits for'),
    ),
    PENDING_SLOT: i32('mmu_lock', 'per set: 1 + index into the pending slot records, 0 for none', 2),
    NOTIFIER_HEAD: i32('mmu_lock', '1 + index of the first page-track notifier node, 0 for none'),

    KVMI_HOOKED: i32('kvmi_lock', '1 from hook to the end of unhook: the block behind kvm->kvmi exists'),
    KVMI_REF: i32('anyone (cas)', 'kvm->kvmi_ref: users of the introspection block'),
    KVMI_RECEIVER: i32(
      'hook (store 1), receiver or machine (exchange 0)',
      "1: the receiver's own reference is held",
    ),
    KVMI_SESSION: i32('kvmi_lock', 'number of this hook; replies of another session are refused'),
    KVMI_NODE: i32('kvmi_lock', '1 + index of the registered notifier node, 0 for none'),
    KVMI_SHUT: i32('receiver, unhook', '1: the connection is shut down'),
    KVMI_CLEANUP: i32('receiver', 'VM_CONTROL_CLEANUP flag'),
    KVMI_WIRE: i32('hook (store 12), receiver', 'form of the protocol that the session speaks: 12 or 7'),
    KVMI_COMMANDS: i32('kvmi_lock', 'bit n: the tool may use the command with id n', COMMAND_WORDS),
    KVMI_EVENTS: i32('kvmi_lock', 'bit n: the tool may have the event with id n'),
    EVENT_SEQ: i32('any vCPU (add)', 'sequence number of the last event, VM-wide'),
    EVENTS_BEFORE: i32('kvmi_lock', 'EVENT_SEQ at the last hook'),
    POLICY_SEQ: i32('access tree writer', 'stamps each tightening of a page (shared/layout/access-tree.ts)'),
    RECEIVER_BELL: volatile(i32('anyone (add)', 'sequence word the introspector actor sleeps on')),
    RECEIVER_LOOKS: volatile(i32('introspector', '1: it looks at the bell, and need not be woken')),

    GUEST_CRASH: i32(
      'vCPU (cas from 0)',
      'the first triple fault: (vCPU + 1) << 8 | vector that could not be delivered',
    ),
    CODE_FLUX: i32('anyone (add)', 'threads between a change of the code map and the end of its flush'),

    SPLIT_LOCKS: volatile(i32('any vCPU (add)', 'LOCK operations that took the split lock')),
    MAPPED: i32('any vCPU (add)', 'host pages mapped for an access and not yet unmapped (I18)'),
    MMIO_ACCESSES: volatile(i32('any vCPU (add)', 'accesses that found no slot')),
    FLUSH_REQUESTS: volatile(i32('anyone (add)', 'waited requests posted (TLB flush, MMU reload)')),
    FLUSH_ACKS: volatile(i32('anyone (add)', 'acknowledgements waited for and received')),
    FLUSH_WAIT_US_MAX: volatile(i32('anyone (max)', 'longest wait for acknowledgements, microseconds')),
    SLOT_CREATES: i32('slots_lock', 'memslots created'),
    SLOT_DELETES: volatile(i32('slots_lock', 'memslots deleted')),
    SLOT_MOVES: i32('slots_lock', 'memslots moved'),
    SLOT_FLAGS: volatile(i32('slots_lock', 'memslots whose flags changed')),
    SLOT_FAILURES: volatile(i32('slots_lock', 'memslot changes rolled back')),
    FAIL_ALLOCATIONS: i32('fault injection', 'the next so many memslot metadata allocations fail'),
    PARK: volatile(i32('machine', '1 while the invariant checker wants every vCPU to stand still')),
    PARKED: volatile(i32('vCPU (add)', 'vCPUs that stand still')),
    TSC_BASE: i64('machine', 'time stamp counter at reset'),
  },
  64,
);

export const STOP_ORDERLY = 1;
export const STOP_NOW = 2;
