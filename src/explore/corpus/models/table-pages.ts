/**
 * Table pages of a TDP MMU: one entry that leads to a table, and the list of all tables that are in use. Faults and the
 * zap of an obsolete root both hold mmu_lock for read only; the list has a lock of its own.
 *
 * @source arch/x86/kvm/mmu/tdp_mmu.c (5.15): kvm_tdp_mmu_map, tdp_mmu_link_page, handle_removed_tdp_mmu_page
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_PUBLISH_BEFORE_LINK } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, updating } from '../../../shared/sync/point.ts';
import { readLock, readUnlock } from '../../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../../shared/sync/spinlock.ts';
import { tdpPagesLock, wordsOf } from './cells.ts';

const TABLES = struct('tables', {
  ENTRY: i32('anyone (cas, exchange)', 'number of the table it leads to, from 1; 0: none'),
  LINKED: i32('tdp_mmu_pages_lock', 'bit n: table n is in the list'),
});

const word = wordsOf(TABLES);

/** A fault that needs the table: makes it of page `table`, unless somebody is faster. */
export function* faultTable(actor: Actor, vm: Vm, table: number): Path<void> {
  const { mem } = vm;
  const entry = word(vm, 'ENTRY');
  yield* readLock(actor, vm.mmuLock);
  yield reading(entry);
  if (mem.load(entry) === 0) {
    const first = vm.quirk(BUG_PUBLISH_BEFORE_LINK);
    if (!first) yield* link(actor, vm, table);
    yield updating(entry);
    const published = mem.cas(entry, 0, table) === 0;
    if (published && first) yield* link(actor, vm, table);
    if (!published && !first) yield* unlink(actor, vm, table);
  }
  yield* readUnlock(actor, vm.mmuLock);
}

/** Zaps the entry, and takes the table it led to out of the list, to be freed. */
export function* zapTables(actor: Actor, vm: Vm): Path<void> {
  yield* readLock(actor, vm.mmuLock);
  yield updating(word(vm, 'ENTRY'));
  const table = vm.mem.exchange(word(vm, 'ENTRY'), 0);
  if (table !== 0) yield* unlink(actor, vm, table);
  yield* readUnlock(actor, vm.mmuLock);
}

function* link(actor: Actor, vm: Vm, table: number): Path<void> {
  yield* spinLock(actor, tdpPagesLock(vm));
  vm.mem.or(word(vm, 'LINKED'), 1 << table);
  yield* spinUnlock(actor, tdpPagesLock(vm));
}

function* unlink(actor: Actor, vm: Vm, table: number): Path<void> {
  yield* spinLock(actor, tdpPagesLock(vm));
  if ((vm.mem.and(word(vm, 'LINKED'), ~(1 << table)) & (1 << table)) === 0) {
    vm.onFinding({
      id: 'I7',
      detail: `table page ${table} is unlinked, but was never linked: its pointers are null`,
    });
  }
  yield* spinUnlock(actor, tdpPagesLock(vm));
}

/** Tables that are in the list or led to, but not both: a bit each. */
export function strayTables(vm: Vm): number {
  const { mem } = vm;
  const entry = mem.load(word(vm, 'ENTRY'));
  return mem.load(word(vm, 'LINKED')) ^ (entry === 0 ? 0 : 1 << entry);
}
