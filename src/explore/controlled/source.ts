/** Where a thread finds a scenario: a module and what it exports. Plain data. */
import type { Scenario } from '../scenario/scenario.ts';

export interface ScenarioSource {
  /** URL of the module. */
  readonly module: string;
  /** A scenario, or a function that makes one of `args`, or a promise of one. */
  readonly export: string;
  readonly args?: readonly unknown[];
}

/** @throws TypeError naming the module when it exports no such thing */
export async function scenarioFrom(source: ScenarioSource): Promise<Scenario> {
  const module = (await import(source.module)) as Record<string, unknown>;
  const exported = module[source.export];
  const scenario = await (typeof exported === 'function' ? exported(...(source.args ?? [])) : exported);
  if (typeof scenario !== 'object' || scenario === null || !('participants' in scenario)) {
    throw new TypeError(`${source.module} exports no scenario as '${source.export}'`);
  }
  return scenario as Scenario;
}
