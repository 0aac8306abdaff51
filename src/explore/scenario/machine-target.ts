/** A scenario as something to explore: its world, restored for each schedule, and what the machine checks of itself. */
import { checkInvariants } from '../../actors/mmu/invariants.ts';
import { filledEntries } from '../../actors/vcpu/tlb.ts';
import type { Execution, Observer, Participant } from '../engine/execution.ts';
import { genericKey } from '../engine/finding.ts';
import type { Target } from '../engine/target.ts';
import { OracleBundle } from '../oracle/bundle.ts';
import { type OracleLevel, oraclesFor } from '../oracle/oracles-for.ts';
import { World, type WorldOptions } from '../world/world.ts';
import { type Scenario, STEP_LIMIT } from './scenario.ts';

/** More of the world than the scenario asks for: a lock validator, lock statistics. */
export interface MachineTargetOptions extends Pick<WorldOptions, 'validator' | 'lockTimes'> {
  /** Which oracles look on, beside what the machine checks of itself. Default: all. */
  readonly oracles?: OracleLevel;
}

export class MachineTarget implements Target {
  readonly scenario: Scenario;
  readonly world: World;
  readonly oracle: Observer;
  #begun = false;

  constructor(scenario: Scenario, options: MachineTargetOptions = {}) {
    const { oracles = 'full', ...more } = options;
    this.scenario = scenario;
    this.world = new World({ ...scenario.machine, ...more });
    scenario.setUp(this.world);
    this.world.save();
    const own: Observer = {
      after: (execution, actor) => {
        const { findings, lockFindings } = this.world;
        if (findings.length > 0 || lockFindings.length > 0) this.#reportNew(execution, actor);
      },
      atEnd: (execution, stuck) => {
        // Stuck, somebody may hold the locks that a check takes.
        if (!stuck) this.#checkAtRest(execution);
      },
    };
    this.oracle = new OracleBundle(this.world, [own, ...oraclesFor(this.world, oracles)]);
  }

  get name(): string {
    return this.scenario.name;
  }

  get title(): string {
    return this.scenario.title;
  }

  get mem() {
    return this.world.vm.mem;
  }

  get stepLimit(): number {
    return this.scenario.stepLimit ?? STEP_LIMIT;
  }

  /** @param how  `everything`: others than this thread have written too, so that nothing is known of what changed */
  begin(how: { everything: boolean } = { everything: false }): readonly Participant[] {
    if (this.#begun) this.world.restore(how);
    this.#begun = true;
    return this.scenario.participants(this.world);
  }

  /** What the machine's own code has said since the last look. */
  #reportNew(execution: Execution, actor?: number): void {
    const { world } = this;
    const who = actor === undefined ? {} : { actor };
    for (const { id, detail } of world.findings.splice(0)) {
      execution.report({
        oracle: 'invariant',
        rule: id,
        message: detail,
        key: genericKey(id, detail),
        ...who,
      });
    }
    for (const { rule, message, held, stack, details: edges } of world.lockFindings.splice(0)) {
      const details = [...held.map((lock) => `holds ${lock}`), ...stack.split('\n'), ...edges];
      execution.report({ oracle: 'lock', rule, message, key: genericKey(rule, message), details, ...who });
    }
  }

  #checkAtRest(execution: Execution): void {
    const { scenario, world } = this;
    const { vm } = world;
    const tlbOf = (vcpu: number) => filledEntries(vm.mem, vm.cpu(vcpu));
    world.findings.push(...world.alone(checkInvariants(world.control, vm, tlbOf)).findings);
    this.#reportNew(execution);
    for (const broken of scenario.atEnd?.(world) ?? []) {
      const { rule, message } =
        typeof broken === 'string' ? { rule: scenario.name, message: broken } : broken;
      execution.report({ oracle: 'scenario', rule, message, key: genericKey(`scenario ${rule}`, message) });
    }
  }
}
