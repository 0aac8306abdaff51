/**
 * What docs/reference-design.md is made with: the reference design under every strategy, in the scenarios of
 * explore/scenario/bundled. Each finding is laid to the weakness without which its schedule does not show it, shrunk,
 * and printed with the command that repeats it.
 *
 *   node dist/scripts/reference-study.js [--schedules N] [--text] [SCENARIO…]
 */
import { parseArgs } from 'node:util';
import { found } from '../src/explore/campaign/found.ts';
import { type Schedule, scheduleOf } from '../src/explore/engine/schedule.ts';
import { Attempts } from '../src/explore/finding/attempt.ts';
import { BUNDLED } from '../src/explore/scenario/bundled/index.ts';
import { type Scenario, withQuirks } from '../src/explore/scenario/scenario.ts';
import { stageOf } from '../src/explore/scenario/stage.ts';
import { strategyByName } from '../src/explore/strategy/registry.ts';
import { QUIRKS, REFERENCE_QUIRKS } from '../src/shared/quirks.ts';

const { values, positionals } = parseArgs({
  options: { schedules: { type: 'string', default: '1000' }, text: { type: 'boolean', default: false } },
  allowPositionals: true,
});

/** Weaknesses without which `schedule` does not show the finding; "more than one, each enough" is none. */
function blamed(scenario: Scenario, schedule: Schedule, key: string): string {
  const guilty = QUIRKS.filter(({ id, reference }) => {
    if (!reference) return false;
    const others = REFERENCE_QUIRKS.filter((other) => other !== id);
    return new Attempts(withQuirks(scenario, others), key).hit(schedule) === null;
  });
  return guilty.length === 0 ? 'none alone' : guilty.map(({ item }) => item).join(' + ');
}

function study(scenario: Scenario, schedules: number): void {
  const stage = stageOf(withQuirks(scenario, REFERENCE_QUIRKS));
  const strategies = ['random', 'pos', 'pct3'].map((name) => strategyByName(name));
  const seen = new Map<string, number>();
  for (let number = 0; number < schedules; number++) {
    const execution = stage.execute(strategies[number % strategies.length]!, number + 1);
    for (const finding of execution?.findings ?? []) {
      const times = (seen.get(finding.key) ?? 0) + 1;
      seen.set(finding.key, times);
      if (times > 1) continue;
      const schedule = scheduleOf(execution!.trace, execution!.actorCount);
      const at = { finding, schedule, number, seed: number + 1 };
      const report = found(scenario, scenario.name, REFERENCE_QUIRKS, at);
      const blame = blamed(scenario, report.shrunk, finding.key);
      process.stdout.write(
        `${scenario.name}  ${blame}  ${report.rule} ${report.message}\n  schedule ${number + 1}, ${report.repeat}\n`,
      );
      if (values.text) process.stdout.write(`${report.text}\n`);
    }
  }
  for (const [key, times] of seen) process.stdout.write(`  ${times} times: ${key}\n`);
}

for (const scenario of BUNDLED) {
  if (positionals.length === 0 || positionals.includes(scenario.name))
    study(scenario, Number(values.schedules));
}
