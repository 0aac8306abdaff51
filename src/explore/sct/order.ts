/** All locks are right; it is the order of whole sections that breaks what is asserted. */
import type { Actor } from '../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import type { Program } from '../program/program.ts';
import { add, cell, get, lines, must, mutex, set, values } from './shape.ts';

const LOCK = mutex(0);
const X = cell(1);
const Y = cell(2);
const Z = cell(3);

/** CS.lazy01: two additions, and somebody who must not see both. */
export const lazy01: Program = {
  name: 'sct-lazy01',
  title: 'a check that fails once two others have been first',
  bytes: lines(2),
  parts: (() => {
    const adder = (by: number) =>
      function* (actor: Actor) {
        yield* mutexLock(actor, LOCK);
        yield* set(actor, X, (yield* get(actor, X)) + by);
        yield* mutexUnlock(actor, LOCK);
      };
    return {
      one: adder(1),
      two: adder(2),
      *check(actor: Actor) {
        yield* mutexLock(actor, LOCK);
        const sum = yield* get(actor, X);
        must(sum < 3, `the sum is ${sum}`);
        yield* mutexUnlock(actor, LOCK);
      },
    };
  })(),
};

/** CS.account: a balance that is checked by a wrong formula once both have been there. */
export const account: Program = {
  name: 'sct-account',
  title: 'a balance is checked after a deposit and a withdrawal',
  bytes: lines(4),
  setUp: values({ [X]: 1 }),
  parts: (() => {
    const change = (by: number, done: number) =>
      function* (actor: Actor) {
        yield* mutexLock(actor, LOCK);
        yield* set(actor, X, (yield* get(actor, X)) + by);
        yield* set(actor, done, 1);
        yield* mutexUnlock(actor, LOCK);
      };
    return {
      *check(actor: Actor) {
        yield* mutexLock(actor, LOCK);
        if ((yield* get(actor, Y)) === 1 && (yield* get(actor, Z)) === 1) {
          const balance = yield* get(actor, X);
          must(balance === 1 - 2 - 4, `the balance is ${balance}`);
        }
        yield* mutexUnlock(actor, LOCK);
      },
      deposit: change(2, Y),
      withdrawal: change(-4, Z),
    };
  })(),
};

/** CS.token_ring: three cells handed on around a ring. */
export const tokenRing: Program = {
  name: 'sct-token-ring',
  title: 'a value goes around a ring of three, in whatever order',
  bytes: lines(5),
  setUp: values({ [X]: 1, [Y]: 2, [Z]: 1 }),
  parts: (() => {
    const done = cell(4);
    const hand = (from: number, to: number, by: number) =>
      function* (actor: Actor) {
        yield* mutexLock(actor, LOCK);
        yield* set(actor, to, ((yield* get(actor, from)) + by) % 4);
        yield* set(actor, done, (yield* get(actor, done)) + 1);
        yield* mutexUnlock(actor, LOCK);
      };
    return {
      first: hand(Z, X, 1),
      second: hand(X, Y, 0),
      third: hand(Y, Z, 0),
      *check(actor: Actor) {
        yield* mutexLock(actor, LOCK);
        if ((yield* get(actor, done)) === 3) {
          const ring = [yield* get(actor, X), yield* get(actor, Y), yield* get(actor, Z)];
          must(ring[0] === ring[1] && ring[1] === ring[2], `the ring is ${ring.join()}`);
        }
        yield* mutexUnlock(actor, LOCK);
      },
    };
  })(),
};

/** CS.bluetooth_driver: a driver counts those inside, and stops in between a look at its flag and the counting. */
export const bluetooth: Program = {
  name: 'sct-bluetooth',
  title: 'a driver stops between a look at its flag and the counting of one more user',
  bytes: lines(4),
  setUp: values({ [cell(1)]: 1 }),
  parts: (() => {
    const stopping = cell(0);
    const users = cell(1);
    const idle = cell(2);
    const stopped = cell(3);
    function* leave(actor: Actor) {
      if ((yield* add(actor, users, -1)) === 1) yield* set(actor, idle, 1);
    }
    return {
      *user(actor: Actor) {
        if ((yield* get(actor, stopping)) === 0) {
          yield* add(actor, users, 1);
          must((yield* get(actor, stopped)) === 0, 'the driver has stopped with a user inside');
        }
        yield* leave(actor);
      },
      *stopper(actor: Actor) {
        yield* set(actor, stopping, 1);
        yield* leave(actor);
        if ((yield* get(actor, idle)) === 1) yield* set(actor, stopped, 1);
      },
    };
  })(),
};
