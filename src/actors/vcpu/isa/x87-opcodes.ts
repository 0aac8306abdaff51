/**
 * The opcodes d8 … df, in the notation of opcode-table.ts: with memory, reg of ModRM chooses; with a register, all of it
 * may.
 *
 * @source Intel SDM vol. 2D, appendix A, "Escape Opcode Instructions", tables
 */
import { byMod, byRm, type Cell, group, times } from './opcode-cells.ts';
import type { X87Op } from './x87-ops.ts';

const ARITHMETIC = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'] as const;

const none = (op: X87Op): Cell => op;
const any = (op: X87Op): Cell => `${op} ST,Sq`;
const single = (op: X87Op): Cell => `${op} Sq`;
/** Only with r/m 0 or 1. */
const first = (cell: Cell): Cell => byRm(cell, ...times(7, '!'));
const second = (cell: Cell): Cell => byRm('!', cell, ...times(6, '!'));

const memory = (prefix: 'f' | 'fi', size: 'd' | 'q' | 'w'): Cell[] =>
  ARITHMETIC.map((name): Cell => `${prefix}${name} -,M${size}`);
const toTop = (): Cell[] => ARITHMETIC.map((name): Cell => `f${name} ST,Sq`);
/** With the register as destination, subtraction and division change places with their reverses. */
const toRegister = (pop: 'p' | ''): Cell[] => [
  `fadd${pop} Sq,ST`,
  `fmul${pop} Sq,ST`,
  pop === '' ? 'fcom ST,Sq' : 'fcomp ST,Sq',
  pop === '' ? 'fcomp ST,Sq' : second('fcompp'),
  `fsubr${pop} Sq,ST`,
  `fsub${pop} Sq,ST`,
  `fdivr${pop} Sq,ST`,
  `fdiv${pop} Sq,ST`,
];

/** Memory and register cells of one opcode, by reg. */
const escapeCell = (inMemory: readonly Cell[], inRegister: readonly Cell[]): Cell =>
  group(...inMemory.map((cell, reg) => byMod(cell, inRegister[reg]!)));

const D9_CONSTANTS = byRm('fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz', '!');
const D9_F0 = byRm('f2xm1', 'fyl2x', 'fptan', 'fpatan', 'fxtract', 'fprem1', 'fdecstp', 'fincstp');
const D9_F8 = byRm('fprem', 'fyl2xp1', 'fsqrt', 'fsincos', 'frndint', 'fscale', 'fsin', 'fcos');

export const X87_CELLS: readonly Cell[] = [
  escapeCell(memory('f', 'd'), toTop()),
  escapeCell(
    ['fld -,Md', '!', 'fst Md', 'fstp Md', 'fldenv -,Mb z', 'fldcw -,Mw', 'fnstenv Mb z', 'fnstcw Mw'],
    [
      'fld -,Sq',
      any('fxch'),
      first(none('fnop')),
      single('fstpnce'),
      byRm('fchs', 'fabs', '!', '!', 'ftst', 'fxam', '!', '!'),
      D9_CONSTANTS,
      D9_F0,
      D9_F8,
    ],
  ),
  escapeCell(memory('fi', 'd'), [
    any('fcmovb'),
    any('fcmove'),
    any('fcmovbe'),
    any('fcmovu'),
    '!',
    second('fucompp'),
    '!',
    '!',
  ]),
  escapeCell(
    ['fild -,Md', 'fisttp Md', 'fist Md', 'fistp Md', '!', 'fld -,Mt', '!', 'fstp Mt'],
    [
      any('fcmovnb'),
      any('fcmovne'),
      any('fcmovnbe'),
      any('fcmovnu'),
      byRm('fneni', 'fndisi', 'fnclex', 'fninit', 'fnsetpm', '!', '!', '!'),
      any('fucomi'),
      any('fcomi'),
      '!',
    ],
  ),
  escapeCell(memory('f', 'q'), toRegister('')),
  escapeCell(
    ['fld -,Mq', 'fisttp Mq', 'fst Mq', 'fstp Mq', 'frstor -,Mb z', '!', 'fnsave Mb z', 'fnstsw Mw'],
    [single('ffree'), any('fxch'), single('fst'), single('fstp'), any('fucom'), any('fucomp'), '!', '!'],
  ),
  escapeCell(memory('fi', 'w'), toRegister('p')),
  escapeCell(
    ['fild -,Mw', 'fisttp Mw', 'fist Mw', 'fistp Mw', 'fbld -,Mt', 'fild -,Mq', 'fbstp Mt', 'fistp Mq'],
    [
      single('ffreep'),
      any('fxch'),
      single('fstp'),
      single('fstp'),
      first('fnstsw AX'),
      any('fucomip'),
      any('fcomip'),
      '!',
    ],
  ),
];
