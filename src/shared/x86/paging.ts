/**
 * 4-level paging: entry bits, the error code of #PF, and the width of addresses.
 *
 *   63  62       52 51         M  M-1                 12 11      9 8 7  6 5 4   3   2   1  0
 *   ┌──┬───────────┬───────────┬───────────────────────┬──────────┬─┬──┬─┬─┬───┬───┬───┬──┬─┐
 *   │XD│  ignored  │ reserved  │ table or page address │ ignored  │G│PS│D│A│PCD│PWT│U/S│RW│P│
 *   └──┴───────────┴───────────┴───────────────────────┴──────────┴─┴──┴─┴─┴───┴───┴───┴──┴─┘
 *
 * @source Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging", "Page-Fault Exceptions"
 */
export const PTE_P = 1n << 0n;
export const PTE_RW = 1n << 1n;
export const PTE_US = 1n << 2n;
export const PTE_PWT = 1n << 3n;
export const PTE_PCD = 1n << 4n;
export const PTE_A = 1n << 5n;
export const PTE_D = 1n << 6n;
/** Page size, in a PDE or PDPTE. In a PTE the same bit is PAT, in a PML4E it is reserved. */
export const PTE_PS = 1n << 7n;
export const PTE_G = 1n << 8n;
export const PTE_XD = 1n << 63n;

/** MAXPHYADDR, M above: what CPUID 80000008 says. Covers the largest guest physical space of a layout. */
export const PHYSICAL_ADDRESS_BITS = 40;
export const LINEAR_ADDRESS_BITS = 48;
/** Bits 51…M of every entry must be 0. */
export const PTE_RESERVED = (1n << 52n) - (1n << BigInt(PHYSICAL_ADDRESS_BITS));
/** Bits M-1…12. */
export const PTE_ADDRESS = (1n << BigInt(PHYSICAL_ADDRESS_BITS)) - (1n << 12n);

// Error code of #PF.
export const PF_PRESENT = 1 << 0;
export const PF_WRITE = 1 << 1;
export const PF_USER = 1 << 2;
export const PF_RESERVED = 1 << 3;
export const PF_FETCH = 1 << 4;
