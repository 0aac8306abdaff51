/** Items of sections 4, 5 and 6 of the race corpus: memslots and SRCU, the control plane, locks and words. */
import type { CorpusItem } from '../item.ts';
import { graceItems } from './grace.ts';
import { sessionItems } from './session.ts';
import { slotItems } from './slots.ts';
import { vcpuItems } from './vcpus.ts';
import { wordItems } from './words.ts';

export const controlItems: readonly CorpusItem[] = [
  ...slotItems,
  ...sessionItems,
  ...vcpuItems,
  ...graceItems,
  ...wordItems,
].sort((a, b) => (a.id < b.id ? -1 : 1));
