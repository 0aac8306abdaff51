/**
 * The opcode maps of 64-bit mode, as data in the notation of the SDM's opcode maps.
 *
 * A cell is a line of text: an operation of insn.ts, its operands, and what else the decoder needs to know.
 *
 *   'add Ev,Gv lock'     dst, src, src2; a '-' leaves the place empty
 *   'push -,Zv d64'      a size word says the operand size where the first operand's letter does not
 *   'in b #DX'           '#' goes to `extra`
 *   '!sse'               #UD, with what it would have been
 *
 *   operand                                        its size letter, or size word
 *   ─────────────────────────────────────────      ──────────────────────────────────────────────
 *   E   r/m of ModRM, register or memory           b w d q   1, 2, 4, 8
 *   M   r/m of ModRM, memory or #UD                v         2, 4 or 8: 66, default, REX.W
 *   R   r/m of ModRM, a register whatever mod      y         4, or 8 with REX.W
 *   G   reg of ModRM                               z         4, or 2 with 66 (REX.W beats 66)
 *   Z   low three bits of the opcode               d64       8, or 2 with 66
 *   I   immediate, sign-extended; Iz never 8       f64       8 whatever the prefixes
 *   U   immediate, unsigned
 *   O   64-bit (with 67: 32-bit) absolute address  word      what it says
 *   V W xmm register by reg; by r/m, or memory      x         16
 *   P Q mm register, likewise                     t         10
 *   S   x87 register ST(i), by r/m
 *   J   relative branch target                     ────────  ──────────────────────────────────
 *   AL rAX CL 1                                    lock      LOCK is legal when dst is memory
 *                                                  string    takes rep and a segment
 *   #C #D #S  control, debug, segment register     modrm     a ModRM is there and means nothing
 *   #Ub #DX #3  port or vector; −1 for DX
 *
 * A cell whose meaning hangs on more than the opcode is a choice: group (reg of ModRM), byMod (memory or register),
 * byRm (r/m of ModRM), byPrefix (the mandatory prefix), byRexB, byRexW.
 *
 * @source Intel SDM vol. 2D, appendix A, "Opcode Map"
 */

import {
  bare,
  byMod,
  byPrefix,
  byRexB,
  byRexW,
  byRm,
  type Cell,
  type Choice,
  f3Or,
  group,
  LEAF,
  type Op,
  type Text,
  times,
} from './opcode-cells.ts';
import { fillIn, fillMap, VECTOR_0F, VECTOR_0F3A, VECTOR_0F38 } from './vector-opcodes.ts';
import { isVectorOp } from './vector-ops.ts';
import { X87_CELLS } from './x87-opcodes.ts';
import { isX87Op } from './x87-ops.ts';

export { BY_MOD, BY_PREFIX, BY_REG, BY_REX_B, BY_REX_W, BY_RM, LEAF } from './opcode-cells.ts';

/** How a size is worked out from the prefixes. 1, 2, 4 and 8 stand for themselves. */
export const SIZE_V = 16;
export const SIZE_Y = 17;
export const SIZE_Z = 18;
export const SIZE_D64 = 19;

/** Where an operand is found. */
export const AT_NONE = 0;
export const AT_RM = 1;
export const AT_REG = 2;
export const AT_OPCODE = 3;
export const AT_IMM = 4;
export const AT_UNSIGNED = 5;
export const AT_MOFFS = 6;
export const AT_RAX = 7;
export const AT_CL = 8;
export const AT_ONE = 9;
/** ST0. */
export const AT_TOP = 10;

/** What `extra` is made of. EXTRA_CONST and above is a constant: subtract it. */
export const EXTRA_NONE = 0;
export const EXTRA_CR = 1;
export const EXTRA_DR = 2;
export const EXTRA_SEG = 3;
export const EXTRA_BYTE = 4;
export const EXTRA_DX = 5;
export const EXTRA_CONST = 16;

/** What mod of ModRM may be. */
export const MOD_ANY = 0;
export const MOD_MEM = 1;
export const MOD_IGNORED = 2;

