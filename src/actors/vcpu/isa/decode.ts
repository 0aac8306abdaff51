/**
 * The instruction decoder: bytes in 64-bit mode to an `Insn`. What each opcode is stands in opcode-table.ts; here are
 * prefixes, ModRM, SIB, displacements and immediates.
 */

import type { Bytes, Insn, MemOperand, Operand, RegOperand, Size, Undecoded, VectorOperand } from './insn.ts';
import {
  AT_CL,
  AT_IMM,
  AT_MOFFS,
  AT_NONE,
  AT_ONE,
  AT_OPCODE,
  AT_RAX,
  AT_REG,
  AT_RM,
  AT_TOP,
  AT_UNSIGNED,
  BY_MOD,
  BY_PREFIX,
  BY_REG,
  BY_REX_B,
  BY_RM,
  EXTRA_BYTE,
  EXTRA_CONST,
  EXTRA_CR,
  EXTRA_DR,
  EXTRA_DX,
  EXTRA_SEG,
  isLeaf,
  type Leaf,
  MOD_IGNORED,
  MOD_MEM,
  type Node,
  ONE_BYTE,
  type Place,
  SIZE_D64,
  SIZE_V,
  SIZE_Y,
  SIZE_Z,
  THREE_BYTE_3A,
  THREE_BYTE_38,
  TWO_BYTE,
} from './opcode-table.ts';

/** The longest instruction, bytes. */
export const INSN_BYTES_MAX = 15;

const MORE: Undecoded = { fault: 'more' };
const TOO_LONG: Undecoded = { fault: 'toolong' };

const REX_B = 1;
const REX_X = 2;
const REX_R = 4;
const REX_W = 8;

const CS = 1;
const SEGMENTS = 6;
/** CR0 CR2 CR3 CR4 CR8. */
const CONTROL_REGISTERS = 0b1_0001_1101;
const DEBUG_REGISTERS = 8;

const REGISTERS: readonly RegOperand[] = Array.from({ length: 16 }, (_, reg) => register(reg, false));
const XMM: readonly VectorOperand[] = Array.from({ length: 16 }, (_, reg) => ({ kind: 'xmm', reg }));
const MM: readonly VectorOperand[] = Array.from({ length: 8 }, (_, reg) => ({ kind: 'mm', reg }));
const ST: readonly VectorOperand[] = Array.from({ length: 8 }, (_, reg) => ({ kind: 'st', reg }));
const HIGH_BYTES: readonly RegOperand[] = Array.from({ length: 4 }, (_, reg) => register(reg, true));

/** Decoding is synchronous and each thread has its own module, so the cursor is module state: nothing to allocate. */
let source: Uint8Array = new Uint8Array(0);
let start = 0;
let position = 0;
let limit = 0;
/** A byte past `limit` was asked for. */
let short = false;

// What the prefixes said.
let rex = 0;
let operand16 = false;
let addressSize: 4 | 8 = 8;
let seg: 'none' | 'fs' | 'gs' = 'none';
/** 0, 0xf2 or 0xf3. */
let repPrefix = 0;

// What ModRM and SIB said of memory.
let memBase = -1;
let memIndex = -1;
let memScale: 1 | 2 | 4 | 8 = 1;
let memDisp = 0;
let memRipRelative = false;

/**
 * Decodes one instruction as a processor in 64-bit mode would.
 *
 * A REX not directly before the opcode is ignored; of F2 and F3 the last counts; 26 2E 36 3E do nothing; 66 does
 * nothing to a near branch (Intel, not AMD). Immediates of shifts, bit tests, ret, retf and enter are unsigned. `rep`
 * is 'repne' for cmps and scas only: F2 makes other string instructions repeat as F3 does. `lock` says a LOCK prefix
 * was there; xchg with memory is locked without. movsxd with 66 has `srcSize` 2. A displacement is signed unless it is
 * a whole address (RIP-relative, moffs), which is unsigned like `target`.
 *
 * @param bytes      where to read; may be a view of shared memory
 * @param at         index of the first byte
 * @param available  how many bytes may be read from `at`; no more than 15 ever are
 * @param rip        linear address of the first byte, unsigned
 * @returns          the instruction, or why there is none; `length` of an undefined one counts the bytes that settled it
 * @throws           never for any bytes
 * @locking          takes nothing. Each byte is read exactly once, so that a writer in another vCPU can make us decode
 *                   old or new bytes or a mixture, as on hardware, but never a length that belongs to other bytes
 * @source           Intel SDM vol. 2A, "Instruction Format"; vol. 2D, appendix A, "Opcode Map"
 */
