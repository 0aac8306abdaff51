/**
 * A campaign: schedules number 0, 1, 2 … of a scenario, spread over threads, until there is a finding, or enough of them.
 *
 * What comes out is a function of scenario, quirks, strategy and seed, whatever the number of threads: work is handed
 * out in chunks that are each explored from scratch, and the finding of a campaign is that of its lowest schedule.
 * A strategy that learns from what it did gets one long range on each thread, and the first finding counts; one that
 * exhausts gets all on one thread.
 */
import { SimError } from '../../shared/errors.ts';
import type { CampaignState } from './state.ts';
import type { Explored, FoundFinding } from './task.ts';
import type { Workers } from './workers.ts';

export interface CampaignPlan {
  readonly quirks: readonly number[];
  readonly strategy: string;
  readonly depth: number | null;
  /** Number of schedules; Infinity when only time ends it. */
  readonly schedules: number;
  /** Of schedule 0; unsigned 32 bits. */
  readonly seed: number;
  readonly timeMs: number | null;
  readonly jobs: number;
  readonly keepGoing: boolean;
}

/** Why it ended. */
export type CampaignEnding = 'done' | 'exhausted' | 'found' | 'time' | 'stopped';

export interface CampaignResult {
  readonly ending: CampaignEnding;
  readonly executions: number;
  readonly steps: number;
  /** As seen in this run: actors of an execution, and the most steps of any. 0 when there was none. */
  readonly actors: number;
  readonly longest: number;
  readonly seconds: number;
  /** By the number of the schedule that showed them first. */
  readonly findings: readonly FoundFinding[];
  /** How often each was seen, by key. */
  readonly times: Readonly<Record<string, number>>;
  readonly features: number;
}

export interface CampaignStatus {
  readonly seconds: number;
  readonly executions: number;
  readonly findings: number;
  readonly features: number;
}

/** Strategies whose schedules depend on their own seed only. */
const BY_SEED = /^(random|pct|pos|urw|surw)\d*$/;
/** Strategies that get better with each schedule, and are random all the same: several of them are no waste. */
const LEARNS = /^auto/;
/** Schedules of a chunk. */
export const CHUNK = 1000;

export function isBySeed(strategy: string): boolean {
  return BY_SEED.test(strategy);
}

export class Campaign {
  readonly #workers: Workers;
  readonly #plan: CampaignPlan;
  readonly #state: CampaignState;
  readonly #onFinding: (finding: FoundFinding) => void;
  readonly #onProgress: () => void;
  readonly #startedMs = performance.now();
  /** Executions that the state had before. */
  readonly #before: number;
  #ending: CampaignEnding | null = null;
  #lastSchedule = 2 ** 31 - 1;
  #actors = 0;
  #longest = 0;

  /**
   * @param state        what was done before: goes on from there, and is kept up to date
   * @param onFinding    told of each finding once; with `keepGoing` as they come, otherwise of the one that counts
   * @param onProgress   after each chunk
   */
  constructor(
    workers: Workers,
    plan: CampaignPlan,
    state: CampaignState,
    onFinding: (finding: FoundFinding) => void = () => {},
    onProgress: () => void = () => {},
  ) {
    this.#workers = workers;
    this.#plan = plan;
    this.#state = state;
    this.#onFinding = onFinding;
    this.#onProgress = onProgress;
    this.#before = state.executions;
  }

  status(): CampaignStatus {
    const { control } = this.#workers;
    let executions = this.#before;
    for (let slot = 0; slot < control.slotCount; slot++) executions += control.slot(slot).executions;
    return {
      seconds: (performance.now() - this.#startedMs) / 1000,
      executions,
      findings: this.#state.findings.length,
      features: control.featureCount(),
    };
  }

  /** Asks for an end after the executions that are under way. */
  stop(): void {
    this.#end('stopped');
  }

  async run(): Promise<CampaignResult> {
    const { timeMs, jobs, keepGoing } = this.#plan;
    if (this.#state.findings.length > 0 && !keepGoing) this.#end('found');
    const timer = timeMs === null ? null : setTimeout(() => this.#end('time'), timeMs);
    try {
      const chunks = this.#chunks();
      const work = async (): Promise<void> => {
        for (const [from, to] of chunks) await this.#explore(from, to);
      };
      await Promise.all(Array.from({ length: jobs }, work));
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
    const { findings, times, executions, steps } = this.#state;
    findings.sort((a, b) => a.schedule - b.schedule);
    if (!keepGoing) {
      // Others may have been seen before they were told to stop.
      findings.splice(1);
      for (const finding of findings) this.#onFinding(finding);
    }
    return {
      ending: this.#ending ?? 'done',
      executions,
      steps,
      actors: this.#actors,
      longest: this.#longest,
      seconds: (performance.now() - this.#startedMs) / 1000,
      findings,
      times,
      features: this.#workers.control.featureCount(),
    };
  }

  /** What is left to do, in order; ends when the campaign does. One iterator for all threads. */
  *#chunks(): Generator<[from: number, to: number], void> {
    const { schedules, strategy, jobs } = this.#plan;
    const limit = Math.min(schedules, SCHEDULE_LIMIT);
    if (!isBySeed(strategy)) {
      const size = Math.ceil(limit / (LEARNS.test(strategy) ? jobs : 1));
      for (let from = 0; from < limit && this.#ending === null; from += size)
        yield [from, Math.min(from + size, limit)];
      return;
    }
    for (let from = 0; from < limit && this.#ending === null; from += CHUNK) {
      const to = Math.min(from + CHUNK, limit);
      for (const [left, right] of this.#state.missing(from, to)) {
        if (this.#ending === null && left < this.#lastSchedule) yield [left, right];
      }
    }
  }

  async #explore(from: number, to: number): Promise<void> {
    const { quirks, strategy, depth, seed, keepGoing } = this.#plan;
    const known = keepGoing ? this.#state.findings.map(({ key }) => key) : [];
    const task = { kind: 'explore' as const, quirks, strategy, depth, seed, from, to, keepGoing, known };
    let explored: Explored;
    try {
      explored = await this.#workers.explore(task);
    } catch (error) {
      this.#end('stopped');
      throw error;
    }
    this.#state.add(explored, from, to);
    this.#actors = Math.max(this.#actors, explored.actors);
    this.#longest = Math.max(this.#longest, explored.longest);
    if (explored.exhausted) this.#end('exhausted');
    for (const finding of explored.findings) {
      if (!this.#state.found(finding)) continue;
      if (keepGoing) this.#onFinding(finding);
    }
    if (explored.findings.length > 0 && !keepGoing) {
      const first = Math.min(...explored.findings.map(({ schedule }) => schedule));
      this.#lastSchedule = Math.min(this.#lastSchedule, first);
      if (isBySeed(strategy)) this.#workers.control.stopBefore(first);
      else this.#workers.control.stop();
      this.#ending ??= 'found';
    }
    this.#onProgress();
  }

  #end(ending: CampaignEnding): void {
    this.#ending ??= ending;
    if (ending !== 'found' && ending !== 'exhausted') this.#workers.control.stop();
  }
}

// LIMIT: schedules of one campaign. Their numbers are int32 words that workers look at.
const SCHEDULE_LIMIT = 2 ** 31 - 2;

/** @throws SimError SIM_USAGE when a campaign of this strategy cannot go on from a file */
export function mustBeResumable(strategy: string): void {
  if (isBySeed(strategy)) return;
  throw new SimError('SIM_USAGE', `--resume: ${strategy} cannot go on where it stopped`, {
    hint: 'each of its schedules follows from all before; leave --resume out, or take random',
  });
}
