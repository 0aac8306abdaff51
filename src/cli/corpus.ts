/** `faultline corpus`: which of the known mistakes are found, and whether anything is reported where there is none. */
import {
  type ControlScore,
  falseReports,
  type ItemScore,
  isFound,
  type Score,
  type ScorePlan,
  Scoring,
} from '../explore/corpus/score.ts';
import {
  controlTable,
  corpusVerdict,
  itemTable,
  problemLines,
  strategyTable,
} from '../report/corpus-text.ts';
import { StatusLine } from '../report/status-line.ts';
import { EXIT } from '../shared/errors.ts';
import { formatCount, hex } from '../shared/units.ts';
import { parseCorpus } from './corpus-flags.ts';
import { interruptible } from './interrupt.ts';
import { version } from './version.ts';

/** @returns the exit code: 0 when all that was asked for was found, and nothing else */
export async function corpus(words: readonly string[]): Promise<number> {
  const { plan, json, quiet } = parseCorpus(words);
  const out = (text: string) => process.stdout.write(text);
  const line = (value: unknown) => {
    if (json) out(`${JSON.stringify(value)}\n`);
  };
  const scoring = new Scoring(plan);
  const signal = interruptible(() => void scoring.stop());
  const startMs = performance.now();
  line(startOf(plan));
  const status = quiet ? null : new StatusLine(process.stderr, () => progress(scoring, startMs));
  let score: Score;
  try {
    score = await scoring.run(
      (item) => line(itemLine(item)),
      (control) => line(controlLine(control)),
    );
  } catch (error) {
    const stoppedBy = signal.release();
    if (stoppedBy === null) throw error;
    return stoppedBy;
  } finally {
    status?.end();
    signal.release();
  }
  const verdict = corpusVerdict(score);
  const repeat = repeatOf(score, plan);
  const exitCode = repeat === null ? EXIT.OK : EXIT.FINDING;
  if (json) {
    line({ event: 'verdict', exitCode, verdict, ...(repeat === null ? {} : { repeat }) });
    return exitCode;
  }
  const parts = [
    ...(plan.items.length === 0 ? [] : [itemTable(score.items, plan)]),
    ...(plan.controls.length === 0 ? [] : [controlTable(score.controls)]),
    ...(plan.items.length === 0 ? [] : [strategyTable(score, plan)]),
  ];
  const problems = problemLines(score);
  if (problems.length > 0) parts.push(`${problems.join('\n')}\n`);
  parts.push(
    `schedules to the first find, median of ${plan.runs} runs of at most ${formatCount(plan.schedules)}, from seed ` +
      `${hex(plan.seed)}; ${formatCount(plan.clean)} schedules without the mistake; ${seconds(startMs)} s\n`,
  );
  out(`${parts.join('\n')}${repeat === null ? '' : `repeat: ${repeat}\n`}${verdict}\n`);
  return exitCode;
}

const seconds = (startMs: number): string => ((performance.now() - startMs) / 1000).toFixed(1);

function progress(scoring: Scoring, startMs: number): string {
  const { done, all } = scoring.trials;
  return `${seconds(startMs)} s · ${formatCount(done)} of ${formatCount(all)} trials`;
}

/** The command that shows again what is wrong; null when nothing is. */
function repeatOf(score: Score, plan: ScorePlan): string | null {
  const wrong = [
    ...score.items.filter((item) => !isFound(item)).map(({ item }) => item.id),
    ...falseReports(score).map(({ id }) => id),
  ];
  if (wrong.length === 0) return null;
  const { strategies, schedules, runs, clean, seed } = plan;
  const ids = [...new Set(wrong)].join(',');
  return (
    `faultline corpus --item ${ids} --strategy ${strategies.join(',')} --schedules ${schedules} ` +
    `--runs ${runs} --clean ${clean} --seed ${hex(seed)}`
  );
}

function startOf({ items, controls, strategies, schedules, runs, clean, seed, jobs }: ScorePlan): unknown {
  const ids = [...items, ...controls].map(({ id }) => id);
  return { event: 'start', version: version(), items: ids, strategies, schedules, runs, clean, seed, jobs };
}

function itemLine(score: ItemScore): unknown {
  const { item, strategies, first, unproved, report } = score;
  const { id, name, title, depth, origin, rules, place } = item;
  return {
    event: 'item',
    ...{ id, name, title, depth, origin, rules, place, strategies, first, unproved },
    found: isFound(score),
    falseReport: report,
  };
}

function controlLine({ control, report, shown }: ControlScore): unknown {
  const { id, title } = control;
  return { event: 'control', id, title, shown, falseReport: report };
}
