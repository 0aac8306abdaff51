/** Linear addresses: where pages end, and where the vCPU's own tables map them. */
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import type { Path } from '../../shared/sync/point.ts';
import { CR0_WP, CR4_SMEP, EFER_NXE } from '../../shared/x86/control-registers.ts';
import { VECTOR_PF } from '../../shared/x86/vectors.ts';
import { awaitSlot } from '../mmu/page-fault.ts';
import { type WalkResult, walkGuest } from '../mmu/page-walk.ts';
import type { Vcpu } from './vcpu.ts';

/** Bytes from `gva` to the end of its page, `limit` at most. */
export function bytesInPage(gva: bigint, limit: number): number {
  return Math.min(limit, PAGE_BYTES - Number(gva & 0xfffn));
}

export function crossesPage(gva: bigint, size: number): boolean {
  return bytesInPage(gva, size) < size;
}

/**
 * Walks the guest's tables as this vCPU's control registers say. A walk that ends in a fault has raised #PF: the
 * guest must take `vcpu.fault`.
 *
 * @param gva     canonical, unsigned 64 bits
 * @param access  as of {@link walkGuest}
 * @param user    CPL 3, and no access that the processor makes on its own account
 * @locking inside a kvm.srcu section when called and when it returns, not the same one after 'retry'; takes nothing
 */
export function* walkLinear(vcpu: Vcpu, gva: bigint, access: number, user: boolean): Path<WalkResult> {
  const { vm, mem } = vcpu;
  const result = yield* walkGuest(vm, mem.load(vcpu.word('AS_ID')), {
    cr3: vcpu.get64('CR3'),
    gva,
    access,
    user,
    writeProtect: (vcpu.get64('CR0') & CR0_WP) !== 0n,
    noExecute: (vcpu.get64('EFER') & EFER_NXE) !== 0n,
    smep: (vcpu.get64('CR4') & CR4_SMEP) !== 0n,
  });
  if (result.kind === 'retry') yield* awaitSlot(vcpu, result.gfn);
  if (result.kind === 'fault') vcpu.raise(VECTOR_PF, result.errorCode, gva);
  return result;
}
