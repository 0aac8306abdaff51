/** Every scenario that comes with the package, by name: the bundled ones, and those of the race corpus. */
import { corpusItems } from '../corpus/index.ts';
import { BUNDLED } from './bundled/index.ts';
import type { Scenario } from './scenario.ts';

/** Those of the corpus with their mistakes, and without. */
const CORPUS: readonly Scenario[] = corpusItems.flatMap((item) => [
  item.scenario(true),
  item.scenario(false),
]);

export const KNOWN_SCENARIOS: readonly Scenario[] = [...BUNDLED, ...CORPUS];
