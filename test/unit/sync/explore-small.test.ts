/** The explorer that the other files here rely on: that it misses nothing, and counts right. */
import test from 'ava';
import type { Mem } from '../../../src/shared/mem.ts';
import { LOCK_JOB, LOCK_MMU } from '../../../src/shared/sync/lock-class.ts';
import {
  notifying,
  type Path,
  reading,
  stepping,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  waiting,
  writing,
} from '../../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { WaitQueue, waitEvent, wakeUp } from '../../../src/shared/sync/wait-queue.ts';
import { type ExploreOptions, explore, report } from '../../support/explore-small.ts';
import { actors, type Body, BYTES, DATA, increment, LOCK, neverWaits, peek } from './trial.ts';

/** `count` steps that nobody else notices. */
const steps = (count: number): Body =>
  function* (actor) {
    for (let i = 0; i < count; i++) {
      yield reading(DATA + 4 * actor.id);
      actor.mem.load(DATA + 4 * actor.id);
    }
  };

const trial = (bodies: readonly Body[], atEnd?: (mem: Mem) => string | undefined): ExploreOptions => ({
  bytes: BYTES,
  setUp: (mem) => ({ actors: actors(mem, bodies), atEnd: () => atEnd?.(mem) }),
});

test('it covers each interleaving once', (t) => {
  t.is(explore(trial([steps(3)])).schedules, 1);
  t.is(explore(trial([steps(3), steps(4)])).schedules, 35);
  t.is(explore(trial([steps(2), steps(2), steps(2)])).schedules, 90);
});

const spin = new SpinLock(LOCK, LOCK_JOB);
const rw = new RwLock(LOCK, LOCK_MMU);
const queue = new WaitQueue(LOCK);
const FLAG = DATA;

const exclusive: Body = function* (actor) {
  yield* spinLock(actor, spin);
  yield* spinUnlock(actor, spin);
};
const reader: Body = function* (actor) {
  yield* readLock(actor, rw);
  yield* readUnlock(actor, rw);
};
const writer: Body = function* (actor) {
  yield* writeLock(actor, rw);
  yield* writeUnlock(actor, rw);
};
const waker: Body = function* (actor) {
  yield writing(FLAG);
  actor.mem.store(FLAG, 1);
  yield* wakeUp(actor, queue);
};
const waiter =
  (timeoutMs?: number): Body =>
  (actor) =>
    waitEvent(actor, queue, () => actor.mem.load(FLAG) === 1, timeoutMs);

for (const [name, bodies] of [
  ['a spinlock', [exclusive, exclusive]],
  ['a writer and a reader', [writer, reader]],
  ['a waker and two waiters', [waker, waiter(), waiter()]],
  ['a waker and a waiter with a timeout', [waker, waiter(1)]],
] as const) {
  test(`equal states continued once give the same count as all continued: ${name}`, (t) => {
    const merged = explore(trial(bodies));
    const plain = explore({ ...trial(bodies), merge: false });
    t.is(report(merged), '');
    t.is(merged.schedules, plain.schedules);
    t.true(merged.states < plain.states);
  });
}

test('a bound on preemptions covers fewer interleavings, and all of them once it is large', (t) => {
  const within = (preemptions: number) =>
    explore({ ...trial([exclusive, exclusive, exclusive]), preemptions }).schedules;
  const counts = [0, 1, 2, 3, 100].map(within);
  t.is(explore({ ...trial([steps(3), steps(4)]), preemptions: 0 }).schedules, 2);
  for (let i = 1; i < counts.length; i++) t.true(counts[i]! > counts[i - 1]!);
  t.is(counts.at(-1), explore(trial([exclusive, exclusive, exclusive])).schedules);
});

test('a lost update is found, with the steps that lose it', (t) => {
  const adds: Body = (actor) => increment(actor.mem, DATA);
  const lost = explore(
    trial([adds, adds], (mem) => (peek(mem, DATA) === 2 ? undefined : `counted ${peek(mem, DATA)}`)),
  );
  t.is(lost.failure?.kind, 'check');
  t.is(lost.failure?.message, 'counted 1');
  t.deepEqual(lost.failure?.schedule.toSorted(), [
    'actor 0 reads 0x40',
    'actor 0 writes 0x40',
    'actor 1 reads 0x40',
    'actor 1 writes 0x40',
  ]);
  t.regex(report(lost), /^check: counted 1\n {2}actor \d/);
});

