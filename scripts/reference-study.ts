/**
 * What docs/reference-design.md is made with: the reference design under several strategies, in the scenarios that come
 * with the package. Each finding is laid to the weakness without which its schedule does not show it, shrunk, and
 * printed with the command that repeats it. Then the weaknesses that were found are repaired, and the search begins
 * again: an execution ends with its first finding, so a common weakness hides a rare one. It is over when nothing is
 * found any more.
 *
 *   node dist/scripts/reference-study.js [--schedules N] [--text] [SCENARIO…]
 */
import { parseArgs } from 'node:util';
import { found } from '../src/explore/campaign/found.ts';
import type { FoundFinding } from '../src/explore/campaign/task.ts';
import type { Execution } from '../src/explore/engine/execution.ts';
import type { Finding } from '../src/explore/engine/finding.ts';
import { scheduleOf } from '../src/explore/engine/schedule.ts';
import { Attempts } from '../src/explore/finding/attempt.ts';
import { decodeToken } from '../src/explore/finding/token.ts';
import { BUNDLED } from '../src/explore/scenario/bundled/index.ts';
import { KNOWN_SCENARIOS } from '../src/explore/scenario/known.ts';
import { type Scenario, withQuirks } from '../src/explore/scenario/scenario.ts';
import { stageOf } from '../src/explore/scenario/stage.ts';
import { strategyByName } from '../src/explore/strategy/registry.ts';
import { QUIRKS, type Quirks, REFERENCE_QUIRKS } from '../src/shared/quirks.ts';

const STRATEGIES = ['random', 'pos', 'pct3'];

const { values, positionals } = parseArgs({
  options: { schedules: { type: 'string', default: '1000' }, text: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const schedules = Number(values.schedules);

const chosen =
  positionals.length === 0 ? BUNDLED : KNOWN_SCENARIOS.filter(({ name }) => positionals.includes(name));
for (const scenario of chosen) {
  let quirks = REFERENCE_QUIRKS;
  for (let repaired = -1; repaired !== 0 && quirks.length > 0; ) {
    const guilty = search(scenario, quirks);
    repaired = guilty.size;
    quirks = quirks.filter((id) => !guilty.has(id));
  }
}

/** @returns the weaknesses that are to blame for what was found */
function search(scenario: Scenario, quirks: Quirks): Set<number> {
  const stage = stageOf(withQuirks(scenario, quirks));
  const strategies = STRATEGIES.map((name) => strategyByName(name));
  const seen = new Map<string, number>();
  const guilty = new Set<number>();
  for (let number = 0; number < schedules; number++) {
    const execution = stage.execute(strategies[number % strategies.length]!, number + 1);
    for (const finding of execution?.findings ?? []) {
      const times = seen.get(finding.key) ?? 0;
      seen.set(finding.key, times + 1);
      if (times > 0) continue;
      const report = reported(scenario, quirks, execution!, finding, number);
      const blame = blamed(scenario, report);
      for (const id of blame) guilty.add(id);
      print(scenario, report, blame);
    }
  }
  const left = QUIRKS.filter(({ id }) => quirks.includes(id)).map(({ item }) => item);
  process.stdout.write(`${scenario.name}: ${schedules} schedules with ${left.join(', ')}\n`);
  for (const [key, times] of seen) process.stdout.write(`  ${times} times ${key}\n`);
  return guilty;
}

/** In the whole reference design if its schedule shows it there too. */
function reported(
  scenario: Scenario,
  quirks: Quirks,
  execution: Execution,
  finding: Finding,
  number: number,
): FoundFinding {
  const schedule = scheduleOf(execution.trace, execution.actorCount);
  const whole = withQuirks(scenario, REFERENCE_QUIRKS);
  const shown = new Attempts(whole, finding.key).hit(schedule) !== null;
  const seen = { finding, schedule, number, seed: number + 1 };
  return shown
    ? found(whole, scenario.name, REFERENCE_QUIRKS, seen)
    : found(withQuirks(scenario, quirks), scenario.name, quirks, seen);
}

/**
 * Each weakness without which the shrunk schedule does not show the finding. Taking one away can also move the steps that
 * the schedule counts: of several, those that show the finding alone, if there are any.
 */
function blamed(scenario: Scenario, { token, shrunk, key }: FoundFinding): number[] {
  const { dropped, quirks } = decodeToken(token);
  const small = dropped.length === 0 ? scenario : scenario.parts!.without(dropped);
  const guilty = quirks.filter((id) => {
    const others = quirks.filter((other) => other !== id);
    return new Attempts(withQuirks(small, others), key).hit(shrunk) === null;
  });
  if (guilty.length < 2) return guilty;
  const alone = guilty.filter((id) => shows(withQuirks(small, [id]), key));
  return alone.length === 0 ? guilty : alone;
}

function shows(scenario: Scenario, key: string): boolean {
  const stage = stageOf(scenario);
  const strategies = STRATEGIES.map((name) => strategyByName(name));
  for (let number = 0; number < schedules; number++) {
    const execution = stage.execute(strategies[number % strategies.length]!, number + 1);
    if (execution?.findings.some((finding) => finding.key === key) === true) return true;
  }
  return false;
}

function print({ name }: Scenario, report: FoundFinding, blame: readonly number[]): void {
  const items = QUIRKS.filter(({ id }) => blame.includes(id)).map(({ item }) => item);
  const { rule, message, repeat, schedule, text } = report;
  process.stdout.write(`${items.join(' + ') || 'none alone'}: ${rule}: ${message}\n`);
  process.stdout.write(`  ${name}, schedule ${schedule + 1}; ${repeat}\n`);
  if (values.text) process.stdout.write(`\n${text}\n`);
}
