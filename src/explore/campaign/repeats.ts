/**
 * The determinism self-check of a campaign: every so many schedules, one is followed once more on a machine that has
 * executed nothing else, and has to be the same, step by step and in the state it leaves. A scenario that fails it is no
 * basis for findings: they would not show again.
 */
import { SimError } from '../../shared/errors.ts';
import type { Execution } from '../engine/execution.ts';
import { scheduleOf } from '../engine/schedule.ts';
import { Stage } from '../explorer.ts';
import { checkRepeats, footprint } from '../oracle/determinism.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { World } from '../world/world.ts';

/** Every so many schedules; the first of a campaign is one of them. */
export const REPEAT_EVERY = 256;

export class Repeats {
  readonly #scenario: Scenario;
  /** Made when first needed. */
  #second: { readonly stage: Stage; readonly world: World } | null = null;

  /** @param scenario  with its quirks */
  constructor(scenario: Scenario) {
    this.#scenario = scenario;
  }

  /**
   * @param world      in which `execution` has just ended
   * @param execution  without findings: what has some is followed anyway
   * @throws SimError SIM_SCENARIO, with the first step that is another, or the regions that differ
   */
  check(world: World, execution: Execution, seed: number): void {
    // The strategy has cut it; a replay would go on.
    if (execution.pruned) return;
    const first = footprint(world, execution);
    this.#second ??= this.#make();
    const { stage, world: other } = this.#second;
    const finding = checkRepeats(
      stage,
      other,
      scheduleOf(execution.trace, execution.actorCount),
      seed,
      first,
    );
    if (finding === null) return;
    throw new SimError(
      'SIM_SCENARIO',
      `scenario '${this.#scenario.name}' is not the same each time: with seed ${seed}, ${finding.message}`,
      { hint: 'keep no state outside the world: make everything anew in participants()' },
    );
  }

  #make(): { stage: Stage; world: World } {
    const target = new MachineTarget(this.#scenario);
    return { stage: new Stage(target), world: target.world };
  }
}
