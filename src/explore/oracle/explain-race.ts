/** Executes a schedule that has shown a race once more, to say where both its accesses come from. */

import type { Finding } from '../engine/finding.ts';
import { Replay, type Schedule } from '../engine/schedule.ts';
import { Stage } from '../explorer.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { OracleBundle } from './bundle.ts';
import { RaceOracle } from './races.ts';

/**
 * @param finding  of the race detector, found under `schedule`
 * @returns        the same finding with the stacks of both accesses in its details; as it was if it does not come again
 */
export function explainRace(scenario: Scenario, schedule: Schedule, finding: Finding): Finding {
  const target = new MachineTarget(scenario, { oracles: 'off' });
  const { world } = target;
  const bundle = new OracleBundle(world, [new RaceOracle(world, { stacks: true })]);
  const execution = new Stage(target).execute(new Replay(schedule), 0, [bundle]);
  return execution?.findings.find(({ key }) => key === finding.key) ?? finding;
}
