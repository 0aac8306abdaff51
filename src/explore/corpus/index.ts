/** The race corpus: known mistakes, each behind its switch, and behaviour that is none. */
import { controlItems } from './control/index.ts';
import type { CorpusItem } from './item.ts';
import { policyItems } from './policy/index.ts';
import { tlbItems } from './tlb/index.ts';

export { negativeControls } from './negative/index.ts';

export const corpusItems: readonly CorpusItem[] = [...policyItems, ...tlbItems, ...controlItems].sort(
  (a, b) => (a.id < b.id ? -1 : 1),
);
