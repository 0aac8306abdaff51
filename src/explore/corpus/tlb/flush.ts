/** Flushes that are left out, come to nobody, or are forgotten. */
import { harvestDirtyLog } from '../../../actors/mmu/dirty-log.ts';
import { writeProtectSlot } from '../../../actors/mmu/protect.ts';
import { zapAllRoots } from '../../../actors/mmu/roots.ts';
import { dirtyWord } from '../../../actors/mmu/slot-arena.ts';
import { activeSet, slotsOf } from '../../../actors/mmu/slot-sets.ts';
import {
  BUG_DEKKER_ORDER,
  BUG_FREE_NO_WALK_WAIT,
  BUG_HARVEST_NO_FLUSH,
  BUG_RO_MEANS_CLEAN,
  BUG_YIELD_DROPS_FLUSH,
} from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import { mutexLock, mutexUnlock } from '../../../shared/sync/mutex.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import { before, read, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { wordsOf } from '../models/cells.ts';
import { PageWatch, StoreWatch } from '../page-watch.ts';
import { corpusItem, GFN, hooked, hookedOn, LOGGED, NOT_W, PAGE, SLOT } from '../setting.ts';
import { hostTakes } from './host.ts';

/** vCPU 0 stores to the page while the tool takes W away from it. */
function storeAgainstTightening(world: World, ...others: readonly Participant[]): Participant[] {
  const watch = new StoreWatch(world, 'I2');
  return [watch.vcpuRunner(0, write(GFN, 2)), ...others, watch.tightens(NOT_W, false), watch.receiver()];
}

const dekkerOrder = corpusItem(
  BUG_DEKKER_ORDER,
  { depth: 2, origin: 'MUT', rules: ['I2', 'I6'], place: 'vcpu/entry.ts: enterGuest' },
  () => ({
    setUp(world) {
      hooked()(world);
      before(world, 0, write(GFN, 1));
    },
    participants: (world) => storeAgainstTightening(world),
  }),
);

const roMeansClean = corpusItem(
  BUG_RO_MEANS_CLEAN,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I2', 'I6'],
    place: 'mmu/protect.ts: passesForClean',
  },
  () => ({
    setUp(world) {
      hookedOn([{ ...LOGGED, npages: 1 }])(world);
      before(world, 0, write(GFN, 1));
    },
    participants: (world) => storeAgainstTightening(world, world.controlRunner(writeProtect(world))),
  }),
);

/** Every page of the slot faults on its next write, as when logging begins. */
function* writeProtect({ control, vm }: World): Path<void> {
  yield* mutexLock(control, vm.slotsLock);
  yield* writeProtectSlot(control, vm, slotsOf(vm, activeSet(vm, 0))[0]!);
  yield* mutexUnlock(control, vm.slotsLock);
}

const yieldDropsFlush = corpusItem(
  BUG_YIELD_DROPS_FLUSH,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I6', 'I7'],
    place: 'mmu/host-invalidation.ts: invalidateRangeStart',
  },
  () => ({
    machine: { vcpuCount: 2 },
    setUp(world) {
      world.slot(SLOT);
      before(world, 0, write(GFN, 1));
      before(world, 1, read(GFN + 2));
    },
    participants(world) {
      const watch = new PageWatch(world, 'I7');
      return [
        watch.over(world.vcpuRunner(0, [write(GFN, 2)])),
        // Not of the range: its fault waits for mmu_lock, and the invalidation makes room for it.
        world.vcpuRunner(1, [read(GFN + 3)]),
        world.controlRunner(hostTakes(world, watch, 2)),
      ];
    },
  }),
);

/** In the memory, which is all that a participant's thread shares with whoever checks. */
const noted = wordsOf(
  struct('harvest', { HARVESTED: i32('control', 'what the page held when its log was taken') }),
);

const harvestNoFlush = corpusItem(
  BUG_HARVEST_NO_FLUSH,
  { depth: 2, origin: 'MUT', rules: ['I14', 'I6'], place: 'mmu/dirty-log.ts: harvestDirtyLog' },
  () => ({
    setUp(world) {
      world.slot(LOGGED);
      before(world, 0, write(GFN, 1));
    },
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 2)]),
      world.controlRunner(
        (function* (): Path<void> {
          yield* harvestDirtyLog(world.control, world.vm, LOGGED.asId, LOGGED.id);
          world.vm.mem.store(noted(world.vm, 'HARVESTED'), world.byte(GFN * PAGE));
        })(),
      ),
    ],
    atEnd(world) {
      const now = world.byte(GFN * PAGE);
      const harvested = world.vm.mem.load(noted(world.vm, 'HARVESTED'));
      return now === harvested || isLogged(world, 0)
        ? []
        : [
            {
              rule: 'I14',
              message: `page 0 of slot 1 holds ${now}, ${harvested} when its log was taken, and is not in the next log`,
            },
          ];
    },
  }),
);

/** Is this page of the only slot in its dirty log? */
function isLogged({ vm }: World, page: number): boolean {
  const { arch } = slotsOf(vm, activeSet(vm, 0))[0]!;
  return (vm.mem.load(dirtyWord(vm, arch, page)) & (1 << page)) !== 0;
}

const freeNoWalkWait = corpusItem(
  BUG_FREE_NO_WALK_WAIT,
  { depth: 2, origin: 'MUT', rules: ['I7', 'I6'], place: 'mmu/roots.ts: zapAllRoots' },
  () => ({
    setUp(world) {
      world.slot(LOGGED);
      before(world, 0, read(GFN));
    },
    participants: (world) => [
      // Mapped for reading: the write goes to the fast path.
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.controlRunner(zapAllRoots(world.control, world.vm)),
    ],
  }),
);

export const flushItems: readonly CorpusItem[] = [
  dekkerOrder,
  roMeansClean,
  yieldDropsFlush,
  freeNoWalkWait,
  harvestNoFlush,
];
