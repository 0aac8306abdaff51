import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { FREE } from '../../../src/shared/sync/futex.ts';
import { SRCU_KVM } from '../../../src/shared/sync/lock-class.ts';
import {
  drive,
  notifying,
  type Path,
  reading,
  updating,
  waiting,
  writing,
} from '../../../src/shared/sync/point.ts';
import { SRCU, Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';
import { type ExploreOptions, explore, report } from '../../support/explore-small.ts';
import {
  actors,
  type Body,
  BYTES,
  DATA,
  LOCK,
  type Mistake,
  neverWaits,
  peek,
  pointsOf,
  wakesNobody,
} from './trial.ts';

const srcu = new Srcu(LOCK, SRCU_KVM);
const INDEX = LOCK + SRCU.at.INDEX;
const READERS = LOCK + SRCU.at.READERS;
const SYNCHRONIZER = LOCK + SRCU.at.SYNCHRONIZER;
/** As documented in SRCU. */
const DRAINING = 1;
const READER = 2;

/** Which object is published: writers change it, readers follow it. */
const POINTER = DATA;
/** Objects, one word each: 0, or 1 once freed. */
const OBJECTS = DATA + 4;
const DONE = DATA + 60;

type Synchronize = (actor: Actor) => Path<void>;
const grace: Synchronize = (actor) => synchronizeSrcu(actor, srcu);

/** Follows the pointer and looks twice at what it found. */
function* lookAtObject({ mem }: Actor): Path<void> {
  yield reading(POINTER);
  const object = mem.load(POINTER);
  for (let look = 0; look < 2; look++) {
    yield reading(OBJECTS + 4 * object);
    if (mem.load(OBJECTS + 4 * object) === 1) throw new Error(`object ${object} freed under its reader`);
  }
}

const reads = (sections = 1): Body =>
  function* (actor) {
    for (let i = 0; i < sections; i++) {
      const side = yield* neverWaits(srcuReadLock(actor, srcu));
      yield* lookAtObject(actor);
      yield* neverWaits(srcuReadUnlock(actor, srcu, side));
    }
  };

/** Publishes a new object, waits until nobody can see the old one, frees it. */
const replaces = (changes: number, synchronize: Synchronize = grace): Body =>
  function* (actor) {
    const { mem } = actor;
    for (let i = 0; i < changes; i++) {
      yield updating(POINTER);
      const old = mem.exchange(POINTER, actor.id * 3 + i);
      yield* synchronize(actor);
      yield writing(OBJECTS + 4 * old);
      mem.store(OBJECTS + 4 * old, 1);
    }
  };

function trial(
  bodies: readonly Body[],
  { mistake, turned = 0 }: { mistake?: Mistake; turned?: number } = {},
) {
  return {
    bytes: BYTES,
    setUp: (mem) => {
      mem.i32[INDEX >>> 2] = turned;
      return {
        actors: actors(mem, bodies, mistake),
        atEnd: () => {
          if (peek(mem, READERS) !== 0 || peek(mem, READERS + 4) !== 0) return 'readers left behind';
          return peek(mem, SYNCHRONIZER) === FREE ? undefined : 'the turnstile was left taken';
        },
      };
    },
  } satisfies ExploreOptions;
}

for (const [name, bodies] of [
  ['a section across two grace periods', [reads(), replaces(2)]],
  ['two sections, two grace periods', [reads(2), replaces(2)]],
  ['two readers, one grace period', [reads(), reads(), replaces(1)]],
  ['two synchronizers', [reads(), replaces(1), replaces(1)]],
] as const) {
  test(`no section that began before a grace period outlives it: ${name}`, (t) => {
    const explored = explore(trial(bodies));
    t.is(report(explored), '');
    t.log(`${explored.schedules} interleavings, ${explored.states} states`);
  });
}

test('whichever side readers count themselves into when it begins', (t) => {
  t.is(report(explore(trial([reads(), replaces(2)], { turned: 1 }))), '');
});

test('two readers across two grace periods, up to three preemptions', (t) => {
  t.is(report(explore({ ...trial([reads(), reads(), replaces(2)]), preemptions: 3 })), '');
});

test('sections nest, and end in any order', (t) => {
  const nested: Body = function* (actor) {
    const outer = yield* neverWaits(srcuReadLock(actor, srcu));
    const inner = yield* neverWaits(srcuReadLock(actor, srcu));
    yield* lookAtObject(actor);
    yield* neverWaits(srcuReadUnlock(actor, srcu, inner));
    yield* neverWaits(srcuReadUnlock(actor, srcu, outer));
  };
  const crossed: Body = function* (actor) {
    const first = yield* neverWaits(srcuReadLock(actor, srcu));
    const second = yield* neverWaits(srcuReadLock(actor, srcu));
    yield* neverWaits(srcuReadUnlock(actor, srcu, first));
    yield* lookAtObject(actor);
    yield* neverWaits(srcuReadUnlock(actor, srcu, second));
  };
  for (const body of [nested, crossed]) t.is(report(explore(trial([body, replaces(2)]))), '');
});

/** A grace period written out, to be spoilt: turns INDEX and drains the side it left, `turns` times. */
const graceOf = (turns: number): Synchronize =>
  function* (actor) {
    for (let turn = 0; turn < turns; turn++) {
      yield updating(INDEX);
      yield* drain(actor, actor.mem.add(INDEX, 1) & 1);
    }
  };

/** Turns twice first and drains both sides then: one of them is the side that newcomers count themselves into. */
const turnsFirst: Synchronize = function* (actor) {
  yield updating(INDEX);
  actor.mem.add(INDEX, 2);
  yield* drain(actor, 1);
  yield* drain(actor, 0);
};

function* drain(actor: Actor, side: number): Path<void> {
  const cell = READERS + 4 * side;
  for (;;) {
    yield updating(cell);
    const seen = actor.mem.or(cell, DRAINING) | DRAINING;
    if (seen < READER) break;
    actor.expect = seen;
    yield waiting(cell);
  }
  yield updating(cell);
  actor.mem.and(cell, ~DRAINING);
}

test('found: a grace period of one turn, which a reader delayed between INDEX and its count survives', (t) => {
  const { failure } = explore(trial([reads(), replaces(2, graceOf(1))]));
  t.regex(failure?.message ?? '', /freed under its reader/);
  t.log(failure?.schedule.join('\n'));
  // The same words with two turns are a grace period.
  t.is(report(explore(trial([reads(), replaces(2, graceOf(2))]))), '');
});

test('found: no grace period at all', (t) => {
  const { failure } = explore(trial([reads(), replaces(1, graceOf(0))]));
  t.regex(failure?.message ?? '', /freed under its reader/);
});

test('found: the last reader of a draining side wakes nobody', (t) => {
  t.is(explore(trial([reads(), replaces(1)], { mistake: wakesNobody })).failure?.kind, 'deadlock');
});

test('found: two grace periods at a time', (t) => {
  const nobodyElse: Mistake = (mem) => ({
    cas: (addr, expected, value) => (addr === SYNCHRONIZER ? FREE : mem.cas(addr, expected, value)),
  });
  t.not(explore(trial([reads(), replaces(1), replaces(1)], { mistake: nobodyElse })).failure, null);
});

test('found: a section that is left by the other side', (t) => {
  const mixedUp: Body = function* (actor) {
    const side = yield* srcuReadLock(actor, srcu);
    yield* lookAtObject(actor);
    yield* srcuReadUnlock(actor, srcu, 1 - side);
  };
  t.not(explore(trial([mixedUp, replaces(1)])).failure, null);
});

/** One that enters after the second turn and stays until the grace period is over, with an older reader about. */
function newcomer(synchronize: Synchronize): ExploreOptions {
  return trial([
    reads(),
    function* (actor) {
      yield* synchronize(actor);
      yield writing(DONE);
      actor.mem.store(DONE, 1);
      yield notifying(DONE);
      actor.mem.notify(DONE);
    },
    function* (actor) {
      const { mem } = actor;
      yield reading(INDEX);
      if (mem.load(INDEX) < 2) return;
      const side = yield* neverWaits(srcuReadLock(actor, srcu));
      yield reading(DONE);
      if (mem.load(DONE) === 0) {
        actor.expect = 0;
        yield waiting(DONE);
      }
      yield* neverWaits(srcuReadUnlock(actor, srcu, side));
    },
  ]);
}

test('newcomers do not hold a grace period up once it has turned twice', (t) => {
  t.is(report(explore(newcomer(grace))), '');
});

test('found: a grace period that waits for newcomers', (t) => {
  t.is(explore(newcomer(turnsFirst)).failure?.kind, 'deadlock');
});

test('a section costs one load and one add to enter, one add to leave', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'alone', mem });
  for (const side of [0, 1]) {
    mem.store(INDEX, side);
    t.deepEqual(pointsOf(srcuReadLock(actor, srcu)), [reading(INDEX), updating(READERS + 4 * side)]);
    t.deepEqual(pointsOf(srcuReadUnlock(actor, srcu, side)), [updating(READERS + 4 * side)]);
  }
});

test('a grace period without readers turns INDEX twice and waits for nobody', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'alone', mem });
  drive(actor, neverWaits(synchronizeSrcu(actor, srcu)));
  drive(actor, neverWaits(synchronizeSrcu(actor, srcu)));
  t.is(mem.load(INDEX), 4);
  t.is(mem.load(SYNCHRONIZER), FREE);
});
