/**
 * The items of section 2: each is found with its mistake on, its schedule shows it again every time, and the correct
 * machine comes out of the same schedule, and of hundreds of others, without a finding.
 */
import test from 'ava';
import type { CorpusItem } from '../../../src/explore/corpus/item.ts';
import { policyItems } from '../../../src/explore/corpus/policy/index.ts';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { type Outcome, Stage } from '../../../src/explore/explorer.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { QUIRKS } from '../../../src/shared/quirks.ts';
import { Pct } from '../../support/pct.ts';

/** Schedules of each strategy before a mistake counts as not found. */
const BUDGET = 3000;
const REPLAYS = 20;
const CLEAN = 300;
const SEED = Number(process.env['SEED'] ?? 1);

/** The first schedule with a finding: random ones and such of depth 3 in turn. */
function find(item: CorpusItem): { outcome: Outcome; schedules: number } | null {
  const stage = new Stage(new MachineTarget(item.scenario(true)));
  const strategies = [new RandomWalk(), new Pct(3)];
  for (let i = 0; i < BUDGET; i++) {
    for (const [j, strategy] of strategies.entries()) {
      const outcome = stage.outcome(strategy, SEED + i);
      if (outcome !== null && outcome.findings.length > 0) return { outcome, schedules: 2 * i + j + 1 };
    }
  }
  return null;
}

const said = (outcome: Outcome | null): string[] =>
  outcome?.findings.map(({ rule, message }) => `${rule}: ${message}`) ?? ['nothing left to try'];

for (const item of policyItems) {
  test(`${item.id} ${item.name}: ${item.title}`, (t) => {
    const found = find(item);
    t.truthy(found, `not found in ${2 * BUDGET} schedules from SEED=${SEED} on`);
    if (found === null) return;
    const { findings, schedule, traceHash, steps } = found.outcome;
    t.log(`schedule ${found.schedules}, ${steps} steps, ${said(found.outcome).join('; ')}`);
    for (const { rule } of findings) t.true(item.rules.includes(rule), `${rule} is none of ${item.rules}`);

    const replay = new Replay(schedule);
    const mutated = new Stage(new MachineTarget(item.scenario(true)));
    for (let i = 0; i < REPLAYS; i++) {
      const again = mutated.outcome(replay, 0);
      t.deepEqual(
        again?.findings.map(({ key }) => key),
        findings.map(({ key }) => key),
      );
      t.is(again?.traceHash, traceHash);
    }

    const correct = new Stage(new MachineTarget(item.scenario(false)));
    t.deepEqual(said(correct.outcome(replay, 0)), [], 'the correct machine, same schedule');
    const random = new RandomWalk();
    for (let i = 0; i < CLEAN; i++)
      t.deepEqual(said(correct.outcome(random, SEED + i)), [], `seed ${SEED + i}`);
  });
}

test('each item has the name of its quirk and switches that one on, and none is there twice', (t) => {
  for (const item of policyItems) {
    const { id, name } = item;
    t.deepEqual(item.scenario(false).machine.quirks ?? [], []);
    // A policy of the machine, not a mistake.
    if (id === 'RC-35') continue;
    const quirk = QUIRKS.find((candidate) => candidate.item === id);
    t.is(quirk?.name, name);
    t.deepEqual(item.scenario(true).machine.quirks, [quirk?.id]);
  }
  t.is(new Set(policyItems.map(({ id }) => id)).size, policyItems.length);
});
