/** Two stores, or two sections, that somebody looks in between. */

import type { Actor } from '../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import type { Program } from '../program/program.ts';
import { cell, get, lines, must, mutex, set, several } from './shape.ts';

const A = cell(0);
const B = cell(1);
const FIRST = mutex(2);
const SECOND = mutex(3);

/** CS.reorder_N: writers set a and then b; a reader must not see one without the other. */
export const reorder = (actors: number): Program => ({
  name: `sct-reorder-${actors}`,
  title: `${actors - 1} writers set two cells one after the other, a reader sees only the first set`,
  bytes: lines(2),
  parts: {
    ...several(
      actors - 1,
      'writer',
      () =>
        function* (actor: Actor) {
          yield* set(actor, A, 1);
          yield* set(actor, B, -1);
        },
    ),
    *reader(actor) {
      if ((yield* get(actor, A)) === 0 && (yield* get(actor, B)) === 0) return;
      must((yield* get(actor, A)) === 1 && (yield* get(actor, B)) === -1, 'a is set and b is not');
    },
  },
});

/** CS.twostage_N: two cells that belong together, each under its own lock. */
export const twostage = (actors: number): Program => ({
  name: actors === 3 ? 'sct-twostage' : `sct-twostage-${actors}`,
  title: `${actors - 1} writers update two cells in two sections, a reader comes in between`,
  bytes: lines(4),
  parts: {
    ...several(
      actors - 1,
      'writer',
      () =>
        function* (actor: Actor) {
          yield* mutexLock(actor, FIRST);
          yield* set(actor, A, 1);
          yield* mutexUnlock(actor, FIRST);
          yield* mutexLock(actor, SECOND);
          yield* set(actor, B, (yield* get(actor, A)) + 1);
          yield* mutexUnlock(actor, SECOND);
        },
    ),
    *reader(actor) {
      yield* mutexLock(actor, FIRST);
      const a = yield* get(actor, A);
      yield* mutexUnlock(actor, FIRST);
      if (a === 0) return;
      yield* mutexLock(actor, SECOND);
      const b = yield* get(actor, B);
      yield* mutexUnlock(actor, SECOND);
      must(b === a + 1, `the second cell is ${b}, the first ${a}`);
    },
  },
});

const PORT = cell(0);
const STATE = cell(1);
const NAME = cell(2);
const LIVE = 1;
const FREED = 2;

/** ConVul CVE-2017-15265: an object can be found before whoever makes it is done with it. */
export const earlyPublication: Program = {
  name: 'sct-cve-2017-15265',
  title: 'an object is published, deleted by somebody else, and then initialised',
  bytes: lines(4),
  parts: {
    *creator(actor) {
      yield* set(actor, STATE, LIVE);
      yield* mutexLock(actor, SECOND);
      yield* set(actor, PORT, 1);
      yield* mutexUnlock(actor, SECOND);
      must((yield* get(actor, STATE)) === LIVE, 'initialised after it was freed');
      yield* set(actor, NAME, 1);
    },
    *deleter(actor) {
      yield* mutexLock(actor, SECOND);
      const port = yield* get(actor, PORT);
      if (port !== 0) yield* set(actor, PORT, 0);
      yield* mutexUnlock(actor, SECOND);
      if (port !== 0) yield* set(actor, STATE, FREED);
    },
  },
};
