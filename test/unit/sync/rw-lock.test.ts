import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LOCK_MMU } from '../../../src/shared/sync/lock-class.ts';
import { drive, reading, updating, waiting, writing } from '../../../src/shared/sync/point.ts';
import {
  RWLOCK,
  RwLock,
  readLock,
  readUnlock,
  writeLock,
  writeUnlock,
} from '../../../src/shared/sync/rw-lock.ts';
import { type ExploreOptions, explore, report } from '../../support/explore-small.ts';
import { overtaking } from './exclusion.ts';
import {
  actors,
  type Body,
  BYTES,
  DATA,
  LOCK,
  type Mistake,
  note,
  peek,
  pointsOf,
  storesLate,
  wakesNobody,
  wakesNobodyAt,
  withOperations,
} from './trial.ts';

const lock = new RwLock(LOCK, LOCK_MMU);
const STATE = LOCK + RWLOCK.at.STATE;
const NEXT = LOCK + RWLOCK.at.NEXT;
const SERVING = LOCK + RWLOCK.at.SERVING;
/** As documented above RWLOCK. */
const QUEUED = 2;
const READER = 4;

/** Two words that writers keep equal. */
const LEFT = DATA;
const RIGHT = DATA + 4;
const READERS_INSIDE = DATA + 8;
const WRITERS_INSIDE = DATA + 12;
const TICKET = DATA + 16;
const ENTERED = DATA + 32;

const write = (times = 1): Body =>
  function* (actor) {
    const { mem } = actor;
    for (let i = 0; i < times; i++) {
      yield* writeLock(actor, lock);
      note(mem, WRITERS_INSIDE);
      yield writing(LEFT);
      mem.store(LEFT, mem.i32[LEFT >>> 2]! + 1);
      yield writing(RIGHT);
      mem.store(RIGHT, mem.i32[RIGHT >>> 2]! + 1);
      note(mem, WRITERS_INSIDE, -1);
      yield* writeUnlock(actor, lock);
    }
  };

const read = (times = 1): Body =>
  function* (actor) {
    const { mem } = actor;
    for (let i = 0; i < times; i++) {
      yield* readLock(actor, lock);
      note(mem, READERS_INSIDE);
      yield reading(LEFT);
      const left = mem.load(LEFT);
      yield reading(RIGHT);
      if (mem.load(RIGHT) !== left) throw new Error('torn read');
      note(mem, READERS_INSIDE, -1);
      yield* readUnlock(actor, lock);
    }
  };

function trial(bodies: readonly Body[], mistake?: Mistake): ExploreOptions {
  return {
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(mem, bodies, mistake),
      atStep: () => {
        const [readers, writers] = [peek(mem, READERS_INSIDE), peek(mem, WRITERS_INSIDE)];
        return writers > 1 || (writers === 1 && readers > 0)
          ? `inside: ${writers} writers, ${readers} readers`
          : undefined;
      },
      atEnd: () => {
        if (peek(mem, STATE) !== 0) return `STATE left at ${peek(mem, STATE)}`;
        return peek(mem, NEXT) === peek(mem, SERVING) ? undefined : 'a ticket was never served';
      },
    }),
  };
}

for (const [name, bodies] of [
  ['two writers, one of them twice', [write(2), write()]],
  ['a writer and a reader, twice each', [write(2), read(2)]],
  ['three writers', [write(), write(), write()]],
  ['two writers and a reader', [write(), write(), read()]],
  ['a writer and two readers', [write(), read(), read()]],
] as const) {
  test(`a writer is alone, readers see whole updates, nobody sleeps for ever: ${name}`, (t) => {
    const explored = explore(trial(bodies));
    t.is(report(explored), '');
    t.log(`${explored.schedules} interleavings, ${explored.states} states`);
  });
}

test('the same with actors that look before they sleep', (t) => {
  const spinning = ({ setUp, ...rest }: ExploreOptions): ExploreOptions => ({
    ...rest,
    setUp: (mem) => {
      const built = setUp(mem);
      for (const { waiter } of built.actors) Object.assign(waiter, { spinLimit: 1 });
      return built;
    },
  });
  t.is(report(explore(spinning(trial([write(), read(2)])))), '');
  t.is(report(explore({ ...spinning(trial([write(), write(), read()])), preemptions: 3 })), '');
});

for (const [name, mistake] of [
  ['nobody is woken', wakesNobody],
  ['the one at the head of the queue is not woken', wakesNobodyAt(STATE)],
  ['the next in the queue is not woken', wakesNobodyAt(SERVING)],
  ['the last reader out does not wake', lastReaderIsSilent],
  ['a writer forgets that somebody queues', writerForgets],
  ['SERVING becomes visible after the look at NEXT', storesLate],
] as const) {
  test(`found: ${name}`, (t) => {
    t.is(explore(trial([write(), write(), read()], mistake)).failure?.kind, 'deadlock');
  });
}

