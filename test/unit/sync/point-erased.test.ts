/** What erased paths have in place of scheduling points. */
import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { adopt, choosing, drive, waiting } from '../../../src/shared/sync/point.erased.ts';
import { WAIT_CHANGED, WAIT_TIMED_OUT } from '../../../src/shared/sync/point.ts';

const aWaiter = () => ({
  mem: new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })),
  expect: 0,
  timeoutMs: Number.POSITIVE_INFINITY,
});

test.serial('a thread says which actor it is before it waits', (t) => {
  t.throws(() => waiting(0), { message: /cannot wait/ });
  t.throws(() => drive(aWaiter(), 1), { message: /the one that it has said it is/ });
});

test.serial('a wait is one of that actor: what it expects, and for how long, once', (t) => {
  const waiter = aWaiter();
  adopt(waiter);
  waiter.expect = 1;
  t.is(waiting(8), WAIT_CHANGED);
  waiter.mem.store(8, 1);
  waiter.timeoutMs = 1;
  t.is(waiting(8), WAIT_TIMED_OUT);
  t.is(waiter.timeoutMs, Number.POSITIVE_INFINITY);
});

test.serial('what a path returned is what driving it gives, for the actor of the thread only', (t) => {
  const waiter = aWaiter();
  adopt(waiter);
  t.is(drive(waiter, 'result'), 'result');
  t.throws(() => drive(aWaiter(), 1), { message: /one actor/ });
});

test.serial('of several ways it is the first', (t) => {
  t.is(choosing(5), 0);
});
