/** Memslots: what is derived from a set of them, and what happens to it when the set changes. */
import { invalidateRangeEnd, invalidateRangeStart } from '../../../actors/mmu/host-invalidation.ts';
import { SLOT_SET, SLOT_SET_BYTES } from '../../../shared/layout/memslot.ts';
import {
  BUG_ARCH_SNAPSHOT_EARLY,
  BUG_CACHED_HVA_STALE,
  BUG_GEN_WRAP_AS1,
  BUG_LRU_SLOT_STALE,
  BUG_MMIO_IN_FLUX,
  BUG_RESCAN_AFTER_ACTIVATE,
  BUG_SWAP_DURING_INVALIDATE,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import { allocateRmaps, changeFlags, useRmaps } from '../models/lazy-arch.ts';
import { lookUp, writeClock } from '../models/slot-cache.ts';
import { StoreWatch } from '../policy/setting.ts';
import { before, GFN, read, runner, SLOT, tlbItem, write } from '../tlb/setting.ts';
import { changesSlot, NOT_W, OTHER_SLOT } from './setting.ts';

const DELETED = { ...SLOT, npages: 0 };

const mmioInFlux = tlbItem(
  BUG_MMIO_IN_FLUX,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I8'],
    place: 'mmu/memslots.ts: swapActive; mmu/page-fault.ts: slowPageFault',
  },
  () => ({
    setUp: (world) => before(world, 0, read(0)),
    participants: (world) => [world.vcpuRunner(0, [read(GFN)]), changesSlot(world, SLOT)],
  }),
);

/** The last generation before the 19 bits that MMIO sptes keep come round, of address space 1. */
const BEFORE_WRAP = (1n << 20n) - 1n;

// What the vCPU has cached belongs to generation 0 of the address space; half a million changes later comes this one.
const genWrapAs1 = tlbItem(
  BUG_GEN_WRAP_AS1,
  { depth: 1, origin: 'HIST', rules: ['I8'], place: 'mmu/memslots.ts: mmioGenerationWraps' },
  () => ({
    setUp(world) {
      const { vm } = world;
      vm.mem.store(vm.vcpuWord(0, 'AS_ID'), 1);
      before(world, 0, read(GFN));
      for (const set of [2, 3]) {
        vm.mem.store64(vm.layout.slotSets + set * SLOT_SET_BYTES + SLOT_SET.at.GENERATION, BEFORE_WRAP);
      }
    },
    participants: (world) => [world.vcpuRunner(0, [read(GFN)]), changesSlot(world, { ...SLOT, asId: 1 })],
  }),
);

const swapDuringInvalidate = tlbItem(
  BUG_SWAP_DURING_INVALIDATE,
  { depth: 2, origin: 'HIST', rules: ['I4'], place: 'mmu/memslots.ts: swapActive' },
  () => ({
    setUp: (world) => world.slot(SLOT),
    participants: (world) => [hostTakesPage(world), changesSlot(world, DELETED)],
  }),
);

function hostTakesPage(world: World) {
  const host = world.actor('host');
  const range = { ramPage: GFN, npages: 1 };
  function* takeAndGiveBack(): Path<void> {
    yield* invalidateRangeStart(host, world.vm, range);
    yield* invalidateRangeEnd(host, world.vm, range);
  }
  return runner(host, takeAndGiveBack());
}

const archSnapshotEarly = tlbItem(
  BUG_ARCH_SNAPSHOT_EARLY,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I7'],
    place:
      'explore/corpus/models/lazy-arch.ts: changeFlags. A model, for our arch data is never allocated late',
  },
  () => ({
    participants(world) {
      const { vm, control } = world;
      const { actor } = world.vcpus[0]!;
      function* life(): Path<void> {
        yield* allocateRmaps(actor, vm);
        yield* useRmaps(actor, vm);
      }
      return [runner(actor, life()), world.controlRunner(changeFlags(control, vm))];
    },
  }),
);

const lruSlotStale = tlbItem(
  BUG_LRU_SLOT_STALE,
  {
    depth: 1,
    origin: 'HIST',
    rules: ['I7'],
    place: 'explore/corpus/models/slot-cache.ts: lookUp. A model, for our lookups remember nothing',
  },
  () => ({
    setUp(world) {
      world.slot(SLOT);
      world.slot(OTHER_SLOT);
    },
    participants: (world) => [
      again(world, (actor) => lookUp(actor, world.vm, OTHER_SLOT.baseGfn)),
      changesSlot(world, { ...OTHER_SLOT, npages: 0 }),
    ],
  }),
);

const cachedHvaStale = tlbItem(
  BUG_CACHED_HVA_STALE,
  {
    depth: 1,
    origin: 'HIST',
    rules: ['I7'],
    place:
      'explore/corpus/models/slot-cache.ts: writeClock. A model, for no vCPU of ours keeps host addresses so long',
  },
  () => ({
    setUp: (world) => world.slot(SLOT),
    participants: (world) => [
      again(world, (actor) => writeClock(actor, world.vm, GFN)),
      changesSlot(world, DELETED),
    ],
  }),
);

/** vCPU 0 does it twice. */
function again(world: World, work: (actor: World['control']) => Path<void>) {
  const { actor } = world.vcpus[0]!;
  function* life(): Path<void> {
    yield* work(actor);
    yield* work(actor);
  }
  return runner(actor, life());
}

const rescanAfterActivate = tlbItem(
  BUG_RESCAN_AFTER_ACTIVATE,
  { depth: 3, origin: 'MUT', rules: ['I2', 'I1'], place: 'mmu/memslots.ts: changeSlot' },
  () => ({
    setUp(world) {
      world.hook();
      world.enablePf(0);
      before(world, 0, read(0));
    },
    participants(world) {
      const watch = new StoreWatch(world, 'I2');
      return [
        watch.vcpuRunner(0, [write(GFN, 1), write(GFN, 2)]),
        changesSlot(world, SLOT),
        watch.tightens(NOT_W, false),
        watch.receiver(),
      ];
    },
  }),
);

export const slotItems: readonly CorpusItem[] = [
  mmioInFlux,
  genWrapAs1,
  swapDuringInvalidate,
  archSnapshotEarly,
  lruSlotStale,
  cachedHvaStale,
  rescanAfterActivate,
];
