/**
 * General registers by their number in instruction encodings.
 *
 * @source Intel SDM vol. 2A, "Encoding of reg and r/m Fields"
 */
export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
export const R11 = 11;