test('a check after each step sees what is gone by the end', (t) => {
  const pulse: Body = function* ({ mem }) {
    yield writing(DATA);
    mem.store(DATA, 1);
    yield writing(DATA);
    mem.store(DATA, 0);
  };
  const { failure } = explore({
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(mem, [pulse]),
      atStep: () => (peek(mem, DATA) === 1 ? 'high' : undefined),
      atEnd: () => (peek(mem, DATA) === 0 ? undefined : 'high at the end'),
    }),
  });
  t.is(failure?.message, 'high');
});

test('everybody asleep is a deadlock, and the report says where', (t) => {
  const sleeps: Body = function* (actor) {
    actor.expect = 0;
    yield waiting(DATA);
  };
  const { failure } = explore(trial([sleeps, steps(1)]));
  t.is(failure?.kind, 'deadlock');
  t.is(failure?.message, 'actor 0 asleep on 0x40 = 0');
});

test('what a path throws is a failure', (t) => {
  const throws: Body = function* () {
    yield stepping();
    throw new RangeError('out of luck');
  };
  t.is(explore(trial([throws])).failure?.kind, 'thrown');
  t.is(explore(trial([throws])).failure?.message, 'RangeError: out of luck');
});

test('a wait may be woken, find its cell changed, or run into its timeout, and nothing else', (t) => {
  const answersOf = (timeoutMs: number) => {
    const answers = new Set<number>();
    explore(
      trial([
        function* (actor) {
          actor.expect = 0;
          actor.timeoutMs = timeoutMs;
          answers.add(yield waiting(DATA));
        },
        function* ({ mem }) {
          yield writing(DATA);
          mem.store(DATA, 1);
          yield notifying(DATA);
          mem.notify(DATA);
        },
      ]),
    );
    return [...answers].toSorted();
  };
  t.deepEqual(answersOf(Number.POSITIVE_INFINITY), [WAIT_WOKEN, WAIT_CHANGED]);
  t.deepEqual(answersOf(1), [WAIT_WOKEN, WAIT_CHANGED, WAIT_TIMED_OUT]);
});

test('notify wakes as many as it is told, the longest sleepers first', (t) => {
  const FELL_ASLEEP = DATA + 4;
  const SEEN_ASLEEP = DATA + 8;
  const CLOSED = DATA + 12;
  let first = 0;
  const sleeper = (id: number, mem: Mem) => ({
    // `expect` is read in the step that falls asleep: the moment to note who came when.
    waiter: {
      mem,
      timeoutMs: Number.POSITIVE_INFINITY,
      get expect() {
        if (peek(mem, DATA) === 0) mem.i32[FELL_ASLEEP >>> 2] = peek(mem, FELL_ASLEEP) * 10 + id;
        return 0;
      },
    },
    path: (function* (): Path<void> {
      if ((yield waiting(DATA)) !== WAIT_WOKEN || peek(mem, CLOSED) === 1) return;
      const asleep = peek(mem, SEEN_ASLEEP);
      if (asleep < 10) return;
      first++;
      if (Math.floor(asleep / 10) !== id) throw new Error(`woke ${id} first of ${asleep}`);
    })(),
  });
  const explored = explore({
    bytes: BYTES,
    setUp: (mem) => ({
      actors: [
        sleeper(1, mem),
        sleeper(2, mem),
        ...actors(mem, [
          function* () {
            yield notifying(DATA);
            if (mem.notify(DATA, 0) !== 0) throw new Error('woke without being told to');
            const asleep = peek(mem, FELL_ASLEEP);
            mem.i32[SEEN_ASLEEP >>> 2] = asleep;
            if (mem.notify(DATA, 1) !== Math.min(String(asleep).length, asleep, 1))
              throw new Error('woke more');
            yield writing(DATA);
            mem.store(DATA, 1);
            yield notifying(DATA);
            mem.i32[CLOSED >>> 2] = 1;
            mem.notify(DATA);
          },
        ]),
      ],
    }),
  });
  t.is(report(explored), '');
  t.true(first > 0);
});

test('a search that grows beyond its limit says so', (t) => {
  t.throws(() => explore({ ...trial([steps(9), steps(9)]), maxStates: 50 }), {
    message: /more than 50 states/,
  });
});

test('a path that must not wait is caught when it does', (t) => {
  const sleeps: Body = (actor) =>
    neverWaits(
      (function* () {
        actor.expect = 0;
        yield waiting(DATA);
      })(),
    );
  t.regex(explore(trial([sleeps])).failure?.message ?? '', /waits, and must not/);
});
