/**
 * Quirks: deviations from the correct machine, each one visible change at its place in the code, found by searching for
 * its name. The default machine has none of them.
 *
 * Those of the reference design (the seed patch and the kernel text around it) are named `REF_…`; `--reference` switches
 * all of them on. Those named `BUG_…` are mutations: mistakes that others have made, or might. They stand here so that
 * one can see whether the oracles find them.
 *
 * @source spec section 12, "Known weaknesses of the reference"; the race corpus
 */

import { invariant } from './invariant.ts';

export const REF_CREATE_SLOT_GAP = 0;
export const REF_TRACK_INVALID_SLOT = 1;
export const REF_MOVE_FAIL_NO_RETRACK = 2;
export const REF_ACTIVE_KEY_NO_AS = 3;
export const REF_EMU_CHECK_THEN_ACT = 4;
export const REF_EXEC_PROTECT_NO_FLUSH = 5;
export const REF_PREWRITE_NO_PROTECT = 6;
export const REF_READ_PROTECT_KEEPS_MMU_W = 7;
export const REF_ACC_TRACK_RESTORE = 8;
export const REF_SRCU_ACROSS_EVENT = 9;
export const REF_KILLABLE_COMPLETION = 10;
export const REF_RETRY_LEAKS_MAP = 11;
export const REF_STORE_BY_PIECE = 12;
export const BUG_NO_REMOTE_FLUSH = 13;
export const BUG_FLUSH_THEN_TIGHTEN = 14;
export const BUG_FLUSH_NO_WAIT = 15;
export const BUG_TLB_FILL_RACE = 16;
export const BUG_LOCK_ORDER_SWAP = 17;
export const BUG_EVENT_UNDER_TREE_LOCK = 18;
export const BUG_ACCESS_AFTER_UNLOCK = 19;
export const BUG_NO_TREE_READ_LOCK = 20;
export const BUG_FLUSH_SLOT_READ_LOCK = 21;
export const BUG_PAUSE_IGNORES_EMU = 22;
export const BUG_DEKKER_ORDER = 23;
export const BUG_LOST_WAKEUP_REPLY = 24;
export const BUG_RELEASE_BEFORE_SHUTDOWN = 25;
export const BUG_VCPU_BORN_UNHOOKED = 26;
export const BUG_RO_MEANS_CLEAN = 27;
export const BUG_SPTE_NON_ATOMIC_CLEAR = 28;
export const BUG_FAST_FAULT_INDIRECT = 29;
export const BUG_RELEASE_IN_PUT = 30;
export const BUG_UNREGISTER_NO_SYNC = 31;
export const BUG_GET_PLAIN_INC = 32;
export const BUG_NESTED_EVENT = 33;
export const BUG_PAUSE_ABORTS_BLOCK = 34;
export const BUG_FLUSH_BEFORE_INVALID = 35;
export const BUG_NO_NOTIFIER_RETRY = 36;
export const BUG_NO_ROOT_RECHECK = 37;
export const BUG_PUBLISH_BEFORE_LINK = 38;
export const BUG_RECLAIM_READ_LOCK = 39;
export const BUG_UNSYNC_READ_LOCK = 40;
export const BUG_WP_SKIP_RO = 41;
export const BUG_TDP_PLAIN_STORE = 42;
export const BUG_YIELD_DROPS_FLUSH = 43;
export const BUG_INVALID_AS_MMIO = 44;
export const BUG_LPAGE_CHECK_UNLOCKED = 45;
export const BUG_MMIO_IN_FLUX = 46;
export const BUG_GEN_WRAP_AS1 = 47;
export const BUG_SWAP_DURING_INVALIDATE = 48;
export const BUG_ARCH_SNAPSHOT_EARLY = 49;
export const BUG_LRU_SLOT_STALE = 50;
export const BUG_CACHED_HVA_STALE = 51;
export const BUG_RW_UPGRADE = 52;
export const BUG_RW_RECURSIVE_READ = 53;
export const BUG_SPTE_TWO_WORDS = 54;
export const BUG_LOCK_AS_WRITE = 55;
export const BUG_REPLY_NO_SEQ_CHECK = 56;
export const BUG_PREEMPTED_MID_INSN = 57;
export const BUG_FLUSH_FLAG_LOST = 58;
export const BUG_NO_PAGE_REF = 59;
export const BUG_PUBLISH_BEFORE_REF = 60;
export const BUG_DOUBLE_FETCH = 61;
export const BUG_FILTER_IN_PLACE = 62;
export const BUG_RING_SRCU = 63;
export const BUG_ASYNC_NO_FLUSH = 64;
export const BUG_SLOTS_LOCK_IN_SRCU = 65;
export const BUG_SYNC_IN_CALLBACK = 66;
export const BUG_MOVE_CREATE_FIRST = 67;
export const BUG_PAUSE_COUNTER = 68;
export const BUG_CRASH_LOCAL = 69;
export const BUG_REHOOK_EARLY = 70;
export const BUG_AD_WRONG_ADDRESS = 71;
export const BUG_UNLOCK_NO_NOTIFY = 72;
export const BUG_TRACKER_TABLE_UNLOCKED = 73;
export const BUG_FREE_NO_WALK_WAIT = 74;
export const BUG_FREELIST_ABA = 75;
export const BUG_HARVEST_NO_FLUSH = 76;
export const BUG_CLEAR_AFTER_HANDLE = 77;
export const BUG_SEQ_RESET = 78;
export const BUG_SET_ACCESS_SLOTS_LOCK = 79;
export const BUG_RESCAN_AFTER_ACTIVATE = 80;
export const REF_SLOTS_NEED_SESSION = 81;
export const REF_MMIO_OVER_MAPPING = 82;