/** Which registers a register operand is one of. */
export type RegisterFile = 'gpr' | 'mm' | 'xmm' | 'st';

export interface Place {
  readonly at: number;
  /** Bytes or SIZE_*. */
  readonly size: number;
  readonly file: RegisterFile;
}

export interface Leaf {
  readonly kind: typeof LEAF;
  /** null: undefined opcode, `note` says what it would be. */
  readonly op: Op | null;
  readonly note: string;
  readonly size: number;
  readonly dst: Place;
  readonly src: Place;
  readonly src2: Place;
  readonly modrm: boolean;
  readonly mod: number;
  /** Bytes of a relative target, 0 for none. */
  readonly branch: number;
  readonly extra: number;
  readonly lock: boolean;
  readonly string: boolean;
  /** The source has a size of its own: movzx, movsx, movsxd. */
  readonly extend: boolean;
  /** F2 is a condition (cmps, scas); elsewhere it repeats as F3 does. */
  readonly repne: boolean;
  /** The low four bits of the opcode are a condition. */
  readonly cc: boolean;
  /** MMX, SSE or x87: `srcSize` of the instruction is the bytes of its memory operand. */
  readonly vector: boolean;
  /** `extra` is the last opcode, as x87 remembers it. */
  readonly x87: boolean;
  /** Memory at RDI that a segment prefix applies to: MASKMOVQ, MASKMOVDQU. */
  readonly implicit: boolean;
}

export interface Branch {
  readonly kind: number;
  /** LOCK is legal on some leaf below. */
  readonly lock: boolean;
  readonly next: readonly Node[];
}

export type Node = Leaf | Branch;

export function isLeaf(node: Node): node is Leaf {
  return node.kind === LEAF;
}

// ── cells ───────────────────────────────────────────────────────────────────────────────────────

const ARITHMETIC = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const;
const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'] as const;
type Arithmetic = (typeof ARITHMETIC)[number];

const lockable = (op: Arithmetic): string => (op === 'cmp' ? '' : ' lock');

/** Six forms of one arithmetic operation: a row's first or last three quarters. */
const six = (op: Arithmetic): Cell[] => [
  `${op} Eb,Gb${lockable(op)}`,
  `${op} Ev,Gv${lockable(op)}`,
  `${op} Gb,Eb`,
  `${op} Gv,Ev`,
  `${op} AL,Ib`,
  `${op} rAX,Iz`,
];
const group1 = (operands: string): Choice =>
  group(...ARITHMETIC.map((op): Cell => `${op} ${operands}${lockable(op)}`));
const group2 = (operands: string): Choice => group(...SHIFTS.map((op): Cell => `${op} ${operands}`));
const group3 = (size: 'b' | 'v', imm: 'b' | 'z'): Choice =>
  group(
    `test E${size},I${imm}`,
    `test E${size},I${imm}`,
    `not E${size} lock`,
    `neg E${size} lock`,
    `mul E${size}`,
    `imul E${size}`,
    `div E${size}`,
    `idiv E${size}`,
  );

const GROUP5 = group(
  'inc Ev lock',
  'dec Ev lock',
  'callind -,Ev f64',
  'callf -,Mv',
  'jmpind -,Ev f64',
  'jmpf -,Mv',
  'push -,Ev d64',
  '!',
);

const GROUP6 = group(
  byMod('sldt Ew', 'sldt Ev'),
  byMod('str Ew', 'str Ev'),
  'lldt -,Ew',
  'ltr -,Ew',
  '!verr',
  '!verw',
  '!',
  '!',
);

/** AMD's, which KVM carries out on any processor. */
const VMMCALL = byPrefix('vmcall', 'vmcall', '!svm', '!svm');

