/** Small scenarios with one mistake each, for tests of what is done with findings. */
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import type { World } from '../../src/explore/world/world.ts';
import type { Actor } from '../../src/shared/sync/actor.ts';
import { type Mutex, mutexLock, mutexUnlock } from '../../src/shared/sync/mutex.ts';
import { choosing, type Path, reading, writing } from '../../src/shared/sync/point.ts';

const COUNTER = 'POLICY_SEQ';

function* bothLocks(actor: Actor, first: Mutex, second: Mutex): Path<void> {
  yield* mutexLock(actor, first);
  yield* mutexLock(actor, second);
  yield* mutexUnlock(actor, second);
  yield* mutexUnlock(actor, first);
}

/** An actor of the world's whose lock rules nobody checks. */
function unchecked(world: World, name: string): Actor {
  const actor = world.actor(name);
  actor.checks = null;
  return actor;
}

/** Two actors take two locks in two orders. */
export const twoLocks: Scenario = {
  name: 'two-locks',
  title: 'two actors, two locks, two orders',
  machine: {},
  setUp() {},
  participants(world) {
    const { slotsLock, kvmiLock } = world.vm;
    const left = unchecked(world, 'left');
    const right = unchecked(world, 'right');
    return [
      { name: 'left', waiter: left, path: bothLocks(left, slotsLock, kvmiLock) },
      { name: 'right', waiter: right, path: bothLocks(right, kvmiLock, slotsLock) },
    ];
  },
};

function* addOne(world: World): Path<void> {
  const word = world.vm.word(COUNTER);
  yield reading(word);
  const seen = world.vm.mem.load(word);
  yield writing(word);
  world.vm.mem.store(word, seen + 1);
}

function* lookAround(world: World, cells: readonly number[]): Path<void> {
  for (const cell of cells) {
    yield reading(cell);
    world.vm.mem.load(cell);
  }
}

/** Two add one to a word, by a load and a store; others only look on, and are parts that can be left out. */
export const lostUpdate: Scenario = lostUpdateWith([0, 1, 2]);

function lostUpdateWith(watchers: readonly number[]): Scenario {
  return {
    name: 'lost-update',
    title: 'two increments, by load and store',
    machine: {},
    setUp(world) {
      world.vm.mem.store(world.vm.word(COUNTER), 0);
    },
    participants(world) {
      const some = watchers.map((n) => ({
        name: `watcher ${n}`,
        waiter: world.actor(`watcher ${n}`),
        path: lookAround(world, [world.vm.word('DEAD'), world.vm.word(COUNTER)]),
      }));
      const both = ['first', 'second'].map((name) => ({
        name,
        waiter: world.actor(name),
        path: addOne(world),
      }));
      return [...some, ...both];
    },
    atEnd(world) {
      const count = world.vm.mem.load(world.vm.word(COUNTER));
      return count === 2 ? [] : [`the counter is ${count}, not 2`];
    },
    parts: {
      names: [0, 1, 2].map((n) => `watcher ${n}`),
      without: (dropped) => lostUpdateWith(watchers.filter((n) => !dropped.includes(n))),
    },
  };
}

/** Breaks by a choice of its own, whoever goes first. */
export const badChoice: Scenario = {
  name: 'bad-choice',
  title: 'one way of three is wrong',
  machine: {},
  setUp() {},
  participants(world) {
    return [
      {
        name: 'chooser',
        waiter: world.actor('chooser'),
        path: (function* (): Path<void> {
          const way = yield choosing(3);
          if (way === 2) throw new Error('took the wrong way');
        })(),
      },
      { name: 'other', waiter: world.actor('other'), path: addOne(world) },
    ];
  },
};
