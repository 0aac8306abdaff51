import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import {
  COMPLETION,
  Completion,
  complete,
  reinitCompletion,
  waitForCompletion,
} from '../../../src/shared/sync/completion.ts';
import { DONE_KVMI } from '../../../src/shared/sync/lock-class.ts';
import {
  drive,
  notifying,
  type Path,
  POINT_KINDS,
  reading,
  updating,
  WAITING,
} from '../../../src/shared/sync/point.ts';
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

const completion = new Completion(LOCK, DONE_KVMI);
const DONE = LOCK + COMPLETION.at.DONE;
const WAITERS = LOCK + COMPLETION.at.WAITERS;

const COMPLETED = DATA;
const PASSED = DATA + 4;

type Complete = (actor: Actor) => Path<void>;
const once: Complete = (actor) => complete(actor, completion);

const completes = (times = 1, how: Complete = once): Body =>
  function* (actor) {
    for (let i = 0; i < times; i++) {
      note(actor.mem, COMPLETED);
      yield* neverWaits(how(actor));
    }
  };

const waits = (times = 1): Body =>
  function* (actor) {
    for (let i = 0; i < times; i++) {
      yield* waitForCompletion(actor, completion);
      note(actor.mem, PASSED);
    }
  };

/** At no moment have more waits passed than completions been made; at the end `left` completions are over. */
function trial(bodies: readonly Body[], { left = 0, mistake }: { left?: number; mistake?: Mistake } = {}) {
  return {
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(mem, bodies, mistake),
      atStep: () =>
        peek(mem, PASSED) > peek(mem, COMPLETED)
          ? `${peek(mem, PASSED)} waits passed, ${peek(mem, COMPLETED)} completed`
          : undefined,
      atEnd: () => {
        if (peek(mem, WAITERS) !== 0) return `${peek(mem, WAITERS)} waiters left behind`;
        return peek(mem, DONE) === left ? undefined : `DONE is ${peek(mem, DONE)}, not ${left}`;
      },
    }),
  } satisfies ExploreOptions;
}

for (const [name, bodies, left] of [
  ['one and one', [completes(), waits()], 0],
  ['twice and twice', [completes(2), waits(2)], 0],
  ['two complete, one waits twice', [completes(), completes(), waits(2)], 0],
  ['one completes twice, two wait', [completes(2), waits(), waits()], 0],
  ['completions nobody waits for stay', [completes(2), completes(), waits()], 2],
] as const) {
  test(`each complete lets exactly one wait through, in either order: ${name}`, (t) => {
    const explored = explore(trial(bodies, { left }));
    t.is(report(explored), '');
    t.log(`${explored.schedules} interleavings, ${explored.states} states`);
  });
}

test('two complete and two wait, up to three preemptions', (t) => {
  t.is(report(explore({ ...trial([completes(), completes(), waits(), waits()]), preemptions: 3 })), '');
});

test('a wait that nobody completes never ends', (t) => {
  t.is(explore(trial([completes(), waits(), waits()])).failure?.kind, 'deadlock');
});

/** Looks whether anybody waits before it says that it is done. */
const looksFirst: Complete = function* ({ mem }) {
  yield reading(WAITERS);
  const waiters = mem.load(WAITERS);
  yield updating(DONE);
  mem.add(DONE, 1);
  if (waiters === 0) return;
  yield notifying(DONE);
  mem.notify(DONE, 1);
};

for (const [name, bodies, mistake, message] of [
  ['nobody is woken', [completes(), waits()], wakesNobody, /asleep/],
  ['the look at WAITERS comes before DONE', [completes(1, looksFirst), waits()], undefined, /asleep/],
  [
    'a completion is a flag and no count',
    [completes(2), waits(), waits()],
    ((mem) => ({
      add: (addr, delta) => (addr === DONE ? mem.exchange(DONE, 1) : mem.add(addr, delta)),
    })) satisfies Mistake,
    /asleep/,
  ],
  [
    'a waiter takes its pass without looking whether it is still there',
    [completes(2), waits(), waits()],
    ((mem) => ({
      cas: (addr, expected, value) => {
        mem.store(addr, value);
        return expected;
      },
    })) satisfies Mistake,
    /waits passed|DONE is/,
  ],
] as const) {
  test(`found: ${name}`, (t) => {
    const { failure } = explore(trial(bodies, mistake === undefined ? {} : { mistake }));
    t.regex(failure?.message ?? '', message);
    // Without the mistake the same trial passes.
    if (mistake !== undefined) t.is(report(explore(trial(bodies))), '');
  });
}

test('completing with nobody waiting wakes nobody', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'alone', mem });
  t.deepEqual(pointsOf(complete(actor, completion)), [updating(DONE), reading(WAITERS)]);
});

test('a completion made anew has forgotten what nobody waited for', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'alone', mem });
  drive(actor, complete(actor, completion));
  drive(actor, complete(actor, completion));
  drive(actor, reinitCompletion(actor, completion));
  t.is(mem.load(DONE), 0);
  t.throws(() => drive(actor, neverWaits(waitForCompletion(actor, completion))), { message: /waits/ });
});

test('whatever the actor slept on before, it sleeps here while nothing is completed', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'alone', mem });
  actor.expect = 77;
  const path = waitForCompletion(actor, completion);
  for (let kind = 0; kind !== WAITING; ) kind = (path.next(0).value as number) % POINT_KINDS;
  t.is(actor.expect, 0);
});
