/**
 * Bits of CR0, CR4 and EFER.
 *
 * @source Intel SDM vol. 3A, "Control Registers", "Extended Feature Enable Register"
 */
export const CR0_PE = 1n << 0n;
export const CR0_MP = 1n << 1n;
export const CR0_EM = 1n << 2n;
export const CR0_TS = 1n << 3n;
/** Hardwired to 1. */
export const CR0_ET = 1n << 4n;
export const CR0_NE = 1n << 5n;
export const CR0_WP = 1n << 16n;
export const CR0_AM = 1n << 18n;
export const CR0_NW = 1n << 29n;
export const CR0_CD = 1n << 30n;
export const CR0_PG = 1n << 31n;

export const CR4_VME = 1n << 0n;
export const CR4_PVI = 1n << 1n;
export const CR4_TSD = 1n << 2n;
export const CR4_DE = 1n << 3n;
export const CR4_PSE = 1n << 4n;
export const CR4_PAE = 1n << 5n;
export const CR4_MCE = 1n << 6n;
export const CR4_PGE = 1n << 7n;
export const CR4_PCE = 1n << 8n;
export const CR4_OSFXSR = 1n << 9n;
export const CR4_OSXMMEXCPT = 1n << 10n;
export const CR4_UMIP = 1n << 11n;
export const CR4_LA57 = 1n << 12n;
export const CR4_FSGSBASE = 1n << 16n;
export const CR4_PCIDE = 1n << 17n;
export const CR4_OSXSAVE = 1n << 18n;
export const CR4_SMEP = 1n << 20n;
export const CR4_SMAP = 1n << 21n;

export const EFER_SCE = 1n << 0n;
export const EFER_LME = 1n << 8n;
export const EFER_LMA = 1n << 10n;
export const EFER_NXE = 1n << 11n;

/** DR6 and DR7: bits that read as 1, and bits that can be written. */
export const DR6_ONES = 0xffff_0ff0n;
export const DR6_WRITABLE = 0xe00fn;
export const DR7_ONES = 0x400n;
export const DR7_WRITABLE = 0xffff_23ffn;
