/** Every scenario that comes with the package, by name: the bundled ones, and those of the race corpus. */
import { SimError } from '../../shared/errors.ts';
import { suggest } from '../../shared/suggest.ts';
import { corpusItems } from '../corpus/index.ts';
import { BUNDLED } from './bundled/index.ts';
import type { Scenario } from './scenario.ts';

/** Those of the corpus with their mistakes, and without. */
const CORPUS: readonly Scenario[] = corpusItems.flatMap((item) => [
  item.scenario(true),
  item.scenario(false),
]);

export const KNOWN_SCENARIOS: readonly Scenario[] = [...BUNDLED, ...CORPUS];

/** @throws SimError SIM_USAGE when there is none of this name */
export function scenarioByName(name: string): Scenario {
  const scenario = KNOWN_SCENARIOS.find((candidate) => candidate.name === name);
  if (scenario !== undefined) return scenario;
  const near = suggest(
    name,
    KNOWN_SCENARIOS.map((candidate) => candidate.name),
  );
  throw new SimError('SIM_USAGE', `there is no scenario '${name}'`, {
    hint:
      near === null
        ? 'faultline explore --list lists them; a module of yours is given by its path: ./scenario.js'
        : `did you mean ${near}?`,
  });
}
