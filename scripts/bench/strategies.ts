/**
 * What strategies cost by themselves: asked for each step of an execution that was recorded before, so that neither
 * the machine nor the engine is measured, nor what a strategy's own schedules would cost.
 */
import type { Strategy, View } from '../../src/explore/engine/strategy.ts';
import { Stage } from '../../src/explore/explorer.ts';
import { flush } from '../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../src/explore/scenario/machine-target.ts';
import { Coverage } from '../../src/explore/seen/coverage.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';
import { strategyByName } from '../../src/explore/strategy/registry.ts';
import { interleaved, row, type Suite } from './suite.ts';

const NAMES = ['random', 'pct3', 'pos', 'urw', 'surw', 'rr'] as const;
const NS_PER_STEP = 20;

interface Recorded {
  readonly view: { -readonly [K in keyof View]: View[K] };
  readonly moments: readonly Pick<
    View,
    'runnable' | 'timed' | 'last' | 'relaxed' | 'fallback' | 'step' | 'at'
  >[];
}

/** One random execution of `flush`, moment by moment. */
function record(): Recorded {
  const moments: Recorded['moments'][number][] = [];
  const walk = new RandomWalk();
  const recorder: Strategy = {
    name: 'recorder',
    begin: (info) => walk.begin(info),
    pick(view) {
      const { runnable, timed, last, relaxed, fallback, step, at } = view;
      moments.push({ runnable, timed, last, relaxed, fallback, step, at: at.slice() });
      return walk.pick(view);
    },
  };
  const { actorCount, taken, trace, locks } = new Stage(new MachineTarget(flush)).execute(recorder, 1)!;
  return { view: { actorCount, taken, trace, locks, ...moments[0]! }, moments };
}

/** ns of processor time a step, its share of `begin` and `end` included: others may use the machine meanwhile. */
function measure(strategy: Strategy, { view, moments }: Recorded, executions: number): number {
  const { actorCount } = view;
  const longest = moments.length;
  const began = process.cpuUsage();
  for (let index = 0; index < executions; index++) {
    strategy.begin({ index, seed: index, actorCount, longest });
    for (const moment of moments) {
      view.runnable = moment.runnable;
      view.timed = moment.timed;
      view.last = moment.last;
      view.relaxed = moment.relaxed;
      view.fallback = moment.fallback;
      view.step = moment.step;
      view.at = moment.at;
      strategy.pick(view);
    }
    strategy.end?.(view, { findings: [], pruned: false });
  }
  const { user, system } = process.cpuUsage(began);
  return ((user + system) * 1000) / (executions * moments.length);
}

export const strategies: Suite = {
  name: 'strategies',
  about:
    'one step of a strategy by itself, beside one that asks for the default; what noting coverage adds to each step',
  async run({ quick }) {
    const recorded = record();
    const executions = quick ? 500 : 3000;
    const nothing: Strategy = { name: 'default', begin: () => true, pick: (view) => view.fallback };
    const coverage = new Coverage();
    const noting: Strategy = { ...nothing, end: (view) => coverage.note(view.trace) };
    const times = await interleaved(quick ? 3 : 9, {
      default: async () => measure(nothing, recorded, executions),
      coverage: async () => measure(noting, recorded, executions),
      ...Object.fromEntries(
        NAMES.map((name) => [name, async () => measure(strategyByName(name), recorded, executions)]),
      ),
    });
    const { default: bare, ...others } = times;
    const goal = { is: 'at most', value: NS_PER_STEP } as const;
    return Object.entries(others).map(([name, rounds]) => {
      const beyond = rounds.map((round, i) => round - bare![i]!);
      return row(name, 'ns', beyond, name === 'random' || name === 'pct3' ? goal : undefined);
    });
  },
};
