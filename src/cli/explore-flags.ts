/** The flags of `faultline explore`, and what they ask for. */
import { availableParallelism } from 'node:os';
import { type CampaignPlan, mustBeResumable } from '../explore/campaign/campaign.ts';
import { STRATEGY_NAMES, strategyByName } from '../explore/strategy/registry.ts';
import { SimError } from '../shared/errors.ts';
import { QUIRKS, quirkByName, REFERENCE_QUIRKS } from '../shared/quirks.ts';
import { suggest } from '../shared/suggest.ts';
import { parseDuration } from '../shared/units.ts';
import { type Flag, type ParsedFlags, parseFlags } from './flags.ts';
import { countOf } from './run-flags.ts';

const SCHEDULES = 10_000;
const STRATEGY = 'auto';
/** With --resume: its schedules stand alone. */
const STRATEGY_RESUMABLE = 'random';
const JOBS_LIMIT = 64;
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
    throw new SimError('SIM_USAGE', 'which scenario?', {
      hint: 'faultline explore --list lists the bundled ones',
    });
  }
  if (second !== undefined) {
    throw new SimError('SIM_USAGE', `'${second}' is one scenario too many`, { hint: 'one at a time' });
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
    quirks: quirks.map((id) => QUIRKS.find((quirk) => quirk.id === id)!.name),
    resume,
    json: flags.has('json'),
    quiet: flags.has('quiet'),
  };
}

function quirksOf(flags: ParsedFlags): number[] {
  const ids = new Set(flags.has('reference') ? REFERENCE_QUIRKS : []);
  for (const name of flags.value('bug')?.split(',') ?? []) {
    const quirk = quirkByName(name) ?? QUIRKS.find(({ item }) => item === name.toUpperCase());
    if (quirk === undefined) {
      const near = suggest(
        name,
        QUIRKS.map((candidate) => candidate.name),
      );
      throw new SimError('SIM_USAGE', `--bug: there is no known bug '${name}'`, {
        hint:
          near === null ? 'give a name like createSlotGap, or a number like RC-01' : `did you mean ${near}?`,
      });
    }
    ids.add(quirk.id);
  }
  return [...ids].sort((a, b) => a - b);
}

function depthOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (/^\d{1,4}$/.test(text) && Number(text) <= DEPTH_LIMIT) return Number(text);
  throw new SimError('SIM_USAGE', `--depth: '${text}' is no depth`, {
    hint: `give a number up to ${DEPTH_LIMIT}: most races need 1 or 2`,
  });
}

/** Threads: as many as there are cores, unless told otherwise. */
export function jobsOf(text: string | undefined): number {
  if (text === undefined) return Math.min(availableParallelism(), JOBS_LIMIT);
  if (/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= JOBS_LIMIT) return Number(text);
  throw new SimError('SIM_USAGE', `--jobs: '${text}' is no number of threads`, {
    hint: `give 1 to ${JOBS_LIMIT}`,
  });
}

export function seed32(text: string): number {
  const seed = /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(text) ? Number(text) : Number.NaN;
  if (seed <= 0xffffffff) return seed;
  throw new SimError('SIM_USAGE', `--seed: '${text}' is no unsigned 32-bit number`, {
    hint: 'write 123 or 0x7b',
  });
}