const GROUP7 = group(
  byMod('sgdt Mq', bare(byRm('!enclv', 'vmcall', '!vmx', '!vmx', '!vmx', '!pconfig', '!', '!'))),
  byMod('sidt Mq', bare(byRm('!monitor', '!mwait', 'clac', 'stac', '!', '!', '!', '!encls'))),
  byMod('lgdt -,Mq', bare(byRm('xgetbv', 'xsetbv', '!', '!', '!vmx', '!tsx', '!tsx', '!enclu'))),
  byMod('lidt -,Mq', byRm('!svm', VMMCALL, '!svm', '!svm', '!svm', '!svm', '!svm', '!svm')),
  byMod('smsw Ew', 'smsw Ev'),
  '!',
  'lmsw -,Ew',
  byMod('invlpg -,Mb', byRm('swapgs', 'rdtscp', '!', '!', '!', '!', '!', '!')),
);

const GROUP8 = group('!', '!', '!', '!', 'bt Ev,Ub', 'bts Ev,Ub lock', 'btr Ev,Ub lock', 'btc Ev,Ub lock');

const GROUP9 = group(
  '!',
  byMod(byRexW('cmpxchg8b Mq lock', 'cmpxchg16b Mq lock'), '!'),
  '!',
  '!xsave',
  '!xsave',
  '!xsave',
  byMod('!vmx', byPrefix('rdrand Ev', 'rdrand Ev', '!uintr', '!')),
  byMod('!vmx', f3Or('!rdpid', '!rdseed')),
);

const GROUP15 = group(
  byMod(bare('fxsave Mb y'), f3Or('rdfsbase Ey', '!')),
  byMod(bare('fxrstor -,Mb y'), f3Or('rdgsbase Ey', '!')),
  byMod(bare('ldmxcsr -,Md'), f3Or('wrfsbase -,Ey', '!')),
  byMod(bare('stmxcsr Md'), f3Or('wrgsbase -,Ey', '!')),
  byMod(bare('xsave Mb y'), '!'),
  byMod(bare('xrstor -,Mb y'), bare('lfence modrm')),
  byMod(byPrefix('!xsave', '!clwb', '!cet', '!'), byPrefix('mfence modrm', '!tpause', '!', '!')),
  byMod(byPrefix('clflush -,Mb', '!clflushopt', '!', '!'), bare('sfence modrm')),
);

const PREFETCH = 'prefetch -,Mb';
const HINT = 'nop modrm';
const GROUP16 = group(
  ...times(4, byMod(PREFETCH, HINT)),
  ...times(4, HINT), //
);
const ENDBR = byMod(HINT, group(...times(7, HINT), byRm(HINT, HINT, 'endbr64', ...times(5, HINT))));

// The prefixes, REX and the escape 0f have cells too; the decoder never looks at them.
const ESCAPE = '!';
const PREFIX = '!';

