/** The strategies there are, by the names that the command line has for them. */
import { SimError } from '../../shared/errors.ts';
import { suggest } from '../../shared/suggest.ts';
import type { Strategy } from '../engine/strategy.ts';
import { RandomWalk } from './random-walk.ts';

export interface StrategyOptions {
  /** Of the bug looked for, in the sense of PCT; for bounded searches the bound. */
  readonly depth?: number;
}

const MAKERS: Readonly<Record<string, (options: StrategyOptions) => Strategy>> = {
  random: () => new RandomWalk(),
};

export const STRATEGY_NAMES: readonly string[] = Object.keys(MAKERS);

/** @throws SimError SIM_USAGE when there is none of this name */
export function strategyByName(name: string, options: StrategyOptions = {}): Strategy {
  const make = MAKERS[name];
  if (make !== undefined) return make(options);
  const near = suggest(name, STRATEGY_NAMES);
  throw new SimError('SIM_USAGE', `there is no strategy '${name}'`, {
    hint: near === null ? `there are: ${STRATEGY_NAMES.join(', ')}` : `did you mean ${near}?`,
  });
}
