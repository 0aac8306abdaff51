/**
 * Model-specific registers and the time stamp counter: which there are, and what they hold.
 *
 * The time stamp counter of a bare machine counts retired instructions, so that a run has one course of time whatever the
 * machine does. That of a PC counts the nanoseconds of its clock, as all its timers do. MSRs that come with the board have
 * a file of their own (platform/platform-msrs.ts).
 *
 * LIMIT: PAT is stored; there is no cache that it could change.
 *
 * @source Intel SDM vol. 4, "Architectural MSRs"
 */
import { EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE } from '../../shared/x86/control-registers.ts';
import {
  APIC_BASE_BSP,
  APIC_BASE_ENABLE,
  APIC_BASE_RESET,
  MISC_FEATURES_CPUID_FAULT,
  MSR_APIC_BASE,
  MSR_CSTAR,
  MSR_EFER,
  MSR_FS_BASE,
  MSR_GS_BASE,
  MSR_KERNEL_GS_BASE,
  MSR_LSTAR,
  MSR_MISC_FEATURES_ENABLES,
  MSR_PAT,
  MSR_PLATFORM_INFO,
  MSR_SFMASK,
  MSR_STAR,
  MSR_TSC,
  MSR_TSC_AUX,
  PAT_RESET,
  PLATFORM_INFO_CPUID_FAULT,
} from '../../shared/x86/msr.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../shared/x86/paging.ts';
import { isCanonical } from './canonical.ts';
import { readPlatformMsr } from './platform/platform-msrs.ts';
import { flushTlb } from './tlb.ts';
import type { Vcpu } from './vcpu.ts';

const LOW_32 = 0xffff_ffffn;
const EFER_WRITABLE = EFER_SCE | EFER_LME | EFER_NXE;
const APIC_BASE_WRITABLE =
  APIC_BASE_BSP | APIC_BASE_ENABLE | ((1n << BigInt(PHYSICAL_ADDRESS_BITS)) - (1n << 12n));

/** Registers that are one 64-bit word of the CPU area, and what may be written to them. */
type Word =
  | 'APIC_BASE'
  | 'PAT'
  | 'STAR'
  | 'LSTAR'
  | 'CSTAR'
  | 'SFMASK'
  | 'FS_BASE'
  | 'GS_BASE'
  | 'KERNEL_GS_BASE'
  | 'TSC_AUX'
  | 'MISC_FEATURES';

interface PlainMsr {
  readonly word: Word;
  readonly accepts: (value: bigint) => boolean;
}

const narrow = (value: bigint): boolean => value <= LOW_32;
const within =
  (mask: bigint) =>
  (value: bigint): boolean =>
    (value & ~mask) === 0n;

const PLAIN: ReadonlyMap<number, PlainMsr> = new Map<number, PlainMsr>([
  [MSR_APIC_BASE, { word: 'APIC_BASE', accepts: within(APIC_BASE_WRITABLE) }],
  [MSR_MISC_FEATURES_ENABLES, { word: 'MISC_FEATURES', accepts: within(MISC_FEATURES_CPUID_FAULT) }],
  [MSR_PAT, { word: 'PAT', accepts: isPat }],
  [MSR_STAR, { word: 'STAR', accepts: () => true }],
  [MSR_LSTAR, { word: 'LSTAR', accepts: isCanonical }],
  [MSR_CSTAR, { word: 'CSTAR', accepts: isCanonical }],
  [MSR_SFMASK, { word: 'SFMASK', accepts: narrow }],
  [MSR_FS_BASE, { word: 'FS_BASE', accepts: isCanonical }],
  [MSR_GS_BASE, { word: 'GS_BASE', accepts: isCanonical }],
  [MSR_KERNEL_GS_BASE, { word: 'KERNEL_GS_BASE', accepts: isCanonical }],
  [MSR_TSC_AUX, { word: 'TSC_AUX', accepts: narrow }],
]);

/** Eight memory types; 2, 3 and everything from 8 on are reserved. */
function isPat(value: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = (value >> i) & 0xffn;
    if (type > 7n || type === 2n || type === 3n) return false;
  }
  return true;
}

/** Values at reset of the MSRs that are not 0 then. */
export function resetMsrs(vcpu: Vcpu): void {
  vcpu.set64('PAT', PAT_RESET);
  vcpu.set64('APIC_BASE', APIC_BASE_RESET | APIC_BASE_ENABLE | (vcpu.index === 0 ? APIC_BASE_BSP : 0n));
}

/** Value of an MSR, or null when there is none of that number. */
export function readMsr(vcpu: Vcpu, number: number): bigint | null {
  switch (number) {
    case MSR_TSC:
      return timeStamp(vcpu);
    case MSR_EFER:
      return vcpu.get64('EFER');
    case MSR_PLATFORM_INFO:
      return PLATFORM_INFO_CPUID_FAULT;
    default: {
      const plain = PLAIN.get(number);
      return plain === undefined ? readPlatformMsr(vcpu, number) : vcpu.get64(plain.word);
    }
  }
}

/** False when there is no such MSR, or it does not take this value. */
export function writeMsr(vcpu: Vcpu, number: number, value: bigint): boolean {
  switch (number) {
    case MSR_TSC:
      vcpu.set64('TSC_OFFSET', BigInt.asUintN(64, value - ticks(vcpu)));
      vcpu.platform?.apic.tscChanged();
      return true;
    case MSR_EFER:
      return writeEfer(vcpu, value);
    default: {
      const plain = PLAIN.get(number);
      if (plain === undefined || !plain.accepts(value)) return false;
      vcpu.set64(plain.word, value);
      return true;
    }
  }
}

/** LMA is the processor's; LME does not change while paging is on. */
function writeEfer(vcpu: Vcpu, value: bigint): boolean {
  const old = vcpu.get64('EFER');
  const wanted = value & ~EFER_LMA;
  if ((wanted & ~EFER_WRITABLE) !== 0n || ((wanted ^ old) & EFER_LME) !== 0n) return false;
  vcpu.set64('EFER', wanted | (old & EFER_LMA));
  if (((wanted ^ old) & EFER_NXE) !== 0n) flushTlb(vcpu.mem, vcpu.cpu);
  return true;
}

export function timeStamp(vcpu: Vcpu): bigint {
  return BigInt.asUintN(64, ticks(vcpu) + vcpu.get64('TSC_OFFSET'));
}

function ticks(vcpu: Vcpu): bigint {
  return vcpu.platform === null ? vcpu.get64('RETIRED') : BigInt(vcpu.platform.clock.now());
}
