import test from 'ava';
import type { CorpusItem } from '../../../src/explore/corpus/item.ts';
import { tlbItems } from '../../../src/explore/corpus/tlb/index.ts';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { type Outcome, Stage } from '../../../src/explore/explorer.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { QUIRKS } from '../../../src/shared/quirks.ts';
import { Pct } from '../../support/pct.ts';

const SEED = Number(process.env['SEED'] ?? 0x5eed);
/** Some ten times what the slowest items take (RC-27, RC-75: a few hundred). */
const SCHEDULES = 6000;
const CLEAN_SCHEDULES = 300;
const POINTS_MAX = 200;

const STRATEGIES = [new RandomWalk(), new Pct(2), new Pct(3)];

/** Takes turns between the strategies until something is found. */
function search(stage: Stage): (Outcome & { schedules: number }) | null {
  for (let run = 0; run < SCHEDULES; run++) {
    const outcome = stage.outcome(STRATEGIES[run % STRATEGIES.length]!, SEED + run);
    if (outcome !== null && outcome.findings.length > 0) return { ...outcome, schedules: run + 1 };
  }
  return null;
}

function replay(stage: Stage, { schedule }: Outcome): Outcome {
  return stage.outcome(new Replay(schedule), 0)!;
}

const EXPECTED = [
  'RC-20', 'RC-27', 'RC-28', 'RC-29', 'RC-37', 'RC-38', 'RC-39', 'RC-40', 'RC-41', 'RC-42', 'RC-43', 'RC-44',
  'RC-45', 'RC-46', 'RC-55', 'RC-58', 'RC-59', 'RC-60', 'RC-62', 'RC-65', 'RC-72', 'RC-75', 'RC-77', 'RC-84',
]; // biome-ignore format: table

test('section 3 of the corpus is complete, in order, and named as its quirks are', (t) => {
  t.deepEqual(
    tlbItems.map(({ id }) => id),
    EXPECTED,
  );
  for (const { id, name } of tlbItems) {
    t.is(QUIRKS.find((quirk) => quirk.name === name)?.item, id);
  }
});

const found = (item: CorpusItem) => {
  test(`${item.id} ${item.name}: found, repeated, and absent without the mistake`, (t) => {
    const mutated = new Stage(new MachineTarget(item.scenario(true)));
    const find = search(mutated);
    if (find === null) return t.fail(`not found in ${SCHEDULES} schedules`);
    const { findings, steps, schedules } = find;
    const [first] = findings;
    t.log(`SEED=${SEED}: schedule ${schedules}, ${steps} points, ${first!.rule}: ${first!.message}`);
    for (const { rule, message } of findings) {
      t.true(item.rules.includes(rule), `${rule} is none of ${item.rules}: ${message}`);
    }
    t.true(steps <= POINTS_MAX, `${steps} points`);
    for (let times = 0; times < 20; times++) {
      const again = replay(mutated, find);
      t.is(again.traceHash, find.traceHash);
      t.deepEqual(again.findings, findings);
    }
    const correct = new Stage(new MachineTarget(item.scenario(false)));
    t.deepEqual(replay(correct, find).findings, []);
    for (let run = 0; run < CLEAN_SCHEDULES; run++) {
      const outcome = correct.outcome(STRATEGIES[0]!, SEED + run)!;
      if (outcome.findings.length > 0) return t.fail(`seed ${SEED + run}: ${outcome.findings[0]!.message}`);
    }
  });
};
for (const item of tlbItems) found(item);
