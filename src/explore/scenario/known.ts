/** Every scenario that comes with the package, by name: the bundled ones, and those of the race corpus. */
import type { CorpusItem } from '../corpus/item.ts';
import { policyItems } from '../corpus/policy/index.ts';
import { tlbItems } from '../corpus/tlb/index.ts';
import { BUNDLED } from './bundled/index.ts';
import type { Scenario } from './scenario.ts';

const ITEMS: readonly CorpusItem[] = [...policyItems, ...tlbItems];

/** Those of the corpus with their mistakes, and without. */
const CORPUS: readonly Scenario[] = ITEMS.flatMap((item) => [item.scenario(true), item.scenario(false)]);

export const KNOWN_SCENARIOS: readonly Scenario[] = [...BUNDLED, ...CORPUS];
