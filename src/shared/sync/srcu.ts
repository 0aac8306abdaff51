/**
 * Sleepable read-copy-update: readers never wait; a writer that has unpublished something waits until every reader
 * that may still see it has left.
 *
 * Readers count themselves into the side that INDEX names. A grace period turns INDEX and waits for the side it left
 * to drain, twice. Turning keeps newcomers off the draining side, so the wait ends; doing it twice drains both sides,
 * because a reader may read INDEX, be delayed across a whole grace period, and then count itself into the old side.
 *
 * @source linux kernel/rcu/srcutree.c: __srcu_read_lock, synchronize_srcu; Paul McKenney, "Sleepable RCU" (LWN 202847)
 */
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { FREE, futexLockSlow, futexUnlock, heldBy } from './futex.ts';
import { LOCK_BYTES, type LockClass } from './lock-class.ts';
import { notifying, type Path, reading, updating, waiting } from './point.ts';

export const SRCU = struct(
  'srcu',
  {
    INDEX: i32('synchronizer', 'turns so far; bit 0 is the side new readers count themselves into'),
    READERS: i32('readers (add), synchronizer (bit 0)', 'per side: readers × 2, +1 if the drain waits', 2),
    SYNCHRONIZER: i32('synchronizers', 'futex word: one grace period at a time'),
  },
  LOCK_BYTES,
);

const DRAINING = 1;
const READER = 2;

export class Srcu {
  readonly addr: number;
  readonly cls: LockClass;

  /** The srcu domain at `addr` (bytes, `LOCK_BYTES` long). */
  constructor(addr: number, cls: LockClass) {
    this.addr = addr;
    this.cls = cls;
  }
}

/** Enters a read section. Sections nest and never block. @returns the side, to be handed to {@link srcuReadUnlock} */
export function* srcuReadLock(actor: Actor, srcu: Srcu): Path<number> {
  const { addr, cls } = srcu;
  actor.acquiring(cls, addr, 'read');
  yield reading(addr + SRCU.at.INDEX);
  const side = actor.mem.load(addr + SRCU.at.INDEX) & 1;
  const readers = readersOf(srcu, side);
  yield updating(readers);
  actor.mem.add(readers, READER);
  actor.acquired(cls, addr, 'read', side);
  return side;
}

export function* srcuReadUnlock(actor: Actor, srcu: Srcu, side: number): Path<void> {
  const readers = readersOf(srcu, side);
  actor.releasing(srcu.cls, srcu.addr, 'read', side);
  yield updating(readers);
  if (actor.mem.add(readers, -READER) === (READER | DRAINING)) {
    yield notifying(readers);
    actor.mem.notify(readers, 1);
  }
}

/**
 * Waits until every read section that began before this call has ended.
 *
 * @locking sleeps; one synchronizer of a domain at a time. Never inside a section of the same domain, nor under a lock
 *          that one of its readers may wait for
 */
export function* synchronizeSrcu(actor: Actor, srcu: Srcu): Path<void> {
  const { addr, cls } = srcu;
  const { mem } = actor;
  const index = addr + SRCU.at.INDEX;
  const turnstile = addr + SRCU.at.SYNCHRONIZER;
  if (actor.checks !== null) actor.checks.synchronizing(cls, addr);
  actor.waitBegins(cls, addr, 'write');
  yield updating(turnstile);
  const seen = mem.cas(turnstile, FREE, heldBy(actor));
  if (seen !== FREE) yield* futexLockSlow(actor, turnstile, seen, 0);
  for (let turn = 0; turn < 2; turn++) {
    yield updating(index);
    const side = mem.add(index, 1) & 1;
    yield* drain(actor, readersOf(srcu, side));
  }
  yield* futexUnlock(actor, turnstile);
  actor.waitEnds(cls, addr, 'write');
  if (actor.checks !== null) actor.checks.awaited();
}

/** How many readers are inside, by a word of READERS. */
export function readerCount(word: number): number {
  return Math.floor(word / READER);
}

function readersOf(srcu: Srcu, side: number): number {
  return srcu.addr + SRCU.at.READERS + side * Int32Array.BYTES_PER_ELEMENT;
}

/** Waits until the readers counted at `cell` are gone once. Late ones may come, each at most once per turn. */
function* drain(actor: Actor, cell: number): Path<void> {
  const { mem } = actor;
  yield reading(cell);
  let seen = mem.load(cell);
  while (seen >= READER) {
    if ((seen & DRAINING) === 0) {
      yield updating(cell);
      const now = mem.cas(cell, seen, seen | DRAINING);
      seen = now === seen ? seen | DRAINING : now;
    } else {
      actor.expect = seen;
      yield waiting(cell);
      yield reading(cell);
      seen = mem.load(cell);
    }
  }
  if (seen === DRAINING) {
    yield updating(cell);
    mem.and(cell, ~DRAINING);
  }
}
