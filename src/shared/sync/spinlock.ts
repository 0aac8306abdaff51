/**
 * Spinlock: for a few instructions, by holders that never wait for anybody.
 *
 * "Spinning" means a bounded number of looks, then a futex wait on the lock word: a thread that has lost its core must
 * not be waited for at full speed. A wait on a lock word is no sleep in the sense of the rules, because the holder is
 * always about to release.
 */
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { FREE, futexLockSlow, heldBy } from './futex.ts';
import { LOCK_BYTES, type LockClass } from './lock-class.ts';
import { notifying, type Path, updating } from './point.ts';

export const SPINLOCK = struct(
  'spinlock',
  { WORD: i32('holder, waiters', 'futex word, see futex.ts') },
  LOCK_BYTES,
);

export class SpinLock {
  readonly addr: number;
  readonly cls: LockClass;

  /** The lock at `addr` (bytes, `LOCK_BYTES` long). Any number of these objects may stand for one lock. */
  constructor(addr: number, cls: LockClass) {
    this.addr = addr;
    this.cls = cls;
  }
}

/** @locking takes `lock`; not recursive */
export function* spinLock(actor: Actor, lock: SpinLock): Path<void> {
  const { addr, cls } = lock;
  actor.acquiring(cls, addr, 'write');
  yield updating(addr);
  const seen = actor.mem.cas(addr, FREE, heldBy(actor));
  if (seen !== FREE) {
    actor.waitBegins(cls, addr, 'write');
    yield* futexLockSlow(actor, addr, seen, actor.spinLimit);
    actor.waitEnds(cls, addr, 'write');
  }
  actor.acquired(cls, addr, 'write');
}

export function* spinUnlock(actor: Actor, lock: SpinLock): Path<void> {
  const { addr } = lock;
  actor.releasing(lock.cls, addr, 'write');
  yield updating(addr);
  if ((actor.mem.exchange(addr, FREE) & 1) !== 0) {
    yield notifying(addr);
    actor.mem.notify(addr, 1);
  }
}
