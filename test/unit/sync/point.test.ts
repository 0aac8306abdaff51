import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import {
  drive,
  notifying,
  type Path,
  POINT_KINDS,
  reading,
  stepping,
  UPDATING,
  updating,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  type Waiter,
  waiting,
  writing,
} from '../../../src/shared/sync/point.ts';

function aWaiter(): Waiter {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  return { mem, expect: 0, timeoutMs: Number.POSITIVE_INFINITY };
}

test('a point names its cell and what is done to it, far beyond 32 bits', (t) => {
  const addr = 2 ** 40 + 8;
  const points = [reading, writing, updating, waiting, notifying, stepping].map((point) => point(addr));
  t.is(new Set(points).size, points.length);
  for (const point of points) t.is(Math.floor(point / POINT_KINDS), addr);
  t.is(updating(addr) % POINT_KINDS, UPDATING);
});

test('drive runs a path to its end and gives its result', (t) => {
  const waiter = aWaiter();
  function* double(n: number): Path<number> {
    yield updating(0);
    return waiter.mem.add(0, n) + 2 * n;
  }
  function* whole(): Path<number> {
    return (yield* double(1)) + (yield* double(10));
  }
  t.is(drive(waiter, whole()), 2 + 21);
  t.is(waiter.mem.load(0), 11);
});

test('drive answers 0 to every point but a wait', (t) => {
  const answers: number[] = [];
  function* path(): Path<void> {
    for (const point of [reading(0), writing(0), updating(0), notifying(0), stepping()])
      answers.push(yield point);
  }
  drive(aWaiter(), path());
  t.deepEqual(answers, [0, 0, 0, 0, 0]);
});

test('a wait on a changed cell does not sleep, a timed one ends, and the limit holds for one wait only', (t) => {
  const waiter = aWaiter();
  const answers: number[] = [];
  const limits: number[] = [];
  function* path(): Path<void> {
    waiter.expect = 1;
    answers.push(yield waiting(8));
    waiter.expect = 0;
    waiter.timeoutMs = 1;
    answers.push(yield waiting(8));
    limits.push(waiter.timeoutMs);
  }
  drive(waiter, path());
  t.deepEqual(answers, [WAIT_CHANGED, WAIT_TIMED_OUT]);
  t.deepEqual(limits, [Number.POSITIVE_INFINITY]);
});

test('what a path throws comes out of drive', (t) => {
  function* path(): Path<void> {
    yield stepping();
    throw new RangeError('out of luck');
  }
  t.throws(() => drive(aWaiter(), path()), { instanceOf: RangeError });
});
