/** Taking access away: what sptes, TLBs and the fault path still grant afterwards. */

import { gfnToSlot } from '../../../actors/mmu/memslots.ts';
import { ageGfn } from '../../../actors/mmu/protect.ts';
import type { Access } from '../../../actors/vcpu/access-program.ts';
import { flushTlb } from '../../../actors/vcpu/tlb.ts';
import {
  BUG_FLUSH_NO_WAIT,
  BUG_FLUSH_THEN_TIGHTEN,
  BUG_NO_REMOTE_FLUSH,
  BUG_TLB_FILL_RACE,
  REF_ACC_TRACK_RESTORE,
  REF_EXEC_PROTECT_NO_FLUSH,
  REF_PREWRITE_NO_PROTECT,
  REF_READ_PROTECT_KEEPS_MMU_W,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../shared/sync/srcu.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import {
  allowsAll,
  GFN,
  PAGE,
  policyItem,
  R,
  restricts,
  type Setting,
  StoreWatch,
  W,
  write,
  X,
} from './setting.ts';

/** vCPU 0 has stored to the page: it is mapped, and W is in the TLB. */
const storedBefore = (world: World): void => world.alone(world.program(0, [write(GFN, 1)]));

/** A vCPU that has stored to the page and stores again, against a tool that leaves `access` of it. */
function storeAgainst(access: number, prepare = storedBefore): Setting {
  return {
    prepare,
    participants(world) {
      const watch = new StoreWatch(world, 'I2');
      return [watch.vcpuRunner(0, [write(GFN, 2)]), watch.tightens(access), watch.receiver()];
    },
  };
}

const noRemoteFlush = policyItem(
  BUG_NO_REMOTE_FLUSH,
  { depth: 1, origin: 'MUT', rules: ['I6', 'I2'], place: 'mmu/gfn-access.ts: setGfnAccess' },
  storeAgainst(R),
);

const execute: Access = { kind: 'execute', gpa: GFN * PAGE, size: 1 };
const read: Access = { kind: 'read', gpa: GFN * PAGE, size: 1 };

const execProtectNoFlush = policyItem(
  REF_EXEC_PROTECT_NO_FLUSH,
  { depth: 1, origin: 'REF', rules: ['I6', 'I2'], place: 'mmu/protect.ts: protectForTracking' },
  {
    prepare: (world) => world.alone(world.program(0, [execute])),
    participants: (world) => [
      world.vcpuRunner(0, [execute]),
      restricts(world, [GFN, R | W]),
      allowsAll(world),
    ],
  },
);

const flushThenTighten = policyItem(
  BUG_FLUSH_THEN_TIGHTEN,
  { depth: 3, origin: 'MUT', rules: ['I6', 'I2'], place: 'mmu/gfn-access.ts: setGfnAccess' },
  storeAgainst(R),
);

const flushNoWait = policyItem(
  BUG_FLUSH_NO_WAIT,
  { depth: 2, origin: 'MUT', rules: ['I2', 'I6'], place: 'mmu/protect.ts: flushRemoteTlbs' },
  storeAgainst(R),
);

const tlbFillRace = policyItem(
  BUG_TLB_FILL_RACE,
  { depth: 2, origin: 'MUT', rules: ['I6', 'I2'], place: 'vcpu/tlb-fill.ts: fillTlb' },
  storeAgainst(R, (world) => {
    storedBefore(world);
    flushTlb(world.vm.mem, world.vm.cpu(0));
  }),
);

const prewriteNoProtect = policyItem(
  REF_PREWRITE_NO_PROTECT,
  { depth: 1, origin: 'REF', rules: ['I5', 'I2'], place: 'mmu/page-track.ts: trackAdd' },
  storeAgainst(R | X),
);

const readProtectKeepsMmuW = policyItem(
  REF_READ_PROTECT_KEEPS_MMU_W,
  {
    depth: 1,
    origin: 'REF',
    rules: ['I5'],
    place: 'mmu/protect.ts: protectForTracking; mmu/spte.ts: makeSpte',
  },
  {
    prepare: storedBefore,
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 2)]),
      restricts(world, [GFN, W | X]),
      allowsAll(world),
    ],
  },
);

const accTrackRestore = policyItem(
  REF_ACC_TRACK_RESTORE,
  { depth: 2, origin: 'REF', rules: ['I5'], place: 'mmu/protect.ts: protectForTracking' },
  {
    prepare: storedBefore,
    participants: (world) => [
      world.vcpuRunner(0, [read]),
      host(world),
      restricts(world, [GFN, R | W]),
      allowsAll(world),
    ],
  },
);

/** Looks for cold pages, and takes this one for cold. */
function host(world: World): Participant {
  const { vm } = world;
  const actor = world.actor('host');
  function* age(): Path<void> {
    const section = yield* srcuReadLock(actor, vm.srcu);
    const slot = yield* gfnToSlot(vm, 0, GFN);
    if (slot !== null) yield* ageGfn(actor, vm, slot, GFN);
    yield* srcuReadUnlock(actor, vm.srcu, section);
  }
  return { name: 'host', waiter: actor, path: age() };
}

export const tighteningItems: readonly CorpusItem[] = [
  noRemoteFlush,
  execProtectNoFlush,
  flushThenTighten,
  flushNoWait,
  tlbFillRace,
  prewriteNoProtect,
  readProtectKeepsMmuW,
  accTrackRestore,
];
