/** Faults that rely on what they saw before, and entries that are taken apart under them. */
import { activeSet, setMemoryRegion, slotsOf } from '../../../actors/mmu/memslots.ts';
import { ageGfn } from '../../../actors/mmu/protect.ts';
import { zapAllRoots } from '../../../actors/mmu/roots.ts';
import {
  BUG_INVALID_AS_MMIO,
  BUG_NO_NOTIFIER_RETRY,
  BUG_NO_ROOT_RECHECK,
  BUG_SPTE_NON_ATOMIC_CLEAR,
  BUG_SPTE_TWO_WORDS,
  BUG_WP_SKIP_RO,
  REF_MMIO_OVER_MAPPING,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import { hostTakes } from './host.ts';
import {
  before,
  GFN,
  LOGGED,
  PAGE,
  PageWatch,
  read,
  runner,
  type Setting,
  SLOT,
  takesW,
  tlbItem,
  write,
} from './setting.ts';

const noNotifierRetry = tlbItem(
  BUG_NO_NOTIFIER_RETRY,
  { depth: 2, origin: 'MUT', rules: ['I7', 'I6'], place: 'mmu/page-fault.ts: invalidated' },
  () => ({
    setUp(world) {
      world.slot(SLOT);
      before(world, 0, read(GFN + 1));
    },
    participants(world) {
      const watch = new PageWatch(world, 'I7');
      return [watch.over(world.vcpuRunner(0, [write(GFN, 1)])), world.controlRunner(hostTakes(world, watch))];
    },
  }),
);

const noRootRecheck = tlbItem(
  BUG_NO_ROOT_RECHECK,
  { depth: 2, origin: 'HIST', rules: ['I7'], place: 'mmu/page-fault.ts: slowPageFault' },
  () => ({
    setUp(world) {
      world.slot(SLOT);
      before(world, 0, read(GFN + 1));
    },
    participants: (world) => [
      world.vcpuRunner(0, [read(GFN)]),
      // What the deletion of another slot does, once its readers are gone.
      world.controlRunner(zapAllRoots(world.control, world.vm)),
    ],
  }),
);

const spteNonAtomicClear = tlbItem(
  BUG_SPTE_NON_ATOMIC_CLEAR,
  { depth: 2, origin: 'HIST', rules: ['I6', 'I7'], place: 'mmu/protect.ts: takeSpte' },
  () => ({
    setUp(world) {
      world.slot(SLOT);
      before(world, 0, write(GFN, 1));
      // Aged: it grants nothing, and the fast path gives R, W and X back.
      world.alone(ageGfn(world.control, world.vm, slotsOf(world.vm, activeSet(world.vm, 0))[0]!, GFN));
    },
    participants(world) {
      const watch = new PageWatch(world, 'I7');
      return [watch.over(world.vcpuRunner(0, [write(GFN, 2)])), world.controlRunner(hostTakes(world, watch))];
    },
  }),
);

/** A vCPU stores to a page that is read-only for the dirty log, while the tool takes W away from it. No event: that is not the point. */
function storeAgainstTool(): Setting {
  return {
    setUp(world) {
      world.slot(LOGGED);
      world.hook();
      before(world, 0, read(GFN));
    },
    participants(world) {
      const tool = world.actor('tool');
      return [world.vcpuRunner(0, [write(GFN, 2)]), runner(tool, takesW(world, tool))];
    },
  };
}

const wpSkipRo = tlbItem(
  BUG_WP_SKIP_RO,
  { depth: 2, origin: 'HIST', rules: ['I5'], place: 'mmu/protect.ts: protectForTracking' },
  storeAgainstTool,
);

const spteTwoWords = tlbItem(
  BUG_SPTE_TWO_WORDS,
  { depth: 3, origin: 'MUT', rules: ['I5', 'torn'], place: 'mmu/protect.ts: clearBits' },
  storeAgainstTool,
);

const invalidAsMmio = tlbItem(
  BUG_INVALID_AS_MMIO,
  { depth: 2, origin: 'HIST', rules: ['I8'], place: 'mmu/page-fault.ts, vcpu/tracked-access.ts: locate' },
  () => ({
    setUp: (world) => void world.slot(SLOT),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.controlRunner(moveThatFails(world)),
    ],
    atEnd: (world) =>
      world.byte(GFN * PAGE) === 1
        ? []
        : [
            {
              rule: 'I8',
              message: `a store to gfn 0x${GFN.toString(16)}, RAM before and after, went to MMIO`,
            },
          ],
  }),
);

/** There is no memory for the new place: the old one comes back. */
function* moveThatFails({ control, vm }: World): Path<void> {
  vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
  yield* setMemoryRegion(control, vm, { ...SLOT, baseGfn: 16 });
}

// vCPU 0 finds no slot; by the time that it has mmu_lock there is one, and vCPU 1 has a mapping of it in its TLB.
const mmioOverMapping = tlbItem(
  REF_MMIO_OVER_MAPPING,
  { depth: 2, origin: 'REF', rules: ['I6'], place: 'mmu/page-fault.ts: slowPageFault' },
  () => ({
    machine: { vcpuCount: 2 },
    participants: (world) => [
      world.vcpuRunner(0, [read(GFN)]),
      world.vcpuRunner(1, [write(GFN, 1)]),
      world.controlRunner(setMemoryRegion(world.control, world.vm, SLOT)),
    ],
  }),
);

export const faultItems: readonly CorpusItem[] = [
  noNotifierRetry,
  noRootRecheck,
  spteNonAtomicClear,
  wpSkipRo,
  spteTwoWords,
  invalidAsMmio,
  mmioOverMapping,
];
