/**
 * Exception vectors and the bits of an error code that names a selector.
 *
 * @source Intel SDM vol. 3A, "Exception and Interrupt Reference", "Error Code"
 */
export const VECTOR_DE = 0;
export const VECTOR_DB = 1;
export const VECTOR_NMI = 2;
export const VECTOR_BP = 3;
export const VECTOR_OF = 4;
export const VECTOR_BR = 5;
export const VECTOR_UD = 6;
export const VECTOR_NM = 7;
export const VECTOR_DF = 8;
export const VECTOR_TS = 10;
export const VECTOR_NP = 11;
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;
export const VECTOR_MF = 16;
export const VECTOR_AC = 17;
export const VECTOR_MC = 18;
export const VECTOR_XM = 19;
export const VECTOR_VE = 20;
export const VECTOR_CP = 21;

/** Names by vector, for messages. */
export const VECTOR_NAMES: readonly string[] = [
  '#DE',
  '#DB',
  'NMI',
  '#BP',
  '#OF',
  '#BR',
  '#UD',
  '#NM',
  '#DF',
  'vector 9',
  '#TS',
  '#NP',
  '#SS',
  '#GP',
  '#PF',
  'vector 15',
  '#MF',
  '#AC',
  '#MC',
  '#XM',
  '#VE',
  '#CP',
];

/** The fault happened while another event, external to the program, was being delivered. */
export const ERROR_EXT = 1 << 0;
/** The index is one of the IDT. */
export const ERROR_IDT = 1 << 1;
