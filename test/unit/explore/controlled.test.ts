/**
 * The same schedules as coroutines and on real threads: equal steps, equal findings, equal memory.
 */
import test from 'ava';
import { ControlledTarget } from '../../../src/explore/controlled/controlled-target.ts';
import { type ScenarioSource, scenarioFrom } from '../../../src/explore/controlled/source.ts';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { StateHasher } from '../../../src/shared/state/hash.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const SEEDS = Number(process.env['SEEDS'] ?? 25);
const EXTENSION = import.meta.url.slice(-3);
const scenes = new URL(`../../support/controlled-scenes${EXTENSION}`, import.meta.url).href;
const flush = new URL(`../../../src/explore/scenario/bundled/flush${EXTENSION}`, import.meta.url).href;

const known = new URL(`../../../src/explore/scenario/known${EXTENSION}`, import.meta.url).href;

const SOURCES: readonly ScenarioSource[] = [
  { module: flush, export: 'flush' },
  { module: scenes, export: 'busy' },
  { module: scenes, export: 'counting' },
  { module: scenes, export: 'broken' },
  // A race is seen in what threads tell of their accesses.
  { module: known, export: 'scenarioByName', args: ['rc-16'] },
];

for (const source of SOURCES) {
  test.serial(
    `${source.args ?? source.export}: ${SEEDS} schedules from SEED=${SEED} on are the same on real threads`,
    async (t) => {
      const explored = new MachineTarget(await scenarioFrom(source));
      const controlled = await ControlledTarget.open(source);
      t.teardown(() => controlled.close());
      const [inOne, onThreads] = [new Stage(explored), new Stage(controlled)];
      const hashers = [explored, controlled].map(({ mem }) => new StateHasher(mem, explored.world.vm.layout));
      const oracles = new Set<string>();
      for (let seed = SEED; seed < SEED + SEEDS; seed++) {
        const first = inOne.outcome(new RandomWalk(), seed)!;
        const same = onThreads.outcome(new RandomWalk(), seed)!;
        const what = `seed ${seed}`;
        const told = (outcome: typeof first) =>
          outcome.findings.map(({ rule, message, step }) => `${step} ${rule} ${message}`);
        t.deepEqual(told(same), told(first), what);
        t.is(same.traceHash, first.traceHash, what);
        const replayed = onThreads.outcome(new Replay(first.schedule), 0)!;
        t.is(replayed.traceHash, first.traceHash, what);
        for (const { oracle } of first.findings) oracles.add(oracle);
        const [a, b] = hashers.map((hasher) => hasher.hash());
        t.deepEqual(b, a, what);
      }
      if (source.args?.[0] === 'rc-16') t.deepEqual([...oracles], ['race']);
      if (source.export === 'broken') t.deepEqual([...oracles].sort(), ['deadlock', 'lock', 'thrown']);
    },
  );
}

test('a module that exports no such scenario ends in an error that names it, and no thread stays', async (t) => {
  await t.throwsAsync(ControlledTarget.open({ module: scenes, export: 'nothing' }), {
    message: /exports no scenario as 'nothing'/,
  });
});
