/**
 * A decoded instruction: what the decoder produces and what the micro-op writer, the single-step emulator and the
 * host operations consume. Mnemonics are Intel's, lower case.
 */

import { VECTOR_OPS } from './vector-ops.ts';
import { X87_OPS } from './x87-ops.ts';

export type Size = 1 | 2 | 4 | 8;
/** Bytes of what an instruction reads or writes in memory. */
export type Bytes = Size | 10 | 16;

/** A general register. `high` is AH CH DH BH (index 0…3 without REX). */
export interface RegOperand {
  readonly kind: 'reg';
  readonly reg: number;
  readonly high: boolean;
}
/** An MMX, SSE or (ST0…ST7) x87 register. */
export interface VectorOperand {
  readonly kind: 'mm' | 'xmm' | 'st';
  readonly reg: number;
}
export interface ImmOperand {
  readonly kind: 'imm';
  /** Sign-extended to 64 bits, as the operand size asks. */
  readonly value: bigint;
}
export interface MemOperand {
  readonly kind: 'mem';
  /** −1 for none. A RIP-relative address is resolved by the decoder: base −1, disp the absolute address. */
  readonly base: number;
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  readonly disp: bigint;
  readonly seg: 'none' | 'fs' | 'gs';
  /** 4 with the 67 prefix: the sum is truncated to 32 bits (before the segment base is added). */
  readonly addressSize: 4 | 8;
}
export type Operand = RegOperand | VectorOperand | ImmOperand | MemOperand;

export interface Insn {
  readonly op: CoreOp | HostOp;
  /** Linear address of the first byte, and bytes. `rip + length` is the next instruction. */
  readonly rip: bigint;
  readonly length: number;
  /** Operand size in bytes. For string instructions the element size; for movzx/movsx the destination size. */
  readonly size: Size;
  /**
   * movzx, movsx, movsxd, crc32: size of the source. MMX and SSE: bytes of the r/m operand, in memory. Otherwise
   * equal to `size`.
   */
  readonly srcSize: Bytes;
  readonly dst: Operand | null;
  readonly src: Operand | null;
  /** imul with three operands, shld/shrd count, enter's level: the third operand. */
  readonly src2: Operand | null;
  /** Condition code 0…15 of jcc, setcc, cmovcc. */
  readonly cc: number;
  readonly lock: boolean;
  readonly rep: 'none' | 'rep' | 'repne';
  /** Segment override for string sources and xlat. */
  readonly seg: 'none' | 'fs' | 'gs';
  readonly addressSize: 4 | 8;
  /** Absolute target of a direct jump or call. */
  readonly target: bigint;
  /** Control register number, port immediate, interrupt vector, opcode of x87: what a host operation needs. */
  readonly extra: number;
}

/** Executed by the generated core. */
export const CORE_OPS = [
  'mov',
  'movzx',
  'movsx',
  'movsxd',
  'lea',
  'xchg',
  'bswap',
  'movbe',
  'add',
  'or',
  'adc',
  'sbb',
  'and',
  'sub',
  'xor',
  'cmp',
  'test',
  'inc',
  'dec',
  'neg',
  'not',
  'mul',
  'imul',
  'imul2',
  'imul3',
  'div',
  'idiv',
  'cbw',
  'cwd',
  'rol',
  'ror',
  'rcl',
  'rcr',
  'shl',
  'shr',
  'sar',
  'shld',
  'shrd',
  'bt',
  'bts',
  'btr',
  'btc',
  'bsf',
  'bsr',
  'tzcnt',
  'lzcnt',
  'popcnt',
  'crc32',
  'adcx',
  'adox',
  'setcc',
  'cmovcc',
  'cmpxchg',
  'cmpxchg8b',
  'cmpxchg16b',
  'xadd',
  'push',
  'pop',
  'leave',
  'enter',
  'pushf',
  'popf',
  'lahf',
  'sahf',
  'clc',
  'stc',
  'cmc',
  'cld',
  'std',
  'jmp',
  'jmpind',
  'jcc',
  'jrcxz',
  'loop',
  'loope',
  'loopne',
  'call',
  'callind',
  'ret',
  'movs',
  'cmps',
  'scas',
  'lods',
  'stos',
  'xlat',
  'nop',
  'pause',
  'mfence',
  'lfence',
  'sfence',
  'prefetch',
  'endbr64',
  'clflush',
  ...VECTOR_OPS,
] as const;
export type CoreOp = (typeof CORE_OPS)[number];

/** Leave the core with EXIT_HOST; carried out in TypeScript (isa/host-ops.ts). */
export const HOST_OPS = [
  'ud',
  'hlt',
  'cpuid',
  'rdtsc',
  'rdtscp',
  'in',
  'out',
  'ins',
  'outs',
  'int',
  'int3',
  'int1',
  'iret',
  'retf',
  'callf',
  'jmpf',
  'syscall',
  'sysret',
  'swapgs',
  'cli',
  'sti',
  'clts',
  'movfromcr',
  'movtocr',
  'movfromdr',
  'movtodr',
  'movfromseg',
  'movtoseg',
  'pushseg',
  'popseg',
  'lgdt',
  'lidt',
  'sgdt',
  'sidt',
  'lldt',
  'ltr',
  'sldt',
  'str',
  'smsw',
  'lmsw',
  'invlpg',
  'wbinvd',
  'rdmsr',
  'wrmsr',
  'vmcall',
  'xgetbv',
  'xsetbv',
  'fxsave',
  'fxrstor',
  'xsave',
  'xrstor',
  'rdrand',
  'rdfsbase',
  'rdgsbase',
  'wrfsbase',
  'wrgsbase',
  'clac',
  'stac',
  'maskmovq',
  'maskmovdqu',
  ...X87_OPS,
] as const;
export type HostOp = (typeof HOST_OPS)[number];

const HOST_SET: ReadonlySet<string> = new Set(HOST_OPS);

export function isHostOp(op: CoreOp | HostOp): op is HostOp {
  return HOST_SET.has(op);
}

/**
 * Why bytes did not decode.
 * `more`: they end before the instruction does. `undefined`: #UD, and the name under which it is counted
 * (for example "0f 38 f0 with 66"). `toolong`: #GP, more than 15 bytes.
 */
export type Undecoded =
  | { readonly fault: 'more' }
  | { readonly fault: 'undefined'; readonly name: string; readonly length: number }
  | { readonly fault: 'toolong' };
