/** The order graph of a scenario: what its actors do to each other's locks in many schedules, put together. */
import type { LockCycle, LockGraph } from '../../shared/lockdep/lock-graph.ts';
import { type LockTimes, lockTimesOf, mergeLockTimes } from '../../shared/sync/lock-times.ts';
import type { Execution } from '../engine/execution.ts';
import type { Finding } from '../engine/finding.ts';
import { Stage } from '../explorer.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { RandomWalk } from '../strategy/random-walk.ts';
import { type EdgeWitness, LockWatch } from './lock-watch.ts';
import { type Realised, realiseCycle } from './realise-cycle.ts';

export interface LockExploration {
  readonly graph: LockGraph;
  readonly executions: number;
  /** Per class, in virtual time: 1000 ns a step. */
  readonly times: readonly LockTimes[];
  readonly cycles: readonly ExploredCycle[];
  /** Findings of all kinds, each once, in the order in which they came. */
  readonly findings: readonly Finding[];
}

export interface ExploredCycle {
  readonly cycle: LockCycle;
  /** Of each edge: a schedule that shows it. */
  readonly witnesses: readonly EdgeWitness[];
  /** Null: predicted only. */
  readonly realised: Realised | null;
}

export interface LockExplorationOptions {
  readonly schedules: number;
  readonly seed: number;
  /** Executions spent on each circle to make it come true. 0: none. */
  readonly attempts: number;
  /** Asked between executions: enough? */
  readonly over?: () => boolean;
}

export function exploreLocks(scenario: Scenario, options: LockExplorationOptions): LockExploration {
  const { schedules, seed, attempts, over = () => false } = options;
  const watch = new LockWatch();
  const target = new MachineTarget(scenario, { validator: watch.validator, lockTimes: true });
  const { world } = target;
  let running: Execution | null = null;
  world.clock = () => running?.now ?? 0;
  const stage = new Stage(target);
  // A rule that is broken first must not hide what the same schedule shows after it.
  stage.keepGoing = true;
  const strategy = new RandomWalk();
  const findings = new Map<string, Finding>();
  let times: readonly LockTimes[] = [];
  let executions = 0;
  const clock = {
    before: (execution: Execution): void => {
      running = execution;
    },
  };
  while (executions < schedules && !over()) {
    const execution = stage.execute(strategy, seed + executions, [clock, watch]);
    if (execution === null) break;
    executions += 1;
    for (const finding of execution.findings) {
      if (!findings.has(finding.key)) findings.set(finding.key, finding);
    }
    const { mem, layout } = world.vm;
    times = mergeLockTimes(times, lockTimesOf(mem, layout.stats, layout.config.actorCount));
    running = null;
  }
  const cycles = watch.validator.graph.cycles.map((cycle) => ({
    cycle,
    witnesses: watch.witnessesOf(cycle),
    realised: attempts === 0 || over() ? null : realiseCycle(scenario, cycle, { attempts, seed }),
  }));
  return { graph: watch.validator.graph, executions, times, cycles, findings: [...findings.values()] };
}
