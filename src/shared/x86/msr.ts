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
export const APIC_BASE_RESET = 0xfee0_0000n;
