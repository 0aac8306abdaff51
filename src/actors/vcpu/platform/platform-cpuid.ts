/**
 * What CPUID says of a vCPU with a board: its local APIC, memory types, topology and clock, added to what it says of the
 * processor alone (cpuid.ts).
 *
 * All vCPUs are cores of one package, one thread each. The clock of time stamps and of the APIC timer is 1 GHz.
 *
 * @source Intel SDM vol. 2A, "CPUID—CPU Identification", leaves 1, 7, 0BH, 15H, 80000007H
 */
import {
  CPUID_1_ECX_TSC_DEADLINE,
  CPUID_1_ECX_X2APIC,
  CPUID_1_EDX_APIC,
  CPUID_1_EDX_HTT,
  CPUID_1_EDX_MTRR,
  CPUID_7_EDX_ARCH_CAPABILITIES,
  CPUID_80000007_EDX_INVARIANT_TSC,
} from '../../../shared/x86/cpuid.ts';
import { APIC_BASE_ENABLE } from '../../../shared/x86/msr.ts';
import type { CpuidResult } from '../cpuid.ts';
import type { Vcpu } from '../vcpu.ts';

const BASIC_MAX = 0x15;
/** Of time stamps and of the APIC timer. */
export const CLOCK_HZ = 1_000_000_000;
const LEVEL_THREAD = 1;
const LEVEL_CORE = 2;
const NOTHING: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** @param processor what the leaf says without a board; null when the processor has no such leaf */
export function withPlatform(
  vcpu: Vcpu,
  leaf: number,
  subleaf: number,
  processor: CpuidResult | null,
): CpuidResult | null {
  const { index, vm } = vcpu;
  const { vcpuCount } = vm;
  const known = processor ?? NOTHING;
  switch (leaf) {
    case 0:
      return { ...known, eax: BASIC_MAX };
    case 1: {
      const apic = (vcpu.get64('APIC_BASE') & APIC_BASE_ENABLE) !== 0n ? CPUID_1_EDX_APIC : 0;
      return {
        ...known,
        ebx: ((known.ebx & 0xff00_ffff) | ((2 ** idBits(vcpuCount)) << 16)) >>> 0,
        ecx: (known.ecx | CPUID_1_ECX_X2APIC | CPUID_1_ECX_TSC_DEADLINE) >>> 0,
        edx: (known.edx | apic | CPUID_1_EDX_MTRR | (vcpuCount > 1 ? CPUID_1_EDX_HTT : 0)) >>> 0,
      };
    }
    case 7:
      return subleaf === 0 ? { ...known, edx: (known.edx | CPUID_7_EDX_ARCH_CAPABILITIES) >>> 0 } : processor;
    case 0xb:
      return topology(index, vcpuCount, subleaf);
    case 0x15:
      // A crystal of 1 GHz, and as many time stamps.
      return { eax: 1, ebx: 1, ecx: CLOCK_HZ, edx: 0 };
    case 0x8000_0007:
      return { ...known, edx: (known.edx | CPUID_80000007_EDX_INVARIANT_TSC) >>> 0 };
    default:
      return processor ?? (leaf <= BASIC_MAX ? NOTHING : null);
  }
}

function topology(index: number, vcpuCount: number, subleaf: number): CpuidResult {
  const edx = index;
  switch (subleaf) {
    case 0:
      return { eax: 0, ebx: 1, ecx: subleaf | (LEVEL_THREAD << 8), edx };
    case 1:
      return { eax: idBits(vcpuCount), ebx: vcpuCount, ecx: subleaf | (LEVEL_CORE << 8), edx };
    default:
      return { eax: 0, ebx: 0, ecx: subleaf & 0xff, edx };
  }
}

/** Bits that tell the cores of the package apart. */
function idBits(vcpuCount: number): number {
  return 32 - Math.clz32(vcpuCount - 1);
}
