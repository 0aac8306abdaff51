import test from 'ava';
import { found } from '../../../src/explore/campaign/found.ts';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { decodeToken } from '../../../src/explore/finding/token.ts';
import { guarded, type ScenarioPhase } from '../../../src/explore/scenario/guarded.ts';
import { type Scenario, wrapped } from '../../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../../src/explore/scenario/stage.ts';
import { choosing, type Path } from '../../../src/shared/sync/point.ts';

const WHEELS = 120;

/** Opens for one combination only, so that nothing can be shrunk. */
const combination: Scenario = {
  name: 'combination',
  title: 'a lock with many wheels',
  machine: {},
  setUp() {},
  participants: (world) => [
    {
      name: 'thief',
      waiter: world.actor('thief'),
      path: (function* (): Path<void> {
        let right = 0;
        for (let wheel = 0; wheel < WHEELS; wheel++) right += (yield choosing(3)) === 2 ? 1 : 0;
        if (right === WHEELS) throw new Error('open');
      })(),
    },
  ],
};

const schedule = Array.from({ length: WHEELS }, (_, taken) => ({ actor: 0, taken, to: 2, choice: true }));

function seen() {
  const [finding] = stageOf(combination).execute(new Replay(schedule), 0)!.findings;
  return { finding: finding!, schedule, number: 3, seed: 4 };
}

test('a token that is too long for a command line goes to a file, and the command names it', (t) => {
  const { token, tokenFile, repeat, deviations, shrunk } = found(
    combination,
    './my/combination.js',
    [],
    seen(),
  );
  t.is(deviations, WHEELS);
  t.deepEqual(shrunk, schedule);
  t.true(token.length > 160);
  t.deepEqual(decodeToken(token).schedule, schedule);
  t.regex(tokenFile ?? '', /^combination-[0-9a-f]{8}\.token$/);
  t.is(repeat, `faultline replay ${tokenFile} ./my/combination.js`);
});

test('what does not show again is said to depend on something outside', (t) => {
  const { finding } = seen();
  const other = { finding, schedule: schedule.slice(1), number: 3, seed: 4 };
  t.throws(() => found(combination, 'combination', [], other), {
    message:
      "scenario 'combination' is not the same each time: its schedule of seed 4 does not show again: thief: open",
  });
});

test('each execution that a finding takes shows that its worker gets on, however long it takes as a whole', (t) => {
  let executions = 0;
  const counted = wrapped(combination, ({ participants }) => ({
    participants: (world) => {
      executions += 1;
      return participants(world);
    },
  }));
  // What the worker tells its campaign (explore.worker.ts), which ends it when nothing is told for long.
  const told: ScenarioPhase[] = [];
  found(
    guarded(counted, (phase) => told.push(phase)),
    'combination',
    [],
    seen(),
  );
  t.true(executions > WHEELS, `${executions} executions`);
  t.is(
    told.filter((phase) => phase === 'steps').length,
    told.filter((phase) => phase === 'participants').length +
      told.filter((phase) => phase === 'atEnd').length,
  );
  t.is(told.filter((phase) => phase === 'participants').length, executions);
});
