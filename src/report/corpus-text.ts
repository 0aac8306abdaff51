/** What the race corpus comes to, as text: a line for each item, then a line for each strategy. */
import type { ControlScore, ItemScore, Score, ScorePlan } from '../explore/corpus/score.ts';
import { falseReports, isFound, medianOf } from '../explore/corpus/score.ts';
import { formatCount } from '../shared/units.ts';
import { table } from './table.ts';

const NONE = '–';
const count = (n: number | null): string => (n === null ? NONE : formatCount(n));

/** `RC-22  releaseBeforeShutdown  2  MUT  213  40  12  I10  20/20`. */
export function itemTable(scores: readonly ItemScore[], { strategies, runs }: ScorePlan): string {
  const head = ['item', 'mistake', 'd', 'origin', ...strategies, 'rule', 'repeats', 'corrected'];
  const rows = scores.map(({ item, strategies: each, first, report }) => {
    const proof = first?.proof;
    return [
      item.id,
      item.name,
      String(item.depth),
      item.origin,
      ...each.map(({ median, runs: numbers }) => {
        const missed = numbers.filter((n) => n === null).length;
        return missed === 0 || missed === runs
          ? count(median)
          : `${count(median)} (${runs - missed}/${runs})`;
      }),
      first?.rule ?? NONE,
      proof === undefined ? NONE : String(proof.repeated),
      (proof?.corrected.length ?? 0) === 0 && report === null ? 'clean' : 'REPORTS',
    ];
  });
  return lines(table([head, ...rows], 2));
}

export function controlTable(scores: readonly ControlScore[]): string {
  const rows = scores.map(({ control, report, shown }) => [
    control.id,
    report === null ? 'nothing reported' : 'REPORTS',
    `happened ${formatCount(shown)} times`,
    control.title,
  ]);
  return rows.length === 0 ? '' : lines(table(rows, 4));
}

/** Found of all, and the median of the items' medians, for each strategy and depth. */
export function strategyTable({ items }: Score, { strategies }: ScorePlan): string {
  const depths = [...new Set(items.map(({ item }) => item.depth))].sort((a, b) => a - b);
  const head = ['strategy', 'found', 'median', ...depths.map((depth) => `depth ${depth}`)];
  const rows = strategies.map((strategy, i) => {
    const medians = (of: readonly ItemScore[]) => of.map((score) => score.strategies[i]!.median);
    const found = (of: readonly (number | null)[]) => of.filter((n) => n !== null).length;
    return [
      strategy,
      `${found(medians(items))}/${items.length}`,
      count(medianOf(medians(items))),
      ...depths.map((depth) => {
        const these = medians(items.filter(({ item }) => item.depth === depth));
        return `${count(medianOf(these))} (${found(these)}/${these.length})`;
      }),
    ];
  });
  return lines(table([head, ...rows], 1));
}

/** What is wrong, each with a line of its own. */
export function problemLines(score: Score): string[] {
  const all = [
    ...score.items
      .filter(({ first }) => first === null)
      .map(({ item }) => `${item.id} ${item.name}: not found`),
    ...score.items.flatMap(({ item, unproved }) =>
      unproved.map(
        ({ rule, message, proof: { otherRules, repeated, corrected } }) =>
          `${item.id} ${item.name}: ${rule}: ${message}: ` +
          [
            ...otherRules.map((other) => `${other} is no rule of the item`),
            ...(repeated < 20 ? [`repeated ${repeated} times of 20`] : []),
            ...corrected.map((sentence) => `the corrected machine too says ${sentence}`),
          ].join('; '),
      ),
    ),
    ...falseReports(score).map(
      ({ id, report }) => `${id}: false report in schedule ${report.seed}: ${report.sentences.join('; ')}`,
    ),
  ];
  // Several runs may say the same.
  return [...new Set(all)];
}

export function corpusVerdict(score: Score): string {
  const found = score.items.filter(isFound).length;
  const reports = falseReports(score).length;
  const falsely = reports === 0 ? 'no false reports' : `${reports} false report${reports === 1 ? '' : 's'}`;
  return score.items.length === 0 ? falsely : `found ${found} of ${score.items.length}, ${falsely}`;
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}
