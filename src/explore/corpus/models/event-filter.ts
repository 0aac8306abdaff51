/**
 * A filter that vCPUs consult at an exit and that userspace replaces: an array, and how long it is.
 *
 * @source arch/x86/kvm/x86.c: kvm_msr_allowed, kvm_vm_ioctl_set_msr_filter; commit "KVM: x86: Protect userspace MSR
 *         filter with SRCU, and set atomically-ish"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_FILTER_IN_PLACE } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../shared/sync/srcu.ts';
import { wordsOf } from './cells.ts';

const LIMIT = 4;
const FILTER = struct('filter', {
  CURRENT: i32('who sets it', '0 or 1: which of the two filters is in force'),
  COUNT: i32('who sets it', 'entries of each', 2),
  ENTRIES: i32('who sets it', 'the entries of each; 0: freed, or never written', 2 * LIMIT),
});

const word = wordsOf(FILTER);
const countWord = (vm: Vm, filter: number): number => word(vm, 'COUNT') + 4 * filter;
const entryWord = (vm: Vm, filter: number, entry: number): number =>
  word(vm, 'ENTRIES') + 4 * (filter * LIMIT + entry);

/** The filter that is in force from the start. */
export function firstFilter(vm: Vm, entries: readonly number[]): void {
  for (const [i, entry] of entries.entries()) vm.mem.store(entryWord(vm, 0, i), entry);
  vm.mem.store(countWord(vm, 0), entries.length);
}

/** Puts other entries in force. */
export function* setFilter(actor: Actor, vm: Vm, entries: readonly number[]): Path<void> {
  const { mem } = vm;
  const old = mem.load(word(vm, 'CURRENT'));
  const inPlace = vm.quirk(BUG_FILTER_IN_PLACE);
  const next = inPlace ? old : 1 - old;
  yield writing(countWord(vm, next));
  mem.store(countWord(vm, next), entries.length);
  for (const [i, entry] of entries.entries()) {
    yield writing(entryWord(vm, next, i));
    mem.store(entryWord(vm, next, i), entry);
  }
  if (inPlace) return;
  yield writing(word(vm, 'CURRENT'));
  mem.store(word(vm, 'CURRENT'), next);
  yield* synchronizeSrcu(actor, vm.srcu);
  for (let entry = 0; entry < LIMIT; entry++) {
    yield writing(entryWord(vm, old, entry));
    mem.store(entryWord(vm, old, entry), 0);
  }
}

/** A vCPU looks `wanted` up. */
export function* isFiltered(actor: Actor, vm: Vm, wanted: number): Path<boolean> {
  const { mem } = vm;
  const section = yield* srcuReadLock(actor, vm.srcu);
  yield reading(word(vm, 'CURRENT'));
  const filter = mem.load(word(vm, 'CURRENT'));
  yield reading(countWord(vm, filter));
  const count = mem.load(countWord(vm, filter));
  let found = false;
  for (let i = 0; i < count && !found; i++) {
    yield reading(entryWord(vm, filter, i));
    const entry = mem.load(entryWord(vm, filter, i));
    if (entry === 0)
      vm.onFinding({ id: 'I12', detail: 'a vCPU reads behind the end of the array of a filter' });
    found = entry === wanted;
  }
  yield* srcuReadUnlock(actor, vm.srcu, section);
  return found;
}
