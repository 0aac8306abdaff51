/** Stacks, buffers and queues between two or more. */
import type { Actor } from '../../shared/sync/actor.ts';
import { type Mutex, mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { notifying, type Path, relaxing, waiting } from '../../shared/sync/point.ts';
import type { Program } from '../program/program.ts';
import { add, cas, cell, exchange, get, lines, must, mutex, set, several, values } from './shape.ts';

const LOCK = mutex(0);

/** CS.stack: a flag says "there is something" and is never taken back. */
export const stack: Program = {
  name: 'sct-stack',
  title: 'pops as soon as something has ever been pushed',
  bytes: lines(3),
  parts: (() => {
    const top = cell(1);
    const filled = cell(2);
    const size = 5;
    return {
      *pusher(actor: Actor) {
        for (let i = 0; i < size; i++) {
          yield* mutexLock(actor, LOCK);
          const at = yield* get(actor, top);
          must(at < size, 'the stack overflows');
          yield* set(actor, top, at + 1);
          yield* set(actor, filled, 1);
          yield* mutexUnlock(actor, LOCK);
        }
      },
      *popper(actor: Actor) {
        for (let i = 0; i < size; i++) {
          yield* mutexLock(actor, LOCK);
          if ((yield* get(actor, filled)) === 1) {
            const at = yield* get(actor, top);
            must(at > 0, 'the stack underflows');
            yield* set(actor, top, at - 1);
          }
          yield* mutexUnlock(actor, LOCK);
        }
      },
    };
  })(),
};

/** CS.circular_buffer: the consumer counts its turns, not what it has taken. */
export const circularBuffer: Program = {
  name: 'sct-circular-buffer',
  title: 'a consumer expects the number of its turn, whether or not something was there in each',
  bytes: lines(4),
  parts: (() => {
    const slot = cell(1);
    const full = cell(2);
    const rounds = 4;
    return {
      *producer(actor: Actor) {
        for (let i = 0; i < rounds; i++) {
          yield* mutexLock(actor, LOCK);
          if ((yield* get(actor, full)) === 0) {
            yield* set(actor, slot, i);
            yield* set(actor, full, 1);
          }
          yield* mutexUnlock(actor, LOCK);
        }
      },
      *consumer(actor: Actor) {
        for (let i = 0; i < rounds; i++) {
          yield* mutexLock(actor, LOCK);
          if ((yield* get(actor, full)) === 1) {
            const value = yield* get(actor, slot);
            must(value === i, `turn ${i} takes ${value}`);
            yield* set(actor, full, 0);
          }
          yield* mutexUnlock(actor, LOCK);
        }
      },
    };
  })(),
};

/** CS.queue: told that there is something, the consumer takes all there ever will be. */
export const queue: Program = {
  name: 'sct-queue',
  title: 'a consumer empties the queue at the first sign, before it has been filled',
  bytes: lines(4),
  parts: (() => {
    const tail = cell(1);
    const filled = cell(2);
    const size = 4;
    return {
      *producer(actor: Actor) {
        for (let i = 0; i < size; i++) {
          yield* mutexLock(actor, LOCK);
          yield* add(actor, tail, 1);
          yield* set(actor, filled, 1);
          yield* mutexUnlock(actor, LOCK);
        }
      },
      *consumer(actor: Actor) {
        yield* mutexLock(actor, LOCK);
        if ((yield* get(actor, filled)) === 1) {
          const count = yield* get(actor, tail);
          must(count === size, `only ${count} of ${size} are there`);
        }
        yield* mutexUnlock(actor, LOCK);
      },
    };
  })(),
};

/** Sleeps until somebody signals `sequence`, without the lock. */
function* waitFor(actor: Actor, sequence: number, lock: Mutex): Path<void> {
  actor.expect = yield* get(actor, sequence);
  const { expect } = actor;
  yield* mutexUnlock(actor, lock);
  actor.expect = expect;
  yield waiting(sequence);
  yield* mutexLock(actor, lock);
}

function* signal(actor: Actor, sequence: number): Path<void> {
  yield* add(actor, sequence, 1);
  yield notifying(sequence);
  actor.mem.notify(sequence, 1);
}

/** Inspect.boundedBuffer: one condition for "not full" and "not empty", and a signal that wakes one. */
export const boundedBuffer: Program = {
  name: 'sct-bounded-buffer',
  title: 'producers and consumers wait for one condition, and each signal wakes one of them',
  bytes: lines(3),
  parts: (() => {
    const count = cell(1);
    const changed = cell(2);
    const turn = (full: number, by: number) =>
      function* (actor: Actor) {
        for (let i = 0; i < 2; i++) {
          yield* mutexLock(actor, LOCK);
          while ((yield* get(actor, count)) === full) yield* waitFor(actor, changed, LOCK);
          yield* add(actor, count, by);
          yield* signal(actor, changed);
          yield* mutexUnlock(actor, LOCK);
        }
      };
    return { ...several(2, 'producer', () => turn(1, 1)), ...several(2, 'consumer', () => turn(0, -1)) };
  })(),
};

/** Chess.WSQ: a work-stealing queue whose owner looks at the head before it has moved the tail. */
export const workStealing: Program = {
  name: 'sct-work-stealing',
  title: 'the owner of a queue takes an item that is being stolen',
  bytes: lines(8),
  parts: (() => {
    const head = cell(1);
    const tail = cell(2);
    const items = 4;
    function* take(actor: Actor, item: number): Path<void> {
      must((yield* add(actor, cell(4 + item), 1)) === 0, `item ${item} is taken twice`);
    }
    return {
      *owner(actor: Actor) {
        for (let i = 0; i < items; i++) yield* set(actor, tail, (yield* get(actor, tail)) + 1);
        for (let i = 0; i < items; i++) {
          const last = (yield* get(actor, tail)) - 1;
          if ((yield* get(actor, head)) <= last) {
            yield* set(actor, tail, last);
            yield* take(actor, last);
            continue;
          }
          yield* mutexLock(actor, LOCK);
          const there = (yield* get(actor, head)) <= last;
          if (there) yield* set(actor, tail, last);
          yield* mutexUnlock(actor, LOCK);
          if (there) yield* take(actor, last);
        }
      },
      *thief(actor: Actor) {
        for (let i = 0; i < 2; i++) {
          yield* mutexLock(actor, LOCK);
          const first = yield* get(actor, head);
          yield* set(actor, head, first + 1);
          const there = first < (yield* get(actor, tail));
          if (!there) yield* set(actor, head, first);
          yield* mutexUnlock(actor, LOCK);
          if (there) yield* take(actor, first);
        }
      },
    };
  })(),
};

const NOBODY = -1;
const HEAD = cell(0);
const COUNT = cell(1);
const next = (i: number) => cell(2 + i);
const owner = (i: number) => cell(5 + i);

/** An element of the stack, or NOBODY. */
function* safePop(actor: Actor): Path<number> {
  while ((yield* get(actor, COUNT)) > 1) {
    const first = yield* get(actor, HEAD);
    const second = yield* exchange(actor, next(first), NOBODY);
    if (second === NOBODY) {
      yield relaxing(next(first));
      continue;
    }
    if ((yield* cas(actor, HEAD, first, second)) === first) {
      yield* add(actor, COUNT, -1);
      return first;
    }
    yield* exchange(actor, next(first), second);
  }
  return NOBODY;
}

function* safePush(actor: Actor, element: number): Path<void> {
  let first = yield* get(actor, HEAD);
  for (;;) {
    yield* set(actor, next(element), first);
    const found = yield* cas(actor, HEAD, first, element);
    if (found === first) break;
    first = found;
  }
  yield* add(actor, COUNT, 1);
}

/** SafeStack: a lock-free stack of three elements that gives one to two owners, if five switches come just so. */
export const safeStack: Program = {
  name: 'sct-safestack',
  title: 'a lock-free stack of three elements, three actors, two rounds',
  bytes: lines(8),
  setUp: values({ [COUNT]: 3, [next(0)]: 1, [next(1)]: 2, [next(2)]: NOBODY }),
  parts: several(
    3,
    'actor',
    (index) =>
      function* (actor: Actor) {
        for (let round = 0; round < 2; round++) {
          let element = yield* safePop(actor);
          while (element === NOBODY) {
            yield relaxing(COUNT);
            element = yield* safePop(actor);
          }
          yield* set(actor, owner(element), index);
          const found = yield* get(actor, owner(element));
          must(found === index, `element ${element} is owned by ${index} and ${found}`);
          yield* safePush(actor, element);
        }
      },
  ),
};
