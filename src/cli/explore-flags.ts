/** The flags of `faultline explore`, and what they ask for. */
import { type CampaignPlan, mustBeResumable } from '../explore/campaign/campaign.ts';
import { STRATEGY_NAMES, strategyByName } from '../explore/strategy/registry.ts';
import { quirkById } from '../shared/quirks.ts';
import { parseDuration } from '../shared/units.ts';
import { countOf, jobsOf, quirksOf, seed32 } from './flag-values.ts';
import { type Flag, parseFlags, usage } from './flags.ts';

const SCHEDULES = 10_000;
const STRATEGY = 'auto';
/** With --resume: its schedules stand alone. */
const STRATEGY_RESUMABLE = 'random';
const DEPTH_LIMIT = 1000;

export const EXPLORE_FLAGS: readonly Flag[] = [
  {
    name: 'strategy',
    value: 'NAME',
    help: `who goes next: ${STRATEGY_NAMES.join(', ')} (${STRATEGY}; with --resume ${STRATEGY_RESUMABLE})`,
  },
  {
    name: 'depth',
    value: 'N',
    help: 'what the strategy takes it for: constraints of the bugs looked for, or its bound',
  },
  { name: 'schedules', value: 'N', help: 'execute so many: 500, 10k, 2m (10k; with --time, no limit)' },
  { name: 'time', value: 'D', help: 'stop after that long: 30, 500ms, 10m' },
  { name: 'seed', value: 'N', help: 'of the first schedule, the others follow: 1, 0x5eed (1)' },
  { name: 'jobs', value: 'N', help: 'threads (as many as there are cores)' },
  { name: 'bug', value: 'NAME', help: 'switch a known bug on: its name or RC-01; several with commas' },
  { name: 'reference', help: 'with the weaknesses of the reference design; expect findings' },
  { name: 'keep-going', help: 'go on after the first finding' },
  { name: 'resume', value: 'FILE', help: 'keep what is done in FILE, and go on from there' },
  { name: 'list', help: 'the bundled scenarios' },
  { name: 'json', help: 'one JSON object a line' },
  { name: 'quiet', help: 'no status line' },
  { name: 'help', also: ['h'], help: 'this text' },
];

export interface ExploreRequest {
  readonly list: boolean;
  /** Empty with `list`. */
  readonly scenario: string;
  readonly plan: CampaignPlan;
  /** Names of the quirks. */
  readonly quirks: readonly string[];
  readonly resume: string | null;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** @throws SimError SIM_USAGE */
export function parseExplore(words: readonly string[]): ExploreRequest {
  const flags = parseFlags(words, EXPLORE_FLAGS, 'explore');
  const [scenario, second] = flags.positionals;
  const list = flags.has('list');
  if (scenario === undefined && !list) {
    throw usage('which scenario?', 'faultline explore --list lists the bundled ones');
  }
  if (second !== undefined) {
    throw usage(`'${second}' is one scenario too many`, 'one at a time');
  }
  const time = flags.value('time');
  const schedules = flags.value('schedules');
  const resume = flags.value('resume') ?? null;
  const strategy = flags.value('strategy') ?? (resume === null ? STRATEGY : STRATEGY_RESUMABLE);
  const depth = depthOf(flags.value('depth'));
  // An unknown name is an error of usage before anything runs.
  strategyByName(strategy, depth === null ? {} : { depth });
  if (resume !== null) mustBeResumable(strategy);
  const quirks = quirksOf(flags);
  let count = time === undefined ? SCHEDULES : Number.POSITIVE_INFINITY;
  if (schedules !== undefined) count = countOf(schedules, '--schedules');
  return {
    list,
    scenario: scenario ?? '',
    plan: {
      quirks,
      strategy,
      depth,
      schedules: count,
      seed: seed32(flags.value('seed') ?? '1'),
      timeMs: time === undefined ? null : parseDuration(time, '--time'),
      jobs: jobsOf(flags.value('jobs')),
      keepGoing: flags.has('keep-going'),
    },
    quirks: quirks.map((id) => quirkById(id).name),
    resume,
    json: flags.has('json'),
    quiet: flags.has('quiet'),
  };
}

function depthOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (/^\d{1,4}$/.test(text) && Number(text) <= DEPTH_LIMIT) return Number(text);
  throw usage(`--depth: '${text}' is no depth`, `give a number up to ${DEPTH_LIMIT}: most races need 1 or 2`);
}
