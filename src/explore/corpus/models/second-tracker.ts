/**
 * A second user of page tracking, with a table of its own: the pages whose stores it wants to know of, as a list that
 * its callbacks walk. A slot that goes takes its pages off the list.
 *
 * It stands beside the machine, whose only tracker with a table is KVMI; callbacks, dispatch, slots and locks are the
 * machine's own. The table lies in a page of RAM that no slot maps.
 *
 * @source drivers/gpu/drm/i915/gvt/kvmgt.c, which got a lock for its table of gfns in the clean-up of page tracking
 *         of 2023
 */
import {
  provideAccessCallbacks,
  provideSlotCallbacks,
  registerNotifier,
} from '../../../actors/mmu/page-track.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { NOTIFIER_TRACKER } from '../../../shared/layout/access-tree.ts';
import { BUG_TRACKER_TABLE_UNLOCKED } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import type { World } from '../../world/world.ts';
import { PAGE } from '../setting.ts';

const TABLE = struct('tracker-table', {
  HEAD: i32('mmu_lock', '1 + index of the first record, 0 for none'),
});
const RECORD = struct('tracker-record', {
  GFN: i32('mmu_lock', `page it stands for, or FREED`),
  NEXT: i32('mmu_lock', '1 + index of the next record, 0 at the end'),
});

const FREED = -1;
/** RAM page of the table. */
const TABLE_PAGE = 20;

const headWord = (vm: Vm): number => vm.ramPage(TABLE_PAGE) + TABLE.at.HEAD;

function recordWord(vm: Vm, record: number, field: keyof typeof RECORD.at): number {
  return vm.ramPage(TABLE_PAGE) + TABLE.bytes + record * RECORD.bytes + RECORD.at[field];
}

/** Registers the tracker for these pages; the first comes first in its list. @returns its notifier node */
export function registerTracker(world: World, gfns: readonly number[]): number {
  const { vm, control } = world;
  for (const [record, gfn] of gfns.entries()) {
    vm.mem.store(recordWord(vm, record, 'GFN'), gfn);
    vm.mem.store(recordWord(vm, record, 'NEXT'), record + 1 < gfns.length ? record + 2 : 0);
  }
  vm.mem.store(headWord(vm), 1);
  return world.alone(registerNotifier(control, vm, NOTIFIER_TRACKER));
}

/** Is the page one of the tracker's? Its table locked, or RC-74. */
function* tracks(vm: Vm, gfn: number): Path<boolean> {
  const { mem } = vm;
  yield reading(headWord(vm));
  for (let next = mem.load(headWord(vm)); next !== 0; ) {
    const record = next - 1;
    yield reading(recordWord(vm, record, 'GFN'));
    const found = mem.load(recordWord(vm, record, 'GFN'));
    if (found === FREED)
      vm.onFinding({ id: 'I12', detail: 'a callback walks into a freed record of its table' });
    if (found === gfn) return true;
    yield reading(recordWord(vm, record, 'NEXT'));
    next = mem.load(recordWord(vm, record, 'NEXT'));
  }
  return false;
}

/** Unlinks and frees the records of the pages from `from` to before `to`. mmu_lock held for write. */
function* forget(vm: Vm, from: number, to: number): Path<void> {
  const { mem } = vm;
  let link = headWord(vm);
  for (let next = mem.load(link); next !== 0; next = mem.load(link)) {
    const record = next - 1;
    const gfn = mem.load(recordWord(vm, record, 'GFN'));
    if (gfn < from || gfn >= to) {
      link = recordWord(vm, record, 'NEXT');
      continue;
    }
    yield writing(link);
    mem.store(link, mem.load(recordWord(vm, record, 'NEXT')));
    yield writing(recordWord(vm, record, 'GFN'));
    mem.store(recordWord(vm, record, 'GFN'), FREED);
  }
}

provideAccessCallbacks(NOTIFIER_TRACKER, {
  *before({ vm, actor }, { gpa }) {
    const locked = !vm.quirk(BUG_TRACKER_TABLE_UNLOCKED);
    if (locked) yield* readLock(actor, vm.mmuLock);
    yield* tracks(vm, Math.floor(gpa / PAGE));
    if (locked) yield* readUnlock(actor, vm.mmuLock);
    return true;
  },
});

provideSlotCallbacks(NOTIFIER_TRACKER, {
  *flushSlot(actor, vm, slot) {
    yield* writeLock(actor, vm.mmuLock);
    yield* forget(vm, slot.baseGfn, slot.baseGfn + slot.npages);
    yield* writeUnlock(actor, vm.mmuLock);
  },
});