// biome-ignore format: table
const ONE_BYTE_CELLS: readonly Cell[] = [
  /* 00 */ ...six('add'), '!', '!',
  /* 08 */ ...six('or'), '!', ESCAPE,
  /* 10 */ ...six('adc'), '!', '!',
  /* 18 */ ...six('sbb'), '!', '!',
  /* 20 */ ...six('and'), PREFIX, '!',
  /* 28 */ ...six('sub'), PREFIX, '!',
  /* 30 */ ...six('xor'), PREFIX, '!',
  /* 38 */ ...six('cmp'), PREFIX, '!',
  /* 40 */ ...times(16, PREFIX),
  /* 50 */ ...times(8, 'push -,Zv d64'),
  /* 58 */ ...times(8, 'pop Zv d64'),
  /* 60 */ '!', '!', '!evex', 'movsxd Gv,Ez', PREFIX, PREFIX, PREFIX, PREFIX,
  /* 68 */ 'push -,Iz d64', 'imul3 Gv,Ev,Iz', 'push -,Ib d64', 'imul3 Gv,Ev,Ib',
  /* 6c */ 'ins b string', 'ins z string', 'outs b string', 'outs z string',
  /* 70 */ ...times(16, 'jcc Jb f64'),
  /* 80 */ group1('Eb,Ib'), group1('Ev,Iz'), '!', group1('Ev,Ib'),
  /* 84 */ 'test Eb,Gb', 'test Ev,Gv', 'xchg Eb,Gb lock', 'xchg Ev,Gv lock',
  /* 88 */ 'mov Eb,Gb', 'mov Ev,Gv', 'mov Gb,Eb', 'mov Gv,Ev',
  /* 8c */ byMod('movfromseg Ew #S', 'movfromseg Ev #S'), 'lea Gv,Mv', 'movtoseg -,Ew #S',
  /* 8f */ group('pop Ev d64', ...times(7, '!xop')),
  /* 90 */ f3Or('pause', byRexB('nop', 'xchg Zv,rAX')), ...times(7, 'xchg Zv,rAX'),
  /* 98 */ 'cbw v', 'cwd v', '!', 'fwait', 'pushf d64', 'popf d64', 'sahf b', 'lahf b',
  /* a0 */ 'mov AL,Ob', 'mov rAX,Ov', 'mov Ob,AL', 'mov Ov,rAX',
  /* a4 */ 'movs b string', 'movs v string', 'cmps b string', 'cmps v string',
  /* a8 */ 'test AL,Ib', 'test rAX,Iz', 'stos b string', 'stos v string',
  /* ac */ 'lods b string', 'lods v string', 'scas b string', 'scas v string',
  /* b0 */ ...times(8, 'mov Zb,Ib'),
  /* b8 */ ...times(8, 'mov Zv,Iv'),
  /* c0 */ group2('Eb,Ub'), group2('Ev,Ub'), 'ret -,Uw f64', 'ret f64', '!vex', '!vex',
  /* c6 */ group('mov Eb,Ib', ...times(7, '!')), group('mov Ev,Iz', ...times(7, '!')),
  /* c8 */ 'enter -,Uw,Ub d64', 'leave d64', 'retf -,Uw v', 'retf v', 'int3 #3', 'int #Ub', '!', 'iret v',
  /* d0 */ group2('Eb,1'), group2('Ev,1'), group2('Eb,CL'), group2('Ev,CL'), '!', '!', '!', 'xlat b string',
  /* d8 */ ...X87_CELLS,
  /* e0 */ 'loopne Jb f64', 'loope Jb f64', 'loop Jb f64', 'jrcxz Jb f64',
  /* e4 */ 'in b #Ub', 'in z #Ub', 'out b #Ub', 'out z #Ub',
  /* e8 */ 'call Jd f64', 'jmp Jd f64', '!', 'jmp Jb f64',
  /* ec */ 'in b #DX', 'in z #DX', 'out b #DX', 'out z #DX',
  /* f0 */ PREFIX, 'int1 #1', PREFIX, PREFIX, 'hlt', 'cmc', group3('b', 'b'), group3('v', 'z'),
  /* f8 */ 'clc', 'stc', 'cli', 'sti', 'cld', 'std', group('inc Eb lock', 'dec Eb lock', ...times(6, '!')), GROUP5,
];

