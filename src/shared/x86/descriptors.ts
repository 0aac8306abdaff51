/**
 * Selectors, segment descriptors, gates and the 64-bit TSS.
 *
 *   63       56 55 54 53 52 51   48 47 46 45 44 43   40 39                    16 15      0
 *   ┌──────────┬──┬──┬──┬──┬───────┬──┬─────┬──┬───────┬────────────────────────┬─────────┐
 *   │base 31:24│G │DB│L │AV│limit  │P │ DPL │S │ type  │       base 23:0        │limit15:0│
 *   └──────────┴──┴──┴──┴──┴───────┴──┴─────┴──┴───────┴────────────────────────┴─────────┘
 *
 * System descriptors of 64-bit mode (LDT, TSS) and gates are 16 bytes long.
 *
 * @source Intel SDM vol. 3A, "Segment Descriptors", "Segment Descriptor Tables in IA-32e Mode", "64-Bit Mode IDT",
 *         "64-Bit Task State Segment (TSS)"
 */

// Selectors.
export const SELECTOR_RPL = 3;
/** Table indicator: the LDT. */
export const SELECTOR_TI = 1 << 2;

// Segment register numbers, as SELECTORS of shared/layout/cpu.ts and the encoding have them.
export const SEG_ES = 0;
export const SEG_CS = 1;
export const SEG_SS = 2;
export const SEG_DS = 3;
export const SEG_FS = 4;
export const SEG_GS = 5;
export const SEG_LDTR = 6;
export const SEG_TR = 7;

// Descriptors. Type bits stand at 40…43, S (code or data) at 44.
export const DESC_ACCESSED = 1n << 40n;
/** Data: writable. Code: readable. */
export const DESC_WRITABLE = 1n << 41n;
export const DESC_READABLE = 1n << 41n;
/** Code: conforming. */
export const DESC_CONFORMING = 1n << 42n;
export const DESC_CODE = 1n << 43n;
/** Code or data; a system descriptor or gate when clear. */
export const DESC_S = 1n << 44n;
export const DESC_DPL_SHIFT = 45n;
export const DESC_P = 1n << 47n;
export const DESC_L = 1n << 53n;
export const DESC_DB = 1n << 54n;
export const DESC_G = 1n << 55n;
export const DESC_TYPE_SHIFT = 40n;

// Types of system descriptors in IA-32e mode.
export const TYPE_LDT = 0x2;
export const TYPE_TSS_AVAILABLE = 0x9;
export const TYPE_TSS_BUSY = 0xb;
export const TYPE_CALL_GATE = 0xc;
export const TYPE_INTERRUPT_GATE = 0xe;
export const TYPE_TRAP_GATE = 0xf;
/** A system descriptor with this bit of the type set is busy. */
export const DESC_TSS_BUSY = 1n << 41n;

// Offsets within the 64-bit TSS, bytes.
export const TSS_RSP0 = 0x04;
export const TSS_IST1 = 0x24;
export const TSS_IO_MAP_BASE = 0x66;
/** Bytes of a TSS without an I/O permission bitmap. */
export const TSS_BYTES = 104;
