/** Locks, lists and single words: what several threads do to one cell. */

import { releaseReserve, reserveEntry, type TreeReserve } from '../../../actors/mmu/access-tree.ts';
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { accessPiece } from '../../../actors/vcpu/tracked-access.ts';
import type { Vcpu } from '../../../actors/vcpu/vcpu.ts';
import { ACCESS_W } from '../../../shared/layout/cpu.ts';
import {
  BUG_FREELIST_ABA,
  BUG_LOCK_AS_WRITE,
  BUG_PUBLISH_BEFORE_REF,
  BUG_RW_RECURSIVE_READ,
  BUG_RW_UPGRADE,
  BUG_UNLOCK_NO_NOTIFY,
} from '../../../shared/quirks.ts';
import { type Path, reading } from '../../../shared/sync/point.ts';
import type { CorpusItem } from '../item.ts';
import { closeDevice, createDevice, openVm } from '../models/handle.ts';
import { makeNote } from '../models/page-notes.ts';
import { restricts } from '../policy/setting.ts';
import { allowsAll, GFN, PAGE, runner, SLOT, tlbItem, write } from '../tlb/setting.ts';
import { byHand, hooked, NOT_W } from './setting.ts';

const TWO_VCPUS = { vcpuCount: 2 };

const rwUpgrade = tlbItem(
  BUG_RW_UPGRADE,
  {
    depth: 2,
    origin: 'MUT',
    rules: ['L5', 'I10'],
    place: 'explore/corpus/models/page-notes.ts: makeNote. A model, for no reader of ours becomes a writer',
  },
  () => ({
    machine: TWO_VCPUS,
    participants: ({ vcpus, vm }) => vcpus.map(({ actor }) => runner(actor, makeNote(actor, vm))),
  }),
);

const rwRecursiveRead = tlbItem(
  BUG_RW_RECURSIVE_READ,
  { depth: 2, origin: 'MUT', rules: ['L5', 'I10'], place: 'vcpu/tracked-access.ts: effect' },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      restricts(world, [GFN + 1, NOT_W]),
      allowsAll(world),
    ],
  }),
);

const lockAsWrite = tlbItem(
  BUG_LOCK_AS_WRITE,
  { depth: 2, origin: 'MUT', rules: ['I13'], place: 'vcpu/tracked-access.ts: effect' },
  () => ({
    machine: TWO_VCPUS,
    setUp: (world) => world.slot(SLOT),
    participants: (world) => [byHand(world, 0, lockedIncrement), byHand(world, 1, lockedIncrement)],
    atEnd(world) {
      const made = world.vm.mem.load(world.vm.ramPage(GFN));
      return made === 2
        ? []
        : [{ rule: 'I13', message: `two LOCK INC of a word that was 0 made it ${made}` }];
    },
  }),
);

/** LOCK INC of the first word of the page, emulated. */
function* lockedIncrement(vcpu: Vcpu): Path<void> {
  const { vm, mem } = vcpu;
  const host = vm.ramPage(GFN);
  for (;;) {
    yield reading(host);
    const expect = BigInt(mem.load(host));
    const piece = {
      gpa: GFN * PAGE,
      gva: BigInt(GFN * PAGE),
      size: 4,
      access: ACCESS_W,
      value: expect + 1n,
      expect,
    };
    if ((yield* accessPiece(vcpu, piece)).kind === 'done') return;
  }
}

const publishBeforeRef = tlbItem(
  BUG_PUBLISH_BEFORE_REF,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I12'],
    place:
      'explore/corpus/models/handle.ts: createDevice. A model, for our machine has no devices with handles',
  },
  () => ({
    setUp: ({ vm }) => openVm(vm),
    participants(world) {
      const other = world.actor('other');
      return [world.controlRunner(createDevice(world.vm)), runner(other, closeDevice(world.vm))];
    },
  }),
);

// Requests that change nothing: they take slots_lock, look, and let it go.
const unlockNoNotify = tlbItem(
  BUG_UNLOCK_NO_NOTIFY,
  { depth: 2, origin: 'MUT', rules: ['I10'], place: 'shared/sync/mutex.ts: mutexUnlock' },
  () => ({
    setUp: (world) => world.slot(SLOT),
    participants(world) {
      const second = world.actor('second control');
      return [
        world.controlRunner(setMemoryRegion(world.control, world.vm, SLOT)),
        runner(second, setMemoryRegion(second, world.vm, SLOT)),
      ];
    },
  }),
);

/** Who has which entry of the access tree. */
class Owners {
  readonly #vm: Vm;
  readonly #names = new Map<number, string>();

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  *take(name: string): Path<TreeReserve | null> {
    const reserve = yield* reserveEntry(this.#vm);
    if (reserve === null) return null;
    const other = this.#names.get(reserve.entry);
    if (other !== undefined) {
      this.#vm.onFinding({ id: 'I12', detail: `${name} and ${other} were both given one access entry` });
    }
    this.#names.set(reserve.entry, name);
    return reserve;
  }

  *giveBack(reserve: TreeReserve | null): Path<void> {
    if (reserve === null) return;
    this.#names.delete(reserve.entry);
    yield* releaseReserve(this.#vm, reserve);
  }
}

const freelistAba = tlbItem(
  BUG_FREELIST_ABA,
  { depth: 3, origin: 'MUT', rules: ['I12', 'balance'], place: 'mmu/access-tree.ts: nextTag' },
  () => ({
    // Three entries are free, and known to be.
    setUp(world) {
      const taken = [1, 2, 3].map(() => world.alone(reserveEntry(world.vm))!);
      for (const reserve of taken) world.alone(releaseReserve(world.vm, reserve));
    },
    participants(world) {
      const owners = new Owners(world.vm);
      return [runner(world.receiver, takesTwo(owners)), runner(world.control, givesTheFirstBack(owners))];
    },
  }),
);

function* takesTwo(owners: Owners): Path<void> {
  const first = yield* owners.take('receiver');
  const second = yield* owners.take('receiver');
  yield* owners.giveBack(first);
  yield* owners.giveBack(second);
}

function* givesTheFirstBack(owners: Owners): Path<void> {
  const first = yield* owners.take('control');
  const second = yield* owners.take('control');
  yield* owners.giveBack(first);
  yield* owners.giveBack(second);
}

export const wordItems: readonly CorpusItem[] = [
  rwUpgrade,
  rwRecursiveRead,
  lockAsWrite,
  publishBeforeRef,
  unlockNoNotify,
  freelistAba,
];
