/**
 * CPUID: exactly what works here. A bit is set when the decoder, the core and the host operations do what it promises.
 *
 * BMI1 is not offered, although TZCNT is there: the rest of it is VEX encoded. No APIC.
 *
 * @source Intel SDM vol. 2A, "CPUID—CPU Identification"; linux Documentation/virt/kvm/x86/cpuid.rst
 */

import { CR4_OSXSAVE } from '../../shared/x86/control-registers.ts';
import {
  CPUID_1_ECX_CX16,
  CPUID_1_ECX_HYPERVISOR,
  CPUID_1_ECX_MOVBE,
  CPUID_1_ECX_OSXSAVE,
  CPUID_1_ECX_POPCNT,
  CPUID_1_ECX_RDRAND,
  CPUID_1_ECX_SSE3,
  CPUID_1_ECX_SSE4_1,
  CPUID_1_ECX_SSE4_2,
  CPUID_1_ECX_SSSE3,
  CPUID_1_ECX_XSAVE,
  CPUID_1_EDX_CLFSH,
  CPUID_1_EDX_CMOV,
  CPUID_1_EDX_CX8,
  CPUID_1_EDX_FPU,
  CPUID_1_EDX_FXSR,
  CPUID_1_EDX_MMX,
  CPUID_1_EDX_MSR,
  CPUID_1_EDX_PAE,
  CPUID_1_EDX_PAT,
  CPUID_1_EDX_PGE,
  CPUID_1_EDX_PSE,
  CPUID_1_EDX_SSE,
  CPUID_1_EDX_SSE2,
  CPUID_1_EDX_TSC,
  CPUID_7_EBX_ADX,
  CPUID_7_EBX_FSGSBASE,
  CPUID_7_EBX_NO_SELECTORS,
  CPUID_7_EBX_SMEP,
  CPUID_80000001_ECX_ABM,
  CPUID_80000001_ECX_LAHF64,
  CPUID_80000001_ECX_PREFETCHW,
  CPUID_80000001_EDX_LM,
  CPUID_80000001_EDX_NX,
  CPUID_80000001_EDX_PAGE1GB,
  CPUID_80000001_EDX_RDTSCP,
  CPUID_80000001_EDX_SYSCALL,
} from '../../shared/x86/cpuid.ts';
import { LINEAR_ADDRESS_BITS, PHYSICAL_ADDRESS_BITS } from '../../shared/x86/paging.ts';
import { XCR0_SUPPORTED, XSAVE_BYTES } from '../../shared/x86/xsave.ts';

export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const FEATURES = 7;
const EXTENDED_STATE = 0xd;
const BASIC_MAX = EXTENDED_STATE;
const EXTENDED = 0x8000_0000;
const EXTENDED_MAX = 0x8000_0008;
const HYPERVISOR = 0x4000_0000;
/** Leaves that belong to hypervisors: 0x40000000 … 0x4fffffff. */
const HYPERVISOR_END = 0x5000_0000;
const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Family 6, model 0x3c, stepping 3: a core with all that is offered. */
const SIGNATURE = 0x0003_06c3;
const CLFLUSH_BYTES = 64;
const VENDOR = 'GenuineIntel';
const HYPERVISOR_VENDOR = 'FaultlineVM\0';
const BRAND = 'Faultline x86-64 vCPU'.padEnd(48, '\0');

/** What CPUID depends on, besides what is asked. */
export interface IdentifiedVcpu {
  /** The initial APIC id. */
  readonly index: number;
  get64(register: 'CR4'): bigint;
}

/**
 * What CPUID gives, each register unsigned.
 *
 * @param leaf     EAX, unsigned
 * @param subleaf  ECX, unsigned
 */
export function cpuid(leaf: number, subleaf: number, vcpu: IdentifiedVcpu): CpuidResult {
  if (leaf >= HYPERVISOR && leaf < HYPERVISOR_END) return hypervisorLeaf(leaf);
  if (leaf >= EXTENDED && leaf <= EXTENDED_MAX) return extendedLeaf(leaf);
  // Beyond the last leaf the last basic one answers.
  return basicLeaf(Math.min(leaf, BASIC_MAX), subleaf, vcpu);
}

