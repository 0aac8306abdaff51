/** Locks in the wrong order, the wrong lock, or one lock too few. */
import type { Actor } from '../../shared/sync/actor.ts';
import { type Mutex, mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import type { Program } from '../program/program.ts';
import { add, cell, get, lines, must, mutex, set, several, values } from './shape.ts';

/** CS.wronglock_N: one actor counts under one lock, the others under another. */
export const wrongLock = (others: number): Program => {
  const count = cell(0);
  const mine = mutex(1);
  const theirs = mutex(2);
  return {
    name: others === 7 ? 'sct-wronglock' : `sct-wronglock-${others}`,
    title: `one counts under one lock, ${others} under another`,
    bytes: lines(3),
    parts: {
      *checker(actor) {
        yield* mutexLock(actor, mine);
        const before = yield* get(actor, count);
        yield* set(actor, count, (yield* get(actor, count)) + 1);
        const after = yield* get(actor, count);
        must(after === before + 1, `counted from ${before} to ${after}`);
        yield* mutexUnlock(actor, mine);
      },
      ...several(
        others,
        'other',
        () =>
          function* (actor: Actor) {
            yield* mutexLock(actor, theirs);
            yield* set(actor, count, (yield* get(actor, count)) + 1);
            yield* mutexUnlock(actor, theirs);
          },
      ),
    },
  };
};

function* inside(actor: Actor, outer: Mutex, inner: Mutex, count: number) {
  yield* mutexLock(actor, outer);
  yield* mutexLock(actor, inner);
  yield* add(actor, count, 1);
  yield* mutexUnlock(actor, inner);
  yield* mutexUnlock(actor, outer);
}

/** CS.deadlock01: two locks, two orders. */
export const deadlock01: Program = {
  name: 'sct-deadlock01',
  title: 'two actors take two locks in opposite orders',
  bytes: lines(3),
  parts: {
    forth: (actor) => inside(actor, mutex(0), mutex(1), cell(2)),
    back: (actor) => inside(actor, mutex(1), mutex(0), cell(2)),
  },
};

/** Dining philosophers. */
export const philosophers = (count: number): Program => ({
  name: `sct-philosophers-${count}`,
  title: `${count} philosophers take the left fork first`,
  bytes: lines(2 * count),
  parts: several(
    count,
    'philosopher',
    (i) => (actor: Actor) => inside(actor, mutex(i), mutex((i + 1) % count), cell(count + i)),
  ),
});

/** CS.carter01: the first of a kind takes a lock for all of them, the last gives it back; both under a second lock. */
export const carter01: Program = {
  name: 'sct-carter01',
  title: 'the first in takes a lock inside the one that the last out needs',
  bytes: lines(4),
  parts: (() => {
    const door = mutex(0);
    const room = mutex(1);
    const visitor = (count: number) =>
      function* (actor: Actor) {
        yield* mutexLock(actor, door);
        if ((yield* add(actor, count, 1)) === 0) yield* mutexLock(actor, room);
        yield* mutexUnlock(actor, door);
        yield* mutexLock(actor, door);
        if ((yield* add(actor, count, -1)) === 1) yield* mutexUnlock(actor, room);
        yield* mutexUnlock(actor, door);
      };
    const passer = function* (actor: Actor) {
      yield* mutexLock(actor, door);
      yield* mutexUnlock(actor, door);
    };
    return {
      'first kind': visitor(cell(2)),
      'second kind': visitor(cell(3)),
      'passer 0': passer,
      'passer 1': passer,
    };
  })(),
};

/** CB.stringbuffer-jdk1.4: a length is read in one section and used in the next. */
export const stringBuffer: Program = {
  name: 'sct-stringbuffer',
  title: 'a length is read under a lock and used after the lock was let go',
  bytes: lines(3),
  setUp: values({ [cell(0)]: 5 }),
  parts: (() => {
    const length = cell(0);
    const target = mutex(1);
    const source = mutex(2);
    return {
      *appender(actor: Actor) {
        yield* mutexLock(actor, target);
        yield* mutexLock(actor, source);
        const wanted = yield* get(actor, length);
        yield* mutexUnlock(actor, source);
        yield* mutexLock(actor, source);
        const there = yield* get(actor, length);
        must(wanted <= there, `copies ${wanted} characters of ${there}`);
        yield* mutexUnlock(actor, source);
        yield* mutexUnlock(actor, target);
      },
      *eraser(actor: Actor) {
        yield* mutexLock(actor, source);
        yield* set(actor, length, 0);
        yield* mutexUnlock(actor, source);
      },
    };
  })(),
};
