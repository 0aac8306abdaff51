/** Policy and slots that come and go: tracking that is not added, or dropped and not added again. */
import { unhook } from '../../../actors/introspector/hook.ts';
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import {
  BUG_FLUSH_BEFORE_INVALID,
  BUG_FLUSH_SLOT_READ_LOCK,
  BUG_LOCK_ORDER_SWAP,
  BUG_MOVE_CREATE_FIRST,
  REF_ACTIVE_KEY_NO_AS,
  REF_CREATE_SLOT_GAP,
  REF_MOVE_FAIL_NO_RETRACK,
  REF_SLOTS_NEED_SESSION,
  REF_TRACK_INVALID_SLOT,
} from '../../../shared/quirks.ts';
import { choosing, type Path } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import { before, changesSlot, commands, read, restricts, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { StoreWatch } from '../page-watch.ts';
import { DELETED, GFN, R, SLOT, W, X } from '../setting.ts';
import { policyItem } from './policy-item.ts';

const MOVED = { ...SLOT, baseGfn: 16 };
const OVERLAPPING = { ...SLOT, baseGfn: GFN + 1 };

const createSlotGap = policyItem(
  REF_CREATE_SLOT_GAP,
  { depth: 2, origin: 'REF', rules: ['I3'], place: 'mmu/memslots.ts: changeSlot' },
  {
    slots: [],
    participants: (world) => [changesSlot(world, SLOT), restricts(world, [GFN, R])],
  },
);

const trackInvalidSlot = policyItem(
  REF_TRACK_INVALID_SLOT,
  { depth: 2, origin: 'REF', rules: ['I3', 'I4'], place: 'mmu/gfn-access.ts: slotsToTrack' },
  {
    participants: (world) => [world.controlRunner(recreate(world)), restricts(world, [GFN, R])],
  },
);

function* recreate({ control, vm }: World): Path<void> {
  yield* setMemoryRegion(control, vm, DELETED);
  yield* setMemoryRegion(control, vm, SLOT);
}

const moveFailNoRetrack = policyItem(
  REF_MOVE_FAIL_NO_RETRACK,
  { depth: 0, origin: 'REF', rules: ['I3'], place: 'mmu/memslots.ts: reactivate' },
  {
    policy: [[GFN, R]],
    participants: (world) => [world.controlRunner(moveThatMayFail(world))],
  },
);

/** Whether there is memory for the new place is the schedule's choice. */
function* moveThatMayFail({ control, vm }: World): Path<void> {
  vm.mem.store(vm.word('FAIL_ALLOCATIONS'), yield choosing(2));
  yield* setMemoryRegion(control, vm, MOVED);
}

const activeKeyNoAs = policyItem(
  REF_ACTIVE_KEY_NO_AS,
  { depth: 0, origin: 'REF', rules: ['I3', 'I4'], place: 'mmu/access-tree.ts: activePosition' },
  {
    slots: [],
    policy: [[GFN, R]],
    participants: (world) => [world.controlRunner(createInBothSpaces(world))],
  },
);

function* createInBothSpaces({ control, vm }: World): Path<void> {
  yield* setMemoryRegion(control, vm, SLOT);
  yield* setMemoryRegion(control, vm, { ...SLOT, asId: 1 });
}

const lockOrderSwap = policyItem(
  BUG_LOCK_ORDER_SWAP,
  { depth: 2, origin: 'MUT', rules: ['L1', 'I10'], place: 'mmu/gfn-access.ts: addMemslot' },
  {
    slots: [],
    policy: [[GFN, R]],
    participants: (world) => [changesSlot(world, SLOT), restricts(world, [GFN, R | X])],
  },
);

/** The root is there already, so that the store does not need mmu_lock for it. */
function loadRoot(world: World): void {
  before(world, 0, read(GFN + 1));
}

// INVALID hides the window from vCPUs of the slot's own address space: they start again before they look at the
// policy. One in the other space, whose slot is there and whose policy is the same, sees it.
const flushSlotReadLock = policyItem(
  BUG_FLUSH_SLOT_READ_LOCK,
  { depth: 2, origin: 'MUT', rules: ['I1', 'race'], place: 'mmu/gfn-access.ts: removeMemslot' },
  {
    slots: [SLOT, { ...SLOT, asId: 1 }],
    policy: [[GFN, 0]],
    prepare(world) {
      world.vm.mem.store(world.vm.vcpuWord(0, 'AS_ID'), 1);
      loadRoot(world);
    },
    participants(world) {
      const watch = new StoreWatch(world, 'I1');
      return [watch.vcpuRunner(0, write(GFN, 1)), changesSlot(world, DELETED), watch.receiver()];
    },
  },
);

const flushBeforeInvalid = policyItem(
  BUG_FLUSH_BEFORE_INVALID,
  { depth: 2, origin: 'MUT', rules: ['I1', 'I7'], place: 'mmu/memslots.ts: changeSlot' },
  {
    policy: [[GFN, R]],
    prepare: loadRoot,
    participants(world) {
      const watch = new StoreWatch(world, 'I1');
      // What the read maps after the flush outlives the slot (I7); what the store does then, nobody was asked for (I1).
      return [
        watch.vcpuRunner(0, read(GFN + 2), write(GFN, 1)),
        changesSlot(world, DELETED),
        watch.receiver(),
      ];
    },
  },
);

// Both places cover the restricted page, so its bit, which goes by slot id, is set when the new one is scanned.
const moveCreateFirst = policyItem(
  BUG_MOVE_CREATE_FIRST,
  { depth: 0, origin: 'MUT', rules: ['I3'], place: 'mmu/memslots.ts: changeSlot' },
  {
    policy: [[GFN + 1, R | W]],
    participants: (world) => [changesSlot(world, OVERLAPPING)],
  },
);

// The session ends and the slot moves, in whatever order; the places overlap as above. Then unhook.
const slotsNeedSession = policyItem(
  REF_SLOTS_NEED_SESSION,
  { depth: 1, origin: 'REF', rules: ['I4', 'I3'], place: 'mmu/gfn-access.ts: withPolicy' },
  {
    policy: [[GFN + 1, R | W]],
    participants: (world) => [
      commands(world, (session) => session.close()),
      world.controlRunner(moveAndUnhook(world)),
    ],
  },
);

function* moveAndUnhook({ control, vm }: World): Path<void> {
  yield* setMemoryRegion(control, vm, OVERLAPPING);
  yield* unhook(control, vm);
}

export const slotItems: readonly CorpusItem[] = [
  createSlotGap,
  trackInvalidSlot,
  moveFailNoRetrack,
  activeKeyNoAs,
  lockOrderSwap,
  flushSlotReadLock,
  flushBeforeInvalid,
  moveCreateFirst,
  slotsNeedSession,
];
