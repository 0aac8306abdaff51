/**
 * May x87, MMX and SSE instructions be used now, and the vector registers as host operations see them.
 *
 * @source Intel SDM vol. 3A, "System Programming for Instruction Set Extensions"; vol. 2, "Exceptions" of each class
 */
import { CPU } from '../../shared/layout/cpu.ts';
import { CR0_EM, CR0_NE, CR0_TS, CR4_OSFXSR } from '../../shared/x86/control-registers.ts';
import { VECTOR_MF, VECTOR_NM, VECTOR_UD } from '../../shared/x86/vectors.ts';
import { FSW_ES, FSW_TOP, MM_EXPONENT } from '../../shared/x86/x87.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

/** #UD or #NM for an SSE instruction. */
export function requireSse(vcpu: Vcpu): Outcome {
  const cr0 = vcpu.get64('CR0');
  if ((cr0 & CR0_EM) !== 0n || (vcpu.get64('CR4') & CR4_OSFXSR) === 0n) return vcpu.raise(VECTOR_UD);
  return (cr0 & CR0_TS) !== 0n ? vcpu.raise(VECTOR_NM) : OUTCOME_OK;
}

/** The same for MMX, with #MF if an x87 instruction has left an unmasked exception. */
export function requireMmx(vcpu: Vcpu): Outcome {
  const cr0 = vcpu.get64('CR0');
  if ((cr0 & CR0_EM) !== 0n) return vcpu.raise(VECTOR_UD);
  return (cr0 & CR0_TS) !== 0n ? vcpu.raise(VECTOR_NM) : pendingX87(vcpu);
}

/** #MF if one is due. With CR0.NE clear there is no interrupt line to report it by: it is ignored, as IGNNE# would. */
export function pendingX87(vcpu: Vcpu): Outcome {
  const due = (vcpu.get32('FSW') & FSW_ES) !== 0 && (vcpu.get64('CR0') & CR0_NE) !== 0n;
  return due ? vcpu.raise(VECTOR_MF) : OUTCOME_OK;
}

/** All 128 bits of an XMM register. */
export function xmm(vcpu: Vcpu, n: number): bigint {
  const at = (vcpu.cpu + CPU.at.XMM) / 8 + 2 * n;
  return vcpu.mem.u64[at]! | (vcpu.mem.u64[at + 1]! << 64n);
}

export function setXmm(vcpu: Vcpu, n: number, value: bigint): void {
  const at = (vcpu.cpu + CPU.at.XMM) / 8 + 2 * n;
  vcpu.mem.touch(8 * at, 16);
  vcpu.mem.u64[at] = value;
  vcpu.mem.u64[at + 1] = value >> 64n;
}

/** An MMX register: the low half of x87 register Rn. */
export function mm(vcpu: Vcpu, n: number): bigint {
  return vcpu.mem.u64[(vcpu.cpu + CPU.at.ST) / 8 + 2 * n]!;
}

export function setMm(vcpu: Vcpu, n: number, value: bigint): void {
  const at = (vcpu.cpu + CPU.at.ST) / 8 + 2 * n;
  vcpu.mem.touch(8 * at, 16);
  vcpu.mem.u64[at] = value;
  vcpu.mem.u64[at + 1] = BigInt(MM_EXPONENT);
}

/** What every MMX instruction does to the x87 state. */
export function commitMmx(vcpu: Vcpu): void {
  vcpu.set32('FSW', vcpu.get32('FSW') & ~FSW_TOP);
  vcpu.set32('FTW', 0xff);
}