function lastReaderIsSilent(mem: Mem): ReturnType<Mistake> {
  return {
    add: (addr, delta) => (delta === -READER ? mem.add(addr, delta) & ~QUEUED : mem.add(addr, delta)),
  };
}

function writerForgets(mem: Mem): ReturnType<Mistake> {
  return { and: (addr) => mem.exchange(addr, 0) & ~QUEUED };
}

test('found: readers that count themselves in whoever is inside', (t) => {
  const rude: Body = function* (actor) {
    yield updating(STATE);
    actor.mem.add(STATE, READER);
    note(actor.mem, READERS_INSIDE);
    yield updating(STATE);
    note(actor.mem, READERS_INSIDE, -1);
    actor.mem.add(STATE, -READER);
  };
  t.regex(
    explore(trial([write(), rude])).failure?.message ?? '',
    /inside: 1 writers, 1 readers|STATE left at/,
  );
});

test('readers share the lock', (t) => {
  const { failure } = explore({
    bytes: BYTES,
    setUp: (mem) => ({
      actors: actors(mem, [read(), read()]),
      atStep: () => (peek(mem, READERS_INSIDE) === 2 ? 'two at once' : undefined),
    }),
  });
  t.is(failure?.message, 'two at once');
});

/** Notes each actor's place in the queue, from 1, when it draws its ticket, and that it has entered. */
const inTheQueue: Mistake = (mem, actor) => ({
  add: (addr, delta) => {
    const old = mem.add(addr, delta);
    if (addr === NEXT) note(mem, TICKET + 4 * actor, old + 1);
    return old;
  },
  cas: (addr, expected, value) => {
    const seen = mem.cas(addr, expected, value);
    const enters = addr === STATE && seen === expected && (value & ~QUEUED) !== (expected & ~QUEUED);
    if (enters) note(mem, ENTERED + 4 * actor);
    return seen;
  },
});

/** Actor 1 starts inside and leaves; the others enter in one of the two modes. Nobody may pass an older ticket. */
function queue(kinds: string, holds: 'read' | 'write', mistake: Mistake = () => ({})): ExploreOptions {
  const first =
    holds === 'read' ? { lock: readLock, unlock: readUnlock } : { lock: writeLock, unlock: writeUnlock };
  return {
    bytes: BYTES,
    setUp: (mem) => {
      const bodies = [...kinds].map(
        (kind): Body =>
          function* (actor) {
            yield* kind === 'r' ? readLock(actor, lock) : writeLock(actor, lock);
            yield* kind === 'r' ? readUnlock(actor, lock) : writeUnlock(actor, lock);
          },
      );
      const watched: Mistake = (own, actor) => {
        const watch = inTheQueue(own, actor);
        return { ...watch, ...mistake(withOperations(own, watch), actor) };
      };
      const running = actors(mem, [(actor) => first.unlock(actor, lock), ...bodies], watched);
      const holder = running[0]!.waiter as Actor;
      drive(holder, first.lock(holder, lock));
      return {
        actors: running,
        atStep: () => {
          for (let a = 2; a < kinds.length + 2; a++) {
            for (let b = 2; b < kinds.length + 2; b++) {
              const [older, younger] = [peek(mem, TICKET + 4 * a), peek(mem, TICKET + 4 * b)];
              if (older === 0 || younger <= older) continue;
              if (peek(mem, ENTERED + 4 * b) === 1 && peek(mem, ENTERED + 4 * a) === 0) {
                return `ticket ${younger} passed ticket ${older}`;
              }
            }
          }
          return undefined;
        },
      };
    },
  };
}

for (const [kinds, holds] of [
  ['ww', 'write'],
  ['wr', 'write'],
  ['rr', 'write'],
  ['ww', 'read'],
  ['wr', 'read'],
] as const) {
  test(`first come, first served: ${kinds} behind one that is inside for ${holds}`, (t) => {
    t.is(report(explore(queue(kinds, holds))), '');
  });
}

test('first come, first served with three in the queue, up to one preemption', (t) => {
  for (const kinds of ['wwr', 'wrr', 'rwr']) {
    for (const holds of ['read', 'write'] as const) {
      t.is(report(explore({ ...queue(kinds, holds), preemptions: 1 })), '', `${kinds} behind a ${holds}`);
    }
  }
  t.not(explore({ ...queue('wwr', 'write', jumpsTheQueue), preemptions: 1 }).failure, null);
});

/** Believes at once that its turn has come. */
const jumpsTheQueue: Mistake = (mem) => {
  let ticket = 0;
  return {
    add: (addr, delta) => {
      const old = mem.add(addr, delta);
      if (addr === NEXT) ticket = old;
      return old;
    },
    load: (addr) => (addr === SERVING ? ticket : mem.load(addr)),
  };
};

