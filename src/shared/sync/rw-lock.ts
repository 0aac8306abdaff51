/**
 * Reader/writer lock, fair to both sides, spinning briefly, neither recursive nor upgradable.
 *
 * STATE, one int32:
 *
 *   31                                    2    1        0
 *   ┌──────────────────────────────────────┬────────┬────────┐
 *   │ readers inside, or the writer's id   │ QUEUED │ WRITER │
 *   └──────────────────────────────────────┴────────┴────────┘
 *
 * Uncontended, each call is one compare-exchange or one add on STATE. Whoever cannot enter draws a ticket and waits
 * for its turn; the one whose turn it is (the head) sets QUEUED, which keeps newcomers out of the fast path, and
 * waits for STATE to let it in. So at most one actor waits on STATE, the queue is first come first served, and the
 * head waits only for those already inside. A newcomer may slip in before the head has set QUEUED, never after: that
 * is why a reader that enters twice can block itself behind a writer that came in between.
 *
 * @source linux kernel/locking/qrwlock.c: queued_read_lock_slowpath, queued_write_lock_slowpath
 */
import type { Mem } from '../mem.ts';
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { LOCK_BYTES, type LockClass, type LockMode } from './lock-class.ts';
import { notifying, type Path, reading, updating, waiting, writing } from './point.ts';

export const RWLOCK = struct(
  'rwlock',
  {
    STATE: i32('everyone (cas, add, and)', 'who is inside, see above'),
    NEXT: i32('who queues (add)', 'next ticket to hand out'),
    SERVING: i32('the head', 'ticket whose turn it is'),
  },
  LOCK_BYTES,
);

const WRITER = 1;
const QUEUED = 2;
/** One reader. */
const READER = 4;

export class RwLock {
  readonly addr: number;
  readonly cls: LockClass;

  /** The lock at `addr` (bytes, `LOCK_BYTES` long). */
  constructor(addr: number, cls: LockClass) {
    this.addr = addr;
    this.cls = cls;
  }
}

/** @locking takes `lock` for read; blocks behind a waiting writer even when other readers are inside */
export function* readLock(actor: Actor, lock: RwLock): Path<void> {
  const { addr, cls } = lock;
  const state = addr + RWLOCK.at.STATE;
  actor.acquiring(cls, addr, 'read');
  let seen = 0;
  for (;;) {
    yield updating(state);
    const now = actor.mem.cas(state, seen, seen + READER);
    if (now === seen) break;
    seen = now;
    if ((seen & (WRITER | QUEUED)) !== 0) {
      yield* queueFor(actor, lock, 'read');
      break;
    }
  }
  actor.acquired(cls, addr, 'read');
}

export function* readUnlock(actor: Actor, lock: RwLock): Path<void> {
  const { addr } = lock;
  const state = addr + RWLOCK.at.STATE;
  actor.releasing(lock.cls, addr, 'read');
  yield updating(state);
  // Only the last reader out can let the head in, and only a head that has said it waits needs to be woken.
  if (actor.mem.add(state, -READER) === (READER | QUEUED)) {
    yield notifying(state);
    actor.mem.notify(state, 1);
  }
}

/** @locking takes `lock` for write */
export function* writeLock(actor: Actor, lock: RwLock): Path<void> {
  const { addr, cls } = lock;
  const state = addr + RWLOCK.at.STATE;
  actor.acquiring(cls, addr, 'write');
  yield updating(state);
  if (actor.mem.cas(state, 0, heldForWrite(actor)) !== 0) yield* queueFor(actor, lock, 'write');
  actor.acquired(cls, addr, 'write');
}

export function* writeUnlock(actor: Actor, lock: RwLock): Path<void> {
  const { addr } = lock;
  const state = addr + RWLOCK.at.STATE;
  actor.releasing(lock.cls, addr, 'write');
  yield updating(state);
  if ((actor.mem.and(state, QUEUED) & QUEUED) !== 0) {
    yield notifying(state);
    actor.mem.notify(state, 1);
  }
}

/** rwlock_needbreak: does somebody wait who cannot enter before the present holder leaves? A hint. */
export function needsBreak(mem: Mem, lock: RwLock): boolean {
  return (mem.load(lock.addr + RWLOCK.at.STATE) & QUEUED) !== 0;
}

/** Is anybody inside, by a word of STATE? */
export function isHeld(state: number): boolean {
  return (state & ~(WRITER | QUEUED)) !== 0;
}

/** Is a writer? */
export function isHeldForWrite(state: number): boolean {
  return (state & WRITER) !== 0;
}

function heldForWrite(actor: Actor): number {
  return actor.id * READER + WRITER;
}

/** The slow path of both modes: take a ticket, become the head, enter, make the next one the head. */
function* queueFor(actor: Actor, lock: RwLock, mode: LockMode): Path<void> {
  const { mem } = actor;
  const state = lock.addr + RWLOCK.at.STATE;
  const next = lock.addr + RWLOCK.at.NEXT;
  const serving = lock.addr + RWLOCK.at.SERVING;
  actor.waitBegins(lock.cls, lock.addr, mode);

  yield updating(next);
  const ticket = mem.add(next, 1);
  for (let spins = actor.spinLimit; ; spins--) {
    yield reading(serving);
    const turn = mem.load(serving);
    if (turn === ticket) break;
    if (spins > 0) continue;
    actor.expect = turn;
    yield waiting(serving);
  }

  const mustBeClear = mode === 'write' ? ~QUEUED : WRITER;
  yield reading(state);
  let seen = mem.load(state);
  for (let spins = actor.spinLimit; ; ) {
    if ((seen & mustBeClear) === 0) {
      yield updating(state);
      const inside = mode === 'write' ? heldForWrite(actor) : (seen & ~QUEUED) + READER;
      const now = mem.cas(state, seen, inside);
      if (now === seen) break;
      seen = now;
    } else if ((seen & QUEUED) === 0) {
      yield updating(state);
      const now = mem.cas(state, seen, seen | QUEUED);
      seen = now === seen ? seen | QUEUED : now;
    } else {
      if (spins > 0) {
        spins--;
      } else {
        actor.expect = seen;
        yield waiting(state);
      }
      yield reading(state);
      seen = mem.load(state);
    }
  }

  // ORDER: SERVING before the look at NEXT. One who queues draws from NEXT before it looks at SERVING: either it sees
  // its turn, or it is seen here and woken.
  const turn = (ticket + 1) | 0;
  yield writing(serving);
  mem.store(serving, turn);
  yield reading(next);
  if (mem.load(next) !== turn) {
    yield notifying(serving);
    mem.notify(serving);
  }
  actor.waitEnds(lock.cls, lock.addr, mode);
}
