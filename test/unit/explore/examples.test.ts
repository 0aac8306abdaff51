/** The worked examples of docs/scenarios.md: clean as they are, broken by what they are there to show. */
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { rehook } from '../../../src/explore/scenario/bundled/rehook.ts';
import { sharedCounter } from '../../../src/explore/scenario/bundled/shared-counter.ts';
import { slotGoes } from '../../../src/explore/scenario/bundled/slot-goes.ts';
import { tighten } from '../../../src/explore/scenario/bundled/tighten.ts';
import { wholeLife } from '../../../src/explore/scenario/bundled/whole-life.ts';
import { loadScenario } from '../../../src/explore/scenario/load.ts';
import { type Scenario, withQuirks } from '../../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../../src/explore/scenario/stage.ts';
import { strategyByName } from '../../../src/explore/strategy/registry.ts';
import {
  BUG_FLUSH_BEFORE_INVALID,
  BUG_LOCK_AS_WRITE,
  BUG_NO_REMOTE_FLUSH,
  BUG_REHOOK_EARLY,
  type Quirks,
  REF_SLOTS_NEED_SESSION,
} from '../../../src/shared/quirks.ts';

const SEED = Number(process.env['SEED'] ?? 1);
const CLEAN = 100;
const BUDGET = 1500;

/** Rules of the first finding, or null. */
function found(scenario: Scenario, quirks: Quirks, schedules: number): string[] | null {
  const stage = stageOf(withQuirks(scenario, quirks));
  const strategies = ['random', 'pct2', 'pct3'].map((name) => strategyByName(name));
  for (let i = 0; i < schedules; i++) {
    const outcome = stage.outcome(strategies[i % strategies.length]!, SEED + i);
    if (outcome !== null && outcome.findings.length > 0)
      return outcome.findings.map(({ rule, message }) => `${rule}: ${message}`);
  }
  return null;
}

for (const example of [tighten, slotGoes, sharedCounter, rehook, wholeLife]) {
  test(`${example.name}: ${example.title}`, (t) => {
    t.is(found(example, [], CLEAN), null, `SEED=${SEED}`);
  });
}

for (const [example, quirks, rule] of [
  [tighten, [BUG_NO_REMOTE_FLUSH], /^(I2|I6): /],
  [slotGoes, [BUG_FLUSH_BEFORE_INVALID], /^(I7|I2): /],
  [sharedCounter, [BUG_LOCK_AS_WRITE], /^shared-counter: 4 counts made 3/],
  [rehook, [BUG_REHOOK_EARLY], /^I12: /],
  [wholeLife, [REF_SLOTS_NEED_SESSION], /^I4: /],
] as const) {
  test(`${example.name} shows ${rule} when something is wrong`, (t) => {
    const findings = found(example, quirks, BUDGET);
    t.truthy(findings, `SEED=${SEED}`);
    t.regex(findings![0]!, rule);
  });
}

test('a module of the user imports the package by its name', async (t) => {
  const path = fileURLToPath(
    new URL(`../../support/scenarios/by-name${import.meta.url.slice(-3)}`, import.meta.url),
  );
  const mine = await loadScenario(path);
  t.is(mine.name, 'tighten-of-mine');
  t.is(found(mine, [], CLEAN), null);
  t.regex(found(mine, [BUG_NO_REMOTE_FLUSH], BUDGET)?.[0] ?? '', /^(I2|I6): /);
});

test('a finding in a scene is shrunk to the parts that it needs', (t) => {
  const { parts } = slotGoes;
  t.deepEqual(parts?.names, [
    'control',
    'what the tool does',
    'access 1 of vcpu 0',
    'access 2 of vcpu 0',
    'access 1 of vcpu 1',
    'the restriction of gfn 0x20',
  ]);
  const names = (scenario: Scenario) =>
    stageOf(scenario)
      .target.begin()
      .map(({ name }) => name);
  t.deepEqual(names(slotGoes), ['vcpu 0', 'vcpu 1', 'receiver', 'control']);
  t.deepEqual(names(parts!.without([0, 2, 3])), ['vcpu 1', 'receiver']);
  t.is(parts!.without([1]).name, slotGoes.name);
  t.is(sharedCounter.parts, undefined, 'what its check says is true of the whole only');
});
