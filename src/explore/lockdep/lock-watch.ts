/**
 * The order graph of many executions: edges that no one schedule has together can still be one deadlock. Keeps, for each
 * edge, the schedule that showed it first, up to the step that did: both halves of a prediction can be seen again.
 */
import { kindNames } from '../../shared/lockdep/dependency.ts';
import type { LockCycle, SeenEdge } from '../../shared/lockdep/lock-graph.ts';
import { LockValidator, type LockValidatorOptions } from '../../shared/lockdep/validator.ts';
import type { Execution, Observer } from '../engine/execution.ts';
import { type Schedule, scheduleOf } from '../engine/schedule.ts';

/** Where an edge was seen first. */
export interface EdgeWitness {
  /** Executions before that one; −1: the setting-up. */
  readonly execution: number;
  /** Follow it for `steps` steps. */
  readonly schedule: Schedule;
  readonly steps: number;
}

const SETTING_UP: EdgeWitness = { execution: -1, schedule: [], steps: 0 };

export class LockWatch implements Observer {
  /** To be given to the world. */
  readonly validator: LockValidator;
  readonly #witnesses = new Map<string, EdgeWitness>();
  #unseen: SeenEdge[] = [];
  #current: Execution | null = null;
  #executions = 0;

  constructor(options: Omit<LockValidatorOptions, 'onEdge'> = {}) {
    this.validator = new LockValidator({ ...options, onEdge: (edge) => this.#unseen.push(edge) });
  }

  before(execution: Execution): void {
    if (execution === this.#current) return;
    // What was learnt before the first step belongs to the setting-up: paths begin with a point.
    this.#note(SETTING_UP);
    this.#current = execution;
    this.#executions += 1;
  }

  after(execution: Execution): void {
    if (this.#unseen.length === 0) return;
    const { trace, actorCount, step } = execution;
    const schedule = scheduleOf(trace, actorCount);
    this.#note({ execution: this.#executions - 1, schedule, steps: step });
  }

  /** Each edge of a circle with its witness. */
  witnessesOf(cycle: LockCycle): EdgeWitness[] {
    return cycle.edges.map((edge) => this.#witnesses.get(keyOf(edge)) ?? SETTING_UP);
  }

  #note(witness: EdgeWitness): void {
    for (const edge of this.#unseen) {
      const key = keyOf(edge);
      if (!this.#witnesses.has(key)) this.#witnesses.set(key, witness);
    }
    this.#unseen = [];
  }
}

function keyOf({ from, to, kind }: SeenEdge): string {
  return `${from} → ${to} ${kindNames(kind)}`;
}
