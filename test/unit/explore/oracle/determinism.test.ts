/** The same schedule twice: the same, unless the scenario draws on something else. */
import test from 'ava';
import { scheduleOf } from '../../../../src/explore/engine/schedule.ts';
import { Stage } from '../../../../src/explore/explorer.ts';
import { checkRepeats, footprint } from '../../../../src/explore/oracle/determinism.ts';
import { MachineTarget } from '../../../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../../../src/explore/scenario/scenario.ts';
import { RandomWalk } from '../../../../src/explore/strategy/random-walk.ts';
import { stepping } from '../../../../src/shared/sync/point.ts';
import { runner, stageOf, storm } from '../../../support/oracle-scenarios.ts';

function check(scenario: Scenario, seed = 1) {
  const target = new MachineTarget(scenario);
  const stage = new Stage(target);
  const execution = stage.execute(new RandomWalk(), seed)!;
  const first = footprint(target.world, execution);
  return checkRepeats(stage, target.world, scheduleOf(execution.trace, execution.actorCount), seed, first);
}

test('storms repeat, state and all', (t) => {
  for (let seed = 1; seed <= 6; seed++) t.is(check(storm(seed), seed), null, `storm ${seed}`);
});

/** Begins with another number each time. */
const forgetful = (steps: boolean) => {
  let runs = 0;
  return stageOf((world) => {
    runs += 1;
    const mine = runs;
    return [
      runner(world, 'host', function* () {
        for (let n = 0; n < (steps ? mine : 1); n++) yield stepping(n);
        world.vm.mem.store(world.vm.word('KVMI_CLEANUP'), steps ? 0 : mine);
      }),
    ];
  });
};

test('something that outlives its execution changes the steps', (t) => {
  const found = check(forgetful(true));
  t.like(found, { oracle: 'nondeterminism', rule: 'trace', step: 1 });
  t.regex(found!.message, /step 1 was it has ended; then host, step/);
});

test('or only the state', (t) => {
  const found = check(forgetful(false));
  t.like(found, { oracle: 'nondeterminism', rule: 'state' });
  t.regex(found!.message, /another state: vm differ/);
});
