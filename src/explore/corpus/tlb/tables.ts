/** What KVM has beside direct tables: table pages, shadow pages, large and indirect entries, bits the processor sets. */

import {
  BUG_FAST_FAULT_INDIRECT,
  BUG_LPAGE_CHECK_UNLOCKED,
  BUG_PUBLISH_BEFORE_LINK,
  BUG_RECLAIM_READ_LOCK,
  BUG_TDP_PLAIN_STORE,
  BUG_UNSYNC_READ_LOCK,
} from '../../../shared/quirks.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import { runner } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import {
  guestRemaps,
  guestWrites,
  hostReusesPage,
  mapFirstFrame,
  unlogged,
} from '../models/indirect-fault.ts';
import { bannedAndLarge, faultRegion, trackPageOfRegion } from '../models/large-page.ts';
import { agePage, mapClean, pageContents, storeByGuest, swapOut } from '../models/leaf-accounting.ts';
import { fillPool, takeShadowPage, unsyncCounts, unsyncPage } from '../models/shadow-pages.ts';
import { faultTable, strayTables, zapTables } from '../models/table-pages.ts';
import { corpusItem } from '../setting.ts';

const TWO_VCPUS = { vcpuCount: 2 };

/** Every vCPU does this once. */
function eachVcpu({ vcpus }: World, what: (actor: Actor, index: number) => Path<void>): Participant[] {
  return vcpus.map(({ actor }, index) => runner(actor, what(actor, index)));
}

const publishBeforeLink = corpusItem(
  BUG_PUBLISH_BEFORE_LINK,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I7'],
    place: 'models/table-pages.ts: a root of ours is one flat table, without table pages',
  },
  () => ({
    machine: TWO_VCPUS,
    participants: (world) => [
      ...eachVcpu(world, (actor, index) => faultTable(actor, world.vm, index + 1)),
      runner(world.control, zapTables(world.control, world.vm)),
    ],
    atEnd: ({ vm }) =>
      strayTables(vm) === 0
        ? []
        : [
            {
              rule: 'I7',
              message: 'a table page is in the list although nothing leads to it, or the reverse',
            },
          ],
  }),
);

const reclaimReadLock = corpusItem(
  BUG_RECLAIM_READ_LOCK,
  { depth: 2, origin: 'HIST', rules: ['I7'], place: 'models/shadow-pages.ts: we have no shadow pages' },
  () => ({
    machine: TWO_VCPUS,
    setUp: ({ vm }) => fillPool(vm),
    participants: (world) => eachVcpu(world, (actor) => takeShadowPage(actor, world.vm)),
  }),
);

const unsyncReadLock = corpusItem(
  BUG_UNSYNC_READ_LOCK,
  { depth: 2, origin: 'HIST', rules: ['counter'], place: 'models/shadow-pages.ts: we have no shadow pages' },
  () => ({
    machine: TWO_VCPUS,
    participants: (world) => eachVcpu(world, (actor) => unsyncPage(actor, world.vm)),
    atEnd({ vm }) {
      const { counted, unsync } = unsyncCounts(vm);
      if (counted === unsync) return [];
      return [{ rule: 'counter', message: `a parent counts ${counted} unsync children and has ${unsync}` }];
    },
  }),
);

const lpageCheckUnlocked = corpusItem(
  BUG_LPAGE_CHECK_UNLOCKED,
  { depth: 2, origin: 'MUT', rules: ['I5'], place: 'models/large-page.ts: our entries are all of one size' },
  () => ({
    machine: TWO_VCPUS,
    participants(world) {
      const tool = world.actor('tool');
      return [
        ...eachVcpu(world, (actor) => faultRegion(actor, world.vm)),
        runner(tool, trackPageOfRegion(tool, world.vm)),
      ];
    },
    atEnd: ({ vm }) =>
      bannedAndLarge(vm) ? [{ rule: 'I5', message: 'a large entry grants R W X on a tracked page' }] : [],
  }),
);

// The corpus has it with the same page coming back (ABA, depth 3). That is in it; a walk that is merely older than the
// spte does it with two constraints.
const fastFaultIndirect = corpusItem(
  BUG_FAST_FAULT_INDIRECT,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I14'],
    place: 'models/indirect-fault.ts: our tables are direct, an spte is always for the same gfn',
  },
  () => ({
    machine: TWO_VCPUS,
    setUp: ({ vm }) => mapFirstFrame(vm),
    participants({ vm, vcpus, control }) {
      const [first, second] = vcpus.map((vcpu) => vcpu.actor) as [Actor, Actor];
      return [
        runner(first, guestWrites(first, vm)),
        runner(second, guestRemaps(second, vm)),
        runner(control, hostReusesPage(control, vm)),
      ];
    },
    atEnd({ vm }) {
      const frames = unlogged(vm);
      return frames === 0
        ? []
        : [
            {
              rule: 'I14',
              message: `frame ${31 - Math.clz32(frames)} was written and is not in the dirty log`,
            },
          ];
    },
  }),
);

const STORED = 5;

const tdpPlainStore = corpusItem(
  BUG_TDP_PLAIN_STORE,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I14'],
    place:
      'models/leaf-accounting.ts: our sptes have no bits that the processor sets, our host does not swap',
  },
  () => ({
    setUp: ({ vm }) => mapClean(vm),
    participants({ vm, vcpus, control }) {
      const { actor } = vcpus[0]!;
      const swaps = function* (): Path<void> {
        yield* agePage(control, vm);
        yield* swapOut(control, vm);
      };
      return [runner(actor, storeByGuest(actor, vm, STORED)), runner(control, swaps())];
    },
    atEnd: ({ vm }) =>
      pageContents(vm) === STORED
        ? []
        : [
            {
              rule: 'I14',
              message: 'a page that was written has been swapped out as clean: the store is lost',
            },
          ],
  }),
);

export const tableItems: readonly CorpusItem[] = [
  publishBeforeLink,
  reclaimReadLock,
  unsyncReadLock,
  lpageCheckUnlocked,
  fastFaultIndirect,
  tdpPlainStore,
];