/** Is there such a leaf, rather than the answer of another in its place? */
export function hasLeaf(leaf: number, subleaf: number): boolean {
  if (leaf === FEATURES) return subleaf === 0;
  if (leaf === EXTENDED_STATE) return subleaf <= 1;
  return leaf <= BASIC_MAX || leaf === HYPERVISOR || (leaf >= EXTENDED && leaf <= EXTENDED_MAX);
}

function basicLeaf(leaf: number, subleaf: number, vcpu: IdentifiedVcpu): CpuidResult {
  switch (leaf) {
    case 0: {
      const [ebx, edx, ecx] = words(VENDOR);
      return result(BASIC_MAX, ebx, ecx, edx);
    }
    case 1:
      return result(
        SIGNATURE,
        (vcpu.index << 24) | ((CLFLUSH_BYTES / 8) << 8),
        CPUID_1_ECX_SSE3 |
          CPUID_1_ECX_SSSE3 |
          CPUID_1_ECX_CX16 |
          CPUID_1_ECX_SSE4_1 |
          CPUID_1_ECX_SSE4_2 |
          CPUID_1_ECX_MOVBE |
          CPUID_1_ECX_POPCNT |
          CPUID_1_ECX_RDRAND |
          CPUID_1_ECX_XSAVE |
          ((vcpu.get64('CR4') & CR4_OSXSAVE) === 0n ? 0 : CPUID_1_ECX_OSXSAVE) |
          CPUID_1_ECX_HYPERVISOR,
        CPUID_1_EDX_FPU |
          CPUID_1_EDX_PSE |
          CPUID_1_EDX_TSC |
          CPUID_1_EDX_MSR |
          CPUID_1_EDX_PAE |
          CPUID_1_EDX_CX8 |
          CPUID_1_EDX_PGE |
          CPUID_1_EDX_CMOV |
          CPUID_1_EDX_PAT |
          CPUID_1_EDX_CLFSH |
          CPUID_1_EDX_MMX |
          CPUID_1_EDX_FXSR |
          CPUID_1_EDX_SSE |
          CPUID_1_EDX_SSE2,
      );
    case FEATURES:
      return subleaf === 0
        ? result(
            0,
            CPUID_7_EBX_FSGSBASE | CPUID_7_EBX_SMEP | CPUID_7_EBX_NO_SELECTORS | CPUID_7_EBX_ADX,
            0,
            0,
          )
        : NOTHING;
    case EXTENDED_STATE:
      // The same size whatever is on: both components lie in the legacy region.
      return subleaf === 0 ? result(Number(XCR0_SUPPORTED), XSAVE_BYTES, XSAVE_BYTES, 0) : NOTHING;
    default:
      return NOTHING;
  }
}

function hypervisorLeaf(leaf: number): CpuidResult {
  if (leaf !== HYPERVISOR) return NOTHING;
  const [ebx, ecx, edx] = words(HYPERVISOR_VENDOR);
  return result(HYPERVISOR, ebx, ecx, edx);
}

function extendedLeaf(leaf: number): CpuidResult {
  switch (leaf) {
    case EXTENDED:
      return result(EXTENDED_MAX, 0, 0, 0);
    case EXTENDED + 1:
      return result(
        0,
        0,
        CPUID_80000001_ECX_LAHF64 | CPUID_80000001_ECX_ABM | CPUID_80000001_ECX_PREFETCHW,
        CPUID_80000001_EDX_SYSCALL |
          CPUID_80000001_EDX_NX |
          CPUID_80000001_EDX_PAGE1GB |
          CPUID_80000001_EDX_RDTSCP |
          CPUID_80000001_EDX_LM,
      );
    case EXTENDED + 2:
    case EXTENDED + 3:
    case EXTENDED + 4: {
      const from = (leaf - EXTENDED - 2) * 16;
      const [eax, ebx, ecx, edx] = words(BRAND.slice(from, from + 16));
      return result(eax, ebx, ecx, edx);
    }
    case EXTENDED + 8:
      return result(PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8), 0, 0, 0);
    default:
      return NOTHING;
  }
}

function result(eax = 0, ebx = 0, ecx = 0, edx = 0): CpuidResult {
  return { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** ASCII text as little-endian 32-bit words. */
function words(text: string): number[] {
  return Array.from({ length: text.length / 4 }, (_, i) =>
    [0, 1, 2, 3].reduce((word, byte) => word | (text.charCodeAt(4 * i + byte) << (8 * byte)), 0),
  );
}
