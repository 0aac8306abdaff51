/**
 * `npm run bench -- [--suite NAME]… [--quick] [--json]`: measures, prints medians and ratios, and says which goals are
 * met. Speed is never a test: the exit code is 0 whatever the numbers are.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { core } from './core.ts';
import { events } from './events.ts';
import { explore } from './explore.ts';
import { hooked } from './hooked.ts';
import { lockCosts } from './lock-costs.ts';
import { memory } from './memory.ts';
import { oracles } from './oracles.ts';
import { smp } from './smp.ts';
import { start } from './start.ts';
import { strategies } from './strategies.ts';
import type { Row, Suite } from './suite.ts';

const SUITES: readonly Suite[] = [
  core,
  events,
  hooked,
  smp,
  memory,
  start,
  lockCosts,
  strategies,
  oracles,
  explore,
];

const { values } = parseArgs({
  options: {
    suite: { type: 'string', multiple: true, default: [] },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const unknown = values.suite.filter((name) => !SUITES.some((suite) => suite.name === name));
if (unknown.length > 0) {
  process.stderr.write(`no suite '${unknown[0]}': there are ${SUITES.map(({ name }) => name).join(', ')}\n`);
  process.exit(2);
}
const chosen = values.suite.length === 0 ? SUITES : SUITES.filter(({ name }) => values.suite.includes(name));

const machine = `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} threads, Node ${process.version}`;
const results: Record<string, Row[]> = {};
for (const suite of chosen) {
  process.stderr.write(`${suite.name}: ${suite.about}\n`);
  const rows = await suite.run({ quick: values.quick });
  results[suite.name] = rows;
  if (!values.json) for (const row of rows) process.stdout.write(`${line(suite, row)}\n`);
}
if (values.json) process.stdout.write(`${JSON.stringify({ machine, quick: values.quick, results })}\n`);
else process.stdout.write(`${machine}\n`);

function line(suite: Suite, { what, value, unit, rounds, goal }: Row): string {
  const spread = `${format(Math.min(...rounds))}…${format(Math.max(...rounds))}`;
  const wanted =
    goal === undefined ? '' : `  ${goal.is} ${goal.value}: ${meets(value, goal) ? 'met' : 'MISSED'}`;
  return `${suite.name.padEnd(8)} ${what.padEnd(24)} ${format(value).padStart(9)} ${unit.padEnd(4)} (${spread}, n = ${rounds.length})${wanted}`;
}

function meets(value: number, goal: NonNullable<Row['goal']>): boolean {
  return goal.is === 'at least' ? value >= goal.value : value <= goal.value;
}

function format(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}
