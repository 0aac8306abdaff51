/**
 * Numbers of model-specific registers: those that exist here, and those of SYSENTER, which tools ask for.
 *
 * @source Intel SDM vol. 4, "Architectural MSRs"
 */
export const MSR_TSC = 0x10;
export const MSR_APIC_BASE = 0x1b;
export const MSR_PLATFORM_INFO = 0xce;
export const MSR_MISC_FEATURES_ENABLES = 0x140;
export const MSR_SYSENTER_CS = 0x174;
export const MSR_SYSENTER_ESP = 0x175;
export const MSR_SYSENTER_EIP = 0x176;
export const MSR_PAT = 0x277;
// Of a machine with a board (actors/vcpu/platform/platform-msrs.ts).
export const MSR_PLATFORM_ID = 0x17;
export const MSR_UCODE_REVISION = 0x8b;
export const MSR_MTRR_CAP = 0xfe;
export const MSR_ARCH_CAPABILITIES = 0x10a;
export const MSR_MISC_ENABLE = 0x1a0;
/** Base and mask of each variable range. */
export const MSR_MTRR_VARIABLE = 0x200;
export const MSRS_MTRR_FIXED: readonly number[] = [
  0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
export const MSR_MTRR_DEFAULT = 0x2ff;
export const MSR_TSC_DEADLINE = 0x6e0;
export const MSR_EFER = 0xc000_0080;
export const MSR_STAR = 0xc000_0081;
export const MSR_LSTAR = 0xc000_0082;
export const MSR_CSTAR = 0xc000_0083;
export const MSR_SFMASK = 0xc000_0084;
export const MSR_FS_BASE = 0xc000_0100;
export const MSR_GS_BASE = 0xc000_0101;
export const MSR_KERNEL_GS_BASE = 0xc000_0102;
export const MSR_TSC_AUX = 0xc000_0103;

/** PLATFORM_INFO: CPUID faulting can be switched on. */
export const PLATFORM_INFO_CPUID_FAULT = 1n << 31n;
/** MISC_FEATURES_ENABLES: CPUID outside ring 0 is #GP. */
export const MISC_FEATURES_CPUID_FAULT = 1n << 0n;
/** Reset value of the page attribute table. */
export const PAT_RESET = 0x0007_0406_0007_0406n;
/** APIC_BASE: the bootstrap processor; the APIC is on. */
export const APIC_BASE_BSP = 1n << 8n;
export const APIC_BASE_ENABLE = 1n << 11n;
/** MTRR_CAP: eight variable ranges, fixed ranges, write combining. */
export const MTRR_CAP_VALUE = 0x508n;
/** MISC_ENABLE: fast strings. */
export const MISC_ENABLE_VALUE = 1n;
/** None of the weaknesses that a processor can say it does not have: RDCL, L1 flush, SSB, MDS, PSCHANGE, TAA, SBDR, FBSDP, PSDP, BHI, PBRSB, GDS, RFDS, ITS. */
export const ARCH_CAPABILITIES_VALUE =
  (1n << 0n) |
  (1n << 3n) |
  (1n << 4n) |
  (1n << 5n) |
  (1n << 6n) |
  (1n << 8n) |
  (1n << 13n) |
  (1n << 14n) |
  (1n << 15n) |
  (1n << 20n) |
  (1n << 24n) |
  (1n << 26n) |
  (1n << 27n) |
  (1n << 62n);
export const APIC_BASE_RESET = 0xfee0_0000n;
