/** Executes a scenario under random schedules and gathers what its oracles say. */
import type { Finding } from '../../src/explore/engine/finding.ts';
import { Stage } from '../../src/explore/explorer.ts';
import type { OracleLevel } from '../../src/explore/oracle/oracles-for.ts';
import { MachineTarget } from '../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';

export interface Seen {
  /** The first finding of each key, with the seed that showed it. */
  readonly findings: readonly (Finding & { readonly seed: number })[];
  readonly steps: number;
}

export function look(scenario: Scenario, schedules = 50, level: OracleLevel = 'full'): Seen {
  const stage = new Stage(new MachineTarget(scenario, { oracles: level }));
  const strategy = new RandomWalk();
  const found = new Map<string, Finding & { seed: number }>();
  let steps = 0;
  for (let seed = 1; seed <= schedules; seed++) {
    const outcome = stage.outcome(strategy, seed)!;
    steps += outcome.steps;
    for (const finding of outcome.findings) {
      if (!found.has(finding.key)) found.set(finding.key, { ...finding, seed });
    }
  }
  return { findings: [...found.values()], steps };
}

/** `oracle rule: message` of each. */
export function lines({ findings }: Seen): string[] {
  return findings.map(({ oracle, rule, message, seed }) => `${oracle} ${rule}: ${message} (seed ${seed})`);
}
