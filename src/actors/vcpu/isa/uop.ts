/**
 * The micro-op record: one decoded instruction with its operands resolved to addresses, as the generated
 * interpreter reads it. Records of a block stand one after the other; 64 bytes, one cache line.
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import type { Mem } from '../../../shared/mem.ts';
import { i32, i64, struct, u8, u16 } from '../../../shared/struct.ts';
import { type NormalInsn, recordImmediate } from './forms.ts';
import type { MemOperand, Operand } from './insn.ts';

const OWN = 'this vCPU';

export const UOP = struct(
  'uop',
  {
    PC: i64(OWN, 'linear address of the instruction'),
    IMM: i64(OWN, 'immediate, zero-extended from the operand size; the target of a direct branch'),
    DISP: i64(OWN, 'displacement of the memory operand; the target of a fused branch'),
    HANDLER: u16(OWN, 'table index of the handler'),
    DST: i32(OWN, 'shared-memory address of the destination register'),
    SRC: i32(OWN, 'shared-memory address of the source register'),
    BASE: i32(OWN, 'shared-memory address of the base register, or of CPU.ZERO'),
    INDEX: i32(OWN, 'shared-memory address of the index register, or of CPU.ZERO'),
    SEG: i32(OWN, 'shared-memory address of CPU.FS_BASE, CPU.GS_BASE or CPU.ZERO'),
    LINK_TAKEN: i32(OWN, 'record of the branch target, LINK_OPEN or LINK_NEVER'),
    LINK_NEXT: i32(OWN, 'record of the next instruction in memory, LINK_OPEN or LINK_NEVER'),
    SCALE: u8(OWN, 'log2 of the index scale'),
    ADDRESS_CUT: u8(OWN, 'bits cut off the effective address: 0, or 32 with a 32-bit address size'),
    LENGTH: u8(OWN, 'bytes, with those of a fused branch; of a block start: instructions in the block'),
    REMAIN: u8(OWN, 'instructions from this one to the end of the block, both included'),
    INSN_INDEX: i32(OWN, "index in the host's list of instructions of this cache"),
  },
  64,
);

/** The record at the start of a block has no operands. In their place: */
export const START = {
  /** i32: entries left until its handler is called instead of interpreting the block; negative from then on. */
  HEAT: UOP.at.DST,
  /** i32: which of the entries of the compiled code that is its handler. */
  ENTRY: UOP.at.SRC,
  /** i32: the compiled code has been entered here since somebody cleared it. */
  USED: UOP.at.BASE,
} as const;
/** Never hot, for all that counts. */
export const HEAT_NEVER = 0x7fff_ffff;

/** Not linked yet: leave with EXIT_BLOCK and EXIT_LINK so that the host can patch the word. */
export const LINK_OPEN = 0;
/** Always through the jump cache: the target is on another page, or straddles two. */
export const LINK_NEVER = -1;

/** What a record says besides its instruction. */
export interface RecordPlace {
  readonly handler: number;
  readonly remain: number;
  readonly insnIndex: number;
  readonly linkTaken: number;
  readonly linkNext: number;
  /** The JCC that the handler does as well. */
  readonly fused?: NormalInsn | undefined;
}

/**
 * Writes one record for `insn`, whose registers live in the CPU area at `cpu`.
 *
 * @param insn  normalised (see forms.ts), so that the record and the form agree about operands
 */
export function writeRecord(mem: Mem, at: number, cpu: number, insn: NormalInsn, place: RecordPlace): void {
  const zero = cpu + CPU.at.ZERO;
  const memory = memoryOperand(insn.dst) ?? memoryOperand(insn.src);
  const word = (field: number, value: number): void => {
    mem.i32[(at + field) >> 2] = value;
  };
  mem.i64[(at + UOP.at.PC) >> 3] = insn.rip;
  mem.i64[(at + UOP.at.IMM) >> 3] = recordImmediate(insn);
  mem.i64[(at + UOP.at.DISP) >> 3] =
    place.fused === undefined ? (memory?.disp ?? 0n) : recordImmediate(place.fused);
  mem.u16[(at + UOP.at.HANDLER) >> 1] = place.handler;
  word(UOP.at.DST, registerAddress(cpu, insn.dst) ?? zero);
  word(UOP.at.SRC, registerAddress(cpu, insn.src) ?? registerAddress(cpu, insn.src2) ?? zero);
  word(UOP.at.BASE, memory === null || memory.base < 0 ? zero : cpu + CPU.at.GPR + memory.base * 8);
  word(UOP.at.INDEX, memory === null || memory.index < 0 ? zero : cpu + CPU.at.GPR + memory.index * 8);
  word(UOP.at.SEG, segmentAddress(cpu, memory?.seg ?? insn.seg));
  word(UOP.at.LINK_TAKEN, place.linkTaken);
  word(UOP.at.LINK_NEXT, place.linkNext);
  mem.u8[at + UOP.at.SCALE] = Math.log2(memory?.scale ?? 1);
  mem.u8[at + UOP.at.ADDRESS_CUT] = (memory?.addressSize ?? insn.addressSize) === 4 ? 32 : 0;
  mem.u8[at + UOP.at.LENGTH] = insn.length + (place.fused?.length ?? 0);
  mem.u8[at + UOP.at.REMAIN] = place.remain;
  word(UOP.at.INSN_INDEX, place.insnIndex);
}

/** What the start of a block says besides its length: how often it may be entered before it is hot. */
export function writeStart(mem: Mem, start: number, heat: number): void {
  mem.i32[(start + START.HEAT) >> 2] = heat;
  mem.i32[(start + START.ENTRY) >> 2] = 0;
  mem.i32[(start + START.USED) >> 2] = 0;
}

function memoryOperand(operand: Operand | null): MemOperand | null {
  return operand?.kind === 'mem' ? operand : null;
}

function registerAddress(cpu: number, operand: Operand | null): number | null {
  const offset = registerOffset(operand);
  return offset === null ? null : cpu + offset;
}

/** Where in the CPU struct a register operand is, null for other operands. */
export function registerOffset(operand: Operand | null): number | null {
  switch (operand?.kind) {
    case 'reg':
      return CPU.at.GPR + operand.reg * 8 + (operand.high ? 1 : 0);
    case 'xmm':
      return CPU.at.XMM + operand.reg * 16;
    case 'mm':
      return CPU.at.ST + operand.reg * 16;
    default:
      return null;
  }
}

function segmentAddress(cpu: number, segment: 'none' | 'fs' | 'gs'): number {
  if (segment === 'fs') return cpu + CPU.at.FS_BASE;
  return segment === 'gs' ? cpu + CPU.at.GS_BASE : cpu + CPU.at.ZERO;
}
