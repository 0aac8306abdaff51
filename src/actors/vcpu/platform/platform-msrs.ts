/**
 * Model-specific registers that come with the board: the local APIC, memory types, and what firmware and operating
 * systems expect to find of a processor.
 *
 * LIMIT: memory types are stored; there is no cache that they could change.
 *
 * @source Intel SDM vol. 4, "Architectural MSRs"; vol. 3A, "x2APIC State Transitions", "IA32_MTRR_DEF_TYPE MSR"
 */
import { CPU, MTRR_FIXED, MTRR_VARIABLE } from '../../../shared/layout/cpu.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { APIC_BASE_X2APIC, MSR_X2APIC, X2APIC_MSRS } from '../../../shared/x86/apic.ts';
import {
  APIC_BASE_BSP,
  APIC_BASE_ENABLE,
  ARCH_CAPABILITIES_VALUE,
  MISC_ENABLE_VALUE,
  MSR_APIC_BASE,
  MSR_ARCH_CAPABILITIES,
  MSR_MISC_ENABLE,
  MSR_MTRR_CAP,
  MSR_MTRR_DEFAULT,
  MSR_MTRR_VARIABLE,
  MSR_PLATFORM_ID,
  MSR_TSC_DEADLINE,
  MSR_UCODE_REVISION,
  MSRS_MTRR_FIXED,
  MTRR_CAP_VALUE,
} from '../../../shared/x86/msr.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../../shared/x86/paging.ts';
import type { Vcpu } from '../vcpu.ts';

/** As KVM has it for guests: nothing below it was ever released. */
const UCODE_REVISION = 1n << 32n;
const APIC_BASE_MODES = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
const APIC_BASE_WRITABLE =
  APIC_BASE_BSP | APIC_BASE_MODES | ((1n << BigInt(PHYSICAL_ADDRESS_BITS)) - (1n << 12n));
const MTRR_DEFAULT_BITS = 0xcffn;
const MTRR_MASK_VALID = 1n << 11n;

/** Value of an MSR of the board, or null when it has none of that number. */
export function readPlatformMsr(vcpu: Vcpu, number: number): bigint | null {
  const { platform } = vcpu;
  if (platform === null) return null;
  if (number >= MSR_X2APIC && number < MSR_X2APIC + X2APIC_MSRS) {
    return platform.apic.x2apic ? platform.apic.read(number - MSR_X2APIC) : null;
  }
  const mtrr = mtrrIndex(number);
  if (mtrr >= 0) return vcpu.mem.u64[(vcpu.cpu + CPU.at.MTRR) / 8 + mtrr]!;
  switch (number) {
    case MSR_TSC_DEADLINE:
      return platform.apic.readDeadline();
    case MSR_MTRR_CAP:
      return MTRR_CAP_VALUE;
    case MSR_ARCH_CAPABILITIES:
      return ARCH_CAPABILITIES_VALUE;
    case MSR_MISC_ENABLE:
      return MISC_ENABLE_VALUE;
    case MSR_UCODE_REVISION:
      return UCODE_REVISION;
    case MSR_PLATFORM_ID:
      return 0n;
    default:
      return null;
  }
}

/**
 * Writes an MSR of the board.
 *
 * @returns null when it has none of that number; false when it does not take the value
 * @locking inside kvm.srcu; takes board_lock
 */
export function* writePlatformMsr(vcpu: Vcpu, number: number, value: bigint): Path<boolean | null> {
  const { platform } = vcpu;
  if (platform === null) return null;
  if (number >= MSR_X2APIC && number < MSR_X2APIC + X2APIC_MSRS) {
    return platform.apic.x2apic && (yield* platform.writeApic(number - MSR_X2APIC, value));
  }
  const mtrr = mtrrIndex(number);
  if (mtrr >= 0) {
    if (!isMtrr(mtrr, value)) return false;
    vcpu.mem.touch(vcpu.cpu + CPU.at.MTRR + 8 * mtrr, 8);
    vcpu.mem.u64[(vcpu.cpu + CPU.at.MTRR) / 8 + mtrr] = value;
    return true;
  }
  switch (number) {
    case MSR_APIC_BASE:
      return writeApicBase(vcpu, value);
    case MSR_TSC_DEADLINE:
      platform.apic.writeDeadline(value);
      return true;
    case MSR_UCODE_REVISION:
      return true;
    case MSR_MISC_ENABLE:
      return value === MISC_ENABLE_VALUE;
    default:
      return null;
  }
}

/** From one mode of the APIC only to some others: off → xAPIC → x2APIC → off, and xAPIC → off. */
function writeApicBase(vcpu: Vcpu, value: bigint): boolean {
  if ((value & ~APIC_BASE_WRITABLE) !== 0n) return false;
  const apic = vcpu.platform!.apic;
  const from = vcpu.get64('APIC_BASE') & APIC_BASE_MODES;
  const to = value & APIC_BASE_MODES;
  if (to === APIC_BASE_X2APIC) return false;
  if (to === APIC_BASE_MODES && from === 0n) return false;
  if (to === APIC_BASE_ENABLE && from === APIC_BASE_MODES) return false;
  vcpu.set64('APIC_BASE', value);
  if (to === 0n && from !== 0n) apic.reset();
  if (to === APIC_BASE_MODES && from !== to) apic.enterX2apic();
  return true;
}

/** Index of an MTRR among CPU.MTRR, or −1. */
function mtrrIndex(number: number): number {
  if (number === MSR_MTRR_DEFAULT) return 0;
  const fixed = MSRS_MTRR_FIXED.indexOf(number);
  if (fixed >= 0) return 1 + fixed;
  const variable = number - MSR_MTRR_VARIABLE;
  return variable >= 0 && variable < 2 * MTRR_VARIABLE ? 1 + MTRR_FIXED + variable : -1;
}

function isMtrr(index: number, value: bigint): boolean {
  if (index === 0) return (value & ~MTRR_DEFAULT_BITS) === 0n && isMemoryType(value & 0xffn);
  if (index <= MTRR_FIXED) {
    for (let i = 0n; i < 64n; i += 8n) if (!isMemoryType((value >> i) & 0xffn)) return false;
    return true;
  }
  if (value >> BigInt(PHYSICAL_ADDRESS_BITS) !== 0n) return false;
  const isMask = (index - MTRR_FIXED - 1) % 2 === 1;
  const low = value & 0xfffn;
  return isMask ? (low & ~MTRR_MASK_VALID) === 0n : isMemoryType(low);
}

/** 0 uncached, 1 write combining, 4 write through, 5 write protected, 6 write back. */
function isMemoryType(type: bigint): boolean {
  return [0n, 1n, 4n, 5n, 6n].includes(type);
}
