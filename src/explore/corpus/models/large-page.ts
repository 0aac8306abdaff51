/**
 * A large mapping over several frames, and the count that bans it: a page that is tracked needs an entry of its own.
 *
 * @source arch/x86/kvm/mmu/mmu.c: kvm_mmu_max_mapping_level, update_gfn_disallow_lpage_count; page_track.c:
 *         kvm_slot_page_track_add_page
 */
import { flushRemoteTlbs } from '../../../actors/mmu/protect.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_LPAGE_CHECK_UNLOCKED } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, updating } from '../../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { wordsOf } from './cells.ts';

const REGION = struct('large-region', {
  BANS: i32('mmu_lock', 'disallow_lpage: tracked pages of the region'),
  LARGE: i32('mmu_lock', '1: one entry maps the whole region, R W X'),
});

const word = wordsOf(REGION);

/** A fault in the region: maps it as a whole, if that is allowed. The small entries are not modelled. */
export function* faultRegion(actor: Actor, vm: Vm): Path<void> {
  const early = vm.quirk(BUG_LPAGE_CHECK_UNLOCKED) ? yield* mayBeLarge(vm) : null;
  yield* writeLock(actor, vm.mmuLock);
  if (early ?? (yield* mayBeLarge(vm))) {
    yield updating(word(vm, 'LARGE'));
    vm.mem.store(word(vm, 'LARGE'), 1);
  }
  yield* writeUnlock(actor, vm.mmuLock);
}

function* mayBeLarge(vm: Vm): Path<boolean> {
  yield reading(word(vm, 'BANS'));
  return vm.mem.load(word(vm, 'BANS')) === 0;
}

/** One page of the region is tracked from now on: an entry that maps it with others goes. */
export function* trackPageOfRegion(actor: Actor, vm: Vm): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  yield updating(word(vm, 'BANS'));
  vm.mem.add(word(vm, 'BANS'), 1);
  yield updating(word(vm, 'LARGE'));
  if (vm.mem.exchange(word(vm, 'LARGE'), 0) !== 0) yield* flushRemoteTlbs(actor, vm);
  yield* writeUnlock(actor, vm.mmuLock);
}

/** Does a large entry map a tracked page? */
export function bannedAndLarge(vm: Vm): boolean {
  return vm.mem.load(word(vm, 'BANS')) !== 0 && vm.mem.load(word(vm, 'LARGE')) !== 0;
}
