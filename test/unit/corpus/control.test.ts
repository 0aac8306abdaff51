/** The items of sections 4, 5 and 6: each is found with its mistake on, and what is found is proof of it. */
import test from 'ava';
import { controlItems } from '../../../src/explore/corpus/control/index.ts';
import { falseReport, prove, REPLAYS, search, sentences } from '../../../src/explore/corpus/protocol.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { strategyByName } from '../../../src/explore/strategy/registry.ts';
import { QUIRKS } from '../../../src/shared/quirks.ts';

/** Schedules of random walk and PCT together before a mistake counts as not found. */
const BUDGET = 6000;
const CLEAN = 300;
const POINTS_MAX = 200;
const SEED = Number(process.env['SEED'] ?? 1);

for (const item of controlItems) {
  test(`${item.id} ${item.name}: ${item.title}`, (t) => {
    const strategies = ['random', 'pct2', 'pct3'].map((name) => strategyByName(name));
    const find = search(item, strategies, { schedules: BUDGET, seed: SEED });
    t.truthy(find, `not found in ${BUDGET} schedules from SEED=${SEED} on`);
    if (find === null) return;
    const { outcome, schedules } = find;
    t.log(`schedule ${schedules}, ${outcome.steps} steps, ${sentences(outcome).join('; ')}`);
    t.true(outcome.steps <= POINTS_MAX, `${outcome.steps} points`);
    t.deepEqual(prove(item, find), { otherRules: [], repeated: REPLAYS, corrected: [] });
    const clean = { schedules: CLEAN, seed: SEED };
    t.is(falseReport(item.scenario(false), new RandomWalk(), clean), null);
  });
}

// biome-ignore format: table
const EXPECTED = [
  'RC-19', 'RC-21', 'RC-22', 'RC-23', 'RC-24', 'RC-25', 'RC-30', 'RC-31', 'RC-32', 'RC-33', 'RC-34', 'RC-47',
  'RC-48', 'RC-49', 'RC-50', 'RC-51', 'RC-52', 'RC-53', 'RC-54', 'RC-56', 'RC-57', 'RC-61', 'RC-63', 'RC-64',
  'RC-66', 'RC-67', 'RC-69', 'RC-70', 'RC-71', 'RC-73', 'RC-76', 'RC-78', 'RC-79', 'RC-80', 'RC-81',
];

test('sections 4 to 6 of the corpus are complete, in order, and named as their quirks are', (t) => {
  t.deepEqual(
    controlItems.map(({ id }) => id),
    EXPECTED,
  );
  for (const { id, name } of controlItems) t.is(QUIRKS.find((quirk) => quirk.item === id)?.name, name);
});
