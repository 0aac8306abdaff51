/**
 * Wait queue: sleep until a condition over shared memory holds.
 *
 * SEQUENCE is a number × 2, +1 once somebody has armed it. A waiter arms it, looks at the condition, then sleeps on the
 * armed value; a waker changes the memory, then the number. Whatever the waker changed before is either seen by the
 * waiter's look or changes the value it would sleep on: no wake-up is lost, and a waker with nobody armed does one load.
 */
import { i32, struct } from '../struct.ts';
import type { Actor } from './actor.ts';
import { LOCK_BYTES } from './lock-class.ts';
import { notifying, type Path, reading, stepping, updating, WAIT_TIMED_OUT, waiting } from './point.ts';

export const WAIT_QUEUE = struct(
  'wait queue',
  { SEQUENCE: i32('wakers (cas), waiters (or)', 'wake-ups × 2, +1 if armed') },
  LOCK_BYTES,
);

const ARMED = 1;
const NS_PER_MS = 1e6;

export class WaitQueue {
  readonly addr: number;
  readonly name: string;

  /** The queue at `addr` (bytes, `LOCK_BYTES` long); `name` is for reports. */
  constructor(addr: number, name = 'wait queue') {
    this.addr = addr;
    this.name = name;
  }
}

/**
 * Sleeps until `condition` holds.
 *
 * @param condition  reads shared memory; has no effect and yields nothing
 * @param timeoutMs  limit by the actor's clock; without a clock each sleep may take this long
 * @returns          whether the condition held at the last look
 * @locking          sleeps: never under a no-sleep lock
 */
export function* waitEvent(
  actor: Actor,
  queue: WaitQueue,
  condition: () => boolean,
  timeoutMs = Number.POSITIVE_INFINITY,
): Path<boolean> {
  const sequence = queue.addr + WAIT_QUEUE.at.SEQUENCE;
  if (actor.checks !== null) actor.checks.mayBlock(queue.name);
  const timed = timeoutMs !== Number.POSITIVE_INFINITY;
  const deadline = timed ? actor.clock() + timeoutMs * NS_PER_MS : 0;
  for (;;) {
    yield updating(sequence);
    const armed = actor.mem.or(sequence, ARMED) | ARMED;
    yield stepping(sequence);
    if (condition()) return true;
    if (timed) actor.timeoutMs = Math.max(0, (deadline - actor.clock()) / NS_PER_MS);
    actor.expect = armed;
    if ((yield waiting(sequence)) === WAIT_TIMED_OUT) {
      yield stepping(sequence);
      return condition();
    }
  }
}

/** Makes every waiter look again. Call it after changing what they look at. @locking takes nothing, never waits */
export function* wakeUp(actor: Actor, queue: WaitQueue): Path<void> {
  const { mem } = actor;
  const sequence = queue.addr + WAIT_QUEUE.at.SEQUENCE;
  yield reading(sequence);
  let seen = mem.load(sequence);
  // Another waker that disarms first has woken those armed before; who arms after it will look after our change.
  while ((seen & ARMED) !== 0) {
    yield updating(sequence);
    const now = mem.cas(sequence, seen, (seen + 1) | 0);
    if (now === seen) {
      yield notifying(sequence);
      mem.notify(sequence);
      return;
    }
    seen = now;
  }
}
