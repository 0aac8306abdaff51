/**
 * From a missing TLB entry to an entry, or to the reason why there is none.
 *
 * @source arch/x86/kvm/mmu/mmu.c: kvm_mmu_page_fault, seen from the processor that will use the mapping
 */
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { OUTSIDE_GUEST, READING_TABLES, REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import { BUG_TLB_FILL_RACE } from '../../shared/quirks.ts';
import { WAIT_ACK } from '../../shared/sync/lock-class.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import { mayWriteDirectly } from '../mmu/code-map.ts';
import { type FaultResult, handlePageFault } from '../mmu/page-fault.ts';
import type { WalkResult } from '../mmu/page-walk.ts';
import { leaveGuestMode, requestWord } from '../mmu/requests.ts';
import { isPresent, spteAccess, spteAddress, sptePfn } from '../mmu/spte.ts';
import { isCanonical } from './canonical.ts';
import { walkLinear } from './linear-address.ts';
import { flushTlb, insert, wouldEvict } from './tlb.ts';
import type { Vcpu } from './vcpu.ts';

/** What became of a miss. */
export type MissResult =
  /** There is an entry now, or something changed: enter again and see. */
  | 'again'
  /** The page is tracked, or no RAM: the instruction must be emulated. */
  | 'emulate'
  /** The guest must take `vcpu.fault`. */
  | 'fault';

const COUNTERS: Record<FaultResult, Parameters<Vcpu['count']>[0]> = {
  'fixed-fast': 'FAULTS_FAST',
  'fixed-slow': 'FAULTS_SLOW',
  spurious: 'FAULTS_SPURIOUS',
  retry: 'FAULTS_RETRY',
  emulate: 'FAULTS_EMULATED',
  mmio: 'FAULTS_MMIO',
};

/**
 * Handles the miss of one access that lies in one page.
 *
 * @param access  ACCESS_R, ACCESS_W, ACCESS_X, or ACCESS_R | ACCESS_W
 * @param user    CPL 3, and no access that the processor makes on its own account
 * @locking outside guest mode, inside kvm.srcu; may take mmu_lock
 */
export function* handleMiss(
  vcpu: Vcpu,
  gva: bigint,
  access: number,
  user = vcpu.get32('CPL') === 3,
): Path<MissResult> {
  if (!isCanonical(gva)) {
    // Of a data access the emulator knows whether it is #GP or #SS.
    if ((access & ACCESS_X) === 0) return 'emulate';
    vcpu.raise(VECTOR_GP, 0);
    return 'fault';
  }
  const page = yield* walkLinear(vcpu, gva, access, user);
  if (page.kind === 'retry') return 'again';
  if (page.kind === 'fault') return 'fault';
  const gfn = Math.floor(page.gpa / 4096);
  const result = yield* countedPageFault(vcpu, gfn, access);
  if (result === 'emulate' || result === 'mmio') return 'emulate';
  if (result === 'retry') return 'again';
  const { level } = page;
  const filled = yield* fillTlb(vcpu, { gva, gfn, level, access, user, also: alsoUseful(page, access) });
  return filled ? 'again' : 'emulate';
}

/** handlePageFault, counted by its result. */
export function* countedPageFault(vcpu: Vcpu, gfn: number, access: number): Path<FaultResult> {
  const result = yield* handlePageFault(vcpu, gfn, access);
  vcpu.count(COUNTERS[result]);
  return result;
}

/** Permissions worth entering at the same time, as far as the guest's tables go: a read is often followed by a write. */
function alsoUseful(page: WalkResult & { kind: 'page' }, access: number): number {
  if ((access & ACCESS_X) !== 0) return 0;
  return ACCESS_R | (page.writable && page.dirty ? ACCESS_W : 0);
}

export interface TlbFill {
  readonly gva: bigint;
  readonly gfn: number;
  /** Of the guest page it lies in, as a walk says. */
  readonly level: number;
  /** What missed: ACCESS_R, ACCESS_W, ACCESS_X, or ACCESS_R | ACCESS_W. */
  readonly access: number;
  /** CPL 3. */
  readonly user: boolean;
  /** ACCESS_* bits that the guest's tables allow besides. */
  readonly also: number;
}

/** RC-10: serves a pending flush in the middle of a fill. */
function* takeFlush(vcpu: Vcpu): Path<void> {
  const { vm, mem, index } = vcpu;
  yield updating(requestWord(vm, index));
  if ((mem.and(requestWord(vm, index), ~REQ_TLB_FLUSH) & REQ_TLB_FLUSH) !== 0) flushTlb(mem, vcpu.cpu);
}

/**
 * Reads the spte and enters in the TLB what it grants of the access and of what is useful besides.
 *
 * A page with decoded code gets no write entry: the store has to be emulated, which voids the code after it. To void
 * the code first and map the page would be a livelock where an instruction writes the page it is in.
 *
 * Requests are served only before the next entry, so a flush that comes between the two is not lost (RC-10).
 *
 * @returns false when decoded code stands in the way of a write
 */
export function* fillTlb(vcpu: Vcpu, fill: TlbFill): Path<boolean> {
  const { vm, mem, index } = vcpu;
  const { gva, gfn, level, access, user, also } = fill;
  const root = mem.load(vcpu.word('ROOT'));
  if (root < 0 || gfn >= vm.layout.config.gfnCount) return true;
  const address = spteAddress(vm, root, gfn);
  yield writing(vcpu.word('MODE'));
  mem.store(vcpu.word('MODE'), READING_TABLES);
  vcpu.actor.checks?.owes(WAIT_ACK);
  yield reading(address);
  const spte = mem.load64(address);
  if (vm.quirk(BUG_TLB_FILL_RACE)) yield* takeFlush(vcpu);
  const granted = isPresent(spte) && (spteAccess(spte) & access) === access ? spteAccess(spte) : 0;
  const wanted = granted & (access | also);
  const page = sptePfn(spte);
  const writable = (wanted & ACCESS_W) !== 0 && (yield* mayWriteDirectly(vm, page));
  const blocked = !writable && (wanted & access & ACCESS_W) !== 0;
  for (const bit of blocked ? [] : [ACCESS_R, ACCESS_W, ACCESS_X]) {
    if ((wanted & bit) === 0 || (bit === ACCESS_W && !writable)) continue;
    // MOVS between two pages whose entries share a place would never have both, if each threw out the other's.
    if ((access & bit) === 0 && wouldEvict(mem, vcpu.cpu, user, bit, gva)) continue;
    const slow = bit !== ACCESS_X && vcpu.watches(gfn);
    insert(mem, vcpu.cpu, { user, access: bit, gva, host: vm.ramPage(page), gfn, level, slow });
  }
  yield writing(vcpu.word('MODE'));
  mem.store(vcpu.word('MODE'), OUTSIDE_GUEST);
  yield* leaveGuestMode(vm, index, vcpu.actor.tracer);
  vcpu.actor.checks?.settles(WAIT_ACK);
  return !blocked;
}
