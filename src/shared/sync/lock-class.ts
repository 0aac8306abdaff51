/**
 * Lock classes: the order in which locks may be taken, as data.
 *
 * Many locks share a class (every vCPU has a `vcpu.mutex`); rules are stated for classes. A holder takes only locks of
 * a larger rank, and two locks of one rank never nest. SRCU sections, completions and events have no rank:
 * entering an SRCU section never blocks, so it may be entered anywhere; what is restricted is who may wait for a grace
 * period, for a completion or for an event (lockdep/lock-order.ts says who does).
 *
 * @source linux Documentation/virt/kvm/locking.rst, "Acquisition Orders"; the KVMI locks from the patch series
 */

export type LockKind =
  | 'mutex'
  | 'rwlock'
  | 'spinlock'
  | 'srcu'
  | 'completion'
  /** No lock: something one actor waits for and others owe it (an answer, an acknowledgement). */
  | 'event';
export type LockMode = 'read' | 'write';

export interface LockClass {
  /** Index into per-class tables, from 0. */
  readonly id: number;
  /** Sets locks of one class apart that nest by design; 0 for all others. Below {@link SUBCLASS_LIMIT}. */
  readonly subclass: number;
  /** The kernel's name. */
  readonly name: string;
  /** Position in the acquisition order, smaller first; `NO_RANK` for what may be entered anywhere. */
  readonly rank: number;
  readonly kind: LockKind;
  /** May a holder wait for another actor (sleep)? */
  readonly sleep: boolean;
  /**
   * What taking it, or waiting for it, may come to: nothing, a short wait for a holder that does not sleep, or sleep. Of
   * srcu what entering a section may come to; a grace period sleeps.
   */
  readonly waits: 'never' | 'spins' | 'sleeps';
  /** Does a writer that waits keep new readers out? Then one who reads twice can end up waiting for itself. */
  readonly fair: boolean;
}

/** Rank of classes outside the order. */
export const NO_RANK = -1;

/** Every lock object is one cache line, so that two locks never share one. All-zero memory is an unlocked lock. */
export const LOCK_BYTES = 64;

/** LIMIT: depth to which locks of one class nest. */
export const SUBCLASS_LIMIT = 4;

const WAITS = {
  mutex: 'sleeps',
  rwlock: 'spins',
  spinlock: 'spins',
  srcu: 'never',
  completion: 'sleeps',
  event: 'sleeps',
} as const;

const classes: LockClass[] = [];

function lockClass(
  rank: number,
  name: string,
  kind: LockKind,
  { sleep, waits = WAITS[kind] }: { sleep: boolean; waits?: LockClass['waits'] },
): LockClass {
  const fair = kind !== 'srcu';
  const cls: LockClass = { id: classes.length, subclass: 0, name, rank, kind, sleep, waits, fair };
  classes.push(cls);
  return cls;
}

/** The class of locks of class `cls` that are taken while another of them is held. `subclass`: 1, 2, … */
export function nestedClass(cls: LockClass, subclass: number): LockClass {
  return { ...cls, subclass, name: `${cls.name}/${subclass}`, rank: cls.rank + subclass / 100 };
}

const SLEEP = { sleep: true };
const NO_SLEEP = { sleep: false };
/** Whoever owes it must not sleep, so whoever waits for it does not either. */
const PROMPT = { sleep: false, waits: 'spins' } as const;

// biome-ignore-start format: table
//                                          rank     name                  kind          holder may
export const LOCK_KVM = lockClass(0, 'kvm.lock', 'mutex', SLEEP);
export const LOCK_VCPU = lockClass(1, 'vcpu.mutex', 'mutex', SLEEP);
export const LOCK_KVMI = lockClass(2, 'kvmi_lock', 'mutex', SLEEP);
export const LOCK_SLOTS = lockClass(2, 'slots_lock', 'mutex', SLEEP);
export const LOCK_SLOTS_ARCH = lockClass(3, 'slots_arch_lock', 'mutex', SLEEP);
export const LOCK_MMU = lockClass(4, 'mmu_lock', 'rwlock', NO_SLEEP);
export const LOCK_ACCESS_TREE = lockClass(5, 'access_tree_lock', 'rwlock', NO_SLEEP);
export const LOCK_MN_INVALIDATE = lockClass(5, 'mn_invalidate_lock', 'spinlock', NO_SLEEP);
/** What KVM keeps beside mmu_lock held for read. Here only models of the race corpus have it. */
export const LOCK_TDP_PAGES = lockClass(5, 'tdp_mmu_pages_lock', 'spinlock', NO_SLEEP);
export const LOCK_UNSYNC_PAGES = lockClass(5, 'mmu_unsync_pages_lock', 'spinlock', NO_SLEEP);
/** Around a misaligned LOCK access; may be taken inside access_tree_lock. */
export const LOCK_SPLIT = lockClass(5.5, 'split_lock', 'spinlock', NO_SLEEP);
export const LOCK_JOB = lockClass(6, 'job_lock', 'spinlock', NO_SLEEP);
export const LOCK_CONNECTION = lockClass(6, 'connection_lock', 'mutex', SLEEP);
export const SRCU_KVM = lockClass(NO_RANK, 'kvm.srcu', 'srcu', SLEEP);
export const SRCU_TRACK = lockClass(NO_RANK, 'track_srcu', 'srcu', SLEEP);
export const DONE_KVMI = lockClass(NO_RANK, 'kvmi_complete', 'completion', SLEEP);
/** A vCPU's event, owed an answer by the introspector. */
export const WAIT_REPLY = lockClass(NO_RANK, 'event reply', 'event', SLEEP);
/** A waited request, owed its acknowledgement by each vCPU in guest mode, or reading tables. */
export const WAIT_ACK = lockClass(NO_RANK, 'request acknowledgement', 'event', PROMPT);
/** A waited pause, for which the vCPU has to be done with what it is at. */
export const WAIT_TURN = lockClass(NO_RANK, 'end of a turn', 'event', SLEEP);
/** A check of the whole machine, for which all vCPUs have to stand still; and the end of it. */
export const WAIT_PARKED = lockClass(NO_RANK, 'parked vCPUs', 'event', SLEEP);
/** A host invalidation in progress. */
export const HOST_INVALIDATION = lockClass(NO_RANK, 'host invalidation', 'event', SLEEP);
/** The devices of a PC; nothing is waited for under it. */
export const LOCK_BOARD = lockClass(7, 'board_lock', 'spinlock', NO_SLEEP);
// biome-ignore-end format: table

/** Every class, indexed by its id. */
export const LOCK_CLASSES: readonly LockClass[] = classes;
