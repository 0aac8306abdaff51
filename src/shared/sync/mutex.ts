/**
 * Mutex: a lock whose holder may sleep, and whose waiters sleep at once.
 */

import { BUG_UNLOCK_NO_NOTIFY } from '../quirks.ts';
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { FREE, futexLockSlow, futexUnlock, heldBy } from './futex.ts';
import { LOCK_BYTES, type LockClass } from './lock-class.ts';
import { notifying, type Path, reading, updating, writing } from './point.ts';

export const MUTEX = struct(
  'mutex',
  { WORD: i32('holder, waiters', 'futex word, see futex.ts') },
  LOCK_BYTES,
);

export class Mutex {
  readonly addr: number;
  readonly cls: LockClass;

  /** The mutex at `addr` (bytes, `LOCK_BYTES` long). */
  constructor(addr: number, cls: LockClass) {
    this.addr = addr;
    this.cls = cls;
  }
}

/** @locking takes `lock`, may sleep; not recursive */
export function* mutexLock(actor: Actor, lock: Mutex): Path<void> {
  const { addr, cls } = lock;
  actor.acquiring(cls, addr, 'write');
  yield updating(addr);
  const seen = actor.mem.cas(addr, FREE, heldBy(actor));
  if (seen !== FREE) {
    actor.waitBegins(cls, addr, 'write');
    yield* futexLockSlow(actor, addr, seen, 0);
    actor.waitEnds(cls, addr, 'write');
  }
  actor.acquired(cls, addr, 'write');
}

/** Takes `lock` if it is free. Never waits, so it may be tried in any order. */
export function* mutexTryLock(actor: Actor, lock: Mutex): Path<boolean> {
  const { addr, cls } = lock;
  yield updating(addr);
  if (actor.mem.cas(addr, FREE, heldBy(actor)) !== FREE) return false;
  actor.acquired(cls, addr, 'write');
  return true;
}

export function* mutexUnlock(actor: Actor, lock: Mutex): Path<void> {
  const { addr } = lock;
  actor.releasing(lock.cls, addr, 'write');
  if (actor.quirk(BUG_UNLOCK_NO_NOTIFY)) return yield* unlockSeeing(actor, addr);
  yield updating(addr);
  if ((actor.mem.exchange(addr, FREE) & 1) !== 0) {
    yield notifying(addr);
    actor.mem.notify(addr, 1);
  }
}

/** RC-73: whether anybody waits is looked up before the word is freed. */
function* unlockSeeing(actor: Actor, addr: number): Path<void> {
  yield reading(addr);
  if ((actor.mem.load(addr) & 1) !== 0) return yield* futexUnlock(actor, addr);
  yield writing(addr);
  actor.mem.store(addr, FREE);
}
