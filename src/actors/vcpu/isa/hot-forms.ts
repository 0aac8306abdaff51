/**
 * Which forms compiled code spends its time in. Their bodies stand in the run loop (run-records.ts), which saves a call
 * for each. So: the sizes, shapes and conditions that compilers choose, of the operations they choose most.
 *
 * LIMIT: the engine compiles the loop as one function, and past 8192 virtual registers (about 50 kB of body) V8 falls
 * back to a quicker register allocator, with which all forms run a fourth slower. {@link RUN_BYTES_MAX} keeps off.
 */
import type { Form } from './forms.ts';

/** Most bytes the run loop's body may have; a test looks. */
export const RUN_BYTES_MAX = 46_000;

/** Conditions that compiled code asks for: not O, NO, P, NP. */
const USUAL: ReadonlySet<number> = new Set([2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]);

const always = (): boolean => true;
const wide = ({ size }: Form): boolean => size >= 4;
const wideRegister = ({ size, dst }: Form): boolean => size >= 4 && dst === 'reg';
const wideConstant = ({ size, dst, src }: Form): boolean => size >= 4 && dst === 'reg' && src === 'imm';
const stackWord = ({ size }: Form): boolean => size === 8;
/** With flags they call, so a body saves little. */
const quiet = ({ flags }: Form): boolean => !flags;
const logic = ({ size, dst, src, flags }: Form): boolean =>
  size >= 4 && dst === 'reg' && (flags || src === 'reg' || src === 'imm');
const conditional = ({ size, dst, cc }: Form): boolean => size !== 2 && dst === 'reg' && USUAL.has(cc);

/** By operation, for forms without a fused branch. */
const HOT: Partial<Record<Form['op'], (form: Form) => boolean>> = {
  mov: ({ size, dst }) => size >= 4 || (size === 1 && dst !== 'reg'),
  movzx: ({ size }) => size === 4,
  movsx: ({ size, srcSize }) => (size === 8 ? srcSize === 4 : size === 4 && srcSize === 1),
  lea: wide,
  add: wide,
  sub: wide,
  and: logic,
  or: logic,
  xor: logic,
  cmp: ({ size, dst }) => size >= 4 || (size === 1 && dst !== 'reg'),
  test: ({ size, dst, src }) => size >= 4 && dst === 'reg' && src === 'reg',
  shl: wideConstant,
  shr: wideConstant,
  sar: wideConstant,
  rol: quiet,
  ror: quiet,
  inc: quiet,
  dec: quiet,
  neg: quiet,
  not: wideRegister,
  imul2: quiet,
  imul3: quiet,
  cbw: wide,
  cwd: wide,
  setcc: conditional,
  cmovcc: conditional,
  push: stackWord,
  pop: stackWord,
  leave: stackWord,
  jcc: ({ cc }) => USUAL.has(cc),
  jmp: always,
  jmpind: always,
  call: always,
  callind: always,
  ret: always,
  fall: always,
  nop: always,
  blockstart: always,
};

/** Does its body stand in the run loop? */
export function isHot(form: Form): boolean {
  const { op, src, dst, jcc, lock } = form;
  if (lock || dst === 'memory' || src === 'memory') return false;
  return jcc < 0 ? (HOT[op]?.(form) ?? false) : isHotFused(form);
}

/** A compare that does the branch behind it. */
function isHotFused({ op, size, src, jcc }: Form): boolean {
  const equality = jcc === 4 || jcc === 5;
  switch (op) {
    case 'cmp':
      return USUAL.has(jcc) && (size > 1 || (src === 'imm' && jcc < 8));
    case 'test':
      return equality || (USUAL.has(jcc) && src === 'reg' && size > 1 && jcc >= 8);
    default:
      return equality;
  }
}
