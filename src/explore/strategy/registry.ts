/** The strategies there are, by the names that the command line has for them. */
import { SimError } from '../../shared/errors.ts';
import { suggest } from '../../shared/suggest.ts';
import type { Strategy } from '../engine/strategy.ts';
import { Auto } from './auto.ts';
import { BoundedSearch } from './bounded-search.ts';
import { Dpor } from './dpor.ts';
import { Pct } from './pct.ts';
import { Pos } from './pos.ts';
import { RandomWalk } from './random-walk.ts';
import { RoundRobin } from './round-robin.ts';
import { Surw } from './surw.ts';
import { Urw } from './urw.ts';

export interface StrategyOptions {
  /** Of the bugs looked for, in the sense of PCT; for bounded searches the last bound. */
  readonly depth?: number;
}

interface Entry {
  /** One line. */
  readonly about: string;
  /** What a number after the name may be. Absent: there is none. */
  readonly depth?: { readonly min: number; readonly max: number; readonly unset: number };
  make(depth: number): Strategy;
}

const UNBOUNDED = Number.POSITIVE_INFINITY;

const ENTRIES: Readonly<Record<string, Entry>> = {
  auto: { about: 'all of the others by turns, more of those that show new things', make: () => new Auto() },
  random: { about: 'random walk: any actor that can move', make: () => new RandomWalk() },
  pct: {
    about: 'random priorities that change at depth − 1 steps: a guarantee for bugs of that depth',
    depth: { min: 1, max: 32, unset: 3 },
    make: (depth) => new Pct(depth),
  },
  pos: { about: 'random priorities of steps, drawn anew where they race', make: () => new Pos() },
  urw: { about: 'random walk in proportion to the steps that actors have left', make: () => new Urw() },
  surw: { about: 'all orders of the accesses to one cell, drawn for each execution', make: () => new Surw() },
  ipb: {
    about: 'every schedule with at most 0, 1, 2, … preemptions',
    depth: { min: 0, max: 1000, unset: UNBOUNDED },
    make: (bound) => new BoundedSearch('preemptions', bound),
  },
  idb: {
    about: 'every schedule with at most 0, 1, 2, … delays',
    depth: { min: 0, max: 1000, unset: UNBOUNDED },
    make: (bound) => new BoundedSearch('delays', bound),
  },
  dfs: { about: 'every schedule', make: () => new BoundedSearch('none') },
  dpor: { about: 'one schedule of every trace', make: () => new Dpor() },
  'dpor-locks': {
    about: 'the same, where locks are right: nothing of what happens inside of them',
    make: () => new Dpor({ trustLocks: true }),
  },
  rr: { about: 'everybody in turn, for 1, 2, 3, … steps', make: () => new RoundRobin() },
};

/** Without numbers: `pct`, not `pct3`. */
export const STRATEGY_NAMES: readonly string[] = Object.keys(ENTRIES);

/** What is said of a strategy in a list of them. */
export function aboutStrategy(name: string): string {
  return ENTRIES[name]!.about;
}

/**
 * A new strategy. Some names take a number: `pct3` is `pct` with depth 3, `ipb2` ends after two preemptions.
 *
 * @param name  as in {@link STRATEGY_NAMES}, and a number where there is one
 * @throws SimError SIM_USAGE when there is none of this name, or its number is none it can have
 */
export function strategyByName(name: string, options: StrategyOptions = {}): Strategy {
  const [, base = '', digits = ''] = /^(.*?)(\d*)$/.exec(name)!;
  const entry = Object.hasOwn(ENTRIES, base) ? ENTRIES[base]! : null;
  if (entry === null) {
    const near = suggest(base, STRATEGY_NAMES);
    throw new SimError('SIM_USAGE', `there is no strategy '${name}'`, {
      hint: near === null ? `there are: ${STRATEGY_NAMES.join(', ')}` : `did you mean ${near}?`,
    });
  }
  const given = digits === '' ? options.depth : Number(digits);
  if (digits !== '' && options.depth !== undefined && options.depth !== given) {
    throw new SimError('SIM_USAGE', `strategy '${name}' with depth ${options.depth}`, {
      hint: `give the depth once: ${base}${options.depth}`,
    });
  }
  const { depth } = entry;
  if (depth === undefined) {
    if (given === undefined) return entry.make(0);
    throw new SimError('SIM_USAGE', `strategy '${base}' has no depth, but ${given} is given`, {
      hint: `${takingDepth().join(', ')} have one`,
    });
  }
  if (given !== undefined && !(Number.isInteger(given) && given >= depth.min && given <= depth.max)) {
    throw new SimError('SIM_USAGE', `depth ${given} of strategy '${base}'`, {
      hint: `an integer from ${depth.min} to ${depth.max}`,
    });
  }
  return entry.make(given ?? depth.unset);
}

const takingDepth = () => STRATEGY_NAMES.filter((name) => ENTRIES[name]!.depth !== undefined);
