/**
 * Operand forms: which shapes of which instructions the core has handlers for, and how a decoded instruction finds
 * its form. A form fixes everything but the register numbers, constants and addresses.
 */
import { RSP } from '../../../shared/x86/registers.ts';
import { isHot } from './hot-forms.ts';
import type { Bytes, CoreOp, Insn, MemOperand, Operand, Size } from './insn.ts';
import { VECTOR_FORMS } from './vector-forms.ts';
import { isVectorOp } from './vector-ops.ts';

/**
 * Shape of an operand. Memory comes three ways: `base` is base + displacement, `indexed` adds a scaled index, and
 * `memory` may have a segment base and a 32-bit address size besides. `mm` and `xmm` are vector registers.
 */
export type Shape = 'none' | 'reg' | 'mm' | 'xmm' | 'imm' | 'base' | 'indexed' | 'memory';

/** What is no instruction of the guest: the start of a block, its end, work for the host. MFENCE is here as `fence`. */
export type PseudoOp = 'blockstart' | 'fall' | 'host' | 'fence';

export interface Form {
  readonly op: CoreOp | PseudoOp;
  readonly size: Size;
  readonly srcSize: Bytes;
  readonly dst: Shape;
  readonly src: Shape;
  readonly src2: Shape;
  /** Condition code; for ENTER its level. */
  readonly cc: number;
  readonly lock: boolean;
  readonly rep: 'none' | 'rep' | 'repne';
  /** False where nobody can see the arithmetic flags before they are overwritten: they are not computed. */
  readonly flags: boolean;
  /** Condition of a JCC that follows directly and is done by the same handler, −1 for none. */
  readonly jcc: number;
}

/** An instruction whose operands stand where the semantics look for them. */
export interface NormalInsn extends Omit<Insn, 'op'> {
  readonly op: CoreOp | PseudoOp;
}

const SIZES: readonly Size[] = [1, 2, 4, 8];
const WIDE: readonly Size[] = [2, 4, 8];
const EVERY_MEMORY: readonly Shape[] = ['base', 'indexed', 'memory'];
const CONDITIONS: readonly number[] = Array.from({ length: 16 }, (_, cc) => cc);
/** ENTER levels the core has; a deeper one makes more accesses than the log holds. */
export const ENTER_LEVELS = 4;

const HINTS: ReadonlySet<string> = new Set([
  'nop', 'pause', 'lfence', 'sfence', 'prefetch', 'endbr64', 'clflush',
]); // biome-ignore format: table
const UNARY_DST: ReadonlySet<string> = new Set([
  'inc',
  'dec',
  'neg',
  'not',
  'bswap',
  'setcc',
  'pop',
  'cmpxchg8b',
  'cmpxchg16b',
]);
const UNARY_SRC: ReadonlySet<string> = new Set(['mul', 'imul', 'div', 'idiv', 'push', 'jmpind', 'callind']);
const SHIFTS: ReadonlySet<string> = new Set(['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar']);
const NO_OPERANDS: ReadonlySet<string> = new Set([
  'cbw', 'cwd', 'leave', 'pushf', 'popf', 'lahf', 'sahf', 'clc', 'stc', 'cmc', 'cld', 'std',
  'movs', 'cmps', 'scas', 'lods', 'stos', 'xlat', 'jmp', 'jcc', 'jrcxz', 'loop', 'loope', 'loopne', 'call',
]); // biome-ignore format: table
const STRINGS: ReadonlySet<string> = new Set(['movs', 'cmps', 'scas', 'lods', 'stos']);
const COMPARING: ReadonlySet<string> = new Set(['cmps', 'scas']);
const WITH_CONDITION: ReadonlySet<string> = new Set(['jcc', 'setcc', 'cmovcc']);
const WITH_SOURCE_SIZE: ReadonlySet<string> = new Set(['movzx', 'movsx', 'crc32']);
const LOCKABLE: ReadonlySet<string> = new Set([
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'inc', 'dec', 'neg', 'not', 'bts', 'btr', 'btc',
  'xadd', 'cmpxchg', 'cmpxchg8b',
]); // biome-ignore format: table
const DIRECT_BRANCHES: ReadonlySet<string> = new Set([
  'jmp',
  'jcc',
  'jrcxz',
  'loop',
  'loope',
  'loopne',
  'call',
  'fall',
]);

