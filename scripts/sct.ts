/**
 * Schedules to the first find, strategy by strategy, for the shapes of SCTBench: the comparison with the literature.
 *
 * `npm run sct -- [--shape NAME…] [--strategy NAME…] [--limit N] [--trials N] [--json]`: medians over trials with seeds of
 * their own; `-` where no trial has found it, `(n)` where only n have. Systematic strategies have one trial.
 */
import { parseArgs } from 'node:util';
import { Stage } from '../src/explore/explorer.ts';
import { type Program, ProgramTarget } from '../src/explore/program/program.ts';
import { SCT_SHAPES } from '../src/explore/sct/index.ts';
import { strategyByName } from '../src/explore/strategy/registry.ts';

const ALL = [
  'random',
  'pct2',
  'pct3',
  'pct5',
  'pos',
  'urw',
  'surw',
  'ipb',
  'idb',
  'dfs',
  'dpor',
  'dpor-locks',
  'auto',
];
const SYSTEMATIC = ['ipb', 'idb', 'dfs', 'dpor', 'dpor-locks'];

const { values } = parseArgs({
  options: {
    shape: { type: 'string', multiple: true },
    strategy: { type: 'string', multiple: true },
    limit: { type: 'string', default: '10000' },
    trials: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const shapes = SCT_SHAPES.filter(({ name }) => values.shape?.some((part) => name.includes(part)) ?? true);
const strategies = values.strategy ?? ALL;
const limit = Number(values.limit);
const trials = Number(values.trials);

/** Schedules up to the first with a finding, `null` when there is none within the limit or there are no more. */
function firstFind(program: Program, name: string, trial: number): number | null {
  const stage = new Stage(new ProgramTarget(program));
  const strategy = strategyByName(name);
  for (let i = 1; i <= limit; i++) {
    const execution = stage.execute(strategy, (Math.imul(trial + 1, 0x9e3779b1) + i) >>> 0);
    if (execution === null) return null;
    if (execution.findings.length > 0) return i;
  }
  return null;
}

function cellFor(program: Program, name: string): string {
  const count = SYSTEMATIC.includes(name) ? 1 : trials;
  const finds = Array.from({ length: count }, (_, trial) => firstFind(program, name, trial));
  const found = finds.filter((find) => find !== null).sort((a, b) => a - b);
  if (values.json) console.log(JSON.stringify({ shape: program.name, strategy: name, limit, finds }));
  if (found.length === 0) return '-';
  const median = found[found.length >> 1]!;
  return found.length === count ? String(median) : `${median} (${found.length})`;
}

const width = Math.max(...shapes.map(({ name }) => name.length));
const line = (first: string, rest: readonly string[]) =>
  `${first.padEnd(width)} ${rest.map((text) => text.padStart(10)).join('')}`;
if (!values.json) console.log(line('shape', strategies));
for (const program of shapes) {
  const row = strategies.map((name) => cellFor(program, name));
  if (!values.json) console.log(line(program.name, row));
}
