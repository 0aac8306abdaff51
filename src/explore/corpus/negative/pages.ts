/** Pages, slots and tables: what is left behind, shared, or written by nobody's instruction. */
import { readPolicy } from '../../../actors/mmu/access-tree.ts';
import { activeSet, findSlot, gfnToSlot } from '../../../actors/mmu/memslots.ts';
import { trackAdd } from '../../../actors/mmu/page-track.ts';
import { flushRemoteTlbs } from '../../../actors/mmu/protect.ts';
import { trackCounter } from '../../../actors/mmu/slot-arena.ts';
import { readLinear } from '../../../actors/vcpu/linear-memory.ts';
import { TRACK_PREWRITE, TRACK_WRITE } from '../../../shared/layout/memslot.ts';
import { VCPU } from '../../../shared/layout/vcpu.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../shared/sync/srcu.ts';
import { PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW } from '../../../shared/x86/paging.ts';
import type { World } from '../../world/world.ts';
import { byHand, changesSlot, hooked, NOT_W } from '../control/setting.ts';
import type { NegativeControl } from '../item.ts';
import { registerTracker } from '../models/second-tracker.ts';
import { restricts } from '../policy/setting.ts';
import { allowsAll, before, GFN, LOGGED, PAGE, read, SLOT, write } from '../tlb/setting.ts';
import { negativeControl } from './setting.ts';

const twoCounts = negativeControl(
  'NC-05',
  'a track count of 2: KVMI tracks the page, and shadow paging does',
  (shown) => ({
    setUp(world) {
      hooked()(world);
      registerTracker(world, [GFN]);
    },
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      restricts(world, [GFN, NOT_W]),
      world.controlRunner(shadows(world)),
      allowsAll(world),
    ],
    atEnd({ vm }) {
      const { arch } = findSlot(vm, activeSet(vm, 0), GFN)!;
      if (vm.mem.load16(trackCounter(vm, arch, TRACK_PREWRITE, 0)) === 2) shown();
      return [];
    },
  }),
);

/** account_shadowed: a guest page table at {@link GFN} is shadowed from now on, and so its page is tracked. */
function* shadows({ control, vm }: World): Path<void> {
  const section = yield* srcuReadLock(control, vm.srcu);
  const slot = (yield* gfnToSlot(vm, 0, GFN))!;
  yield* writeLock(control, vm.mmuLock);
  let flush = false;
  for (const mode of [TRACK_PREWRITE, TRACK_WRITE]) {
    if (yield* trackAdd(vm, slot, GFN, mode)) flush = true;
  }
  if (flush) yield* flushRemoteTlbs(control, vm);
  yield* writeUnlock(control, vm.mmuLock);
  yield* srcuReadUnlock(control, vm.srcu, section);
}

const policyWithoutSlot = negativeControl(
  'NC-08',
  'flush_slot leaves the policy of pages that have no slot any more',
  (shown) => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      changesSlot(world, { ...SLOT, npages: 0 }),
      allowsAll(world),
    ],
    atEnd({ vm }) {
      if (findSlot(vm, activeSet(vm, 0), GFN) === null && readPolicy(vm, GFN).access === NOT_W) shown();
      return [];
    },
  }),
);

const fixedByAnother = negativeControl(
  'NC-09',
  'a fault that finds its entry fixed already, by another vCPU',
  (shown) => ({
    machine: { vcpuCount: 2 },
    setUp(world) {
      world.slot(LOGGED);
      before(world, 0, read(GFN));
      before(world, 1, read(GFN));
    },
    participants: (world) => [world.vcpuRunner(0, [write(GFN, 1)]), world.vcpuRunner(1, [write(GFN, 1)])],
    atEnd({ vm, vcpus }) {
      if (vcpus.some(({ ctl }) => vm.mem.i64[(ctl + VCPU.at.FAULTS_SPURIOUS) / 8] !== 0n)) shown();
      return [];
    },
  }),
);

const activeUnderReadLock = negativeControl(
  'NC-10',
  'create_slot changes active bits under access_tree_lock held for read',
  (shown) => ({
    setUp(world) {
      world.hook();
      world.enablePf(0);
      world.alone(world.session.setPageAccess(GFN * PAGE, NOT_W, { needSlot: false }));
    },
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      changesSlot(world, SLOT),
      restricts(world, [GFN + 1, NOT_W]),
      allowsAll(world),
    ],
    atEnd({ vm }) {
      const { arch } = findSlot(vm, activeSet(vm, 0), GFN)!;
      if (vm.mem.load16(trackCounter(vm, arch, TRACK_PREWRITE, 0)) === 1) shown();
      return [];
    },
  }),
);

const guestRaces = negativeControl('NC-11', 'vCPUs that race on plain guest memory', (shown) => ({
  machine: { vcpuCount: 2 },
  setUp: (world) => world.slot(SLOT),
  participants(world) {
    let stores = 0;
    const note = function* (path: Path<void>): Path<void> {
      yield* path;
      stores += 1;
      if (stores === 2) shown();
    };
    return [0, 1].map((index) => {
      const runner = world.vcpuRunner(index, [write(GFN, index + 1), read(GFN)]);
      return { ...runner, path: note(runner.path as Path<void>) };
    });
  },
}));

/** Guest page tables: gva = gpa for the first 2 MiB, A not yet set. */
const PML4 = 9;
const PDPT = 10;
const DIRECTORY = 11;

const accessedBits = negativeControl(
  'NC-12',
  'the walker sets A in a page table that the tool has made read-only, without an event',
  (shown) => ({
    setUp(world) {
      const { vm, vcpus } = world;
      hooked([DIRECTORY, NOT_W])(world);
      const entry = PTE_P | PTE_RW | PTE_A;
      vm.mem.store64(vm.ramPage(PML4), BigInt(PDPT * PAGE) | entry);
      vm.mem.store64(vm.ramPage(PDPT), BigInt(DIRECTORY * PAGE) | entry);
      vm.mem.store64(vm.ramPage(DIRECTORY), PTE_PS | PTE_P | PTE_RW | PTE_D);
      vcpus[0]!.set64('CR3', BigInt(PML4 * PAGE));
    },
    participants: (world) => [
      byHand(world, 0, (vcpu) => readLinear(vcpu, BigInt(GFN * PAGE), 8)),
      restricts(world, [DIRECTORY, NOT_W]),
      allowsAll(world),
    ],
    atEnd({ vm, events }) {
      if (events.length === 0 && (vm.mem.load64(vm.ramPage(DIRECTORY)) & PTE_A) !== 0n) shown();
      return [];
    },
  }),
);

export const pageControls: readonly NegativeControl[] = [
  twoCounts,
  policyWithoutSlot,
  fixedByAnother,
  activeUnderReadLock,
  guestRaces,
  accessedBits,
];
