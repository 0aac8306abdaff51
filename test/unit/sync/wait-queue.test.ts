import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import {
  drive,
  notifying,
  type Path,
  POINT_KINDS,
  reading,
  stepping,
  updating,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  WAITING,
  waiting,
} from '../../../src/shared/sync/point.ts';
import { WAIT_QUEUE, WaitQueue, waitEvent, wakeUp } from '../../../src/shared/sync/wait-queue.ts';
import { type ExploreOptions, explore, report } from '../../support/explore-small.ts';
import {
  actors,
  type Body,
  BYTES,
  DATA,
  LOCK,
  type Mistake,
  neverWaits,
  note,
  peek,
  pointsOf,
  wakesNobody,
} from './trial.ts';

const queue = new WaitQueue(LOCK, 'the queue');
const SEQUENCE = LOCK + WAIT_QUEUE.at.SEQUENCE;

/** What is waited for: that it reaches some number. */
const LEVEL = DATA;
/** Waits that ended with the condition false. */
const GAVE_UP = DATA + 4;

type Wait = typeof waitEvent;
type Wake = typeof wakeUp;

const raises = (times = 1, wake: Wake = wakeUp): Body =>
  function* (actor) {
    for (let i = 0; i < times; i++) {
      yield updating(LEVEL);
      actor.mem.add(LEVEL, 1);
      yield* neverWaits(wake(actor, queue));
    }
  };

const waitsFor = (level: number, wait: Wait = waitEvent, timeoutMs?: number): Body =>
  function* (actor) {
    const held = yield* wait(actor, queue, () => actor.mem.load(LEVEL) >= level, timeoutMs);
    if (!held) note(actor.mem, GAVE_UP);
    if (held && peek(actor.mem, LEVEL) < level) throw new Error('said that the condition held');
  };

const trial = (bodies: readonly Body[], mistake?: Mistake): ExploreOptions => ({
  bytes: BYTES,
  setUp: (mem) => ({ actors: actors(mem, bodies, mistake) }),
});

for (const [name, bodies] of [
  ['one wakes one', [raises(), waitsFor(1)]],
  ['one wakes twice, one waits for the second', [raises(2), waitsFor(2)]],
  ['two wake, one waits for both', [raises(), raises(), waitsFor(2)]],
  ['one wakes two', [raises(), waitsFor(1), waitsFor(1)]],
  ['one wakes two that wait for different things', [raises(2), waitsFor(1), waitsFor(2)]],
  ['a waiter wakes the next', [raises(), both(waitsFor(1), raises()), waitsFor(2)]],
] as const) {
  test(`no wake-up is lost between the look and the sleep: ${name}`, (t) => {
    const { setUp, ...rest } = trial(bodies);
    const explored = explore({
      ...rest,
      setUp: (mem) => ({
        ...setUp(mem),
        atEnd: () => (peek(mem, GAVE_UP) === 0 ? undefined : 'gave up without a timeout'),
      }),
    });
    t.is(report(explored), '');
    t.log(`${explored.schedules} interleavings, ${explored.states} states`);
  });
}

function both(first: Body, second: Body): Body {
  return function* (actor) {
    yield* first(actor);
    yield* second(actor);
  };
}

/** Wakes first and changes afterwards. */
const wakesTooEarly: Body = function* (actor) {
  yield* wakeUp(actor, queue);
  yield updating(LEVEL);
  actor.mem.add(LEVEL, 1);
};

/** Looks, then arms, then sleeps. */
const looksFirst: Wait = function* (actor, _queue, condition) {
  for (;;) {
    yield stepping(SEQUENCE);
    if (condition()) return true;
    yield updating(SEQUENCE);
    actor.expect = actor.mem.or(SEQUENCE, 1) | 1;
    yield waiting(SEQUENCE);
  }
};

/** Wakes the longest sleeper only. */
const wakesOne: Mistake = (mem) => ({ notify: (addr) => mem.notify(addr, 1) });

/** Disarms the queue but leaves the number as it was. */
const sameNumber: Mistake = (mem) => ({
  cas: (addr, expected, value) => mem.cas(addr, expected, value === expected + 1 ? expected & ~1 : value),
});

