/** Items of section 2 of the race corpus: access policy and page tracking. */
import type { CorpusItem } from '../item.ts';
import { askingItems } from './asking.ts';
import { trackerItems } from './second-tracker.ts';
import { slotItems } from './slots.ts';
import { tighteningItems } from './tightening.ts';

export const policyItems: readonly CorpusItem[] = [
  ...slotItems,
  ...tighteningItems,
  ...askingItems,
  ...trackerItems,
].sort((a, b) => (a.id < b.id ? -1 : 1));
