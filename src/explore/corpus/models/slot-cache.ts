/**
 * What is remembered about memslots between two lookups: the slot that was found last (RC-51), and the host address of
 * a page that a vCPU writes to again and again (RC-52). Our lookups remember nothing.
 *
 * Slots, sets, generations and grace periods are the machine's own.
 *
 * @source include/linux/kvm_host.h: search_memslots with slots->lru_slot; virt/kvm/kvm_main.c:
 *         kvm_write_guest_cached, __kvm_gfn_to_hva_cache_init
 */

import { archIsLive } from '../../../actors/mmu/slot-arena.ts';
import { activeSet, findSlot, generationOf, type Slot, slotsOf } from '../../../actors/mmu/slot-sets.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_CACHED_HVA_STALE, BUG_LRU_SLOT_STALE } from '../../../shared/quirks.ts';
import { i32, i64, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../shared/sync/srcu.ts';
import { wordsOf } from './cells.ts';

const CACHE = struct('slot-cache', {
  GENERATION: i64('this vCPU', 'of the slots that it was filled from'),
  SLOT: i32('this vCPU', '1 + place of the slot in its set; 0: nothing'),
  HOST: i32('this vCPU', 'address in shared memory; 0: nothing'),
});

const word = wordsOf(CACHE);

/** The slot of `gfn`, as the slot found last if it still is; what its arrays would be looked up with. */
export function* lookUp(actor: Actor, vm: Vm, gfn: number): Path<void> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield reading(vm.word('ACTIVE_SET'));
  const set = activeSet(vm, 0);
  const slots = slotsOf(vm, set);
  const current = mem.load64(word(vm, 'GENERATION')) === generationOf(vm, set);
  const place = mem.load(word(vm, 'SLOT')) - 1;
  if (place >= 0 && (current || vm.quirk(BUG_LRU_SLOT_STALE))) {
    const slot = slots[place];
    if (slot === undefined || !archIsLive(vm, slot.arch)) {
      vm.onFinding({
        id: 'I7',
        detail: `the slot found last is number ${place} of a set of ${slots.length}`,
      });
    }
  } else {
    mem.store(word(vm, 'SLOT'), slots.findIndex((slot) => covers(slot, gfn)) + 1);
    mem.store64(word(vm, 'GENERATION'), generationOf(vm, set));
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);
}

const covers = (slot: Slot, gfn: number): boolean => gfn >= slot.baseGfn && gfn < slot.baseGfn + slot.npages;

/** The vCPU writes its clock to the page, through the address that it knows. */
export function* writeClock(actor: Actor, vm: Vm, gfn: number): Path<void> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield reading(vm.word('ACTIVE_SET'));
  const set = activeSet(vm, 0);
  const slot = findSlot(vm, set, gfn);
  const now = slot === null ? 0 : vm.ramPage(slot.ramPage + gfn - slot.baseGfn);
  let host = mem.load(word(vm, 'HOST'));
  const current = mem.load64(word(vm, 'GENERATION')) === generationOf(vm, set);
  if (host === 0 || (!current && !vm.quirk(BUG_CACHED_HVA_STALE))) {
    host = now;
    mem.store(word(vm, 'HOST'), host);
    mem.store64(word(vm, 'GENERATION'), generationOf(vm, set));
  }
  if (host !== 0) {
    yield writing(host);
    if (host !== now)
      vm.onFinding({ id: 'I7', detail: 'a vCPU writes its clock to where its page once was' });
    mem.add(host, 1);
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);
}
