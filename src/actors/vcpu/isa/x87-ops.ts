/** The x87 instructions, by Intel's mnemonics (those without waiting). All of them are host operations: float/x87.ts. */
// biome-ignore format: table
export const X87_OPS = [
  'fadd', 'faddp', 'fiadd', 'fsub', 'fsubp', 'fisub', 'fsubr', 'fsubrp', 'fisubr', 'fmul', 'fmulp', 'fimul',
  'fdiv', 'fdivp', 'fidiv', 'fdivr', 'fdivrp', 'fidivr', 'fcom', 'fcomp', 'fcompp', 'ficom', 'ficomp', 'fucom',
  'fucomp', 'fucompp', 'fcomi', 'fcomip', 'fucomi', 'fucomip', 'ftst', 'fxam', 'fld', 'fild', 'fbld', 'fst',
  'fstp', 'fist', 'fistp', 'fisttp', 'fbstp', 'fxch', 'fcmovb', 'fcmove', 'fcmovbe', 'fcmovu', 'fcmovnb',
  'fcmovne', 'fcmovnbe', 'fcmovnu', 'fchs', 'fabs', 'fsqrt', 'frndint', 'fscale', 'fprem', 'fprem1', 'fxtract',
  'f2xm1', 'fyl2x', 'fyl2xp1', 'fsin', 'fcos', 'fsincos', 'fptan', 'fpatan', 'fld1', 'fldl2t', 'fldl2e',
  'fldpi', 'fldlg2', 'fldln2', 'fldz', 'ffree', 'ffreep', 'fincstp', 'fdecstp', 'fnop', 'fwait', 'fninit',
  'fneni', 'fndisi', 'fnsetpm', 'fstpnce',
  'fnclex', 'fnstcw', 'fldcw', 'fnstsw', 'fnstenv', 'fldenv', 'fnsave', 'frstor',
] as const;
export type X87Op = (typeof X87_OPS)[number];

const X87_SET: ReadonlySet<string> = new Set(X87_OPS);

export function isX87Op(op: string): op is X87Op {
  return X87_SET.has(op);
}
