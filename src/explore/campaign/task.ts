/** What a campaign asks of its workers, and what they answer: plain data, nothing of it is code. */
import type { Oracle } from '../engine/finding.ts';
import type { Schedule } from '../engine/schedule.ts';

interface Base {
  /** Buffer of the CampaignControl, and the slot to show progress in. */
  readonly control: SharedArrayBuffer;
  readonly slotCount: number;
  readonly slot: number;
  /** Bundled name or module path. */
  readonly scenario: string;
}

/** Load it, and say what it is. */
export interface DescribeTask extends Base {
  readonly kind: 'describe';
}

export interface Described {
  readonly name: string;
  readonly title: string;
}

/** Schedules number `from` to `to` − 1 of a campaign; number n has the seed n + `seed`, 32 bits. */
export interface ExploreTask extends Base {
  readonly kind: 'explore';
  readonly quirks: readonly number[];
  readonly strategy: string;
  readonly depth: number | null;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** Go on after a finding. */
  readonly keepGoing: boolean;
  /** Keys of findings that need no report any more. */
  readonly known: readonly string[];
}

export interface Explored {
  readonly executions: number;
  readonly steps: number;
  /** Of one execution: its actors, and the most steps that any has taken. */
  readonly actors: number;
  readonly longest: number;
  /** The strategy had nothing left to try. */
  readonly exhausted: boolean;
  readonly findings: readonly FoundFinding[];
  /** How often each was seen, by key. */
  readonly times: Readonly<Record<string, number>>;
}

/** A finding, shrunk and explained. */
export interface FoundFinding {
  readonly key: string;
  readonly oracle: Oracle;
  readonly rule: string;
  readonly message: string;
  /** Number of the schedule that showed it first, and its seed. */
  readonly schedule: number;
  readonly seed: number;
  /** Deviations of that schedule, and of the shrunk one. */
  readonly deviations: number;
  readonly shrunk: Schedule;
  readonly token: string;
  /** Where the token is written when it is too long for a command line. */
  readonly tokenFile: string | null;
  readonly repeat: string;
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
}

/** What follows a token's schedule: coroutines in one thread, or real threads. */
export type ReplayEngine = 'explored' | 'controlled';

export interface ReplayTask extends Base {
  readonly kind: 'replay';
  readonly token: string;
  /** As the user typed it. */
  readonly repeat: string;
  /** File to write a trace to. */
  readonly trace: string | null;
  readonly engine: ReplayEngine;
}

export interface Replayed {
  readonly reproduced: boolean;
  readonly sameExecution: boolean;
  /** One sentence, when it was not. */
  readonly divergence: string;
  readonly steps: number;
  readonly text: string;
  readonly json: Readonly<Record<string, unknown>>;
  /** Every step, as lines: for `--step`. */
  readonly stepLines: readonly string[];
}

export type Task = DescribeTask | ExploreTask | ReplayTask;