test('found: one that draws a ticket and does not wait for its turn', (t) => {
  for (const kinds of ['ww', 'wr']) {
    const { failure } = explore(queue(kinds, 'write', jumpsTheQueue));
    t.regex(failure?.message ?? '', /ticket 2 passed ticket 1|asleep/);
  }
});

/** Actor 1 is inside for read, 2 writes; 3 reads, and notes whether it came when the writer was already queued up. */
function readerBehindWriter(enter: typeof readLock): ExploreOptions {
  return overtaking(
    {
      *lock(actor) {
        yield* actor.id === 2
          ? writeLock(actor, lock)
          : actor.id === 3
            ? enter(actor, lock)
            : readLock(actor, lock);
      },
      *unlock(actor) {
        yield* actor.id === 2 ? writeUnlock(actor, lock) : readUnlock(actor, lock);
      },
    },
    (state) => (state & QUEUED) !== 0,
  );
}

test('a reader that comes behind a waiting writer waits, even while other readers are inside', (t) => {
  t.is(report(explore(readerBehindWriter(readLock))), '');
});

test('found: a reader that enters as long as no writer is inside', (t) => {
  const greedy: typeof readLock = function* (actor, { addr }) {
    const state = addr + RWLOCK.at.STATE;
    yield updating(state);
    const seen = actor.mem.load(state);
    if ((seen & 1) === 0) actor.mem.store(state, seen + READER);
    else yield* readLock(actor, lock);
  };
  t.regex(explore(readerBehindWriter(greedy)).failure?.message ?? '', /overtaken/);
});

test('a newcomer slips in ahead of a writer only before that writer has said that it waits', (t) => {
  // The lock word is taken as "somebody queues" as soon as a ticket is out: now the slip is seen.
  const { setUp, ...rest } = readerBehindWriter(readLock);
  const drawn = explore({
    ...rest,
    setUp: (mem) => {
      const built = setUp(mem);
      const [first, second] = built.actors;
      const third = actors(mem, [
        function* () {},
        function* () {},
        function* (actor) {
          yield reading(NEXT);
          const behind = actor.mem.load(NEXT) !== 0 && peek(mem, ENTERED) === 0;
          yield* readLock(actor, lock);
          if (behind && peek(mem, WRITERS_INSIDE) === 0) throw new Error('slipped in');
          yield* readUnlock(actor, lock);
        },
      ])[2]!;
      return { ...built, actors: [first!, second!, third] };
    },
  });
  t.regex(drawn.failure?.message ?? '', /slipped in/);
});

const readTwice: Body = function* (actor) {
  yield* readLock(actor, lock);
  yield* readLock(actor, lock);
  yield* readUnlock(actor, lock);
  yield* readUnlock(actor, lock);
};

test('a reader that enters twice deadlocks with a writer in between', (t) => {
  const { failure } = explore(trial([readTwice, write()]));
  t.is(failure?.kind, 'deadlock');
  t.regex(failure?.message ?? '', /actor 0 asleep .*; actor 1 asleep|actor 1 asleep .*; actor 0 asleep/);
  t.log(failure?.schedule.join('\n'));
  // Only a writer makes it one.
  t.is(report(explore(trial([readTwice, readTwice]))), '');
});

test('a reader that wants to become a writer deadlocks all by itself', (t) => {
  const upgrade: Body = function* (actor) {
    yield* readLock(actor, lock);
    yield* writeLock(actor, lock);
  };
  t.is(explore(trial([upgrade])).failure?.kind, 'deadlock');
});

test('uncontended, each call is one operation on STATE', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 3, name: 'alone', mem });
  for (const call of [readLock, readUnlock, writeLock, writeUnlock]) {
    t.deepEqual(pointsOf(call(actor, lock)), [updating(STATE)], call.name);
  }
  t.is(mem.load(STATE), 0);
});

test('readers that find only readers inside do not queue', (t) => {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const readers = [1, 2, 3].map((id) => new Actor({ id, name: `reader ${id}`, mem }));
  for (const reader of readers) drive(reader, readLock(reader, lock));
  t.is(mem.load(STATE), 3 * READER);
  t.is(mem.load(NEXT), 0);
});

test('it looks as often as told before it sleeps, in the queue and at its head', (t) => {
  const SPINS = 5;
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const [holder, head, second] = [1, 2, 3].map(
    (id) => new Actor({ id, name: `actor ${id}`, mem, spinLimit: SPINS }),
  );
  drive(holder!, writeLock(holder!, lock));
  /** How often it looks at `cell` before it sleeps on it. */
  const looks = (actor: Actor, cell: number): number => {
    const path = writeLock(actor, lock);
    let count = 0;
    for (;;) {
      const point = path.next(0).value as number;
      if (point === reading(cell)) count++;
      if (point === waiting(cell)) return count;
    }
  };
  // The head looks once to begin with; then as often as told.
  t.is(looks(head!, STATE), 1 + SPINS);
  t.is(looks(second!, SERVING), 1 + SPINS);
});