export function decode(bytes: Uint8Array, at: number, available: number, rip: bigint): Insn | Undecoded {
  source = bytes;
  start = at;
  position = at;
  limit = at + Math.min(available, INSN_BYTES_MAX);
  short = false;
  rex = 0;
  operand16 = false;
  addressSize = 8;
  seg = 'none';
  repPrefix = 0;
  let lock = false;

  let opcode = next();
  prefixes: for (; !short; opcode = next()) {
    switch (opcode) {
      case 0x66:
        operand16 = true;
        break;
      case 0x67:
        addressSize = 4;
        break;
      case 0xf0:
        lock = true;
        break;
      case 0xf2:
      case 0xf3:
        repPrefix = opcode;
        break;
      case 0x64:
        seg = 'fs';
        break;
      case 0x65:
        seg = 'gs';
        break;
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
        break;
      default:
        if ((opcode & 0xf0) !== 0x40) break prefixes;
        rex = opcode;
        continue;
    }
    rex = 0;
  }

  let map = '';
  let nodes = ONE_BYTE;
  if (opcode === 0x0f && !short) {
    map = '0f ';
    nodes = TWO_BYTE;
    opcode = next();
    if (opcode === 0x38 && !short) {
      map = '0f 38 ';
      nodes = THREE_BYTE_38;
      opcode = next();
    } else if (opcode === 0x3a && !short) {
      map = '0f 3a ';
      nodes = THREE_BYTE_3A;
      opcode = next();
    }
  }
  if (short) return ended();

  // ModRM, once something needs it.
  let modrm = -1;
  const root = nodes[opcode]!;
  let node: Node = root;
  while (!isLeaf(node)) {
    if (lock && !node.lock) return undefinedOpcode(map, opcode, choiceName(root, modrm), 'lock', lock);
    if (modrm < 0 && node.kind <= BY_RM) {
      modrm = next();
      if (short) return ended();
    }
    node = node.next[pick(node.kind, modrm)]!;
  }
  const leaf: Leaf = node;
  if (leaf.op === null) return undefinedOpcode(map, opcode, choiceName(root, modrm), leaf.note, lock);
  if (lock && !leaf.lock) return undefinedOpcode(map, opcode, choiceName(root, modrm), 'lock', lock);
  if (leaf.modrm && modrm < 0) {
    modrm = next();
    if (short) return ended();
  }
  const inMemory = leaf.modrm && modrm < 0xc0 && leaf.mod !== MOD_IGNORED;
  if (leaf.mod === MOD_MEM && !inMemory) {
    return undefinedOpcode(map, opcode, choiceName(root, modrm), '', lock);
  }
  if (lock && !(inMemory && leaf.dst.at === AT_RM)) {
    return undefinedOpcode(map, opcode, choiceName(root, modrm), 'lock', lock);
  }

  const regField = (modrm >> 3) & 7;
  let extra = 0;
  switch (leaf.extra) {
    case EXTRA_CR:
      extra = regField | ((rex & REX_R) << 1);
      if (((CONTROL_REGISTERS >> extra) & 1) === 0) {
        return undefinedOpcode(map, opcode, ` cr${extra}`, '', lock);
      }
      break;
    case EXTRA_DR:
      extra = regField | ((rex & REX_R) << 1);
      if (extra >= DEBUG_REGISTERS) return undefinedOpcode(map, opcode, ` dr${extra}`, '', lock);
      break;
    case EXTRA_SEG:
      extra = regField;
      if (extra >= SEGMENTS || (leaf.op === 'movtoseg' && extra === CS)) {
        return undefinedOpcode(map, opcode, ` /${extra}`, '', lock);
      }
      break;
    default:
      if (leaf.extra >= EXTRA_CONST) extra = leaf.extra - EXTRA_CONST;
  }

  if (leaf.x87) extra = ((opcode & 7) << 8) | (modrm & 0xff);

  // In the order of the bytes: SIB and displacement, then immediates. A memory operand is made last of all, because a
  // RIP-relative one counts from the end of the instruction.
  if (inMemory) readMemory(modrm);
  const size = sizeOf(leaf.size);
  let dst = operand(leaf.dst, size, opcode, modrm, inMemory);
  let src = operand(leaf.src, size, opcode, modrm, inMemory);
  const src2 = operand(leaf.src2, size, opcode, modrm, inMemory);
  let relative = 0;
  if (leaf.branch === 1) relative = nextInt8();
  else if (leaf.branch === 4) relative = nextInt32();
  if (leaf.extra === EXTRA_BYTE) extra = next();
  else if (leaf.extra === EXTRA_DX) extra = -1;
  if (short) return ended();

  const length = position - start;
  if (inMemory) {
    if (leaf.dst.at === AT_RM) dst = memory(rip, length);
    else if (leaf.src.at === AT_RM) src = memory(rip, length);
  }
  return {
    op: leaf.op,
    rip,
    length,
    size,
    srcSize: leaf.extend ? sizeOf(leaf.src.size) : leaf.vector ? rmBytes(leaf) : size,
    dst,
    src,
    src2,
    cc: leaf.cc ? opcode & 15 : 0,
    lock,
    rep: leaf.string && repPrefix !== 0 ? (repPrefix === 0xf2 && leaf.repne ? 'repne' : 'rep') : 'none',
    seg: leaf.string || leaf.implicit ? seg : 'none',
    addressSize,
    target: leaf.branch === 0 ? 0n : BigInt.asUintN(64, rip + BigInt(length + relative)),
    extra,
  };
}

