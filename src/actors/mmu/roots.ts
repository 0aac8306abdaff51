/**
 * Roots: the sptes of one address space, shared by all vCPUs that run in it, and how all of them are thrown away.
 *
 * Our direct MMU keeps the sptes of a root in one flat table indexed by gfn; what hardware gets from non-leaf tables
 * (skipping what is empty) comes from a count per stretch of 512 gfns.
 *
 * @source arch/x86/kvm/mmu/mmu.c: kvm_mmu_zap_all_fast, is_page_fault_stale, mmu_alloc_direct_roots
 */

import { invariant } from '../../shared/invariant.ts';
import { ROOT, ROOT_LIMIT, SPTE_STRETCH } from '../../shared/layout/spte.ts';
import { REQ_MMU_RELOAD, REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import { BUG_FREE_NO_WALK_WAIT } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, updating } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { requestAll } from './requests.ts';
import { dropFromRmaps } from './slot-arena.ts';
import { spteAddress, stretchWord } from './spte.ts';
import type { Vm } from './vm.ts';

export function rootWord(vm: Vm, root: number, field: keyof typeof ROOT.at): number {
  return vm.layout.roots + root * ROOT.bytes + ROOT.at[field];
}

/** Is `root`, loaded when its generation was `gen`, still the one to install into? mmu_lock held, or only a hint. */
export function rootIsStale(vm: Vm, root: number, gen: number): boolean {
  if (root < 0) return true;
  return (
    !rootIsAlive(vm, root, gen) ||
    vm.mem.load(rootWord(vm, root, 'VALID_GEN')) !== vm.mem.load(vm.word('MMU_VALID_GEN'))
  );
}

/** Is `root` still the one whose generation was `gen`, be it obsolete or not? */
export function rootIsAlive(vm: Vm, root: number, gen: number): boolean {
  return vm.mem.load(rootWord(vm, root, 'STATE')) === 1 && vm.mem.load(rootWord(vm, root, 'GEN')) === gen;
}

/** kvm_mmu_load: gives vCPU `index` the current root of its address space, making one if there is none. */
export function* loadRoot(actor: Actor, vm: Vm, index: number): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  const asId = mem.load(vm.vcpuWord(index, 'AS_ID'));
  const root = currentRoot(vm, asId);
  mem.store(vm.vcpuWord(index, 'ROOT_GEN'), mem.load(rootWord(vm, root, 'GEN')));
  mem.store(vm.vcpuWord(index, 'ROOT'), root);
  yield* writeUnlock(actor, vm.mmuLock);
}

function currentRoot(vm: Vm, asId: number): number {
  const { mem } = vm;
  const validGen = mem.load(vm.word('MMU_VALID_GEN'));
  let free = -1;
  for (let root = 0; root < ROOT_LIMIT; root++) {
    const at = vm.layout.roots + root * ROOT.bytes;
    if (mem.load(at + ROOT.at.STATE) !== 1) {
      if (free < 0) free = root;
    } else if (mem.load(at + ROOT.at.AS_ID) === asId && mem.load(at + ROOT.at.VALID_GEN) === validGen) {
      return root;
    }
  }
  invariant(
    free >= 0,
    `no free root: ${ROOT_LIMIT} hold the current and the obsolete one of ${ADDRESS_SPACES} spaces`,
  );
  if (vm.checked) reportIfFilled(vm, free);
  mem.store(rootWord(vm, free, 'AS_ID'), asId);
  mem.store(rootWord(vm, free, 'VALID_GEN'), validGen);
  mem.add(rootWord(vm, free, 'GEN'), 1);
  mem.store(rootWord(vm, free, 'STATE'), 1);
  return free;
}

/** The oracle of what was freed: a root that nobody had holds nothing. */
function reportIfFilled(vm: Vm, root: number): void {
  for (let gfn = 0; gfn < vm.layout.config.gfnCount; gfn += SPTE_STRETCH) {
    const count = vm.mem.load(stretchWord(vm, root, gfn));
    if (count === 0) continue;
    vm.onFinding({ id: 'I7', detail: `root ${root} was filled with ${count} sptes after it had been freed` });
  }
}

/**
 * kvm_mmu_zap_all_fast: makes every root obsolete, tells every vCPU, and frees what was mapped.
 *
 * @locking takes mmu_lock for write; waits for acknowledgements inside it
 */
export function* zapAllRoots(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  yield* writeLock(actor, vm.mmuLock);
  yield updating(vm.word('MMU_VALID_GEN'));
  mem.add(vm.word('MMU_VALID_GEN'), 1);
  // ORDER: the generation before the request. A vCPU that reloads because of the request gets a root of the new one.
  // The wait is also for those who read the tables without a lock.
  const wait = !vm.quirk(BUG_FREE_NO_WALK_WAIT);
  yield* requestAll(actor, vm, { bits: REQ_MMU_RELOAD | REQ_TLB_FLUSH, wait });
  for (let root = 0; root < ROOT_LIMIT; root++) {
    if (mem.load(rootWord(vm, root, 'STATE')) !== 1) continue;
    if (mem.load(rootWord(vm, root, 'VALID_GEN')) === mem.load(vm.word('MMU_VALID_GEN'))) continue;
    yield updating(rootWord(vm, root, 'STATE'));
    clearRoot(vm, root);
    mem.store(rootWord(vm, root, 'STATE'), 0);
  }
  yield* writeUnlock(actor, vm.mmuLock);
}

/** Empties a root nobody uses any more, and takes it out of every rmap. mmu_lock held for write. */
function clearRoot(vm: Vm, root: number): void {
  const { mem } = vm;
  const { gfnCount } = vm.layout.config;
  for (let gfn = 0; gfn < gfnCount; gfn += SPTE_STRETCH) {
    const count = stretchWord(vm, root, gfn);
    if (mem.load(count) === 0) continue;
    mem.clear64(spteAddress(vm, root, gfn), Math.min(SPTE_STRETCH, gfnCount - gfn));
    mem.store(count, 0);
  }
  dropFromRmaps(vm, root);
}
