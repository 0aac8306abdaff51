/** The flags of `faultline locks`, and what they ask for. */
import { scenarioByName } from '../explore/scenario/known.ts';
import { type Scenario, withQuirks } from '../explore/scenario/scenario.ts';
import { countOf, quirksOf, seed32 } from './flag-values.ts';
import { type Flag, parseFlags, usage } from './flags.ts';
import { parseRun, RUN_FLAGS, type RunRequest } from './run-flags.ts';

const LOCK_FORMATS = ['text', 'dot', 'json'] as const;
export type LockFormat = (typeof LOCK_FORMATS)[number];

const SCHEDULES = 1000;
const ATTEMPTS = 1000;

/** Those of `run` that say what is run, without those that say how it is shown. */
const MACHINE_FLAGS = RUN_FLAGS.filter(
  ({ name }) => !['json', 'quiet', 'trace', 'lockdep', 'help', 'seed', 'reference'].includes(name),
);

export const LOCKS_FLAGS: readonly Flag[] = [
  { name: 'format', value: 'FORMAT', help: 'text, dot (Graphviz) or json (text)' },
  { name: 'schedules', value: 'N', help: `of a scenario: executions to learn from (${SCHEDULES})` },
  {
    name: 'realise',
    value: 'N',
    help: `of a scenario: executions spent on each circle (${ATTEMPTS}); 0: none`,
  },
  { name: 'bug', value: 'NAME', help: 'of a scenario: with this mistake, or several with commas between' },
  { name: 'reference', help: 'with the weaknesses of the reference design' },
  { name: 'seed', value: 'N', help: 'of a scenario 32 bits, of a run 64: 1, 0x5eed (1)' },
  { name: 'run', help: 'the graph of a run instead: a storm, or --kernel IMAGE; takes the flags of run' },
  { name: 'help', also: ['h'], help: 'this text' },
  ...MACHINE_FLAGS.map(({ help: _help, ...flag }) => flag),
];

export type LocksRequest = { readonly format: LockFormat } & (
  | {
      readonly what: 'scenario';
      readonly scenario: Scenario;
      readonly schedules: number;
      readonly attempts: number;
      readonly seed: number;
    }
  | { readonly what: 'run'; readonly run: RunRequest }
);

/** @throws SimError SIM_USAGE */
export function parseLocks(words: readonly string[]): LocksRequest {
  const flags = parseFlags(words, LOCKS_FLAGS, 'locks');
  const format = flags.value('format') ?? 'text';
  if (!isFormat(format)) {
    throw usage(`--format: there is no format '${format}'`, `write one of ${LOCK_FORMATS.join(', ')}`);
  }
  const named = flags.positionals[0];
  if (flags.positionals.length > 1) {
    throw usage(`'${flags.positionals[1]}' after '${named}'`, 'name one scenario');
  }
  const machineFlag = MACHINE_FLAGS.find(
    ({ name }) => flags.has(name) || flags.value(name) !== undefined,
  )?.name;
  if (flags.has('run')) {
    if (named !== undefined) throw usage(`--run beside the scenario '${named}'`, 'choose one of the two');
    for (const name of ['schedules', 'realise', 'bug']) {
      if (flags.value(name) !== undefined) throw usage(`--${name} beside --run`, 'it is for scenarios');
    }
    return { format, what: 'run', run: runRequest(words) };
  }
  if (machineFlag !== undefined) {
    throw usage(`--${machineFlag} without --run`, 'a scenario brings its own machine; for a run add --run');
  }
  return {
    format,
    what: 'scenario',
    scenario: withQuirks(scenarioByName(named ?? 'lock-tour'), quirksOf(flags)),
    schedules: countOf(flags.value('schedules') ?? String(SCHEDULES), '--schedules'),
    attempts: countOf(flags.value('realise') ?? String(ATTEMPTS), '--realise', 0),
    seed: seed32(flags.value('seed') ?? '1'),
  };
}

/** The words that `run` would take, and the lock rules with them. */
function runRequest(words: readonly string[]): RunRequest {
  const own = new Set(['--run', '-run']);
  const kept = words.filter((word, i) => {
    const isFormatFlag = /^--?format(=|$)/.test(word);
    const isFormatValue = /^--?format$/.test(words[i - 1] ?? '');
    return !own.has(word) && !isFormatFlag && !isFormatValue;
  });
  return parseRun([...kept, '--lockdep']);
}

function isFormat(text: string): text is LockFormat {
  return (LOCK_FORMATS as readonly string[]).includes(text);
}
