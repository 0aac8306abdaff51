/**
 * Explores a target: one execution after the other, each with the schedule its strategy picks, each looked at by the
 * oracles. A pure function of target, strategy and seed.
 */
import { Execution, type Observer } from './engine/execution.ts';
import type { Finding } from './engine/finding.ts';
import { LockTable } from './engine/lock-table.ts';
import { type Deviation, scheduleOf } from './engine/schedule.ts';
import type { Strategy } from './engine/strategy.ts';
import type { Target } from './engine/target.ts';
import { Trace } from './engine/trace.ts';

export interface Outcome {
  readonly findings: readonly Finding[];
  /** What to follow to see it again. Empty for the default schedule. */
  readonly schedule: readonly Deviation[];
  readonly steps: number;
  readonly pruned: boolean;
  readonly traceHash: string;
}

/** A target to be executed again and again. */
export class Stage {
  readonly target: Target;
  /** Go on after the first finding of an execution. */
  keepGoing = false;
  readonly #trace = new Trace();
  readonly #locks = new LockTable();
  #longest = 0;
  #begun = 0;

  constructor(target: Target) {
    this.target = target;
  }

  /** The most steps an execution has taken. */
  get longest(): number {
    return this.#longest;
  }

  /**
   * One execution.
   *
   * @returns null when the strategy has nothing left to try
   */
  execute(strategy: Strategy, seed: number, observers: readonly Observer[] = []): Execution | null {
    const { target, keepGoing } = this;
    const participants = target.begin();
    const actorCount = participants.length;
    if (!strategy.begin({ index: this.#begun, seed, actorCount, longest: this.#longest })) return null;
    this.#begun += 1;
    const execution = new Execution(participants, {
      mem: target.mem,
      strategy,
      stepLimit: target.stepLimit,
      observers: [...observers, target.oracle],
      trace: this.#trace,
      locks: strategy.watchesLocks === true ? this.#locks : null,
      keepGoing,
    });
    execution.run();
    this.#longest = Math.max(this.#longest, execution.step);
    strategy.end?.(execution, { findings: execution.findings, pruned: execution.pruned });
    return execution;
  }

  /** As {@link execute}, with what is worth keeping of the execution. */
  outcome(strategy: Strategy, seed: number, observers: readonly Observer[] = []): Outcome | null {
    const execution = this.execute(strategy, seed, observers);
    if (execution === null) return null;
    const { findings, step, pruned, trace, actorCount } = execution;
    return {
      findings,
      schedule: scheduleOf(trace, actorCount),
      steps: step,
      pruned,
      traceHash: trace.hash(),
    };
  }
}
