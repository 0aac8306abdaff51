/**
 * Lock classes: the order in which locks may be taken, as data.
 *
 * Many locks share a class (every vCPU has a `vcpu.mutex`); rules are stated for classes. A holder takes only locks of
 * a larger rank, and two locks of one rank never nest. SRCU sections and completions have no rank: entering an SRCU
 * section never blocks, so it may be entered anywhere; what is restricted is who may wait for a grace period.
 *
 * @source linux Documentation/virt/kvm/locking.rst, "Acquisition Orders"; the KVMI locks from the patch series
 */

export type LockKind = 'mutex' | 'rwlock' | 'spinlock' | 'srcu' | 'completion';
export type LockMode = 'read' | 'write';

export interface LockClass {
  /** Index into per-class tables, from 0. */
  readonly id: number;
  /** The kernel's name. */
  readonly name: string;
  /** Position in the acquisition order, smaller first; `NO_RANK` for what may be entered anywhere. */
  readonly rank: number;
  readonly kind: LockKind;
  /** May a holder wait for another actor (sleep)? */
  readonly sleep: boolean;
}

/** Rank of classes outside the order. */
export const NO_RANK = -1;

/** Every lock object is one cache line, so that two locks never share one. All-zero memory is an unlocked lock. */
export const LOCK_BYTES = 64;

const classes: LockClass[] = [];

function lockClass(rank: number, name: string, kind: LockKind, { sleep }: { sleep: boolean }): LockClass {
  const cls: LockClass = { id: classes.length, name, rank, kind, sleep };
  classes.push(cls);
  return cls;
}

const SLEEP = { sleep: true };
const NO_SLEEP = { sleep: false };

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
/** Around a misaligned LOCK access; may be taken inside access_tree_lock. */
export const LOCK_SPLIT = lockClass(5.5, 'split_lock', 'spinlock', NO_SLEEP);
export const LOCK_JOB = lockClass(6, 'job_lock', 'spinlock', NO_SLEEP);
export const LOCK_CONNECTION = lockClass(6, 'connection_lock', 'mutex', SLEEP);
export const SRCU_KVM = lockClass(NO_RANK, 'kvm.srcu', 'srcu', SLEEP);
export const SRCU_TRACK = lockClass(NO_RANK, 'track_srcu', 'srcu', SLEEP);
export const DONE_KVMI = lockClass(NO_RANK, 'kvmi_complete', 'completion', SLEEP);
// biome-ignore-end format: table

/** Every class, indexed by its id. */
export const LOCK_CLASSES: readonly LockClass[] = classes;
