/**
 * How an item counts as found (section 9 of the race corpus): an oracle of one of its rules fires within so many
 * schedules, the schedule shows it again every time, and the corrected machine comes out of it without a finding.
 */
import { Replay, type Schedule } from '../engine/schedule.ts';
import type { Strategy } from '../engine/strategy.ts';
import type { Outcome, Stage } from '../explorer.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { stageOf } from '../scenario/stage.ts';
import type { CorpusItem } from './item.ts';

/** How often a schedule must show its finding again. */
export const REPLAYS = 20;

/** The first schedule with a finding. */
export interface Find {
  readonly outcome: Outcome;
  /** It was the n-th. */
  readonly schedules: number;
}

/**
 * Explores the mistaken machine with each of the strategies in turn.
 *
 * @param schedules  of all strategies together; schedule number n has the seed `seed` + n
 * @returns null when there was none, or nothing left to try
 */
export function search(
  item: CorpusItem,
  strategies: readonly Strategy[],
  { schedules, seed }: { schedules: number; seed: number },
): Find | null {
  const stages = strategies.map(() => stageOf(item.scenario(true)));
  for (let run = 0; run < schedules; run++) {
    const which = run % strategies.length;
    const outcome = stages[which]!.outcome(strategies[which]!, seed + run);
    if (outcome === null) return null;
    if (outcome.findings.length > 0) return { outcome, schedules: run + 1 };
  }
  return null;
}

/** What a find is worth. */
export interface Proof {
  /** Of the rules that were named, those that are none of the item's. */
  readonly otherRules: readonly string[];
  /** How often of {@link REPLAYS} the schedule gave the same execution with the same findings. */
  readonly repeated: number;
  /** What the corrected machine says under the same schedule; should be nothing. */
  readonly corrected: readonly string[];
}

export function prove(item: CorpusItem, { outcome }: Find): Proof {
  const { findings, schedule, traceHash } = outcome;
  const keys = findings.map(({ key }) => key).join('\n');
  const mistaken = stageOf(item.scenario(true));
  let repeated = 0;
  for (let i = 0; i < REPLAYS; i++) {
    const again = followed(mistaken, schedule);
    if (again.traceHash === traceHash && again.findings.map(({ key }) => key).join('\n') === keys)
      repeated += 1;
  }
  return {
    otherRules: [...new Set(findings.map(({ rule }) => rule))].filter((rule) => !item.rules.includes(rule)),
    repeated,
    corrected: sentences(followed(stageOf(item.scenario(false)), schedule)),
  };
}

function followed(stage: Stage, schedule: Schedule): Outcome {
  return stage.outcome(new Replay(schedule), 0)!;
}

/** Did it hold? */
export function isProof({ otherRules, repeated, corrected }: Proof): boolean {
  return otherRules.length === 0 && repeated === REPLAYS && corrected.length === 0;
}

/** A schedule of a correct machine that an oracle found something in. */
export interface FalseReport {
  readonly seed: number;
  readonly schedule: Schedule;
  readonly sentences: readonly string[];
}

/** Explores a machine that should have nothing to report. Null: it had not. */
export function falseReport(
  scenario: Scenario,
  strategy: Strategy,
  { schedules, seed }: { schedules: number; seed: number },
): FalseReport | null {
  const stage = stageOf(scenario);
  for (let run = 0; run < schedules; run++) {
    const outcome = stage.outcome(strategy, seed + run);
    if (outcome === null) return null;
    if (outcome.findings.length === 0) continue;
    return { seed: seed + run, schedule: outcome.schedule, sentences: sentences(outcome) };
  }
  return null;
}

export function sentences({ findings }: Outcome): string[] {
  return findings.map(({ rule, message }) => `${rule}: ${message}`);
}