/** Puts the operands of `insn` where the semantics expect them, and folds synonyms together. */
export function normalise(insn: Insn): NormalInsn {
  let op = insn.op as CoreOp | PseudoOp;
  let { size, srcSize, dst, src, src2, cc } = insn;
  if (HINTS.has(op)) op = 'nop';
  if (op === 'mfence') op = 'fence';
  if (op === 'movsxd') op = 'movsx';
  // 66 makes 16 bits of either side: nothing is left to extend.
  if ((op === 'movsx' || op === 'movzx') && srcSize === size) op = 'mov';
  if (op === 'nop' || op === 'fence' || NO_OPERANDS.has(op)) {
    dst = src = src2 = null;
    if (op === 'nop' || op === 'fence' || DIRECT_BRANCHES.has(op)) size = 8;
  }
  if (UNARY_DST.has(op)) [dst, src, src2] = [dst ?? src, null, null];
  if (UNARY_SRC.has(op)) [dst, src, src2] = [null, src ?? dst, null];
  if ((op === 'xchg' || op === 'test') && src?.kind === 'mem') [dst, src] = [src, dst];
  if (SHIFTS.has(op) || op === 'shld' || op === 'shrd') {
    // A count of zero becomes a register count read from CPU.ZERO: the general path, which keeps the flags.
    const mask = size === 8 ? 63n : 31n;
    const masked = (count: Operand | null): Operand | null =>
      count?.kind === 'imm' ? { kind: 'imm', value: count.value & mask } : count;
    if (SHIFTS.has(op)) src = masked(src);
    else src2 = masked(src2);
  }
  if (op === 'pop' && dst?.kind === 'mem' && dst.base === RSP) {
    // POP computes the address after it has moved RSP.
    dst = { ...dst, disp: BigInt.asIntN(64, dst.disp + BigInt(size)) };
  }
  if (op === 'ret') {
    [dst, src, src2] = [null, src ?? dst ?? { kind: 'imm', value: 0n }, null];
    size = 8;
  }
  if (op === 'enter') {
    const frame = src?.kind === 'imm' && dst?.kind === 'imm' ? dst : (src ?? dst);
    const level = src2 ?? (dst?.kind === 'imm' && src?.kind === 'imm' ? src : null);
    cc = level?.kind === 'imm' ? Number(level.value & 31n) : 0;
    [dst, src, src2] = [null, frame, null];
  }
  if (op === 'setcc') size = 1;
  if (op === 'cmpxchg8b' || op === 'cmpxchg16b' || op === 'jmpind' || op === 'callind') size = 8;
  if (op === 'xlat') size = 1;
  return {
    ...insn,
    op,
    size,
    srcSize: WITH_SOURCE_SIZE.has(op) || isVectorOp(op) ? srcSize : size,
    dst,
    src,
    src2,
    cc,
  };
}

/** Does it go, or may it go, to a target that its bytes name? */
export function branchesDirectly(insn: NormalInsn): boolean {
  return DIRECT_BRANCHES.has(insn.op);
}

/** The immediate field of the record: a branch target, or the immediate operand cut to what is used of it. */
export function recordImmediate(insn: NormalInsn): bigint {
  if (branchesDirectly(insn)) return BigInt.asIntN(64, insn.target);
  const immediate = [insn.src2, insn.src, insn.dst].find((operand) => operand?.kind === 'imm');
  if (immediate?.kind !== 'imm') return 0n;
  return BigInt.asIntN(64, BigInt.asUintN(insn.size * 8, immediate.value));
}

/** The form of a normalised instruction; whether the core has it is {@link formIndex}'s answer. */
export function formOf(insn: NormalInsn): Form {
  const { op, size, srcSize } = insn;
  let src = shapeOf(insn.src);
  let src2 = shapeOf(insn.src2);
  if (SHIFTS.has(op) && isZeroCount(insn.src)) src = 'reg';
  if ((op === 'shld' || op === 'shrd') && src2 !== 'imm') src2 = 'reg';
  return {
    op,
    size,
    srcSize,
    dst: shapeOf(insn.dst),
    src,
    src2,
    cc: WITH_CONDITION.has(op) || op === 'enter' ? insn.cc : 0,
    lock: insn.lock && LOCKABLE.has(op),
    rep: repOf(insn),
    flags: true,
    jcc: -1,
  };
}

