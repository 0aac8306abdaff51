/** Executing what a token says: was it seen again, and if not, where did the execution take another way? */
import { SimError } from '../../shared/errors.ts';
import type { Finding } from '../engine/finding.ts';
import { type Deviation, Replay, type Schedule } from '../engine/schedule.ts';
import type { Stage } from '../explorer.ts';
import { type Scenario, withQuirks } from '../scenario/scenario.ts';
import { stageOf } from '../scenario/stage.ts';
import { findingHash, hashOf, type Token, traceHashBits } from './token.ts';

export interface ReplayOutcome {
  /** The finding that the token is about; null: diverged. */
  readonly finding: Finding | null;
  /** Was every step the same as when the token was made? */
  readonly sameExecution: boolean;
  /** What was different, a sentence; empty when it was reproduced. */
  readonly divergence: string;
  readonly steps: number;
}

/**
 * The scenario as the token executes it.
 *
 * @throws SimError SIM_TOKEN when it is another scenario's
 */
export function scenarioOf(token: Token, scenario: Scenario): { scenario: Scenario; without: string[] } {
  const names = scenario.parts?.names ?? [];
  const unknown = token.dropped.find((place) => place >= names.length);
  if (hashOf(scenario.name) !== token.scenario || unknown !== undefined) {
    throw new SimError('SIM_TOKEN', `a token of another scenario than '${scenario.name}'`, {
      hint:
        unknown === undefined
          ? 'say which: faultline replay TOKEN SCENARIO'
          : `it leaves out part ${unknown}, which this one does not have: the scenario has changed`,
    });
  }
  const smaller = token.dropped.length === 0 ? scenario : scenario.parts!.without(token.dropped);
  return {
    scenario: withQuirks(smaller, token.quirks),
    without: token.dropped.map((place) => names[place]!),
  };
}

/** @param scenario  from {@link scenarioOf} */
export function replayExplored(scenario: Scenario, token: Token): ReplayOutcome {
  return replayOn(stageOf(scenario), token);
}

/** @param stage  of the scenario that the token executes, by whatever engine */
export function replayOn(stage: Stage, token: Token): ReplayOutcome {
  const replay = new Replay(token.schedule);
  const execution = stage.execute(replay, 0);
  if (execution === null) throw new Error('a replay has nothing to try');
  const { findings, trace, step, participants } = execution;
  const finding = findings.find(({ key }) => findingHash(key) === token.finding) ?? null;
  const names = participants.map(({ name }) => name);
  return {
    finding,
    sameExecution: traceHashBits(trace.hash()) === token.trace,
    divergence: finding !== null ? '' : divergence(replay, token.schedule, names, step, findings),
    steps: step,
  };
}

function divergence(
  replay: Replay,
  schedule: Schedule,
  names: readonly string[],
  steps: number,
  findings: readonly Finding[],
): string {
  const { firstMiss, unused } = replay;
  const instead = findings.length === 0 ? '' : `; instead: ${findings[0]!.message}`;
  if (firstMiss !== null) {
    const { step, deviation } = firstMiss;
    return `at step ${step + 1}: ${deviationText(deviation, names)} is not possible${instead}`;
  }
  const stranger = schedule.find(
    ({ actor, to, choice }) => actor >= names.length || (!choice && to >= names.length),
  );
  if (stranger !== undefined)
    return `it names actor ${Math.max(stranger.actor, stranger.to)} of ${names.length}`;
  if (unused > 0) {
    return `after ${steps} steps: ${unused} of ${schedule.length} deviations were not reached${instead}`;
  }
  return `after ${steps} steps: all ${schedule.length} deviations were followed, and it was not seen${instead}`;
}

/** `receiver takes over when control has taken 18 steps`. */
function deviationText({ actor, taken, to, choice }: Deviation, names: readonly string[]): string {
  const who = names[actor] ?? `actor ${actor}`;
  if (choice) return `way ${to} at step ${taken + 1} of ${who}`;
  const next = names[to] ?? `actor ${to}`;
  if (actor < 0) return `${next} going first`;
  return `${next} taking over when ${who} has taken ${taken} steps`;
}