for (const [name, bodies, mistake] of [
  ['nobody is woken', [raises(), waitsFor(1)], wakesNobody],
  ['the waker wakes before it changes', [wakesTooEarly, waitsFor(1)], undefined],
  ['the waiter looks before it arms', [raises(), waitsFor(1, looksFirst)], undefined],
  ['only one of two waiters is woken', [raises(), waitsFor(1), waitsFor(1)], wakesOne],
  ['a wake-up leaves no mark on the sequence', [raises(2), waitsFor(2), waitsFor(2)], sameNumber],
] as const) {
  test(`found: ${name}`, (t) => {
    t.is(explore(trial(bodies, mistake)).failure?.kind, 'deadlock');
    // Without the mistake the same trial passes.
    if (mistake !== undefined) t.is(report(explore(trial(bodies))), '');
  });
}

test('with a timeout every wait ends, and says truly whether the condition held', (t) => {
  for (const bodies of [
    [raises(), waitsFor(1, waitEvent, 10)],
    [raises(2), waitsFor(2, waitEvent, 10)],
    [raises(), waitsFor(1, waitEvent, 10), waitsFor(1, waitEvent, 10)],
    [raises(), waitsFor(1, waitEvent, 10), waitsFor(1)],
    // Nobody will ever raise it.
    [waitsFor(1, waitEvent, 10)],
  ]) {
    t.is(report(explore(trial(bodies))), '');
  }
});

test('one that times out takes no wake-up away from one that does not', (t) => {
  // wakeUp wakes all; waking one of two would be lost on a waiter that has just timed out.
  t.is(report(explore(trial([raises(), waitsFor(1), waitsFor(1, waitEvent, 10)]))), '');
});

test('a waker with nobody armed does one load', (t) => {
  const { actor } = alone();
  t.deepEqual(pointsOf(wakeUp(actor, queue)), [reading(SEQUENCE)]);
});

test('a waker that finds the queue armed counts and wakes, in three steps', (t) => {
  const { actor, mem } = alone();
  mem.store(SEQUENCE, 7);
  t.deepEqual(pointsOf(wakeUp(actor, queue)), [reading(SEQUENCE), updating(SEQUENCE), notifying(SEQUENCE)]);
  t.is(mem.load(SEQUENCE), 8);
});

test('a condition that holds already is not slept for', (t) => {
  const { actor } = alone();
  t.true(drive(actor, neverWaits(waitEvent(actor, queue, () => true))));
});

test('a timeout counts from the call, over all sleeps', (t) => {
  const { actor, time } = alone();
  const path = waitEvent(actor, queue, () => false, 5);
  toSleep(path);
  t.is(actor.timeoutMs, 5);
  time.ns = 2_000_000;
  toSleep(path, WAIT_WOKEN);
  t.is(actor.timeoutMs, 3);
  time.ns = 7_000_000;
  toSleep(path, WAIT_WOKEN);
  t.is(actor.timeoutMs, 0);
  path.next(WAIT_TIMED_OUT);
  t.deepEqual(path.next(0), { value: false, done: true });
});

test('the last look is after the timeout', (t) => {
  const { actor, mem } = alone();
  const path = waitEvent(actor, queue, () => mem.load(LEVEL) === 1, 5);
  toSleep(path);
  mem.store(LEVEL, 1);
  path.next(WAIT_TIMED_OUT);
  t.deepEqual(path.next(0), { value: true, done: true });
});

test('without a timeout a sleep has no limit', (t) => {
  const { actor } = alone();
  toSleep(waitEvent(actor, queue, () => false));
  t.is(actor.timeoutMs, Number.POSITIVE_INFINITY);
});

test('a real sleep ends by its timeout', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const clock = () => Number(process.hrtime.bigint());
  const actor = new Actor({ id: 1, name: 'alone', mem, clock });
  const began = clock();
  t.false(
    drive(
      actor,
      waitEvent(actor, queue, () => false, 2),
    ),
  );
  t.true(clock() - began >= 2e6);
  t.is(actor.timeoutMs, Number.POSITIVE_INFINITY);
});

function alone(): { mem: Mem; actor: Actor; time: { ns: number } } {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const time = { ns: 0 };
  return { mem, time, actor: new Actor({ id: 1, name: 'alone', mem, clock: () => time.ns }) };
}

/** Steps `path` to its next sleep. */
function toSleep(path: Path<boolean>, answer = 0): void {
  let point = path.next(answer).value as number;
  while (point % POINT_KINDS !== WAITING) point = path.next(0).value as number;
}
