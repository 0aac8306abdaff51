/**
 * Bits of the x87 control, status and tag words and of MXCSR.
 *
 * @source Intel SDM vol. 1, "x87 FPU Status Register", "x87 FPU Control Word", "MXCSR Control and Status Register"
 */

// Exceptions: in the x87 status word and (masks) control word, and in MXCSR bits 0…5 and (masks) 7…12.
export const FP_INVALID = 1 << 0;
export const FP_DENORMAL = 1 << 1;
export const FP_ZERO_DIVIDE = 1 << 2;
export const FP_OVERFLOW = 1 << 3;
export const FP_UNDERFLOW = 1 << 4;
export const FP_INEXACT = 1 << 5;
export const FP_EXCEPTIONS = 0x3f;

/** A stack fault, which is an invalid operation too; C1 says whether over- or underflow. */
export const FSW_SF = 1 << 6;
/** An unmasked exception is pending. B, bit 15, says the same. */
export const FSW_ES = 1 << 7;
export const FSW_C0 = 1 << 8;
export const FSW_C1 = 1 << 9;
export const FSW_C2 = 1 << 10;
export const FSW_TOP = 7 << 11;
export const FSW_TOP_SHIFT = 11;
export const FSW_C3 = 1 << 14;
export const FSW_B = 1 << 15;

export const FCW_PRECISION_SHIFT = 8;
export const FCW_ROUNDING_SHIFT = 10;
/** After FNINIT: all masked, 64 bits, to nearest. */
export const FCW_INIT = 0x37f;
/** Bit 6 reads as 1, and bits 7 and 13…15 as 0. */
export const FCW_WRITABLE = 0x1f3f;
export const FCW_ONES = 0x40;

export const MXCSR_DAZ = 1 << 6;
export const MXCSR_MASKS_SHIFT = 7;
export const MXCSR_ROUNDING_SHIFT = 13;
export const MXCSR_ROUNDING = 3 << 13;
export const MXCSR_FTZ = 1 << 15;
/** After reset: all masked. */
export const MXCSR_INIT = 0x1f80;
/** Bits that can be set; another one is #GP. */
export const MXCSR_VALID = 0xffff;

/** Sign and exponent of a register that MMX has written. */
export const MM_EXPONENT = 0xffff;