/** The bytes ended before the instruction did: because there are no more, or because there may be no more. */
function ended(): Undecoded {
  return limit - start < INSN_BYTES_MAX ? MORE : TOO_LONG;
}

/** Which cell of a choice the bytes mean. */
function pick(kind: number, modrm: number): number {
  switch (kind) {
    case BY_REG:
      return (modrm >> 3) & 7;
    case BY_MOD:
      return modrm >= 0xc0 ? 1 : 0;
    case BY_RM:
      return modrm & 7;
    case BY_PREFIX:
      if (repPrefix !== 0) return repPrefix === 0xf3 ? 2 : 3;
      return operand16 ? 1 : 0;
    case BY_REX_B:
      return rex & REX_B;
    default:
      return (rex & REX_W) >> 3;
  }
}

// ── bytes ───────────────────────────────────────────────────────────────────────────────────────

/** The next byte, or 0 with `short` set. SHARED: plain read, once per byte; see `decode` on locking. */
function next(): number {
  if (position >= limit) {
    short = true;
    return 0;
  }
  return source[position++]!;
}

function nextInt8(): number {
  return (next() << 24) >> 24;
}

function nextUint16(): number {
  const low = next();
  return low | (next() << 8);
}

function nextInt32(): number {
  const low = nextUint16();
  return low | (nextUint16() << 16);
}

function nextUint64(): bigint {
  const low = nextInt32() >>> 0;
  const high = nextInt32() >>> 0;
  return (BigInt(high) << 32n) | BigInt(low);
}

// ── operands ────────────────────────────────────────────────────────────────────────────────────

function sizeOf(size: number): Size {
  switch (size) {
    case SIZE_V:
      return (rex & REX_W) !== 0 ? 8 : operand16 ? 2 : 4;
    case SIZE_Y:
      return (rex & REX_W) !== 0 ? 8 : 4;
    case SIZE_Z:
      return operand16 && (rex & REX_W) === 0 ? 2 : 4;
    case SIZE_D64:
      return operand16 && (rex & REX_W) === 0 ? 2 : 8;
    default:
      return size as Size;
  }
}

/** Bytes of the r/m operand of a vector instruction, in memory. */
function rmBytes({ dst, src }: Leaf): Bytes {
  if (dst.at !== AT_RM && src.at !== AT_RM) return 8;
  const { size } = dst.at === AT_RM ? dst : src;
  return size === 16 || size === 10 ? size : sizeOf(size);
}

/** One operand; null for none, and for r/m in memory, which has to wait for the length. */
function operand(place: Place, size: Size, opcode: number, modrm: number, inMemory: boolean): Operand | null {
  switch (place.at) {
    case AT_NONE:
      return null;
    case AT_RM:
      return inMemory ? null : anyRegister(place, modrm & 7, rex & REX_B);
    case AT_REG:
      return anyRegister(place, (modrm >> 3) & 7, rex & REX_R);
    case AT_OPCODE:
      return generalRegister(opcode & 7, rex & REX_B, place.size);
    case AT_RAX:
      return REGISTERS[0]!;
    case AT_CL:
      return REGISTERS[1]!;
    case AT_TOP:
      return ST[0]!;
    case AT_ONE:
      return { kind: 'imm', value: 1n };
    case AT_UNSIGNED:
      return { kind: 'imm', value: BigInt(place.size === 1 ? next() : nextUint16()) };
    case AT_IMM:
      return { kind: 'imm', value: immediate(place.size, size) };
    case AT_MOFFS:
      return moffs();
    default:
      return unreachable(place.at);
  }
}

