/**
 * One spte of an indirect table: which frame it is for, the guest's own table decides. The fast path knows the frame
 * from a walk that may be old, and the spte by its bits.
 *
 *   spte   31…4: pfn   2: MMU-writable   1: W   0: present
 *
 * @source Documentation/virt/kvm/locking.rst, "Fast page fault": the change of gfn to pfn under a cmpxchg, and why indirect sptes are left out
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_FAST_FAULT_INDIRECT } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, updating, writing } from '../../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { wordsOf } from './cells.ts';

const PRESENT = 1;
const WRITABLE = 2;
const MMU_WRITABLE = 4;
const PFN_SHIFT = 4;

/** Guest frames, and a host page for each. */
const FRAMES = 2;

const SHADOW = struct('indirect', {
  GUEST_PTE: i32('the guest', 'frame that the guest maps here'),
  SPTE: i32('mmu_lock; fast path (cas)', 'what the processor uses, see above'),
  PFN_OF: i32('the host', 'per frame: its host page; 0: not there', FRAMES),
  LOG: i32('anyone (or)', 'dirty log: bit n: frame n was written'),
  WRITTEN: i32('the guest (or)', 'bit n: the memory of frame n was written'),
});

const word = wordsOf(SHADOW);

const FIRST_PFN = 7;

/** The guest maps frame 0 here, and has read it; frame 1 has no page yet. */
export function mapFirstFrame(vm: Vm): void {
  vm.mem.store(word(vm, 'PFN_OF'), FIRST_PFN);
  vm.mem.store(word(vm, 'SPTE'), (FIRST_PFN << PFN_SHIFT) | PRESENT | MMU_WRITABLE);
}

/** The guest writes through the mapping, faulting as often as it must. */
export function* guestWrites(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  for (;;) {
    // The processor's own access: translation and store are one step, since a flush would wait for it.
    yield writing(word(vm, 'SPTE'));
    const spte = mem.load(word(vm, 'SPTE'));
    if ((spte & WRITABLE) !== 0) {
      mem.or(word(vm, 'WRITTEN'), 1 << ownerOf(vm, spte >> PFN_SHIFT));
      return;
    }
    yield reading(word(vm, 'GUEST_PTE'));
    const frame = mem.load(word(vm, 'GUEST_PTE'));
    const fast = vm.quirk(BUG_FAST_FAULT_INDIRECT) && (yield* fastFault(vm, frame));
    if (!fast) yield* slowFault(actor, vm, true);
  }
}

/** The frame whose memory a host page is. */
function ownerOf(vm: Vm, pfn: number): number {
  return vm.mem.load(word(vm, 'PFN_OF')) === pfn ? 0 : 1;
}

/** For direct tables this is right: there the place of the spte says which frame it is for. */
function* fastFault(vm: Vm, frame: number): Path<boolean> {
  const spte = word(vm, 'SPTE');
  yield reading(spte);
  const old = vm.mem.load(spte);
  if ((old & PRESENT) === 0 || (old & MMU_WRITABLE) === 0) return false;
  yield updating(spte);
  if (vm.mem.cas(spte, old, old | WRITABLE) !== old) return false;
  yield updating(word(vm, 'LOG'));
  vm.mem.or(word(vm, 'LOG'), 1 << frame);
  return true;
}

/** Looks the frame up under the lock, with which a change of the guest's table is brought into line. */
function* slowFault(actor: Actor, vm: Vm, write: boolean): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  const frame = mem.load(word(vm, 'GUEST_PTE'));
  const page = word(vm, 'PFN_OF') + frame * 4;
  // The host finds a page for a frame that has none.
  if (mem.load(page) === 0) mem.store(page, FIRST_PFN + 1 + frame);
  if (write) mem.or(word(vm, 'LOG'), 1 << frame);
  yield updating(word(vm, 'SPTE'));
  const bits = PRESENT | MMU_WRITABLE | (write ? WRITABLE : 0);
  mem.store(word(vm, 'SPTE'), (mem.load(page) << PFN_SHIFT) | bits);
  yield* writeUnlock(actor, vm.mmuLock);
}

/** The guest maps frame 1 here, and reads it. Its table is write-protected: the shadow goes when the entry is written. */
export function* guestRemaps(actor: Actor, vm: Vm): Path<void> {
  yield* writeLock(actor, vm.mmuLock);
  yield writing(word(vm, 'GUEST_PTE'));
  vm.mem.store(word(vm, 'GUEST_PTE'), 1);
  vm.mem.store(word(vm, 'SPTE'), 0);
  yield* writeUnlock(actor, vm.mmuLock);
  yield* slowFault(actor, vm, false);
}

/** The host takes the page of frame 0, and has it for frame 1 next. */
export function* hostReusesPage(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  yield updating(word(vm, 'SPTE'));
  if (mem.load(word(vm, 'SPTE')) >> PFN_SHIFT === FIRST_PFN) mem.store(word(vm, 'SPTE'), 0);
  mem.store(word(vm, 'PFN_OF'), 0);
  if (mem.load(word(vm, 'PFN_OF') + 4) === 0) mem.store(word(vm, 'PFN_OF') + 4, FIRST_PFN);
  yield* writeUnlock(actor, vm.mmuLock);
}

/** Frames that were written, and are not in the log: a bit each. */
export function unlogged(vm: Vm): number {
  return vm.mem.load(word(vm, 'WRITTEN')) & ~vm.mem.load(word(vm, 'LOG'));
}
