/**
 * RFLAGS. All defined bits lie below bit 22, so numbers will do.
 *
 * @source Intel SDM vol. 1, "EFLAGS Register"
 */
export const CF = 1 << 0;
export const PF = 1 << 2;
export const AF = 1 << 4;
export const ZF = 1 << 6;
export const SF = 1 << 7;
export const OF = 1 << 11;
export const ARITHMETIC_FLAGS = CF | PF | AF | ZF | SF | OF;

/** Reads as 1, always. */
export const RFLAGS_FIXED = 1 << 1;
export const RFLAGS_TF = 1 << 8;
export const RFLAGS_IF = 1 << 9;
export const RFLAGS_DF = 1 << 10;
export const RFLAGS_IOPL = 3 << 12;
export const RFLAGS_IOPL_SHIFT = 12;
export const RFLAGS_NT = 1 << 14;
export const RFLAGS_RF = 1 << 16;
export const RFLAGS_VM = 1 << 17;
export const RFLAGS_AC = 1 << 18;
export const RFLAGS_VIF = 1 << 19;
export const RFLAGS_VIP = 1 << 20;
export const RFLAGS_ID = 1 << 21;

/** What 64-bit code can have set: all that is defined but VM. */
export const RFLAGS_DEFINED =
  ARITHMETIC_FLAGS |
  RFLAGS_TF |
  RFLAGS_IF |
  RFLAGS_DF |
  RFLAGS_IOPL |
  RFLAGS_NT |
  RFLAGS_RF |
  RFLAGS_AC |
  RFLAGS_VIF |
  RFLAGS_VIP |
  RFLAGS_ID;