export interface Quirk {
  /** Bit of the QUIRKS words; below {@link QUIRK_LIMIT}. */
  readonly id: number;
  /** Item of the race corpus. */
  readonly item: string;
  readonly name: string;
  /** Does the reference design have it? */
  readonly reference: boolean;
  readonly weakness: string;
}

/** Some quirks, by id. */
export type Quirks = readonly number[];

export const QUIRK_LIMIT = 128;

/** By id: the place of each is its id. */
// biome-ignore format: table
export const QUIRKS: readonly Quirk[] = [
  { id: REF_CREATE_SLOT_GAP, item: 'RC-01', name: 'createSlotGap', reference: true, weakness: 'a restriction set between create_slot and activation is stored but never tracked' },
  { id: REF_TRACK_INVALID_SLOT, item: 'RC-02', name: 'trackInvalidSlot', reference: true, weakness: 'tracking is added to an INVALID slot; the next slot with that id stays untracked' },
  { id: REF_MOVE_FAIL_NO_RETRACK, item: 'RC-03', name: 'moveFailNoRetrack', reference: true, weakness: 'a failed MOVE or DELETE re-activates the old slot with its tracking already dropped' },
  { id: REF_ACTIVE_KEY_NO_AS, item: 'RC-04', name: 'activeKeyNoAs', reference: true, weakness: 'the active bitset is keyed by slot id without the address space; only space 0 is tracked' },
  { id: REF_EMU_CHECK_THEN_ACT, item: 'RC-05', name: 'emuCheckThenAct', reference: true, weakness: 'an emulated access is checked, then done later: a tightening can complete in between' },
  { id: REF_EXEC_PROTECT_NO_FLUSH, item: 'RC-07', name: 'execProtectNoFlush', reference: true, weakness: 'removing X (or R) from an entry that stays writable does not flush TLBs' },
  { id: REF_PREWRITE_NO_PROTECT, item: 'RC-11', name: 'prewriteNoProtect', reference: true, weakness: 'adding PREWRITE leaves an existing writable spte writable' },
  { id: REF_READ_PROTECT_KEEPS_MMU_W, item: 'RC-12', name: 'readProtectKeepsMmuW', reference: true, weakness: 'read-protection leaves MMU-writable set: the fast path makes W without R' },
  { id: REF_ACC_TRACK_RESTORE, item: 'RC-26', name: 'accTrackRestore', reference: true, weakness: 'tightening leaves the saved R and X of an access-tracked entry: they come back' },
  { id: REF_SRCU_ACROSS_EVENT, item: 'RC-25', name: 'srcuAcrossEvent', reference: true, weakness: 'events are sent and awaited inside kvm.srcu and track_srcu: memslot updates wait for the tool' },
  { id: REF_KILLABLE_COMPLETION, item: 'RC-23', name: 'killableCompletion', reference: true, weakness: 'an interrupted wait for the last reference is ignored: the block is freed under its users' },
  { id: REF_RETRY_LEAKS_MAP, item: 'RC-18', name: 'retryLeaksMap', reference: true, weakness: 'a locked access answered RETRY leaves its page mapped' },
  { id: REF_STORE_BY_PIECE, item: 'RC-82', name: 'storeByPiece', reference: true, weakness: 'a read-modify-write across pages answered RETRY at its second page is applied twice to the first' },
  { id: BUG_NO_REMOTE_FLUSH, item: 'RC-06', name: 'noRemoteFlush', reference: false, weakness: 'a tightened spte is not followed by a TLB flush' },
  { id: BUG_FLUSH_THEN_TIGHTEN, item: 'RC-08', name: 'flushThenTighten', reference: false, weakness: 'TLBs are flushed before the spte is tightened, not after' },
  { id: BUG_FLUSH_NO_WAIT, item: 'RC-09', name: 'flushNoWait', reference: false, weakness: 'the TLB flush is requested, but nobody waits for it' },
  { id: BUG_TLB_FILL_RACE, item: 'RC-10', name: 'tlbFillRace', reference: false, weakness: 'a pending flush is consumed between the read of the spte and the insert into the TLB' },
  { id: BUG_LOCK_ORDER_SWAP, item: 'RC-13', name: 'lockOrderSwap', reference: false, weakness: 'create_slot takes access_tree_lock before mmu_lock' },
  { id: BUG_EVENT_UNDER_TREE_LOCK, item: 'RC-14', name: 'eventUnderTreeLock', reference: false, weakness: 'the event is sent and awaited under access_tree_lock' },
  { id: BUG_ACCESS_AFTER_UNLOCK, item: 'RC-15', name: 'accessAfterUnlock', reference: false, weakness: 'the access bits are read after access_tree_lock was released' },
  { id: BUG_NO_TREE_READ_LOCK, item: 'RC-16', name: 'noTreeReadLock', reference: false, weakness: 'the access tree is searched without access_tree_lock' },
  { id: BUG_FLUSH_SLOT_READ_LOCK, item: 'RC-17', name: 'flushSlotReadLock', reference: false, weakness: 'flush_slot shows full access to readers of the tree for a moment' },
  { id: BUG_PAUSE_IGNORES_EMU, item: 'RC-19', name: 'pauseIgnoresEmu', reference: false, weakness: 'a waited pause does not wait for a vCPU that is emulating' },
  { id: BUG_DEKKER_ORDER, item: 'RC-20', name: 'dekkerOrder', reference: false, weakness: 'a vCPU looks for requests before it has published IN_GUEST' },
  { id: BUG_LOST_WAKEUP_REPLY, item: 'RC-21', name: 'lostWakeupReply', reference: false, weakness: 'the wait for a reply looks at its condition before it arms the wake word' },
  { id: BUG_RELEASE_BEFORE_SHUTDOWN, item: 'RC-22', name: 'releaseBeforeShutdown', reference: false, weakness: 'vCPUs are released before the connection is shut' },
  { id: BUG_VCPU_BORN_UNHOOKED, item: 'RC-24', name: 'vcpuBornUnhooked', reference: false, weakness: 'a vCPU that is created while hook runs has no introspection block' },
  { id: BUG_RO_MEANS_CLEAN, item: 'RC-27', name: 'roMeansClean', reference: false, weakness: 'an spte without W counts as write-protected although TLBs may still hold W' },
  { id: BUG_SPTE_NON_ATOMIC_CLEAR, item: 'RC-28', name: 'spteNonAtomicClear', reference: false, weakness: 'a volatile spte is cleared by load and store instead of an exchange' },
  { id: BUG_FAST_FAULT_INDIRECT, item: 'RC-29', name: 'fastFaultIndirect', reference: false, weakness: 'the fast path fixes an spte of an indirect table by its bits alone' },
  { id: BUG_RELEASE_IN_PUT, item: 'RC-30', name: 'releaseInPut', reference: false, weakness: 'the last reference put frees the block itself, taking mmu_lock' },
  { id: BUG_UNREGISTER_NO_SYNC, item: 'RC-31', name: 'unregisterNoSync', reference: false, weakness: 'a notifier node is freed without a grace period' },
  { id: BUG_GET_PLAIN_INC, item: 'RC-32', name: 'getPlainInc', reference: false, weakness: 'a KVMI reference is taken by a plain increment, even from 0' },
  { id: BUG_NESTED_EVENT, item: 'RC-33', name: 'nestedEvent', reference: false, weakness: 'a job that sends an event while the vCPU waits for a reply overwrites its reply slot' },
  { id: BUG_PAUSE_ABORTS_BLOCK, item: 'RC-34', name: 'pauseAbortsBlock', reference: false, weakness: 'a pause ends the wait of a vCPU that has not been started' },
  { id: BUG_FLUSH_BEFORE_INVALID, item: 'RC-36', name: 'flushBeforeInvalid', reference: false, weakness: 'flush_slot runs before INVALID is published and its readers are gone' },
  { id: BUG_NO_NOTIFIER_RETRY, item: 'RC-37', name: 'noNotifierRetry', reference: false, weakness: 'a fault does not look again for host invalidations once it has mmu_lock' },
  { id: BUG_NO_ROOT_RECHECK, item: 'RC-38', name: 'noRootRecheck', reference: false, weakness: 'a fault does not look again whether its root is obsolete once it has mmu_lock' },
  { id: BUG_PUBLISH_BEFORE_LINK, item: 'RC-39', name: 'publishBeforeLink', reference: false, weakness: 'a table page is published before it is linked' },
  { id: BUG_RECLAIM_READ_LOCK, item: 'RC-40', name: 'reclaimReadLock', reference: false, weakness: 'table pages are reclaimed under mmu_lock held for read' },
  { id: BUG_UNSYNC_READ_LOCK, item: 'RC-41', name: 'unsyncReadLock', reference: false, weakness: 'a page becomes unsync under mmu_lock held for read, without a second look' },
  { id: BUG_WP_SKIP_RO, item: 'RC-42', name: 'wpSkipRo', reference: false, weakness: 'write-protection skips an entry that is read-only already, although MMU-writable' },
  { id: BUG_TDP_PLAIN_STORE, item: 'RC-43', name: 'tdpPlainStore', reference: false, weakness: 'sptes are rewritten by plain stores because mmu_lock is held for write' },
  { id: BUG_YIELD_DROPS_FLUSH, item: 'RC-44', name: 'yieldDropsFlush', reference: false, weakness: 'a flush that is owed is forgotten when mmu_lock is given up in between' },
  { id: BUG_INVALID_AS_MMIO, item: 'RC-45', name: 'invalidAsMmio', reference: false, weakness: 'an INVALID slot is taken for no slot: an MMIO entry is planted' },
  { id: BUG_LPAGE_CHECK_UNLOCKED, item: 'RC-46', name: 'lpageCheckUnlocked', reference: false, weakness: 'whether a large page is allowed is looked up before mmu_lock is taken' },
  { id: BUG_MMIO_IN_FLUX, item: 'RC-47', name: 'mmioInFlux', reference: false, weakness: 'an MMIO entry is cached while slots are in flux' },
  { id: BUG_GEN_WRAP_AS1, item: 'RC-48', name: 'genWrapAs1', reference: false, weakness: 'the wrap of the MMIO generation is tested with the address-space bit in it' },
  { id: BUG_SWAP_DURING_INVALIDATE, item: 'RC-49', name: 'swapDuringInvalidate', reference: false, weakness: 'slot sets may be swapped inside a host invalidation' },
  { id: BUG_ARCH_SNAPSHOT_EARLY, item: 'RC-50', name: 'archSnapshotEarly', reference: false, weakness: 'the copy of the arch data is made before slots_arch_lock is taken' },
  { id: BUG_LRU_SLOT_STALE, item: 'RC-51', name: 'lruSlotStale', reference: false, weakness: 'the last-used slot is remembered across a change of the slot set' },
  { id: BUG_CACHED_HVA_STALE, item: 'RC-52', name: 'cachedHvaStale', reference: false, weakness: 'a cached host address outlives its slot' },
  { id: BUG_RW_UPGRADE, item: 'RC-53', name: 'rwUpgrade', reference: false, weakness: 'a reader becomes the writer without letting go of its read hold' },
  { id: BUG_RW_RECURSIVE_READ, item: 'RC-54', name: 'rwRecursiveRead', reference: false, weakness: 'a reader takes the same rwlock again for read' },
  { id: BUG_SPTE_TWO_WORDS, item: 'RC-55', name: 'spteTwoWords', reference: false, weakness: 'an spte is written as two halves' },
  { id: BUG_LOCK_AS_WRITE, item: 'RC-56', name: 'lockAsWrite', reference: false, weakness: 'a locked operation is a load and a store' },
  { id: BUG_REPLY_NO_SEQ_CHECK, item: 'RC-57', name: 'replyNoSeqCheck', reference: false, weakness: 'a reply goes to the vCPU that has waited longest, whatever its sequence number' },
  { id: BUG_PREEMPTED_MID_INSN, item: 'RC-58', name: 'preemptedMidInsn', reference: false, weakness: 'a vCPU outside guest mode in the middle of an instruction counts as flushed' },
  { id: BUG_FLUSH_FLAG_LOST, item: 'RC-59', name: 'flushFlagLost', reference: false, weakness: 'the flush flag in the shared word is overwritten by a copy of the word' },
  { id: BUG_NO_PAGE_REF, item: 'RC-60', name: 'noPageRef', reference: false, weakness: 'a page is mapped that its owner may free at any time' },
  { id: BUG_PUBLISH_BEFORE_REF, item: 'RC-61', name: 'publishBeforeRef', reference: false, weakness: 'a handle can be found before its reference is taken' },
  { id: BUG_DOUBLE_FETCH, item: 'RC-62', name: 'doubleFetch', reference: false, weakness: 'guest memory that was checked is read again for use' },
  { id: BUG_FILTER_IN_PLACE, item: 'RC-63', name: 'filterInPlace', reference: false, weakness: 'an event filter is changed in place under its readers' },
  { id: BUG_RING_SRCU, item: 'RC-64', name: 'ringSrcu', reference: false, weakness: 'kvm.lock, slots_lock and a grace period of kvm.srcu wait for each other in a ring' },
  { id: BUG_ASYNC_NO_FLUSH, item: 'RC-65', name: 'asyncNoFlush', reference: false, weakness: 'queued work for a vCPU is not waited for when the queue looks empty' },
  { id: BUG_SLOTS_LOCK_IN_SRCU, item: 'RC-66', name: 'slotsLockInSrcu', reference: false, weakness: 'slots_lock is taken inside a kvm.srcu section' },
  { id: BUG_SYNC_IN_CALLBACK, item: 'RC-67', name: 'syncInCallback', reference: false, weakness: 'a callback waits for a grace period of the srcu that it runs under' },
  { id: BUG_MOVE_CREATE_FIRST, item: 'RC-68', name: 'moveCreateFirst', reference: false, weakness: 'a move tracks the new range before it has dropped the old one' },
  { id: BUG_PAUSE_COUNTER, item: 'RC-69', name: 'pauseCounter', reference: false, weakness: 'the number of pauses is read and written in two steps' },
  { id: BUG_CRASH_LOCAL, item: 'RC-70', name: 'crashLocal', reference: false, weakness: 'CRASH stops the vCPU that was told and no other' },
  { id: BUG_REHOOK_EARLY, item: 'RC-71', name: 'rehookEarly', reference: false, weakness: 'a new hook does not wait for the blocks of the last session' },
  { id: BUG_AD_WRONG_ADDRESS, item: 'RC-72', name: 'adWrongAddress', reference: false, weakness: 'A and D bits are written at an address computed before the slots changed' },
  { id: BUG_UNLOCK_NO_NOTIFY, item: 'RC-73', name: 'unlockNoNotify', reference: false, weakness: 'a release that saw no waiters stores FREE and wakes nobody' },
  { id: BUG_TRACKER_TABLE_UNLOCKED, item: 'RC-74', name: 'trackerTableUnlocked', reference: false, weakness: 'a second tracker reads its table without its lock' },
  { id: BUG_FREE_NO_WALK_WAIT, item: 'RC-75', name: 'freeNoWalkWait', reference: false, weakness: 'a table page is freed while a lockless walker may be in it' },
  { id: BUG_FREELIST_ABA, item: 'RC-76', name: 'freelistAba', reference: false, weakness: 'the free list of access entries is popped without a tag or a lock' },
  { id: BUG_HARVEST_NO_FLUSH, item: 'RC-77', name: 'harvestNoFlush', reference: false, weakness: 'the dirty log is handed out before TLBs are flushed' },
  { id: BUG_CLEAR_AFTER_HANDLE, item: 'RC-78', name: 'clearAfterHandle', reference: false, weakness: 'a request bit is cleared after it was handled' },
  { id: BUG_SEQ_RESET, item: 'RC-79', name: 'seqReset', reference: false, weakness: 'a reply is matched by its sequence number alone, which starts again with each session' },
  { id: BUG_SET_ACCESS_SLOTS_LOCK, item: 'RC-80', name: 'setAccessSlotsLock', reference: false, weakness: 'SET_PAGE_ACCESS takes slots_lock' },
  { id: BUG_RESCAN_AFTER_ACTIVATE, item: 'RC-81', name: 'rescanAfterActivate', reference: false, weakness: 'a new slot is tracked after it was activated' },
  { id: REF_SLOTS_NEED_SESSION, item: 'RC-83', name: 'slotsNeedSession', reference: true, weakness: 'slots that change between the end of a session and unhook are not followed: a move loses its counts, unhook underflows' },
  { id: REF_MMIO_OVER_MAPPING, item: 'RC-84', name: 'mmioOverMapping', reference: true, weakness: 'a fault that found no slot puts its MMIO entry over a mapping of the slot that has come, without a flush' },
];

/** What `--reference` means. RC-35 (fail-open) is the default of both builds; `--strict` changes it. */
export const REFERENCE_QUIRKS: Quirks = QUIRKS.filter((quirk) => quirk.reference).map((quirk) => quirk.id);

/** The words that say which quirks are on: bit `id % 32` of word `id / 32`. */
export function quirkWords(quirks: Quirks): Int32Array<ArrayBuffer> {
  const words = new Int32Array(QUIRK_LIMIT / 32);
  for (const id of quirks) words[id >>> 5]! |= 1 << (id & 31);
  return words;
}

/** @param id  a constant of this file */
export function quirkById(id: number): Quirk {
  const quirk = QUIRKS.find((candidate) => candidate.id === id);
  invariant(quirk !== undefined, `no quirk has the id ${id}`);
  return quirk;
}

/** @returns undefined when none has this name */
export function quirkByName(name: string): Quirk | undefined {
  return QUIRKS.find((quirk) => quirk.name === name);
}
