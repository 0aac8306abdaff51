/**
 * A host page that a driver owns and lets the guest use: whoever maps it holds a reference, and the last one frees it.
 *
 * @source virt/kvm/kvm_main.c: hva_to_pfn_remapped, kvm_try_get_pfn; commit "KVM: do not allow mapping valid but
 *         non-reference-counted pages"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_NO_PAGE_REF } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import { type Path, reading, updating, writing } from '../../../shared/sync/point.ts';
import { wordsOf } from './cells.ts';

const OWNED = struct('owned-page', {
  REFERENCES: i32('anyone (cas, add)', 'users of the page, its owner among them; 0: free'),
  CONTENTS: i32('users', 'what it holds'),
});

const word = wordsOf(OWNED);

/** The driver has made the page. */
export function makePage(vm: Vm): void {
  vm.mem.store(word(vm, 'REFERENCES'), 1);
}

/** A vCPU faults on the page, maps it, writes it, and unmaps it again. */
export function* mapAndWrite(vm: Vm, vcpu: number): Path<void> {
  if (!(yield* getPage(vm))) return;
  yield writing(word(vm, 'CONTENTS'));
  if (vm.mem.load(word(vm, 'REFERENCES')) === 0) {
    vm.onFinding({ id: 'I7', detail: `vCPU ${vcpu} writes to a host page that has been freed` });
  }
  vm.mem.store(word(vm, 'CONTENTS'), vcpu + 1);
  if (!vm.quirk(BUG_NO_PAGE_REF)) yield* putPage(vm);
}

/** The driver does not need it any more. */
export function* putPage(vm: Vm): Path<void> {
  yield updating(word(vm, 'REFERENCES'));
  vm.mem.add(word(vm, 'REFERENCES'), -1);
}

/** get_page_unless_zero. False: there is no page (any more). */
function* getPage(vm: Vm): Path<boolean> {
  const { mem } = vm;
  const references = word(vm, 'REFERENCES');
  yield reading(references);
  let seen = mem.load(references);
  if (vm.quirk(BUG_NO_PAGE_REF)) return seen !== 0;
  while (seen !== 0) {
    yield updating(references);
    const found = mem.cas(references, seen, seen + 1);
    if (found === seen) return true;
    seen = found;
  }
  return false;
}
