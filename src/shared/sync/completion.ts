/**
 * Completion: one side waits until the other says "done", in either order.
 *
 * Each `complete` lets one wait through, now or later. Completing is safe anywhere, inside any lock: it only signals.
 *
 * @source linux kernel/sched/completion.c: complete, wait_for_completion
 */
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { LOCK_BYTES, type LockClass } from './lock-class.ts';
import { notifying, type Path, reading, updating, waiting, writing } from './point.ts';

export const COMPLETION = struct(
  'completion',
  {
    DONE: i32('completers (add), waiters (cas)', 'waits that may pass'),
    WAITERS: i32('waiters (add)', 'how many are waiting'),
  },
  LOCK_BYTES,
);

export class Completion {
  readonly addr: number;
  readonly cls: LockClass;

  /** The completion at `addr` (bytes, `LOCK_BYTES` long). */
  constructor(addr: number, cls: LockClass) {
    this.addr = addr;
    this.cls = cls;
  }
}

/** @locking takes nothing and never waits */
export function* complete(actor: Actor, completion: Completion): Path<void> {
  const { mem } = actor;
  const done = completion.addr + COMPLETION.at.DONE;
  const waiters = completion.addr + COMPLETION.at.WAITERS;
  // ORDER: DONE before the look at WAITERS. A waiter counts itself before it looks at DONE: one sees the other.
  yield updating(done);
  mem.add(done, 1);
  yield reading(waiters);
  if (mem.load(waiters) !== 0) {
    yield notifying(done);
    mem.notify(done, 1);
  }
}

/** @locking sleeps until completed */
export function* waitForCompletion(actor: Actor, completion: Completion): Path<void> {
  const { addr, cls } = completion;
  const { mem } = actor;
  const done = addr + COMPLETION.at.DONE;
  const waiters = addr + COMPLETION.at.WAITERS;
  if (actor.checks !== null) actor.checks.awaiting(cls);
  actor.waitBegins(cls, addr, 'write');
  yield updating(waiters);
  mem.add(waiters, 1);
  for (;;) {
    yield reading(done);
    const passes = mem.load(done);
    if (passes > 0) {
      yield updating(done);
      if (mem.cas(done, passes, passes - 1) === passes) break;
    } else {
      actor.expect = passes;
      yield waiting(done);
    }
  }
  yield updating(waiters);
  mem.add(waiters, -1);
  actor.waitEnds(cls, addr, 'write');
  if (actor.checks !== null) actor.checks.awaited();
}

/** Forgets completions nobody waited for. Only while nobody waits or completes. */
export function* reinitCompletion(actor: Actor, completion: Completion): Path<void> {
  const done = completion.addr + COMPLETION.at.DONE;
  yield writing(done);
  actor.mem.store(done, 0);
}
