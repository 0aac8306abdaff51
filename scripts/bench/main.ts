/**
 * `npm run bench -- [--suite NAME]… [--peers NAME,…] [--quick] [--json]`: measures, prints medians and ratios, and says
 * which goals are met. Speed is never a test: the exit code is 0 whatever the numbers are, and 2 when what was asked for
 * is not there.
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
import { PeerAbsent } from './peers/peer.ts';
import { PEERS } from './peers/peers.ts';
import { programs } from './programs.ts';
import { smp } from './smp.ts';
import { start } from './start.ts';
import { strategies } from './strategies.ts';
import type { Row, Suite } from './suite.ts';
import { system } from './system.ts';
import { wire } from './wire.ts';

const SUITES: readonly Suite[] = [
  core,
  programs,
  system,
  events,
  hooked,
  smp,
  memory,
  start,
  lockCosts,
  strategies,
  oracles,
  explore,
  wire,
];

const { values } = parseArgs({
  options: {
    suite: { type: 'string', multiple: true, default: [] },
    peers: { type: 'string', multiple: true, default: [] },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const chosen = values.suite.length === 0 ? SUITES : pick('suite', SUITES, values.suite);
const peers = pick(
  'peer',
  PEERS,
  values.peers.flatMap((names) => names.split(',')),
);

const machine = `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} threads, Node ${process.version}`;
const results: Record<string, Row[]> = {};
let summary: Readonly<Record<string, unknown>> = {};
try {
  for (const peer of peers) await peer.prepare();
  for (const suite of chosen) {
    process.stderr.write(`${suite.name}: ${suite.about}\n`);
    const rows = await suite.run({ quick: values.quick, peers });
    results[suite.name] = rows;
    summary = { ...summary, ...suite.summary?.(rows) };
    if (!values.json)
      process.stdout.write(`${suite.table?.(rows) ?? rows.map((r) => line(suite, r)).join('\n')}\n`);
  }
} catch (error) {
  if (!(error instanceof PeerAbsent)) throw error;
  fail(error.message);
} finally {
  for (const peer of peers) peer.close();
}
if (values.json)
  process.stdout.write(`${JSON.stringify({ ...summary, machine, quick: values.quick, results })}\n`);
else process.stdout.write(`${machine}\n`);

function pick<Named extends { readonly name: string }>(
  what: string,
  all: readonly Named[],
  names: readonly string[],
): Named[] {
  return [...new Set(names)].map((name) => {
    const found = all.find((each) => each.name === name);
    return found ?? fail(`no ${what} '${name}': there are ${all.map((each) => each.name).join(', ')}`);
  });
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

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
