/** Items of section 3 of the race corpus: TLBs, sptes and the fault path. */
import type { CorpusItem } from '../item.ts';
import { faultItems } from './faults.ts';
import { flushItems } from './flush.ts';
import { hostSideItems } from './host-side.ts';
import { tableItems } from './tables.ts';
import { walkItems } from './walks.ts';

export const tlbItems: readonly CorpusItem[] = [
  ...flushItems,
  ...faultItems,
  ...walkItems,
  ...tableItems,
  ...hostSideItems,
].sort((a, b) => (a.id < b.id ? -1 : 1));