// biome-ignore format: table
const TWO_BYTE_CELLS: readonly Cell[] = [
  /* 00 */ GROUP6, GROUP7, '!lar', '!lsl', '!', 'syscall', 'clts', 'sysret y',
  /* 08 */ '!invd', 'wbinvd', '!', 'ud', '!', byMod(PREFETCH, HINT), '!3dnow', '!3dnow',
  /* 10 */ ...times(8, '!sse'),
  /* 18 */ GROUP16, ...times(5, HINT), f3Or(ENDBR, HINT), HINT,
  /* 20 */ 'movfromcr Rq #C', 'movfromdr Rq #D', 'movtocr -,Rq #C', 'movtodr -,Rq #D', '!', '!', '!', '!',
  /* 28 */ ...times(8, '!sse'),
  /* 30 */ 'wrmsr', 'rdtsc', 'rdmsr', '!rdpmc', '!sysenter', '!sysexit', '!', '!getsec',
  /* 38 */ ESCAPE, '!', '!sse', '!', '!', '!', '!', '!',
  /* 40 */ ...times(16, 'cmovcc Gv,Ev'),
  /* 50 */ ...times(32, '!sse'),
  /* 70 */ ...times(8, '!sse'),
  /* 78 */ '!vmx', '!vmx', '!', '!', '!sse', '!sse', '!sse', '!sse',
  /* 80 */ ...times(16, 'jcc Jd f64'),
  /* 90 */ ...times(16, 'setcc Eb'),
  /* a0 */ 'pushseg #4 d64', 'popseg #4 d64', 'cpuid', 'bt Ev,Gv',
  /* a4 */ 'shld Ev,Gv,Ub', 'shld Ev,Gv,CL', '!', '!',
  /* a8 */ 'pushseg #5 d64', 'popseg #5 d64', '!rsm', 'bts Ev,Gv lock',
  /* ac */ 'shrd Ev,Gv,Ub', 'shrd Ev,Gv,CL', GROUP15, 'imul2 Gv,Ev',
  /* b0 */ 'cmpxchg Eb,Gb lock', 'cmpxchg Ev,Gv lock', '!lss', 'btr Ev,Gv lock',
  /* b4 */ '!lfs', '!lgs', 'movzx Gv,Eb', 'movzx Gv,Ew',
  /* b8 */ f3Or('popcnt Gv,Ev', '!'), 'ud modrm', GROUP8, 'btc Ev,Gv lock',
  /* bc */ f3Or('tzcnt Gv,Ev', 'bsf Gv,Ev'), f3Or('lzcnt Gv,Ev', 'bsr Gv,Ev'), 'movsx Gv,Eb', 'movsx Gv,Ew',
  // movnti is a store like any other: nothing here caches what a non-temporal hint could bypass.
  /* c0 */ 'xadd Eb,Gb lock', 'xadd Ev,Gv lock', '!sse', bare('mov My,Gy'), '!sse', '!sse', '!sse', GROUP9,
  /* c8 */ ...times(8, 'bswap Zv'),
  /* d0 */ ...times(47, '!sse'),
  /* ff */ 'ud modrm',
];

const MOVBE_LOAD = byPrefix('movbe Gv,Mv', 'movbe Gv,Mv', '!', 'crc32 Gy,Eb');
const MOVBE_STORE = byPrefix('movbe Mv,Gv', 'movbe Mv,Gv', '!', 'crc32 Gy,Ev');

const THREE_BYTE_38_CELLS: readonly Cell[] = fillMap(
  [
    ...VECTOR_0F38,
    [0xf0, MOVBE_LOAD],
    [0xf6, byPrefix('!', 'adcx Gy,Ey', 'adox Gy,Ey', '!')],
    [0xf1, MOVBE_STORE],
  ],
  '!sse',
);

// ── compiling ───────────────────────────────────────────────────────────────────────────────────

const SIZES: { readonly [letter: string]: number } = {
  b: 1,
  w: 2,
  d: 4,
  q: 8,
  v: SIZE_V,
  y: SIZE_Y,
  z: SIZE_Z,
  x: 16,
  t: 10,
  d64: SIZE_D64,
  f64: 8,
};
const PLACES: { readonly [letter: string]: number } = {
  E: AT_RM,
  M: AT_RM,
  R: AT_RM,
  G: AT_REG,
  Z: AT_OPCODE,
  I: AT_IMM,
  U: AT_UNSIGNED,
  O: AT_MOFFS,
  V: AT_REG,
  W: AT_RM,
  P: AT_REG,
  Q: AT_RM,
  S: AT_RM,
};
const FILES: { readonly [letter: string]: RegisterFile } = { V: 'xmm', W: 'xmm', P: 'mm', Q: 'mm', S: 'st' };
const FIXED: { readonly [name: string]: Place } = {
  '-': { at: AT_NONE, size: 0, file: 'gpr' },
  AL: { at: AT_RAX, size: 1, file: 'gpr' },
  rAX: { at: AT_RAX, size: SIZE_V, file: 'gpr' },
  AX: { at: AT_RAX, size: 2, file: 'gpr' },
  ST: { at: AT_TOP, size: 8, file: 'st' },
  CL: { at: AT_CL, size: 1, file: 'gpr' },
  '1': { at: AT_ONE, size: 1, file: 'gpr' },
};
const NOWHERE: Place = FIXED['-']!;
const EXTRAS: { readonly [name: string]: number } = {
  '#C': EXTRA_CR,
  '#D': EXTRA_DR,
  '#S': EXTRA_SEG,
  '#Ub': EXTRA_BYTE,
  '#DX': EXTRA_DX,
};
const OPERANDS =
  /^(?:-|AL|rAX|AX|ST|[EMRGZIUOVWPQS][bwdqvyzxt])(?:,(?:-|AL|rAX|CL|ST|1|[EMRGZIUOVWPQS][bwdqvyzxt]))*$/;
