/**
 * Feature bits of CPUID that this machine speaks about.
 *
 * @source Intel SDM vol. 2A, "CPUID—CPU Identification"
 */

// Leaf 1, ECX.
export const CPUID_1_ECX_SSE3 = 1 << 0;
export const CPUID_1_ECX_SSSE3 = 1 << 9;
export const CPUID_1_ECX_CX16 = 1 << 13;
export const CPUID_1_ECX_X2APIC = 1 << 21;
export const CPUID_1_ECX_SSE4_1 = 1 << 19;
export const CPUID_1_ECX_SSE4_2 = 1 << 20;
export const CPUID_1_ECX_MOVBE = 1 << 22;
export const CPUID_1_ECX_POPCNT = 1 << 23;
export const CPUID_1_ECX_TSC_DEADLINE = 1 << 24;
export const CPUID_1_ECX_XSAVE = 1 << 26;
export const CPUID_1_ECX_OSXSAVE = 1 << 27;
export const CPUID_1_ECX_RDRAND = 1 << 30;
/** Set by hypervisors, never by hardware. */
export const CPUID_1_ECX_HYPERVISOR = 1 << 31;

// Leaf 1, EDX.
export const CPUID_1_EDX_FPU = 1 << 0;
export const CPUID_1_EDX_PSE = 1 << 3;
export const CPUID_1_EDX_TSC = 1 << 4;
export const CPUID_1_EDX_MSR = 1 << 5;
export const CPUID_1_EDX_PAE = 1 << 6;
export const CPUID_1_EDX_CX8 = 1 << 8;
export const CPUID_1_EDX_APIC = 1 << 9;
export const CPUID_1_EDX_MTRR = 1 << 12;
export const CPUID_1_EDX_PGE = 1 << 13;
export const CPUID_1_EDX_CMOV = 1 << 15;
export const CPUID_1_EDX_PAT = 1 << 16;
export const CPUID_1_EDX_CLFSH = 1 << 19;
/** EBX has the number of APIC ids of the package. */
export const CPUID_1_EDX_HTT = 1 << 28;
export const CPUID_1_EDX_MMX = 1 << 23;
export const CPUID_1_EDX_FXSR = 1 << 24;
export const CPUID_1_EDX_SSE = 1 << 25;
export const CPUID_1_EDX_SSE2 = 1 << 26;

// Leaf 7 subleaf 0, EBX.
export const CPUID_7_EBX_FSGSBASE = 1 << 0;
export const CPUID_7_EBX_BMI1 = 1 << 3;
export const CPUID_7_EBX_SMEP = 1 << 7;
/** FCS and FDS are always 0. */
export const CPUID_7_EBX_NO_SELECTORS = 1 << 13;
export const CPUID_7_EBX_ADX = 1 << 19;

// Leaf 7 subleaf 0, EDX.
export const CPUID_7_EDX_ARCH_CAPABILITIES = 1 << 29;

// Leaf 80000001.
export const CPUID_80000001_ECX_LAHF64 = 1 << 0;
/** LZCNT. */
export const CPUID_80000001_ECX_ABM = 1 << 5;
export const CPUID_80000001_ECX_PREFETCHW = 1 << 8;
export const CPUID_80000001_EDX_SYSCALL = 1 << 11;
export const CPUID_80000001_EDX_NX = 1 << 20;
export const CPUID_80000001_EDX_PAGE1GB = 1 << 26;
export const CPUID_80000001_EDX_RDTSCP = 1 << 27;
export const CPUID_80000001_EDX_LM = 1 << 29;

// Leaf 80000007.
export const CPUID_80000007_EDX_INVARIANT_TSC = 1 << 8;
