/** The self-check of campaigns: one schedule in so many, once more on a machine of its own. */
import test from 'ava';
import { Repeats } from '../../../src/explore/campaign/repeats.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { flush } from '../../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../../src/explore/scenario/scenario.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { stepping } from '../../../src/shared/sync/point.ts';
import { runner, stageOf } from '../../support/oracle-scenarios.ts';

const SEED = Number(process.env['SEED'] ?? 1);

function explored(scenario: Scenario, executions: number): void {
  const target = new MachineTarget(scenario);
  const stage = new Stage(target);
  const repeats = new Repeats(scenario);
  for (let seed = SEED; seed < SEED + executions; seed++) {
    repeats.check(target.world, stage.execute(new RandomWalk(), seed)!, seed);
  }
}

test(`a machine that has executed others and one that has not are the same, from SEED=${SEED} on`, (t) => {
  t.notThrows(() => explored(flush, 20));
});

test('what outlives its execution is found, and named by its step', (t) => {
  let begun = 0;
  const counting = stageOf((world) => {
    begun += 1;
    const mine = begun;
    return [
      runner(world, 'host', function* () {
        for (let n = 0; n < mine; n++) yield stepping(n);
      }),
    ];
  });
  t.throws(() => explored(counting, 1), {
    code: 'SIM_SCENARIO',
    message: /is not the same each time: with seed \d+, .* step 1 was it has ended; then host, step/,
  });
});