/** Index of the variant that leaves the flags alone, −1 when there is none. */
export function quietFormIndex(form: Form): number {
  return INDEX_OF_KEY.get(keyOf({ ...form, flags: false })) ?? -1;
}

/** Index of the variant that goes on like a JCC with condition `cc`, −1 when there is none. */
export function fusedFormIndex(form: Form, cc: number): number {
  return INDEX_OF_KEY.get(keyOf({ ...form, jcc: cc })) ?? -1;
}

/** Does it overwrite all six arithmetic flags, reading none of them? */
export function overwritesFlags(form: Form): boolean {
  return OVERWRITING.has(form.op) || (SHIFTS_ALL_FLAGS.has(form.op) && form.src === 'imm');
}

/** Does it do its work in registers alone, so that nothing can be seen between it and the next instruction? */
export function staysInRegisters(form: Form): boolean {
  return REGISTERS_ONLY.has(form.op) && !isMemory(form.dst) && (form.op === 'lea' || !isMemory(form.src));
}

/** Neither reads nor writes arithmetic flags. */
export function ignoresFlags(form: Form): boolean {
  return FLAGLESS.has(form.op);
}

const OVERWRITING: ReadonlySet<string> = new Set([
  'add', 'or', 'and', 'sub', 'xor', 'cmp', 'test', 'neg', 'popcnt', 'imul2', 'imul3',
]); // biome-ignore format: table
const SHIFTS_ALL_FLAGS: ReadonlySet<string> = new Set(['shl', 'shr', 'sar']);
const FLAGLESS: ReadonlySet<string> = new Set([
  'mov',
  'movzx',
  'movsx',
  'lea',
  'xchg',
  'bswap',
  'cbw',
  'cwd',
  'not',
  'nop',
]);
const REGISTERS_ONLY: ReadonlySet<string> = new Set([
  ...OVERWRITING, ...SHIFTS_ALL_FLAGS, ...FLAGLESS, 'inc', 'dec', 'rol', 'ror',
]); // biome-ignore format: table

function repOf(insn: NormalInsn): Form['rep'] {
  if (!STRINGS.has(insn.op) || insn.rep === 'none') return 'none';
  return COMPARING.has(insn.op) ? insn.rep : 'rep';
}

function isZeroCount(operand: Operand | null): boolean {
  return operand?.kind === 'imm' && operand.value === 0n;
}

function shapeOf(operand: Operand | null): Shape {
  if (operand === null) return 'none';
  // x87 registers are none of the core's.
  if (operand.kind === 'st') return 'none';
  return operand.kind === 'mem' ? memoryShape(operand) : operand.kind;
}

function memoryShape(operand: MemOperand): Shape {
  if (operand.seg !== 'none' || operand.addressSize === 4) return 'memory';
  return operand.index < 0 ? 'base' : 'indexed';
}

function keyOf(form: Form): string {
  const { op, size, srcSize, dst, src, src2, cc, lock, rep, flags, jcc } = form;
  return `${op} ${size} ${srcSize} ${dst} ${src} ${src2} ${cc} ${lock} ${rep} ${flags} ${jcc}`;
}

export function isMemory(shape: Shape): boolean {
  return shape === 'base' || shape === 'indexed' || shape === 'memory';
}

/** The same form with its memory operand in the most general shape. */
export function generalForm(form: Form): Form {
  const general = (shape: Shape): Shape => (isMemory(shape) ? 'memory' : shape);
  return { ...form, dst: general(form.dst), src: general(form.src) };
}

/** All forms the core has handlers for, the hot ones first. */
export const FORMS: readonly Form[] = hotFirst(enumerateForms());
/** How many of {@link FORMS} are hot. */
export const HOT_FORMS = FORMS.filter(isHot).length;
const INDEX_OF_KEY: ReadonlyMap<string, number> = new Map(FORMS.map((form, index) => [keyOf(form), index]));

/**
 * Index into {@link FORMS} of the best form for `form`: its own, or the one with general memory operands.
 * @returns −1 when the core has neither
 */
export function formIndex(form: Form): number {
  return INDEX_OF_KEY.get(keyOf(form)) ?? INDEX_OF_KEY.get(keyOf(generalForm(form))) ?? -1;
}

