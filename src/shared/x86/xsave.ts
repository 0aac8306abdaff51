/**
 * XCR0, and the XSAVE area in its standard format.
 *
 *   0      legacy region, 512 bytes: x87 0…23 and 32…159, MXCSR and its mask 24…31, XMM 160…415
 *   512    header, 64 bytes: XSTATE_BV, XCOMP_BV, 48 bytes of which the first 8 must be 0
 *
 * @source Intel SDM vol. 1, "Managing State Using the XSAVE Feature Set": "XSAVE Area"; vol. 3A, "Extended Control
 *         Registers"
 */
export const XCR0_X87 = 1n << 0n;
export const XCR0_SSE = 1n << 1n;
/** Components that can be on here. */
export const XCR0_SUPPORTED = XCR0_X87 | XCR0_SSE;

export const XSAVE_LEGACY_BYTES = 512;
export const XSAVE_HEADER_BYTES = 64;
/** Without extended components. */
export const XSAVE_BYTES = XSAVE_LEGACY_BYTES + XSAVE_HEADER_BYTES;
/** Operands must be aligned to so many bytes. */
export const XSAVE_ALIGN = 64n;

/** Bytes of the legacy region. */
export const XSAVE_FCW = 0;
export const XSAVE_MXCSR = 24;
export const XSAVE_MXCSR_MASK = 28;
export const XSAVE_ST = 32;
export const XSAVE_XMM = 160;
export const XSAVE_XMM_END = 416;

export const XSTATE_BV = 512;
export const XCOMP_BV = 520;
/** XRSTOR wants zeros from XCOMP_BV to here. */
export const XSAVE_HEADER_CHECKED = 536;
