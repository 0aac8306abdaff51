/**
 * A finding as a user gets it: what broke, how it came about, who held what, which lines to look at, what would have
 * passed, and the command that shows it again.
 */
import { invariantName } from '../../report/invariant-names.ts';
import { QUIRKS, type Quirks } from '../../shared/quirks.ts';
import type { Finding } from '../engine/finding.ts';
import type { Schedule } from '../engine/schedule.ts';
import { explainRace } from '../oracle/explain-race.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { Attempts } from './attempt.ts';
import { type Reordered, reordered } from './difference.ts';
import { type ActorEnd, type Explained, explain } from './explain.ts';
import { type NearestPassing, nearestPassing, type Window } from './nearest.ts';
import { callerOf, type Row, rowsOf, stepText } from './rows.ts';
import { readableStacks, type SourceLine, SourceLines } from './source-line.ts';

export interface FindingReport {
  readonly finding: Finding;
  readonly scenario: { readonly name: string; readonly title: string };
  /** Names of the quirks that are on. */
  readonly quirks: readonly string[];
  /** Names of the parts that the scenario is executed without. */
  readonly without: readonly string[];
  readonly preemptions: number;
  /** As in shrink.ts; null: it was not shrunk. */
  readonly minimal: 'all' | 'one' | null;
  readonly actors: readonly string[];
  readonly rows: readonly Row[];
  readonly ends: readonly ActorEnd[];
  /** Where to look first, and why. */
  readonly look: readonly Look[];
  readonly passing: Passing | null;
  readonly token: string;
  /** The command that shows it again. */
  readonly repeat: string;
}

export interface Look {
  readonly at: SourceLine;
  readonly why: string;
}

export interface Passing {
  /** What is different about the schedule, a sentence. */
  readonly how: string;
  readonly reordered: readonly Reordered[];
}

export interface ReportRequest {
  /** As it is executed: with its quirks, without what was dropped. */
  readonly scenario: Scenario;
  readonly schedule: Schedule;
  readonly key: string;
  readonly quirks: Quirks;
  /** Names of the parts dropped. */
  readonly without: readonly string[];
  readonly minimal: FindingReport['minimal'];
  readonly token: string;
  readonly repeat: string;
}

// LIMIT: reordered pairs shown. The first ones are what the later ones follow from.
const REORDERED_SHOWN = 4;

/** @returns null when the schedule does not show a finding with this key */
export function reportOf(request: ReportRequest): FindingReport | null {
  const { scenario, schedule, key, quirks, without, minimal, token, repeat } = request;
  const explained = explain(scenario, schedule);
  const seen = explained.findings.find((candidate) => candidate.key === key);
  if (seen === undefined) return null;
  const finding = seen.oracle === 'race' ? explainRace(scenario, schedule, seen) : seen;
  const { nearest, windows } = nearestPassing(new Attempts(scenario, key), schedule);
  const { text: details, tops } = readableStacks(finding.details ?? [], new SourceLines());
  // Their places are part of what is said; where others come in between is the reason.
  const looks = [...placesSaid(finding, tops), ...whereToLook(explained, schedule, windows)];
  const last = explained.steps.at(-1);
  if (looks.length === 0 && last !== undefined)
    add(looks, callerOf(last), `the last step: ${stepText(last)}`);
  return {
    finding: { ...finding, details },
    scenario: { name: scenario.name, title: scenario.title },
    quirks: quirks.map((id) => QUIRKS.find((quirk) => quirk.id === id)?.name ?? `quirk ${id}`),
    without,
    preemptions: explained.steps.filter(({ preempts }) => preempts).length,
    minimal,
    actors: explained.actors,
    rows: rowsOf(explained),
    ends: explained.ends,
    look: looks,
    passing: nearest === null ? null : passing(scenario, schedule, explained, nearest),
    token,
    repeat,
  };
}

/** Both sides of a race; of anything else whose stack is known its innermost place. */
function placesSaid({ oracle, message, details = [] }: Finding, tops: readonly SourceLine[]): Look[] {
  if (oracle !== 'race') return tops.slice(0, 1).map((at) => ({ at, why: `${oracle}: ${message}` }));
  const sides = details.filter((line) => !line.startsWith(' '));
  return tops.map((at, side) => ({ at, why: sides[side]! }));
}

/** The lines between which the turn must not be taken, and where whoever is stuck is stuck. */
function whereToLook(explained: Explained, schedule: Schedule, windows: readonly Window[]): Look[] {
  const { steps, actors, ends } = explained;
  const looks: Look[] = [];
  for (const { deviation, from, to } of windows.toReversed()) {
    const { actor } = schedule[deviation]!;
    const own = steps.filter((step) => step.actor === actor);
    // The steps that must not be torn apart: the last one before the window and the first one after it.
    const before = own.find(({ taken }) => taken === from - 1);
    const after = own.find(({ taken }) => taken === to);
    const name = actors[actor]!;
    if (before !== undefined)
      add(looks, callerOf(before), `${name}: ${stepText(before)} — if others run after this`);
    if (after !== undefined)
      add(looks, callerOf(after), `${name}: ${stepText(after)} — and before this, it breaks`);
  }
  for (const { name, state, at, cell, wants } of ends) {
    if (state === 'asleep') add(looks, at, `${name} waits here for ${wants?.lock ?? cell}`);
  }
  return looks;
}

function add(looks: Look[], at: SourceLine | null, why: string): void {
  if (at !== null) looks.push({ at, why });
}

function passing(
  scenario: Scenario,
  schedule: Schedule,
  failing: Explained,
  nearest: NearestPassing,
): Passing {
  const { deviation, shift } = nearest;
  const { actor, to, choice } = schedule[deviation]!;
  const { actors } = failing;
  const who = actor < 0 ? 'nobody' : actors[actor]!;
  const next = choice ? `way ${to}` : actors[to]!;
  const other = explain(scenario, nearest.schedule);
  let how: string;
  if (shift === null) {
    how = choice ? `${who} takes way 0, not ${next}` : `${next} does not go before its turn`;
    if (!choice && actor >= 0) how = `${who} goes on, and ${next} comes after it`;
  } else {
    const steps = `${Math.abs(shift)} step${Math.abs(shift) === 1 ? '' : 's'}`;
    how = `${next} takes over ${steps} ${shift > 0 ? 'later' : 'earlier'}, when ${who} `;
    const step = other.steps.find(
      (one) => one.actor === actor && one.taken === schedule[deviation]!.taken + shift,
    );
    how += step === undefined ? 'has ended' : `stands before: ${stepText(step)}`;
  }
  return { how, reordered: reordered(failing, other).slice(0, REORDERED_SHOWN) };
}

/** What is broken: the rule and its name. */
export function headline({ oracle, rule }: Finding): string {
  const name = invariantName(rule);
  return `${oracle === 'invariant' ? '' : `${oracle} `}${rule}${name === '' ? '' : `: ${name}`}`;
}
