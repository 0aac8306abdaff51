/**
 * One trial of the corpus' protocol, as plain data that travels between threads: what is asked of a worker, and what it
 * answers. A pure function of the trial.
 */
import { SimError } from '../../shared/errors.ts';
import { suggest } from '../../shared/suggest.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { strategyByName } from '../strategy/registry.ts';
import { corpusItems, negativeControls } from './index.ts';
import type { CorpusItem, NegativeControl } from './item.ts';
import { falseReport, type Proof, prove, search } from './protocol.ts';

interface Base {
  /** RC-nn, or for `clean` NC-nn as well. */
  readonly id: string;
  readonly strategy: string;
  /** At most. */
  readonly schedules: number;
  /** Of the first schedule, the others follow. */
  readonly seed: number;
}

/** Look for the mistake of an item, and prove what is found. */
export interface FindTrial extends Base {
  readonly kind: 'find';
}

/** Look for anything in the corrected machine of an item, or in a negative control. */
export interface CleanTrial extends Base {
  readonly kind: 'clean';
}

export type Trial = FindTrial | CleanTrial;

export interface Found {
  /** It was the n-th schedule. */
  readonly schedules: number;
  readonly steps: number;
  readonly rule: string;
  readonly message: string;
  readonly proof: Proof;
}

export interface FindAnswer {
  /** Null: there was nothing in all of the schedules. */
  readonly found: Found | null;
}

export interface CleanAnswer {
  /** Null: nothing was reported, as it should be. */
  readonly report: { readonly seed: number; readonly sentences: readonly string[] } | null;
  /** In how many executions a negative control saw what it is about; 0 for items. */
  readonly shown: number;
}

/** @throws SimError SIM_USAGE when nothing has this id */
export function itemOrControl(id: string): CorpusItem | NegativeControl {
  const all: readonly (CorpusItem | NegativeControl)[] = [...corpusItems, ...negativeControls];
  const named = all.find((one) => one.id === id.toUpperCase() || ('name' in one && one.name === id));
  if (named !== undefined) return named;
  const near = suggest(
    id,
    all.flatMap((one) => ('name' in one ? [one.id, one.name] : [one.id])),
  );
  throw new SimError('SIM_USAGE', `--item: the race corpus has no '${id}'`, {
    hint: near === null ? 'write RC-01, NC-01, or the name of a mistake' : `did you mean ${near}?`,
  });
}

export function isItem(one: CorpusItem | NegativeControl): one is CorpusItem {
  return 'rules' in one;
}

export function carryOut(trial: Trial): FindAnswer | CleanAnswer {
  const one = itemOrControl(trial.id);
  const strategy = strategyByName(trial.strategy);
  if (trial.kind === 'clean') {
    let shown = 0;
    const scenario: Scenario = isItem(one)
      ? one.scenario(false)
      : one.scenario(() => {
          shown += 1;
        });
    const report = falseReport(scenario, strategy, trial);
    return { report: report === null ? null : { seed: report.seed, sentences: report.sentences }, shown };
  }
  if (!isItem(one)) throw new RangeError(`${one.id} has no mistake to be found`);
  const find = search(one, [strategy], trial);
  if (find === null) return { found: null };
  const { findings, steps } = find.outcome;
  const { rule, message } = findings[0]!;
  return { found: { schedules: find.schedules, steps, rule, message, proof: prove(one, find) } };
}
