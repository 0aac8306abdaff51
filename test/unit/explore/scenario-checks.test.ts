/** Scenarios that cannot be executed or repeated are named, with what to do about it. */
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { guarded } from '../../../src/explore/scenario/guarded.ts';
import { isModulePath, loadScenario } from '../../../src/explore/scenario/load.ts';
import type { Scenario } from '../../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../../src/explore/scenario/stage.ts';
import { trapped } from '../../../src/explore/scenario/traps.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { type Misdeed, misbehaving } from '../../support/scenarios/misbehaving.ts';

const module = (name: string) =>
  fileURLToPath(new URL(`../../support/scenarios/${name}${import.meta.url.slice(-3)}`, import.meta.url));

function execute(scenario: Scenario, times = 2): void {
  const watched = guarded(scenario);
  trapped(scenario.name, () => {
    const stage = stageOf(watched);
    for (let seed = 1; seed <= times; seed++) stage.execute(new RandomWalk(), seed);
  });
}

// The traps are of the whole thread: one test at a time.
for (const [name, use] of [
  ['Math.random', () => Math.random()],
  ['Date.now', () => Date.now()],
  ['new Date()', () => new Date()],
  ['Date()', () => Date()],
  ['performance.now', () => performance.now()],
  ['process.hrtime', () => process.hrtime()],
  ['process.hrtime', () => process.hrtime.bigint()],
  ['setTimeout', () => setTimeout(() => {}, 0)],
  ['setInterval', () => setInterval(() => {}, 9)],
  ['setImmediate', () => setImmediate(() => {})],
  ['crypto.randomUUID', () => crypto.randomUUID()],
  ['crypto.getRandomValues', () => crypto.getRandomValues(new Uint8Array(1))],
] as const) {
  test.serial(`${use} is seen wherever it is used`, (t) => {
    for (const where of ['setUp', 'participants', 'step', 'atEnd'] as const) {
      const error = t.throws(() => execute(misbehaving({ [where]: use } as Misdeed)), {
        instanceOf: SimError,
      });
      t.is(error.code, 'SIM_SCENARIO');
      t.true(error.message.startsWith(`scenario 'misbehaving' uses ${name} at `), error.message);
      t.regex(error.message, /scenario-checks\.test/, where);
      t.true(error.hint.length > 20);
    }
  });
}

test.serial('one that swallows what the trap throws is seen all the same', (t) => {
  const step = () => {
    try {
      Math.random();
    } catch {
      // As if nothing had been.
    }
  };
  t.throws(() => execute(misbehaving({ step })), { message: /uses Math\.random/ });
});

test.serial('afterwards everything works again, and a date with an argument always did', (t) => {
  t.notThrows(() => execute(misbehaving({ step: () => void new Date(0).getTime() })));
  t.throws(() => execute(misbehaving({ step: () => void Date.now() })));
  t.is(typeof Date.now(), 'number');
  t.true(new Date() instanceof Date);
  t.true(Math.random() < 1);
  t.is(typeof performance.now(), 'number');
  t.is(typeof process.hrtime.bigint(), 'bigint');
});

for (const where of ['setUp', 'participants', 'atEnd'] as const) {
  test.serial(`a scenario that throws in ${where} says where, with its own error as the cause`, (t) => {
    const own = new RangeError('my own');
    const throwing = misbehaving({
      [where]: () => {
        throw own;
      },
    });
    const error = t.throws(() => execute(throwing), { instanceOf: SimError });
    t.is(error.message, `scenario 'misbehaving' throws in ${where}`);
    t.is(error.cause, own);
  });
}

test.serial('participants that are none, or not the same each time', (t) => {
  const good = misbehaving({});
  const refused = (participants: Scenario['participants'], message: RegExp) =>
    t.throws(() => execute({ ...good, participants }), { message, instanceOf: SimError });
  refused(() => [], /has no participants$/);
  refused(() => undefined as never, /has no participants$/);
  refused(() => [{ name: 'x' }] as never, /has a participant that is none: x$/);
  refused(
    (world) => [{ name: 'late', waiter: world.control, path: (async function* () {})() as never }],
    /has a participant that is none: late$/,
  );
  let count = 0;
  refused(
    (world) => good.participants(world).slice(count++),
    /has other participants each time: one, two; then two$/,
  );
  const async = { ...good, setUp: async () => {} };
  t.throws(() => execute(async), { message: /has an async setUp$/ });
  for (const list of ['broken', [7], [{ rule: 'I14' }]]) {
    const wrong = { ...good, atEnd: () => list as never };
    t.throws(() => execute(wrong), { message: /has an atEnd that gives no list of sentences$/ });
  }
  t.notThrows(() => execute({ ...good, atEnd: () => ['broken', { rule: 'I14', message: 'broken' }] }));
});

test('names and paths are told apart', (t) => {
  for (const path of ['./a.js', 'a.ts', 'dir/a', 'C:\\a.mjs']) t.true(isModulePath(path), path);
  for (const name of ['flush', 'create-slot', 'rc-01']) t.false(isModulePath(name), name);
});

test.serial(
  'modules: a scenario, something else, nothing, one that throws, one that is not there',
  async (t) => {
    t.is((await loadScenario(module('lost-update'))).name, 'lost-update');
    t.is((await loadScenario(module('endless'))).name, 'misbehaving');
    t.is((await loadScenario('flush')).name, 'flush');
    const failure = async (name: string) =>
      (await t.throwsAsync(() => loadScenario(name), { instanceOf: SimError }))!;
    t.regex((await failure(module('no-scenario'))).message, /exports no scenario: its name is lower case/);
    const thrown = await failure(module('throws'));
    t.is(thrown.code, 'SIM_SCENARIO');
    t.is((thrown.cause as Error).message, 'not today');
    t.is((await failure('./no/such.js')).code, 'SIM_FILE');
    t.like(await failure('flsh'), { code: 'SIM_USAGE', hint: 'did you mean flush?' });
  },
);
