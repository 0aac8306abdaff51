/** Two trackers at one machine: KVMI, and one with a table of its own. */
import { BUG_TRACKER_TABLE_UNLOCKED } from '../../../shared/quirks.ts';
import { allowsAll, changesSlot, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { registerTracker } from '../models/second-tracker.ts';
import { DELETED, GFN, R, SLOT } from '../setting.ts';
import { policyItem } from './policy-item.ts';

const LOW = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 4, ramPage: 0 };

const trackerTableUnlocked = policyItem(
  BUG_TRACKER_TABLE_UNLOCKED,
  {
    // The vCPU's section begins after INVALID, or the flush waits for it: one constraint more than upstream.
    depth: 3,
    origin: 'HIST',
    rules: ['I12'],
    place: 'explore/corpus/models/second-tracker.ts: before. A model, because KVMI is the only tracker here',
  },
  {
    slots: [LOW, SLOT],
    policy: [[0, R]],
    prepare: (world) => registerTracker(world, [GFN, GFN + 1, GFN + 2, 0]),
    participants: (world) => [
      world.vcpuRunner(0, [write(0, 1)]),
      changesSlot(world, DELETED),
      allowsAll(world),
    ],
  },
);

export const trackerItems: readonly CorpusItem[] = [trackerTableUnlocked];