const CONDITIONAL: readonly string[] = ['jcc', 'setcc', 'cmovcc'];
const EXTENDING: readonly string[] = ['movzx', 'movsx', 'movsxd', 'crc32'];
const IMPLICIT: readonly string[] = ['maskmovq', 'maskmovdqu'];
const REPNE: readonly string[] = ['cmps', 'scas'];

function compile(cell: Cell): Node {
  if (typeof cell === 'string') return compileText(cell);
  const next = cell.cells.map(compile);
  return { kind: cell.by, lock: next.some((node) => node.lock), next };
}

function compileText(text: Text): Leaf {
  const undefinedOpcode = text.startsWith('!');
  const words = undefinedOpcode ? [] : text.split(' ');
  const op = undefinedOpcode ? null : (words[0] as Op);
  const places: Place[] = [];
  let size = 0;
  let mod = MOD_ANY;
  let modrm = false;
  let branch = 0;
  let extra = EXTRA_NONE;
  for (const word of words.slice(1)) {
    if (word === 'lock' || word === 'string') continue;
    if (word === 'modrm') modrm = true;
    else if (word === 'Jb' || word === 'Jd') branch = SIZES[word[1]!]!;
    else if (word in EXTRAS) extra = EXTRAS[word]!;
    else if (/^#\d$/.test(word)) extra = EXTRA_CONST + Number(word[1]);
    else if (word in SIZES) size = SIZES[word]!;
    else if (OPERANDS.test(word)) {
      if (/[EMRGVWPQ]|S[^T]/.test(word)) modrm = true;
      if (/M./.test(word)) mod = MOD_MEM;
      if (word.includes('R')) mod = MOD_IGNORED;
      for (const name of word.split(',')) {
        const [letter, width] = name as unknown as [string, string];
        const file = FILES[letter] ?? 'gpr';
        places.push(FIXED[name] ?? { at: PLACES[letter]!, size: SIZES[width]!, file });
      }
    } else throw new Error(`opcode table: no meaning for '${word}' in '${text}'`);
  }
  const [dst = NOWHERE, src = NOWHERE, src2 = NOWHERE] = places;
  const x87 = op !== null && isX87Op(op);
  const vector = op !== null && (isVectorOp(op) || x87);
  // Of a vector instruction only a general register, or the memory in its place, has an operand size.
  if (vector && size === 0) size = places.find((place) => place.size === SIZE_Y)?.size ?? 8;
  return {
    kind: LEAF,
    op,
    note: undefinedOpcode ? text.slice(1) : '',
    size: size || dst.size || src.size || SIZE_V,
    dst,
    src,
    src2,
    modrm,
    mod,
    branch,
    extra,
    lock: words.includes('lock'),
    string: words.includes('string'),
    extend: op !== null && EXTENDING.includes(op),
    repne: op !== null && REPNE.includes(op),
    cc: op !== null && CONDITIONAL.includes(op),
    vector,
    x87,
    implicit: op !== null && IMPLICIT.includes(op),
  };
}

/** Opcodes of one byte, after 0f, after 0f 38 and after 0f 3a: 256 nodes each. */
export const ONE_BYTE: readonly Node[] = ONE_BYTE_CELLS.map(compile);
export const TWO_BYTE: readonly Node[] = fillIn(VECTOR_0F, TWO_BYTE_CELLS).map(compile);
export const THREE_BYTE_38: readonly Node[] = THREE_BYTE_38_CELLS.map(compile);
export const THREE_BYTE_3A: readonly Node[] = fillMap(VECTOR_0F3A, '!sse').map(compile);
