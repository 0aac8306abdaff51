/**
 * What a lock taken under another one means for a deadlock: the four kinds of an edge.
 *
 *                      next is waited for …
 *   previous is held   … recursively   … not recursively
 *   ────────────────   ─────────────   ─────────────────
 *   shared             SR              SN
 *   exclusively        ER              EN
 *
 * "Recursively": a reader that enters past waiting writers, so that only a holder for write keeps it out. A reader of a
 * fair lock also waits for a writer that waits: it counts as N.
 *
 * A circle of edges is a deadlock unless somewhere in it one arrives recursively (…R) where the next one holds shared
 * (S…): these two do not wait for each other. A path without that is *strong*.
 *
 * @source linux Documentation/locking/lockdep-design.rst, "Recursive read locks", "Dependency types and strong
 *         dependency paths"
 */
import { type LockClass, type LockMode, SUBCLASS_LIMIT } from '../sync/lock-class.ts';

/** How a lock is taken. */
export const EXCLUSIVE = 0;
/** For read, behind writers that wait. */
export const READ = 1;
/** For read, past writers that wait: an srcu section, a reader of an unfair lock. */
export const RECURSIVE = 2;
/** Waited for and not kept: a grace period, a completion, an event. */
export const WAITED = 3;
/** Added where nothing was waited for: a try, or a debt (sync/checks.ts, `owes`). */
export const UNAWAITED = 4;

const HOWS = 8;

export type How = number;

export const SR = 1;
export const ER = 2;
export const SN = 4;
export const EN = 8;

/** One or more of SR, ER, SN, EN, or-ed. */
export type EdgeKinds = number;

const NAMES = [
  [SR, 'SR'],
  [ER, 'ER'],
  [SN, 'SN'],
  [EN, 'EN'],
] as const;

/** The ways in which `cls` is taken in `mode`. */
export function howTaken(cls: LockClass, mode: LockMode): How {
  if (mode === 'write') return EXCLUSIVE;
  return cls.fair ? READ : RECURSIVE;
}

/** A number for "this class taken this way", different for each, small. */
export function useOf(cls: LockClass, how: How): number {
  return (cls.id * SUBCLASS_LIMIT + cls.subclass) * HOWS + how;
}

export function isShared(how: How): boolean {
  const way = how & ~UNAWAITED;
  return way === READ || way === RECURSIVE;
}

/** The edge from a lock held `held` to one that is waited for `next`. */
export function edgeKind(held: How, next: How): EdgeKinds {
  const recursive = next === RECURSIVE;
  if (isShared(held)) return recursive ? SR : SN;
  return recursive ? ER : EN;
}

/** `SR`, `ER EN`, … */
export function kindNames(kinds: EdgeKinds): string {
  return NAMES.filter(([bit]) => (kinds & bit) !== 0)
    .map(([, name]) => name)
    .join(' ');
}

/** Each kind of a set by itself. */
export function eachKind(kinds: EdgeKinds): EdgeKinds[] {
  return NAMES.map(([bit]) => bit).filter((bit) => (kinds & bit) !== 0);
}