function anyRegister({ file, size }: Place, low: number, extension: number): Operand {
  if (file === 'gpr') return generalRegister(low, extension, size);
  // There are eight MMX registers, whatever REX says.
  if (file === 'st') return ST[low]!;
  return file === 'mm' ? MM[low]! : XMM[extension === 0 ? low : low + 8]!;
}

/** `extension` is zero or the REX bit that makes it R8…R15. Without REX, byte registers 4…7 are AH CH DH BH. */
function generalRegister(low: number, extension: number, size: number): RegOperand {
  if (size === 1 && rex === 0 && low >= 4) return HIGH_BYTES[low - 4]!;
  return REGISTERS[extension === 0 ? low : low + 8]!;
}

function register(reg: number, high: boolean): RegOperand {
  return Object.freeze({ kind: 'reg', reg, high });
}

function immediate(immSize: number, size: Size): bigint {
  if (immSize === 1) return BigInt(nextInt8());
  if (size === 2) return BigInt((nextUint16() << 16) >> 16);
  if (size === 8 && immSize === SIZE_V) return BigInt.asIntN(64, nextUint64());
  return BigInt(nextInt32());
}

function moffs(): MemOperand {
  const disp = addressSize === 8 ? nextUint64() : BigInt(nextInt32() >>> 0);
  return { kind: 'mem', base: -1, index: -1, scale: 1, disp, seg, addressSize };
}

/**
 * Reads SIB and displacement of a ModRM with mod other than 3.
 *
 *   r/m 4          a SIB follows; its index 4 is none (but R12 with REX.X is one), its base 5 with mod 0 is disp32
 *   r/m 5, mod 0   disp32 from the end of the instruction
 *
 * REX.B is not looked at in either test: R12 takes a SIB as RSP does, R13 with mod 0 is no base either.
 */
function readMemory(modrm: number): void {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  let baseLow = rm;
  memIndex = -1;
  memScale = 1;
  memRipRelative = false;
  if (rm === 4) {
    const sib = next();
    const index = ((sib >> 3) & 7) | ((rex & REX_X) << 2);
    if (index !== 4) {
      memIndex = index;
      memScale = (1 << (sib >> 6)) as 1 | 2 | 4 | 8;
    }
    baseLow = sib & 7;
  }
  memBase = baseLow | ((rex & REX_B) << 3);
  if (mod === 0) {
    memDisp = 0;
    if (baseLow === 5) {
      memBase = -1;
      memRipRelative = rm === 5;
      memDisp = nextInt32();
    }
  } else {
    memDisp = mod === 1 ? nextInt8() : nextInt32();
  }
}

/** The operand that `readMemory` read, in an instruction of `length` bytes at `rip`. */
function memory(rip: bigint, length: number): MemOperand {
  const disp = memRipRelative
    ? BigInt.asUintN(addressSize === 8 ? 64 : 32, rip + BigInt(length + memDisp))
    : BigInt(memDisp);
  return { kind: 'mem', base: memBase, index: memIndex, scale: memScale, disp, seg, addressSize };
}

function unreachable(at: number): never {
  throw new Error(`opcode table: no operand place ${at}`);
}

// ── names of the undefined ──────────────────────────────────────────────────────────────────────

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

/**
 * The name under which an undefined opcode is counted: "0f 7a with f3", "d9 (x87)", "0f 01 /5", "89 (lock)".
 *
 * @param choice  what chose among the meanings of the opcode, with a space before it, or nothing
 */
function undefinedOpcode(
  map: string,
  opcode: number,
  choice: string,
  note: string,
  lock: boolean,
): Undecoded {
  let name = `${map}${hex(opcode)}${choice}`;
  if (note !== '') name += ` (${note})`;
  if (repPrefix !== 0) name += ` with ${hex(repPrefix)}`;
  else if (operand16) name += ' with 66';
  if (lock && note !== 'lock') name += ' with f0';
  return { fault: 'undefined', name, length: position - start };
}

/** " /5" of a group, " c8" where all of ModRM chose, " register" where only mod did. */
function choiceName(root: Node, modrm: number): string {
  let node = root;
  let name = '';
  while (!isLeaf(node)) {
    if (modrm < 0 && node.kind <= BY_RM) return '';
    if (node.kind === BY_RM) return ` ${hex(modrm)}`;
    if (node.kind === BY_REG && name === '') name = ` /${(modrm >> 3) & 7}`;
    if (node.kind === BY_MOD) name += modrm >= 0xc0 ? ' register' : ' memory';
    node = node.next[pick(node.kind, modrm)]!;
  }
  if (node.mod === MOD_MEM && modrm >= 0xc0) name += ' register';
  return name;
}
