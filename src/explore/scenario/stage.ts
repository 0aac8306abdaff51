/** A scenario, set up and ready to be executed: where scenarios meet the engine. */
import { Stage } from '../explorer.ts';
import { MachineTarget } from './machine-target.ts';
import type { Scenario } from './scenario.ts';

export function stageOf(scenario: Scenario): Stage {
  return new Stage(new MachineTarget(scenario));
}
