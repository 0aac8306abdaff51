/** The protocol over several items and threads, and what is said about it. */
import test from 'ava';
import type { CorpusItem, NegativeControl } from '../../../src/explore/corpus/item.ts';
import {
  falseReports,
  isFound,
  medianOf,
  type Score,
  type ScorePlan,
  Scoring,
} from '../../../src/explore/corpus/score.ts';
import { itemOrControl } from '../../../src/explore/corpus/trial.ts';
import { corpusVerdict, itemTable, problemLines, strategyTable } from '../../../src/report/corpus-text.ts';

const items = ['RC-53', 'RC-61', 'RC-76'].map((id) => itemOrControl(id) as CorpusItem);
const plan: ScorePlan = {
  items,
  controls: [itemOrControl('NC-11') as NegativeControl],
  strategies: ['random', 'pct2'],
  schedules: 60,
  runs: 2,
  clean: 20,
  seed: 1,
  jobs: 1,
};

async function scored(jobs: number): Promise<{ score: Score; told: string[] }> {
  const told: string[] = [];
  const scoring = new Scoring({ ...plan, jobs });
  const score = await scoring.run(
    ({ item }) => told.push(item.id),
    ({ control }) => told.push(control.id),
  );
  return { score, told: [...told, `${scoring.trials.done} of ${scoring.trials.all}`] };
}

test('what comes out does not depend on the number of threads, and is told in order', async (t) => {
  const one = await scored(1);
  const two = await scored(2);
  t.deepEqual(one.told, ['RC-53', 'RC-61', 'RC-76', 'NC-11', '20 of 20']);
  t.deepEqual(JSON.stringify(two), JSON.stringify(one));
});

test('an item is found or is not, and the verdict and the tables say so', async (t) => {
  const { score } = await scored(2);
  const whole = { ...plan, controls: [] };
  t.deepEqual(score.items.map(isFound), [true, true, false]);
  t.deepEqual(falseReports(score), []);
  t.is(corpusVerdict(score), 'found 2 of 3, no false reports');
  t.deepEqual(problemLines(score), ['RC-76 freelistAba: not found']);
  const rows = itemTable(score.items, whole).split('\n');
  t.regex(rows[1]!, /^RC-53 {2}rwUpgrade +2 +MUT +1 +1 +L5 +20 +clean$/);
  t.regex(rows[3]!, /^RC-76 {2}freelistAba +3 +MUT +– +– +– +– +clean$/);
  t.regex(strategyTable(score, whole), /^random +2\/3 /m);
});

test('a finding where there is no mistake is a false report, and a find that does not hold is none', (t) => {
  const [item] = items;
  const found = {
    schedules: 3,
    steps: 9,
    rule: 'I12',
    message: 'used',
    proof: { otherRules: ['I12'], repeated: 19, corrected: ['I12: used'] },
  };
  const report = { seed: 7, sentences: ['I3: wrong'] };
  const strategies = [{ strategy: 'random', runs: [3, null], median: 3 }];
  const score: Score = {
    items: [{ item: item!, strategies, first: found, unproved: [found, found], report }],
    controls: [],
  };
  t.is(corpusVerdict(score), 'found 0 of 1, 1 false report');
  t.deepEqual(problemLines(score), [
    'RC-53 rwUpgrade: I12: used: I12 is no rule of the item; repeated 19 times of 20; ' +
      'the corrected machine too says I12: used',
    'RC-53: false report in schedule 7: I3: wrong',
  ]);
  t.regex(itemTable(score.items, { ...plan, strategies: ['random'], controls: [] }), /3 \(1\/2\).*REPORTS/);
});

test('the median counts what was not found as more than anything', (t) => {
  t.is(medianOf([3, 1, 2]), 2);
  t.is(medianOf([null, 1, 2]), 2);
  t.is(medianOf([null, 1]), 1);
  t.is(medianOf([null, null, 1]), null);
  t.is(medianOf([]), null);
});
