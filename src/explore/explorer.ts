/**
 * Explores a scenario: one execution after the other, each with the schedule its strategy picks, each looked at by the
 * oracles. A pure function of scenario, strategy and seed.
 */
import { checkInvariants } from '../actors/mmu/invariants.ts';
import { filledEntries } from '../actors/vcpu/tlb.ts';
import { Execution, type Observer } from './engine/execution.ts';
import type { Finding } from './engine/finding.ts';
import { type Deviation, scheduleOf } from './engine/schedule.ts';
import type { Strategy } from './engine/strategy.ts';
import { Trace } from './engine/trace.ts';
import type { OracleBundle } from './oracle/bundle.ts';
import { type OracleLevel, oraclesFor } from './oracle/oracles-for.ts';
import { type Scenario, STEP_LIMIT } from './scenario/scenario.ts';
import { World } from './world/world.ts';

export interface Outcome {
  readonly findings: readonly Finding[];
  /** What to follow to see it again. Empty for the default schedule. */
  readonly schedule: readonly Deviation[];
  readonly steps: number;
  readonly pruned: boolean;
  readonly traceHash: string;
}

/** A scenario set up, to be executed again and again. */
export class Stage {
  readonly scenario: Scenario;
  readonly world: World;
  readonly #trace = new Trace();
  readonly #oracles: OracleBundle;
  #longest = 0;
  #begun = 0;

  /** @param level  which oracles look on */
  constructor(scenario: Scenario, level: OracleLevel = 'full') {
    this.scenario = scenario;
    this.world = new World(scenario.machine);
    scenario.setUp(this.world);
    this.world.save();
    this.#oracles = oraclesFor(this.world, level);
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
    const { scenario, world } = this;
    if (this.#begun > 0) world.restore();
    this.#begun += 1;
    const participants = scenario.participants(world);
    const actorCount = participants.length;
    const index = this.#begun - 1;
    if (!strategy.begin({ index, seed, actorCount, longest: this.#longest })) return null;
    const execution = new Execution(participants, {
      mem: world.vm.mem,
      strategy,
      stepLimit: scenario.stepLimit ?? STEP_LIMIT,
      observers: [...observers, this.#oracles, this.#machineOracle()],
      trace: this.#trace,
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

  /** What the machine's own code reports while it runs, and the invariants once it is at rest. */
  #machineOracle(): Observer {
    const { scenario, world } = this;
    const reportNew = (execution: Execution, actor?: number): void => {
      for (const { id, detail } of world.findings.splice(0)) {
        const who = actor === undefined ? {} : { actor };
        execution.report({
          oracle: 'invariant',
          rule: id,
          message: detail,
          key: `${id} ${generic(detail)}`,
          ...who,
        });
      }
      for (const { rule, message, held, stack } of world.lockFindings.splice(0)) {
        const who = actor === undefined ? {} : { actor };
        const details = [...held.map((lock) => `holds ${lock}`), ...stack.split('\n')];
        execution.report({
          oracle: 'lock',
          rule,
          message,
          key: `${rule} ${generic(message)}`,
          details,
          ...who,
        });
      }
    };
    return {
      after: (execution, actor) => {
        if (world.findings.length > 0 || world.lockFindings.length > 0) reportNew(execution, actor);
      },
      atEnd: (execution, stuck) => {
        // Stuck, somebody may hold the locks that a check takes.
        if (stuck) return;
        const { vm } = world;
        const tlbOf = (vcpu: number) => filledEntries(vm.mem, vm.cpu(vcpu));
        world.findings.push(...world.alone(checkInvariants(world.control, vm, tlbOf)).findings);
        reportNew(execution);
        for (const message of scenario.atEnd?.(world) ?? []) {
          execution.report({
            oracle: 'scenario',
            rule: scenario.name,
            message,
            key: `scenario ${generic(message)}`,
          });
        }
      },
    };
  }
}

/** A message without its numbers: what two findings of one cause have in common. */
function generic(message: string): string {
  return message.replaceAll(/0x[0-9a-f]+|\d+/g, '#');
}
