/** The flags of `faultline corpus`, and what they ask for. */
import { corpusItems, negativeControls } from '../explore/corpus/index.ts';
import type { NegativeControl } from '../explore/corpus/item.ts';
import type { ScorePlan } from '../explore/corpus/score.ts';
import { isItem, itemOrControl } from '../explore/corpus/trial.ts';
import { STRATEGY_NAMES, strategyByName } from '../explore/strategy/registry.ts';
import { SimError } from '../shared/errors.ts';
import { jobsOf, seed32 } from './explore-flags.ts';
import { type Flag, parseFlags } from './flags.ts';
import { countOf } from './run-flags.ts';

const STRATEGIES = 'random,pct2,pct3';
const SCHEDULES = 10_000;
const RUNS = 3;
const CLEAN = 1000;

export const CORPUS_FLAGS: readonly Flag[] = [
  { name: 'item', value: 'ID', help: 'only this one: RC-22, its name, or NC-07; several with commas' },
  {
    name: 'strategy',
    value: 'NAME',
    help: `who goes next, several with commas: ${STRATEGY_NAMES.join(', ')} (${STRATEGIES})`,
  },
  { name: 'schedules', value: 'N', help: 'give an item up after so many: 500, 10k (10k)' },
  { name: 'runs', value: 'N', help: `look for each so often, with other seeds (${RUNS})` },
  { name: 'clean', value: 'N', help: 'look so long for false reports, each of them (1000)' },
  { name: 'seed', value: 'N', help: 'of the first schedule, the others follow: 1, 0x5eed (1)' },
  { name: 'jobs', value: 'N', help: 'threads (as many as there are cores)' },
  { name: 'json', help: 'one JSON object a line' },
  { name: 'quiet', help: 'no status line' },
  { name: 'help', also: ['h'], help: 'this text' },
];

export interface CorpusRequest {
  readonly plan: ScorePlan;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** @throws SimError SIM_USAGE */
export function parseCorpus(words: readonly string[]): CorpusRequest {
  const flags = parseFlags(words, CORPUS_FLAGS, 'corpus');
  const [extra] = flags.positionals;
  if (extra !== undefined) {
    throw new SimError('SIM_USAGE', `'${extra}' is neither a flag nor a value of one`, {
      hint: `for a single item write --item ${extra}`,
    });
  }
  const asked = flags.value('item')?.split(',').map(itemOrControl);
  const strategies = (flags.value('strategy') ?? STRATEGIES).split(',');
  // An unknown name is an error of usage before anything runs.
  for (const name of strategies) strategyByName(name);
  const count = (name: string, unset: number): number => {
    const text = flags.value(name);
    return text === undefined ? unset : countOf(text, `--${name}`);
  };
  return {
    plan: {
      items: asked?.filter(isItem) ?? corpusItems,
      controls: asked?.filter((one): one is NegativeControl => !isItem(one)) ?? negativeControls,
      strategies,
      schedules: count('schedules', SCHEDULES),
      runs: count('runs', RUNS),
      clean: count('clean', CLEAN),
      seed: seed32(flags.value('seed') ?? '1'),
      jobs: jobsOf(flags.value('jobs')),
    },
    json: flags.has('json'),
    quiet: flags.has('quiet'),
  };
}
