/** A finding's report as text for people. */
import { relative } from 'node:path';
import { QUIRKS } from '../../shared/quirks.ts';
import { hex } from '../../shared/units.ts';
import { type FindingReport, headline } from './report.ts';
import { callerOf, stepText } from './rows.ts';
import { type SourceLine, shortPlace } from './source-line.ts';

// LIMIT: characters of a column. Longer ones end in …
const COLUMN_WIDE = 38;
const COLUMN_NARROW = 26;
/** Actors from which columns are narrow. */
const MANY_ACTORS = 4;
// LIMIT: lines of a finding's own details.
const DETAILS_SHOWN = 12;

export function reportText(report: FindingReport): string {
  const { finding, scenario, quirks, without, preemptions, minimal } = report;
  const smallest =
    minimal === 'all'
      ? '; none with less shows it'
      : minimal === 'one'
        ? '; none of them can be left out'
        : '';
  const lines = [
    `finding ${headline(finding)}`,
    `  ${finding.message}`,
    `  scenario ${scenario.name}${withQuirks(quirks)}: ${scenario.title}`,
    ...(without.length === 0 ? [] : [`  without ${without.join(', ')}: it does not need them`]),
    `  seen after ${finding.step} steps with ${counted(preemptions, 'preemption')}${smallest}`,
    ...(finding.details ?? []).slice(0, DETAILS_SHOWN).map((line) => `  ${line.trim()}`),
    '',
    ...tableLines(report),
    ...section('who holds and waits', endLines(report)),
    ...section('where to look', aligned(report.look.map(({ at, why }) => [placeText(at), why]))),
    ...section('nearest schedule that passes', passingLines(report)),
    '',
    `repeat: ${report.repeat}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** The weaknesses of the reference design are too many to be named when they come together. */
function withQuirks(names: readonly string[]): string {
  if (names.length === 0) return '';
  const reference = QUIRKS.filter((quirk) => quirk.reference).map(({ name }) => name);
  if (!reference.every((name) => names.includes(name))) return ` with ${names.join(', ')}`;
  const more = names.filter((name) => !reference.includes(name));
  return ` of the reference design${more.map((name) => `, with ${name}`).join('')}`;
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)];
}

/** One column per actor, its steps from top to bottom. */
function tableLines({ actors, rows, finding }: FindingReport): string[] {
  const limit = actors.length >= MANY_ACTORS ? COLUMN_NARROW : COLUMN_WIDE;
  const widths = actors.map((name, actor) => {
    const texts = rows.filter((row) => row.actor === actor).map(({ text }) => text.length);
    return Math.min(limit, Math.max(name.length, ...texts));
  });
  const numberWidth = Math.max(4, String(finding.step).length);
  const line = (number: string, cells: readonly string[], where: string) =>
    `${number.padStart(numberWidth)}  ${cells.map((cell, i) => cut(cell, widths[i]!).padEnd(widths[i]!)).join(' │ ')}  ${where}`.trimEnd();
  const lines = [line('step', actors, '')];
  for (const { from, actor, text, at, preempts } of rows) {
    if (preempts)
      lines.push(
        line(
          '',
          actors.map((_, i) => (i === actor ? '▼ takes over' : '')),
          '',
        ),
      );
    const cells = actors.map((_, i) => (i === actor ? text : ''));
    lines.push(line(String(from + 1), cells, at === null ? '' : `${shortPlace(at)} ${at.function}`));
  }
  const { actor, message } = finding;
  const named = actor === undefined || message.startsWith(actors[actor]!);
  const who = named ? '' : ` ${actors[actor]}:`;
  return [...lines, `${String(finding.step).padStart(numberWidth)}  ✗${who} ${message}`];
}

function endLines({ ends }: FindingReport): string[] {
  const rows: string[][] = [];
  for (const { name, state, holds, wants, cell, at } of ends) {
    for (const { lock, mode, since, at: site } of holds) {
      const where = site === null ? '' : ` (${shortPlace(site)})`;
      rows.push([name, `holds ${lock} for ${mode}, since step ${since + 1}${where}`]);
    }
    if (state === 'ended' || (holds.length === 0 && state !== 'asleep')) continue;
    const what = wants === null ? cell : `${wants.lock} for ${wants.mode}`;
    const where = at === null ? '' : ` (${shortPlace(at)})`;
    rows.push([name, `${state === 'asleep' ? 'waits for' : 'stands before'} ${what}${where}`]);
  }
  return aligned(rows);
}

function passingLines({ passing, actors }: FindingReport): string[] {
  if (passing === null) return [];
  const { how, reordered } = passing;
  const lines = [how];
  if (reordered.length > 0) lines.push('then the order of these is the other way round; here:');
  for (const { first, second } of reordered) {
    const side = (step: typeof first) => {
      const at = callerOf(step);
      return `${actors[step.actor]}: ${stepText(step)}${at === null ? '' : ` (${shortPlace(at)})`}`;
    };
    lines.push(`  ${side(first)}  before  ${side(second)}`);
  }
  return lines;
}

/** As a JSON object: one line of `--json`. Stacks are cut to the line that counts. */
export function reportJson(report: FindingReport): Readonly<Record<string, unknown>> {
  const { finding, passing, look, rows, ends, actors, ...rest } = report;
  return {
    ...rest,
    oracle: finding.oracle,
    rule: finding.rule,
    message: finding.message,
    key: finding.key,
    step: finding.step,
    ...(finding.actor === undefined ? {} : { actor: actors[finding.actor] }),
    details: finding.details ?? [],
    actors,
    rows: rows.map(({ from, to, actor, text, at, preempts }) => ({
      from: from + 1,
      to: to + 1,
      actor: actors[actor],
      text,
      at: jsonPlace(at),
      preempts,
    })),
    ends: ends.map(({ holds, at, ...end }) => ({
      ...end,
      holds: holds.map(({ at: site, since, ...held }) => ({
        ...held,
        since: since + 1,
        at: jsonPlace(site),
      })),
      at: jsonPlace(at),
    })),
    look: look.map(({ at, why }) => ({ at: jsonPlace(at), why })),
    passing:
      passing === null
        ? null
        : {
            how: passing.how,
            reordered: passing.reordered.map(({ first, second }) =>
              [first, second].map((step) => ({
                actor: actors[step.actor],
                text: stepText(step),
                cell: step.cell,
                point: hex(step.point),
                at: jsonPlace(callerOf(step)),
              })),
            ),
          },
  };
}

function jsonPlace(at: SourceLine | null): string | null {
  return at === null ? null : placeText(at);
}

/** `src/actors/mmu/memslots.ts:226 swapActive`, from where the user is. */
function placeText(at: SourceLine): string {
  const short = relative(process.cwd(), at.file);
  const file = short.startsWith('..') ? at.file : short;
  return `${file}:${at.line}${at.function === '' ? '' : ` ${at.function}`}`;
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const width = Math.max(0, ...rows.map(([left]) => left!.length));
  return rows.map(([left, right]) => `${left!.padEnd(width)}  ${right}`);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

function counted(count: number, noun: string): string {
  return `${count === 0 ? 'no' : count} ${noun}${count === 1 ? '' : 's'}`;
}
