/** Executing schedules of one scenario to see whether they show the finding that is looked for. */
import type { Finding } from '../engine/finding.ts';
import { type Deviation, preemptions, Replay, type Schedule, scheduleOf } from '../engine/schedule.ts';
import type { Stage } from '../explorer.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { stageOf } from '../scenario/stage.ts';

/** An execution that showed it. */
export interface Hit {
  readonly finding: Finding;
  /** What really deviated, up to the step where it was seen. */
  readonly schedule: readonly Deviation[];
  readonly preemptions: number;
  readonly steps: number;
  readonly traceHash: string;
}

export class Attempts {
  readonly scenario: Scenario;
  readonly stage: Stage;
  /** Of the participants, by number. */
  readonly actors: readonly string[];
  readonly #key: string;
  #runs = 0;

  /** @param key  of the finding looked for */
  constructor(scenario: Scenario, key: string) {
    this.scenario = scenario;
    this.stage = stageOf(scenario);
    this.actors = this.stage.execute(new Replay([]), 0)?.participants.map(({ name }) => name) ?? [];
    this.#key = key;
  }

  /** Executions so far. */
  get runs(): number {
    return this.#runs;
  }

  /** @returns null when following `schedule` does not show the finding */
  hit(schedule: Schedule): Hit | null {
    const execution = this.stage.execute(new Replay(schedule), 0);
    this.#runs += 1;
    if (execution === null) return null;
    const { findings, trace, actorCount, step } = execution;
    const finding = findings.find(({ key }) => key === this.#key);
    if (finding === undefined) return null;
    return {
      finding,
      schedule: scheduleOf(trace, actorCount),
      preemptions: preemptions(trace),
      steps: step,
      traceHash: trace.hash(),
    };
  }
}
