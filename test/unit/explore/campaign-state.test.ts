import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { CampaignControl } from '../../../src/explore/campaign/control.ts';
import { type CampaignIdentity, CampaignState } from '../../../src/explore/campaign/state.ts';
import type { Explored, FoundFinding } from '../../../src/explore/campaign/task.ts';

const IDENTITY: CampaignIdentity = {
  version: '1.0.0',
  scenario: 'flush',
  quirks: ['createSlotGap'],
  strategy: 'random',
  depth: null,
  seed: 1,
};

const chunk = (executions: number, times: Record<string, number> = {}): Explored => ({
  executions,
  steps: executions * 10,
  actors: 2,
  longest: 10,
  exhausted: false,
  findings: [],
  times,
});

const finding = (key: string, schedule: number): FoundFinding => ({
  key,
  oracle: 'invariant',
  rule: 'I3',
  message: key,
  schedule,
  seed: schedule + 1,
  deviations: 3,
  shrunk: [],
  token: 'FL1.x',
  tokenFile: null,
  repeat: '',
  text: '',
  json: {},
});

test('what is missing is what no whole chunk has done, in any order of their ends', (t) => {
  const state = new CampaignState();
  t.deepEqual(state.missing(0, 100), [[0, 100]]);
  state.add(chunk(100), 200, 300);
  state.add(chunk(100), 0, 100);
  t.deepEqual(state.missing(0, 400), [
    [100, 200],
    [300, 400],
  ]);
  t.deepEqual(state.missing(250, 260), []);
  state.add(chunk(100), 100, 200);
  t.deepEqual(state.missing(0, 350), [[300, 350]]);
});

test('a chunk that was broken off counts now, and is explored again later', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'faultline-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'state.json');
  const state = new CampaignState();
  state.add(chunk(100, { a: 2 }), 0, 100);
  state.add(chunk(30, { a: 1 }), 100, 200);
  t.like(state, { executions: 130, steps: 1300, times: { a: 3 } });
  state.found(finding('a', 7));
  state.write(path, IDENTITY);
  const again = CampaignState.read(path, IDENTITY);
  t.like(again, { executions: 100, steps: 1000, times: { a: 2 } });
  t.deepEqual(again.missing(0, 200), [[100, 200]]);
  t.deepEqual(again.findings, state.findings);
});

test('of findings with one key the one of the lowest schedule stays', (t) => {
  const state = new CampaignState();
  t.true(state.found(finding('a', 70)));
  t.true(state.found(finding('b', 5)));
  t.false(state.found(finding('a', 30)));
  t.false(state.found(finding('a', 50)));
  t.deepEqual(
    state.findings.map(({ key, schedule }) => [key, schedule]),
    [
      ['a', 30],
      ['b', 5],
    ],
  );
});

test('a file of another campaign, of something else, or none', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'faultline-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'state.json');
  t.is(CampaignState.read(path, IDENTITY).executions, 0);
  new CampaignState().write(path, IDENTITY);
  for (const [other, message] of [
    [{ seed: 2 }, `'${path}' is of another campaign: its seed is 1, not 2`],
    [{ strategy: 'pct' }, `'${path}' is of another campaign: its strategy is random, not pct`],
    [{ quirks: [] }, `'${path}' is of another campaign: its quirks is createSlotGap, not `],
    [{ version: '2.0.0' }, `'${path}' is of another campaign: its version is 1.0.0, not 2.0.0`],
  ] as const) {
    t.throws(() => CampaignState.read(path, { ...IDENTITY, ...other }), { message });
  }
  for (const text of ['', '{}', 'null', '[1', readFileSync(path, 'utf8').slice(0, 40)]) {
    writeFileSync(path, text);
    t.throws(
      () => CampaignState.read(path, IDENTITY),
      { message: `'${path}' is no state of a campaign` },
      text,
    );
  }
  t.throws(() => new CampaignState().write(join(dir, 'no', 'such'), IDENTITY), { message: /cannot write/ });
});

test('workers are asked to stop, and shown to get on', (t) => {
  const control = new CampaignControl(2);
  const worker = new CampaignControl(2, control.buffer);
  t.true(worker.wants(0));
  control.stopBefore(100);
  control.stopBefore(200);
  t.true(worker.wants(99));
  t.false(worker.wants(100));
  control.stop();
  t.false(worker.wants(0));
  worker.enter(1, 'setUp');
  worker.begin(1, 0xffffffff);
  t.like(control.slot(1), { phase: 'setUp', executions: 1, seed: 0xffffffff });
  t.like(control.slot(0), { phase: 'idle', executions: 0 });
});

test('features are counted once each, as exactly as a bitmap can', (t) => {
  const control = new CampaignControl(1);
  t.is(control.featureCount(), 0);
  for (let i = 0; i < 5000; i++) control.feature(Math.imul(i, 0x9e3779b1));
  for (let i = 0; i < 5000; i++) control.feature(Math.imul(i, 0x9e3779b1));
  t.true(Math.abs(control.featureCount() - 5000) < 100, String(control.featureCount()));
});
