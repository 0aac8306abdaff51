import test from 'ava';
import { parseCorpus } from '../../../src/cli/corpus-flags.ts';
import { corpusItems, negativeControls } from '../../../src/explore/corpus/index.ts';

test('without flags it is all of the corpus, by three strategies', (t) => {
  const { plan, json, quiet } = parseCorpus([]);
  t.is(plan.items, corpusItems);
  t.is(plan.controls, negativeControls);
  t.deepEqual(plan.strategies, ['random', 'pct2', 'pct3']);
  t.like(plan, { schedules: 10_000, runs: 3, clean: 1000, seed: 1 });
  t.false(json || quiet);
});

test('items are named by number or name, negative controls by number', (t) => {
  const { plan } = parseCorpus(
    '--item rc-22,lockAsWrite,NC-07 --strategy pos,ipb2 --seed 0x10 --json'.split(' '),
  );
  t.deepEqual(
    plan.items.map(({ id }) => id),
    ['RC-22', 'RC-56'],
  );
  t.deepEqual(
    plan.controls.map(({ id }) => id),
    ['NC-07'],
  );
  t.like(plan, { strategies: ['pos', 'ipb2'], seed: 16 });
});

for (const words of [
  '--item RC-99',
  '--item lockAsWrit',
  '--strategy pcd',
  '--strategy pct0',
  '--schedules -1',
  '--schedules x',
  '--runs 0.5',
  '--jobs 0',
  '--seed 0x1ffffffff',
  '--itme RC-01',
  'RC-01',
]) {
  test(`refused: corpus ${words}`, (t) => {
    t.throws(() => parseCorpus(words.split(' ')), { code: 'SIM_USAGE' });
  });
}
