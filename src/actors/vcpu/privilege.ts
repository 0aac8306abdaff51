/**
 * The privilege level: where it is kept, and what hangs on it.
 *
 * @source Intel SDM vol. 3A, "Privilege Levels"; vol. 1, "I/O Privilege Level"
 */
import { TLB_READ, tlbTable } from '../../shared/layout/cpu.ts';
import { RFLAGS_IOPL, RFLAGS_IOPL_SHIFT } from '../../shared/x86/rflags.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

/**
 * Changes CPL and, with it, the TLB set that the core uses. The one place that writes either. Nothing is flushed: the
 * TLB has a set for each side, and the jump cache has the level in its keys (jumpKey in isa/core-helpers.ts).
 */
export function setPrivilegeLevel(vcpu: Vcpu, cpl: number): void {
  vcpu.set32('CPL', cpl);
  vcpu.set32('TLB', tlbTable(vcpu.cpu, cpl === 3, TLB_READ));
}

/** #GP(0) outside ring 0. */
export function requireRing0(vcpu: Vcpu): Outcome {
  return vcpu.get32('CPL') === 0 ? OUTCOME_OK : vcpu.raise(VECTOR_GP, 0);
}

/** May this vCPU do I/O and change IF by its privilege level alone? */
export function hasIoPrivilege(vcpu: Vcpu): boolean {
  const iopl = (Number(vcpu.flags.rflags()) & RFLAGS_IOPL) >> RFLAGS_IOPL_SHIFT;
  return vcpu.get32('CPL') <= iopl;
}
