/** How compiled code does an instruction: most in place, the rest with the interpreter's help. */
import type { Form } from '../isa/forms.ts';
import { isVectorOp } from '../isa/vector-ops.ts';

export type Way =
  | 'inline'
  /** Its handler is called, with everything in the CPU struct for it: what loops, or is rare and long. */
  | 'by its handler'
  /** Control goes to its record: what ends a block for the host to look. */
  | 'by the interpreter';

const INLINE: ReadonlySet<Form['op']> = new Set([
  'mov', 'movzx', 'movsx', 'lea', 'xchg', 'bswap', 'movbe', 'cmovcc', 'setcc', 'cbw', 'cwd', 'xlat',
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test', 'inc', 'dec', 'neg', 'not',
  'mul', 'imul', 'imul2', 'imul3', 'div', 'idiv',
  'rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd',
  'bt', 'bts', 'btr', 'btc', 'bsf', 'bsr', 'tzcnt', 'lzcnt', 'popcnt',
  'cmpxchg', 'cmpxchg8b', 'xadd', 'push', 'pop', 'leave', 'pushf', 'lahf', 'sahf',
  'clc', 'stc', 'cmc', 'cld', 'std',
  'jmp', 'jmpind', 'jcc', 'jrcxz', 'loop', 'loope', 'loopne', 'call', 'callind', 'ret',
  'movs', 'cmps', 'scas', 'lods', 'stos', 'nop', 'fence', 'fall',
]); // biome-ignore format: table

export function howToDo({ op, rep }: Form): Way {
  if (op === 'host' || op === 'popf') return 'by the interpreter';
  return rep === 'none' && (INLINE.has(op) || isVectorOp(op)) ? 'inline' : 'by its handler';
}
