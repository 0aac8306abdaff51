/**
 * The protocol of section 9 over many items: which are found, in how many schedules by which strategy, and what is
 * reported where there is nothing. Trials go to threads; what comes out is a function of the plan, whatever their
 * number.
 */
import { type Answer, valueIn } from '../campaign/answer.ts';
import { ThreadPool } from '../thread-pool.ts';
import type { CorpusItem, NegativeControl } from './item.ts';
import { isProof } from './protocol.ts';
import type { CleanAnswer, CleanTrial, FindAnswer, FindTrial, Found, Trial } from './trial.ts';

export interface ScorePlan {
  readonly items: readonly CorpusItem[];
  readonly controls: readonly NegativeControl[];
  /** Names as on the command line: pct3, random. */
  readonly strategies: readonly string[];
  /** Schedules of a strategy before an item counts as not found by it. */
  readonly schedules: number;
  /** How often each is looked for, with other seeds; those of a strategy that ignores seeds all come out the same. */
  readonly runs: number;
  /** Schedules of every corrected machine and negative control. */
  readonly clean: number;
  readonly seed: number;
  readonly jobs: number;
}

/** How one strategy did on one item. */
export interface StrategyScore {
  readonly strategy: string;
  /** Schedules to the find, one number a run; null: not found. */
  readonly runs: readonly (number | null)[];
  /** Null: not found by half of the runs. */
  readonly median: number | null;
}

export interface ItemScore {
  readonly item: CorpusItem;
  readonly strategies: readonly StrategyScore[];
  /** The find of the lowest run of the first strategy that had one; null: nobody did. */
  readonly first: Found | null;
  /** Finds that do not hold: of another rule, not repeated, or there without the mistake too. */
  readonly unproved: readonly Found[];
  /** What was reported on the corrected machine. */
  readonly report: CleanAnswer['report'];
}

export interface ControlScore {
  readonly control: NegativeControl;
  readonly report: CleanAnswer['report'];
  readonly shown: number;
}

export interface Score {
  readonly items: readonly ItemScore[];
  readonly controls: readonly ControlScore[];
}

/** Who looks for false reports, in equal shares. */
const CLEAN_STRATEGIES = ['random', 'pct3'];

export class Scoring {
  readonly #plan: ScorePlan;
  readonly #pool: ThreadPool<Trial, unknown>;
  #done = 0;

  constructor(plan: ScorePlan) {
    this.#plan = plan;
    this.#pool = new ThreadPool(
      new URL(`./corpus.worker${import.meta.url.slice(-3)}`, import.meta.url),
      plan.jobs,
    );
  }

  get trials(): { readonly done: number; readonly all: number } {
    const { items, controls, strategies, runs } = this.#plan;
    const looks = CLEAN_STRATEGIES.length;
    return {
      done: this.#done,
      all: items.length * (strategies.length * runs + looks) + controls.length * looks,
    };
  }

  /** Everything. Call it once; it closes the threads. @throws what a trial throws, or the end that {@link stop} made */
  async run(onItem: (score: ItemScore) => void, onControl: (score: ControlScore) => void): Promise<Score> {
    const { items, controls } = this.#plan;
    try {
      // All trials at once, so that no thread is idle; what they show is told in the order of the items.
      const itemScores = items.map((item) => this.#item(item));
      const controlScores = controls.map((control) => this.#control(control));
      const all = Promise.all([Promise.all(itemScores), Promise.all(controlScores)]);
      all.catch(() => {});
      for (const score of itemScores) onItem(await score);
      for (const score of controlScores) onControl(await score);
      const [scoredItems, scoredControls] = await all;
      return { items: scoredItems, controls: scoredControls };
    } finally {
      await this.stop();
    }
  }

  /** Ends the threads, whatever they do. */
  async stop(): Promise<void> {
    await this.#pool.close();
  }

  async #item(item: CorpusItem): Promise<ItemScore> {
    const { strategies, runs, schedules } = this.#plan;
    const seeds = Array.from({ length: runs }, (_, run) => (this.#plan.seed + run * schedules) >>> 0);
    const [answers, clean] = await Promise.all([
      Promise.all(
        strategies.map((strategy) =>
          Promise.all(
            seeds.map((seed) =>
              this.#try<FindTrial, FindAnswer>({ kind: 'find', id: item.id, strategy, schedules, seed }),
            ),
          ),
        ),
      ),
      this.#clean(item.id),
    ]);
    const finds = answers.flat().flatMap(({ found }) => found ?? []);
    return {
      item,
      strategies: strategies.map((strategy, i) => {
        const numbers = answers[i]!.map(({ found }) => found?.schedules ?? null);
        return { strategy, runs: numbers, median: medianOf(numbers) };
      }),
      first: finds[0] ?? null,
      unproved: finds.filter(({ proof }) => !isProof(proof)),
      report: clean.report,
    };
  }

  async #control(control: NegativeControl): Promise<ControlScore> {
    return { control, ...(await this.#clean(control.id)) };
  }

  async #clean(id: string): Promise<CleanAnswer> {
    const { clean, seed } = this.#plan;
    const schedules = Math.ceil(clean / CLEAN_STRATEGIES.length);
    const answers = await Promise.all(
      CLEAN_STRATEGIES.map((strategy) =>
        this.#try<CleanTrial, CleanAnswer>({ kind: 'clean', id, strategy, schedules, seed }),
      ),
    );
    return {
      report: answers.find(({ report }) => report !== null)?.report ?? null,
      shown: answers.reduce((sum, { shown }) => sum + shown, 0),
    };
  }

  async #try<T extends Trial, A>(trial: T): Promise<A> {
    const answer = valueIn((await this.#pool.run(trial)) as Answer<A>);
    this.#done += 1;
    return answer;
  }
}

/** The middle one, the lower of two; null counts as more than any number. */
export function medianOf(numbers: readonly (number | null)[]): number | null {
  const sorted = numbers.map((n) => n ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  const middle = sorted[(sorted.length - 1) >> 1] ?? Number.POSITIVE_INFINITY;
  return Number.isFinite(middle) ? middle : null;
}

/** Found, and every find holds. */
export function isFound({ first, unproved }: ItemScore): boolean {
  return first !== null && unproved.length === 0;
}

/** Items and controls where something was reported without a mistake. */
export function falseReports({
  items,
  controls,
}: Score): readonly { id: string; report: NonNullable<CleanAnswer['report']> }[] {
  return [
    ...items.map(({ item, report }) => ({ id: item.id, report })),
    ...controls.map(({ control, report }) => ({ id: control.id, report })),
  ].flatMap(({ id, report }) => (report === null ? [] : [{ id, report }]));
}
