/** Grace periods: who waits for them, where, and who is waited for. */
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { unregisterNotifier } from '../../../actors/mmu/page-track.ts';
import { FULL_ACCESS } from '../../../shared/layout/access-tree.ts';
import {
  BUG_FILTER_IN_PLACE,
  BUG_RING_SRCU,
  BUG_SET_ACCESS_SLOTS_LOCK,
  BUG_SLOTS_LOCK_IN_SRCU,
  BUG_SYNC_IN_CALLBACK,
  BUG_UNREGISTER_NO_SYNC,
  type Quirks,
  REF_SRCU_ACROSS_EVENT,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import { withQuirks } from '../../scenario/scenario.ts';
import type { World } from '../../world/world.ts';
import { allowsAll, changesSlot, commands, runner, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { hear, say } from '../models/errand.ts';
import { firstFilter, isFiltered, setFilter } from '../models/event-filter.ts';
import { lockedBoth, vmConfigured } from '../models/lock-ring.ts';
import { registerOneShot, unregisterAfterwards } from '../models/one-shot-tracker.ts';
import { registerTracker } from '../models/second-tracker.ts';
import { CONTINUE, corpusItem, GFN, hooked, NOT_W, OTHER_SLOT, PAGE, SLOT } from '../setting.ts';

const srcuAcrossEvent = corpusItem(
  REF_SRCU_ACROSS_EVENT,
  {
    depth: 1,
    origin: 'REF',
    rules: ['I10'],
    place: 'vcpu/tracked-access.ts: preAccess; vcpu/vcpu.ts: beforeEventWait',
  },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      // Before it answers, it has the owner of the VM change the memory layout.
      world.toolRunner(function* () {
        yield* say(world.vm, 'ASKED');
        yield* hear(world.receiver, world.vm, 'DONE');
        return CONTINUE;
      }),
      world.controlRunner(changesWhenAsked(world)),
    ],
  }),
);

function* changesWhenAsked({ control, vm }: World): Path<void> {
  yield* hear(control, vm, 'ASKED');
  yield* setMemoryRegion(control, vm, OTHER_SLOT);
  yield* say(vm, 'DONE');
}

const unregisterNoSync = corpusItem(
  BUG_UNREGISTER_NO_SYNC,
  { depth: 2, origin: 'MUT', rules: ['I12', 'race'], place: 'mmu/page-track.ts: unregisterNotifier' },
  () => ({
    setUp(world) {
      hooked([GFN, NOT_W])(world);
      registerTracker(world, [GFN]);
    },
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.controlRunner(unregisterNotifier(world.control, world.vm, lastNotifier(world))),
      allowsAll(world),
    ],
  }),
);

/** By the memory alone: setting-up runs in one thread, a participant maybe in another. */
function lastNotifier({ vm }: World): number {
  return vm.mem.load(vm.word('NOTIFIER_HEAD')) - 1;
}

const filterInPlace = corpusItem(
  BUG_FILTER_IN_PLACE,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I12'],
    place: 'explore/corpus/models/event-filter.ts: setFilter. A model, for our event masks are one word each',
  },
  () => ({
    setUp: ({ vm }) => firstFilter(vm, [0x10]),
    participants: (world) => [
      runner(world.vcpus[0]!.actor, isFiltered(world.vcpus[0]!.actor, world.vm, 0x12)),
      world.controlRunner(setFilter(world.control, world.vm, [0x10, 0x11, 0x12])),
    ],
  }),
);

const ringSrcu = corpusItem(
  BUG_RING_SRCU,
  {
    depth: 3,
    origin: 'HIST',
    rules: ['I10'],
    place: 'explore/corpus/models/lock-ring.ts: vmConfigured. A model, for our vCPUs never take kvm.lock',
  },
  () => ({
    setUp: (world) => world.slot(SLOT),
    participants(world) {
      const { vm, vcpus } = world;
      const owner = world.actor('owner');
      return [
        runner(vcpus[0]!.actor, vmConfigured(vcpus[0]!.actor, vm)),
        changesSlot(world, OTHER_SLOT),
        runner(owner, lockedBoth(owner, vm)),
      ];
    },
  }),
);

/** The tool's commands against a change of slots. */
function restrictsWhileSlotsChange(world: World): Participant[] {
  return [
    commands(world, (session) => session.setPageAccess(GFN * PAGE, NOT_W)),
    changesSlot(world, OTHER_SLOT),
  ];
}

const slotsLockInSrcu = corpusItem(
  BUG_SLOTS_LOCK_IN_SRCU,
  { depth: 2, origin: 'MUT', rules: ['L3', 'I10'], place: 'mmu/gfn-access.ts: hasVisibleSlot' },
  () => ({ setUp: hooked(), participants: restrictsWhileSlotsChange }),
);

const syncInCallback = corpusItem(
  BUG_SYNC_IN_CALLBACK,
  {
    depth: 1,
    origin: 'MUT',
    rules: ['L3', 'I10'],
    place: 'explore/corpus/models/one-shot-tracker.ts: before. A model, for KVMI is told of all accesses',
  },
  () => ({
    setUp(world) {
      hooked([GFN, NOT_W])(world);
      registerOneShot(world);
    },
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.controlRunner(unregisterAfterwards(world.control, world.vm)),
      allowsAll(world),
    ],
  }),
);

/** The item on a machine that has some other quirks besides, mistaken or not. */
function onTopOf(quirks: Quirks, item: CorpusItem): CorpusItem {
  return { ...item, scenario: (mutated) => withQuirks(item.scenario(mutated), quirks) };
}

// The obvious repair of RC-01. With events sent outside of kvm.srcu it does no harm.
const setAccessSlotsLock = onTopOf(
  [REF_SRCU_ACROSS_EVENT],
  corpusItem(
    BUG_SET_ACCESS_SLOTS_LOCK,
    { depth: 2, origin: 'MUT', rules: ['I10'], place: 'mmu/gfn-access.ts: setGfnAccess' },
    () => ({
      setUp: hooked([GFN, NOT_W]),
      participants: (world) => [
        world.vcpuRunner(0, [write(GFN, 1)]),
        world.toolRunner(function* (_event, session) {
          yield* session.setPageAccess(GFN * PAGE, FULL_ACCESS);
          return CONTINUE;
        }),
        changesSlot(world, OTHER_SLOT),
      ],
    }),
  ),
);

export const graceItems: readonly CorpusItem[] = [
  srcuAcrossEvent,
  unregisterNoSync,
  filterInPlace,
  ringSrcu,
  slotsLockInSrcu,
  syncInCallback,
  setAccessSlotsLock,
];