interface FormPattern {
  readonly sizes?: readonly Size[];
  readonly dst?: readonly Shape[];
  readonly src?: readonly Shape[];
  readonly src2?: readonly Shape[];
  readonly cc?: readonly number[];
  readonly lock?: boolean;
  readonly rep?: readonly Form['rep'][];
  readonly flags?: boolean;
  readonly jcc?: readonly number[];
}

function enumerateForms(): Form[] {
  const forms: Form[] = [];
  const add = (ops: readonly (CoreOp | PseudoOp)[], pattern: FormPattern): void => {
    for (const op of ops)
      for (const size of pattern.sizes ?? ([8] as const))
        for (const dst of pattern.dst ?? (['none'] as const))
          for (const src of pattern.src ?? (['none'] as const))
            for (const src2 of pattern.src2 ?? (['none'] as const))
              for (const cc of pattern.cc ?? [0])
                for (const rep of pattern.rep ?? (['none'] as const))
                  for (const jcc of pattern.jcc ?? [-1])
                    forms.push({
                      op,
                      size,
                      srcSize: size,
                      dst,
                      src,
                      src2,
                      cc,
                      lock: pattern.lock ?? false,
                      rep,
                      flags: pattern.flags ?? true,
                      jcc,
                    });
  };
  const either: readonly Shape[] = ['reg', 'memory'];

  add(['blockstart', 'fall', 'host', 'fence', 'nop', 'jmp', 'call', 'jrcxz', 'loop', 'loope', 'loopne'], {});
  add(['jcc'], { cc: CONDITIONS });
  add(['jmpind', 'callind'], { src: ['reg', ...EVERY_MEMORY] });
  add(['ret'], { src: ['imm'] });

  // What programs do most has every memory shape; the rest has the general one.
  const common = ['mov', 'add', 'or', 'and', 'sub', 'xor', 'cmp'] as const;
  add(common, { sizes: SIZES, dst: ['reg'], src: ['reg', 'imm', ...EVERY_MEMORY] });
  add(common, { sizes: SIZES, dst: EVERY_MEMORY, src: ['reg', 'imm'] });
  add(['test'], { sizes: SIZES, dst: ['reg', ...EVERY_MEMORY], src: ['reg', 'imm'] });
  add(['adc', 'sbb'], { sizes: SIZES, dst: ['reg'], src: ['reg', 'imm', 'memory'] });
  add(['adc', 'sbb'], { sizes: SIZES, dst: ['memory'], src: ['reg', 'imm'] });
  add(['inc', 'dec'], { sizes: SIZES, dst: ['reg', ...EVERY_MEMORY] });
  add(['neg', 'not'], { sizes: SIZES, dst: either });
  add(['lea'], { sizes: WIDE, dst: ['reg'], src: EVERY_MEMORY });
  for (const op of ['movzx', 'movsx'] as const) {
    for (const size of WIDE) {
      for (const srcSize of SIZES) {
        if (srcSize >= size || (op === 'movzx' && srcSize === 4)) continue;
        for (const src of ['reg', ...EVERY_MEMORY] as const) {
          const rest = { src2: 'none', cc: 0, lock: false, rep: 'none', flags: true, jcc: -1 } as const;
          forms.push({ op, size, srcSize, dst: 'reg', src, ...rest });
        }
      }
    }
  }
  for (const [size, srcSizes] of [
    [4, [1, 2, 4]],
    [8, [1, 8]],
  ] as const) {
    for (const srcSize of srcSizes) {
      for (const src of either) {
        const rest = { src2: 'none', cc: 0, lock: false, rep: 'none', flags: true, jcc: -1 } as const;
        forms.push({ op: 'crc32', size, srcSize, dst: 'reg', src, ...rest });
      }
    }
  }
  add(['adcx', 'adox'], { sizes: [4, 8], dst: ['reg'], src: either });
  add(['push'], { sizes: [2, 8], src: ['reg', 'imm', 'memory'] });
  add(['pop'], { sizes: [2, 8], dst: either });
  add(['leave', 'pushf', 'popf'], { sizes: [2, 8] });
  add(['enter'], { sizes: [2, 8], src: ['imm'], cc: CONDITIONS.slice(0, ENTER_LEVELS + 1) });

  add(['mul', 'imul', 'div', 'idiv'], { sizes: SIZES, src: either });
  add(['imul2'], { sizes: WIDE, dst: ['reg'], src: either });
  add(['imul3'], { sizes: WIDE, dst: ['reg'], src: either, src2: ['imm'] });
  add(['cbw', 'cwd'], { sizes: WIDE });
  add([...SHIFTS] as CoreOp[], { sizes: SIZES, dst: either, src: ['reg', 'imm'] });
  add(['shld', 'shrd'], { sizes: WIDE, dst: either, src: ['reg'], src2: ['reg', 'imm'] });
  add(['bt', 'bts', 'btr', 'btc'], { sizes: WIDE, dst: either, src: ['reg', 'imm'] });
  add(['bsf', 'bsr', 'tzcnt', 'lzcnt', 'popcnt'], { sizes: WIDE, dst: ['reg'], src: either });
  add(['bswap'], { sizes: WIDE, dst: ['reg'] });
  add(['movbe'], { sizes: WIDE, dst: ['reg'], src: ['memory'] });
  add(['movbe'], { sizes: WIDE, dst: ['memory'], src: ['reg'] });
  add(['setcc'], { sizes: [1], dst: either, cc: CONDITIONS });
  add(['cmovcc'], { sizes: WIDE, dst: ['reg'], src: either, cc: CONDITIONS });
  add(['xchg', 'xadd', 'cmpxchg'], { sizes: SIZES, dst: either, src: ['reg'] });
  add(['cmpxchg8b', 'cmpxchg16b'], { dst: ['memory'] });
  add(['lahf', 'sahf'], { sizes: [1] });
  add(['clc', 'stc', 'cmc', 'cld', 'std'], { sizes: WIDE });
  add(['xlat'], { sizes: [1] });

  const lock = true;
  add(['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor'], {
    sizes: SIZES,
    dst: ['memory'],
    src: ['reg', 'imm'],
    lock,
  });
  add(['inc', 'dec', 'neg', 'not'], { sizes: SIZES, dst: ['memory'], lock });
  add(['bts', 'btr', 'btc'], { sizes: WIDE, dst: ['memory'], src: ['reg', 'imm'], lock });
  add(['xadd', 'cmpxchg'], { sizes: SIZES, dst: ['memory'], src: ['reg'], lock });
  add(['cmpxchg8b'], { dst: ['memory'], lock });

  add(['movs', 'stos', 'lods'], { sizes: SIZES, rep: ['none', 'rep'] });
  add(['cmps', 'scas'], { sizes: SIZES, rep: ['none', 'rep', 'repne'] });

  // Variants for speed, with the same meaning: flags nobody sees, and a JCC done by the instruction before it.
  const often: readonly Size[] = [4, 8];
  const flags = false;
  add(['add', 'or', 'and', 'sub', 'xor'], {
    sizes: often,
    dst: ['reg'],
    src: ['reg', 'imm', 'base', 'indexed'],
    flags,
  });
  add(['shl', 'shr', 'sar', 'rol', 'ror'], { sizes: often, dst: ['reg'], src: ['imm'], flags });
  add(['inc', 'dec', 'neg'], { sizes: often, dst: ['reg'], flags });
  add(['imul2'], { sizes: often, dst: ['reg'], src: ['reg'], flags });
  add(['imul3'], { sizes: often, dst: ['reg'], src: ['reg'], src2: ['imm'], flags });
  add(['cmp'], { sizes: [1, 4, 8], dst: ['reg'], src: ['reg', 'imm'], jcc: CONDITIONS });
  add(['test'], { sizes: [1, 4, 8], dst: ['reg'], src: ['reg'], jcc: CONDITIONS });
  add(['test'], { sizes: [1, 4], dst: ['reg'], src: ['imm'], jcc: [4, 5] });
  add(['add', 'sub', 'and'], { sizes: often, dst: ['reg'], src: ['imm'], jcc: [2, 3, 4, 5] });
  add(['inc', 'dec'], { sizes: often, dst: ['reg'], jcc: [4, 5] });

  const rest = { cc: 0, lock: false, rep: 'none', flags: true, jcc: -1 } as const;
  for (const form of VECTOR_FORMS) forms.push({ ...form, ...rest });
  return forms;
}

function hotFirst(forms: readonly Form[]): Form[] {
  return [...forms.filter(isHot), ...forms.filter((form) => !isHot(form))];
}
