/**
 * The decoder against iced-x86, opcode by opcode: the same bytes are put through both and what they say is written
 * down in the same words. iced's side is derived from its own operand kinds, registers and sizes, never from our table.
 */

import test from 'ava';
import fc from 'fast-check';
import {
  Code,
  ConditionCode,
  Decoder,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpKind,
  Register,
  RegisterExt,
} from 'iced-x86';
import { decode } from '../../../src/actors/vcpu/isa/decode.ts';
import {
  CORE_OPS,
  HOST_OPS,
  type Insn,
  type Operand,
  type Undecoded,
} from '../../../src/actors/vcpu/isa/insn.ts';
import {
  isLeaf,
  type Node,
  ONE_BYTE,
  THREE_BYTE_38,
  TWO_BYTE,
} from '../../../src/actors/vcpu/isa/opcode-table.ts';

const SEED = Number(process.env['SEED'] ?? 0xdec0de);
const OURS = new Set<string>([...CORE_OPS, ...HOST_OPS]);
const RIP = 0xffff_ffff_8000_1000n;
const SLOT_BYTES = 16;

// ── iced's side ─────────────────────────────────────────────────────────────────────────────────

const RENAMED: { readonly [mnemonic: string]: string } = {
  sal: 'shl',
  jecxz: 'jrcxz',
  cwde: 'cbw',
  cdqe: 'cbw',
  cdq: 'cwd',
  cqo: 'cwd',
  xlatb: 'xlat',
  sysretq: 'sysret',
  wbnoinvd: 'wbinvd',
  ud0: 'ud',
  ud1: 'ud',
  ud2: 'ud',
  movnti: 'mov',
  // Hints of processors with CET, CLDEMOTE or PREFETCHI; without, as here, they do nothing.
  reservednop: 'nop',
  endbr32: 'nop',
  rdsspd: 'nop',
  rdsspq: 'nop',
  cldemote: 'nop',
  prefetchit0: 'nop',
  prefetchit1: 'nop',
  prefetcht0: 'prefetch',
  prefetcht1: 'prefetch',
  prefetcht2: 'prefetch',
  prefetchnta: 'prefetch',
  prefetchw: 'prefetch',
  prefetchwt1: 'prefetch',
  prefetchreserved_0f0d: 'prefetch',
};
const STRING = /^(movs|cmps|scas|lods|stos|ins|outs)[bwdq]$/;
const STRING_OPS = new Set(['movs', 'cmps', 'scas', 'lods', 'stos', 'ins', 'outs', 'xlat']);
const CONDITIONS = new Set(['jcc', 'setcc', 'cmovcc']);

/** What we would call it; a name not in OURS if we do not have it. */
function icedOp(insn: Instruction): string {
  const name = Mnemonic[insn.mnemonic]!.toLowerCase();
  if (insn.isStringInstruction && STRING.test(name)) return name.slice(0, -1);
  if (insn.isJccShortOrNear) return 'jcc';
  if (insn.conditionCode !== ConditionCode.None) {
    if (name.startsWith('set')) return 'setcc';
    if (name.startsWith('cmov')) return 'cmovcc';
  }
  if (insn.isCallNearIndirect) return 'callind';
  if (insn.isCallFarIndirect) return 'callf';
  if (insn.isJmpNearIndirect) return 'jmpind';
  if (insn.isJmpFarIndirect) return 'jmpf';
  if (name === 'imul') return ['', 'imul', 'imul2', 'imul3'][insn.opCount]!;
  const special = [0, 1].map((index) => (index < insn.opCount ? specialRegister(insn, index) : ''));
  if (name === 'mov' && special[0] !== '') return `movto${special[0]!.replace(/\d/, '')}`;
  if (name === 'mov' && special[1] !== '') return `movfrom${special[1]!.replace(/\d/, '')}`;
  if ((name === 'push' || name === 'pop') && special[0] !== '') return `${name}seg`;
  // The string comparison 'cmpsd' and the move 'movsd' have SSE namesakes, which are none of ours.
  return RENAMED[name] ?? name.replace(/^(pushf|popf|iret)[dq]$/, '$1');
}

function specialRegister(insn: Instruction, index: number): string {
  if (insn.opKind(index) !== OpKind.Register) return '';
  const register = insn.opRegister(index);
  if (RegisterExt.isSegmentRegister(register)) return `seg${RegisterExt.number(register)}`;
  if (RegisterExt.isCR(register)) return `cr${RegisterExt.number(register)}`;
  if (RegisterExt.isDR(register)) return `dr${RegisterExt.number(register)}`;
  return '';
}

/** Ops whose size says nothing. */
const SIZELESS = new Set(
  'nop pause mfence lfence sfence prefetch endbr64 clflush invlpg ud hlt cpuid rdtsc rdtscp int int3 int1 syscall swapgs cli sti clts wbinvd rdmsr wrmsr vmcall xgetbv xsetbv clac stac clc stc cmc cld std lahf sahf lgdt lidt sgdt sidt cmpxchg8b cmpxchg16b'.split(
    ' ',
  ),
);
const EIGHT = new Set(
  'jcc jmp jmpind call callind ret loop loope loopne jrcxz movfromcr movtocr movfromdr movtodr'.split(' '),
);
const TWO = new Set(['lldt', 'ltr', 'lmsw', 'movtoseg']);
const BY_NAME: { readonly [code: string]: number } = {
  Cbw: 2,
  Cwde: 4,
  Cdqe: 8,
  Cwd: 2,
  Cdq: 4,
  Cqo: 8,
  Sysretd: 4,
  Sysretq: 8,
};

function icedOperandSize(insn: Instruction, index: number): number {
  if (insn.opKind(index) === OpKind.Register) return RegisterExt.size(insn.opRegister(index));
  return MemorySizeExt.size(insn.memorySize);
}

function icedSize(op: string, insn: Instruction): number {
  if (SIZELESS.has(op)) return 0;
  if (EIGHT.has(op)) return 8;
  if (TWO.has(op)) return 2;
  if (STRING_OPS.has(op)) return MemorySizeExt.size(insn.memorySize);
  const code = Code[insn.code]!;
  const named = BY_NAME[code];
  if (named !== undefined) return named;
  // Pushfq, Popw_FS, Enterw_imm16_imm8, Retfd, Iretq, Leaveq.
  const letter = /^(?:Push|Pop|Pushf|Popf|Enter|Leave|Iret|Retf)([wdq])(?:_|$)/.exec(code)?.[1];
  if (letter !== undefined) return { w: 2, d: 4, q: 8 }[letter]!;
  const far = /_m16(16|32|64)$/.exec(code)?.[1];
  if (far !== undefined) return Number(far) / 8;
  if (op === 'out') return icedOperandSize(insn, 1);
  return icedOperandSize(insn, 0);
}

const UNSIGNED = new Set(
  'rol ror rcl rcr shl shr sar shld shrd bt bts btr btc enter ret retf int in out'.split(' '),
);

function icedOperands(op: string, insn: Instruction): string[] {
  if (op === 'nop' || op === 'ud' || STRING_OPS.has(op)) return [];
  const operands: string[] = [];
  const extras: string[] = [];
  for (let index = 0; index < insn.opCount; index++) {
    const kind = insn.opKind(index);
    const special = specialRegister(insn, index);
    if (special !== '') extras.push(special.replace(/^\D+/, '#'));
    else if (op === 'in' || op === 'out') {
      if (kind === OpKind.Immediate8) extras.push(`#${insn.immediate(index)}`);
      else if (insn.opRegister(index) === Register.DX) extras.push('#-1');
    } else if (op === 'int') extras.push(`#${insn.immediate(index)}`);
    else if (kind === OpKind.Register) operands.push(icedRegister(insn.opRegister(index)));
    else if (kind === OpKind.Memory) operands.push(icedMemory(insn));
    else if (kind === OpKind.NearBranch64) operands.push(`to ${hex(insn.nearBranchTarget)}`);
    else operands.push(`${icedImmediate(op, insn, index)}`);
  }
  return [...operands, ...extras];
}

function icedRegister(register: Register): string {
  if (register >= Register.AH && register <= Register.BH) return `high${register - Register.AH}`;
  return `r${RegisterExt.number(RegisterExt.fullRegister(register))}`;
}

function icedImmediate(op: string, insn: Instruction, index: number): bigint {
  const value = insn.immediate(index);
  switch (insn.opKind(index)) {
    case OpKind.Immediate8:
    case OpKind.Immediate8_2nd:
      return UNSIGNED.has(op) ? value : BigInt.asIntN(8, value);
    case OpKind.Immediate16:
      return UNSIGNED.has(op) ? value : BigInt.asIntN(16, value);
    case OpKind.Immediate32:
      return BigInt.asIntN(32, value);
    default:
      return BigInt.asIntN(64, value);
  }
}

function icedMemory(insn: Instruction): string {
  const base = insn.memoryBase;
  const index = insn.memoryIndex;
  const relative = base === Register.RIP || base === Register.EIP;
  const wide = base !== Register.None ? base : index;
  const bytes = wide !== Register.None ? RegisterExt.size(wide) : insn.memoryDisplSize;
  return memoryText({
    base: base === Register.None || relative ? -1 : RegisterExt.number(base),
    index: index === Register.None ? -1 : RegisterExt.number(index),
    scale: index === Register.None ? 1 : insn.memoryIndexScale,
    disp: relative ? insn.ipRelMemoryAddress : insn.memoryDisplacement,
    seg: icedSegment(insn),
    addressSize: bytes,
  });
}

function icedSegment(insn: Instruction): string {
  if (insn.segmentPrefix === Register.FS) return 'fs';
  return insn.segmentPrefix === Register.GS ? 'gs' : 'none';
}

function icedStringAddressSize(insn: Instruction): number {
  for (let index = 0; index < insn.opCount; index++) {
    const kind = insn.opKind(index);
    if (kind === OpKind.MemorySegRSI || kind === OpKind.MemoryESRDI) return 8;
    if (kind === OpKind.MemorySegESI || kind === OpKind.MemoryESEDI) return 4;
  }
  return RegisterExt.size(insn.memoryBase);
}

function icedText(op: string, insn: Instruction): string {
  const words = [op, `size ${icedSize(op, insn)}`];
  if (op === 'movzx' || op === 'movsx' || op === 'movsxd') words.push(`from ${icedOperandSize(insn, 1)}`);
  if (CONDITIONS.has(op)) words.push(`cc ${insn.conditionCode - 1}`);
  words.push(...icedOperands(op, insn));
  if (STRING_OPS.has(op)) {
    const conditional = op === 'cmps' || op === 'scas';
    if (op === 'xlat') {
      // iced reports no repeat prefix here, and it means nothing.
    } else if (insn.hasRepnePrefix) words.push(conditional ? 'repne' : 'rep');
    else if (insn.hasRepPrefix) words.push('rep');
    words.push(icedSegment(insn), `address ${icedStringAddressSize(insn)}`);
  }
  if (/^loop|^jrcxz/.test(op)) words.push(`address ${/ECX|Jecxz/.test(Code[insn.code]!) ? 4 : 8}`);
  if (insn.hasLockPrefix) words.push('lock');
  words.push(`length ${insn.length}`);
  return words.join('; ');
}

// ── our side ────────────────────────────────────────────────────────────────────────────────────

function ourText(insn: Insn): string {
  const { op } = insn;
  const words = [op, `size ${SIZELESS.has(op) ? 0 : insn.size}`];
  if (op === 'movzx' || op === 'movsx' || op === 'movsxd') words.push(`from ${insn.srcSize}`);
  if (CONDITIONS.has(op)) words.push(`cc ${insn.cc}`);
  for (const operand of [insn.dst, insn.src, insn.src2]) {
    if (operand !== null) words.push(operandText(operand));
  }
  if (/^(jcc|jmp|call|loop|loope|loopne|jrcxz)$/.test(op)) words.push(`to ${hex(insn.target)}`);
  if (/^(mov(to|from)(cr|dr|seg)|(push|pop)seg|in|out|int)$/.test(op)) words.push(`#${insn.extra}`);
  if (STRING_OPS.has(op)) {
    if (insn.rep !== 'none' && op !== 'xlat') words.push(insn.rep);
    words.push(insn.seg, `address ${insn.addressSize}`);
  }
  if (/^loop|^jrcxz/.test(op)) words.push(`address ${insn.addressSize}`);
  if (insn.lock) words.push('lock');
  words.push(`length ${insn.length}`);
  return words.join('; ');
}

function operandText(operand: Operand): string {
  if (operand.kind === 'reg') return operand.high ? `high${operand.reg}` : `r${operand.reg}`;
  return operand.kind === 'imm' ? `${operand.value}` : memoryText(operand);
}

interface MemoryText {
  base: number;
  index: number;
  scale: number;
  disp: bigint;
  seg: string;
  addressSize: number;
}

function memoryText({ base, index, scale, disp, seg, addressSize }: MemoryText): string {
  const wrapped = BigInt.asUintN(addressSize * 8, disp);
  return `[${seg} b${base} i${index}*${scale} ${hex(wrapped)} address ${addressSize}]`;
}

const hex = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16)}`;

// ── comparing ───────────────────────────────────────────────────────────────────────────────────

interface Totals {
  same: number;
  undefined: number;
  /** A few of the disagreements, in full. */
  differences: string[];
  differenceCount: number;
  ops: Set<string>;
}

/** Puts `code`, slots of 16 bytes with one instruction each, through both decoders. */
function compare(code: Uint8Array, totals: Totals): void {
  const theirs = new Decoder(64, code, 0);
  const insn = new Instruction();
  for (let at = 0; at < code.length; at += SLOT_BYTES) {
    theirs.position = at;
    theirs.ip = RIP;
    theirs.decodeOut(insn);
    const ours = decode(code, at, SLOT_BYTES, RIP);
    const difference = differenceOf(ours, insn, totals);
    if (difference === '') continue;
    totals.differenceCount++;
    const key = `${difference.replace(/\d+/g,'')}`.slice(0,30); if (totals.differences.length < 60 && !(totals as any).seen?.has(key)) { ((totals as any).seen ??= new Set()).add(key);
      totals.differences.push(`${Buffer.from(code.subarray(at, at + 15)).toString('hex')}: ${difference}`);
    }
  }
  insn.free();
  theirs.free();
}

function differenceOf(ours: Insn | Undecoded, insn: Instruction, totals: Totals): string {
  const invalid = insn.code === Code.INVALID;
  if ('fault' in ours) {
    if (ours.fault !== 'undefined') return `ours ends: ${ours.fault}`;
    totals.undefined++;
    if (invalid || !OURS.has(icedOp(insn))) return '';
    return `ours is undefined: ${ours.name}; iced has ${Code[insn.code]}`;
  }
  totals.ops.add(ours.op);
  if (invalid) return `iced has none; ours ${ourText(ours)}`;
  const theirText = icedText(icedOp(insn), insn);
  const text = ourText(ours);
  if (text !== theirText) return `\n  iced ${theirText}\n  ours ${text}`;
  totals.same++;
  return '';
}

const newTotals = (): Totals => ({
  same: 0,
  undefined: 0,
  differences: [],
  differenceCount: 0,
  ops: new Set(),
});

const PREFIXES: readonly (readonly number[])[] = [
  [],
  [0x66],
  [0x48],
  [0x41],
  [0x40],
  [0x4e],
  [0x67],
  [0xf0],
  [0xf3],
  [0xf2],
  [0x66, 0x48],
  [0x66, 0xf3],
  [0x66, 0xf2],
  [0xf0, 0x48],
  [0xf3, 0x4f],
  [0x64],
  [0x65, 0x67],
];
const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38]];
const IS_PREFIX = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** What follows ModRM: SIBs of every kind in turn, then a displacement and immediates, of either sign. */
function fill(code: Uint8Array, at: number, turn: number): void {
  const sign = turn & 1 ? 0x80 : 0;
  code[at] = (turn * 37 + 0x24) & 0xff;
  for (let i = 1; i < 13; i++) code[at + i] = (0x11 * i + turn) & 0x7f | sign;
}

function enumerate(map: readonly number[], opcode: number, modrms: readonly number[], totals: Totals): void {
  const code = new Uint8Array(PREFIXES.length * modrms.length * SLOT_BYTES);
  let at = 0;
  let turn = opcode;
  for (const prefixes of PREFIXES) {
    for (const modrm of modrms) {
      const slot = code.subarray(at, at + SLOT_BYTES);
      const head = [...prefixes, ...map, opcode, modrm];
      slot.set(head);
      const tail = new Uint8Array(SLOT_BYTES);
      fill(tail, 0, turn++);
      slot.set(tail.subarray(0, SLOT_BYTES - head.length), head.length);
      at += SLOT_BYTES;
    }
  }
  compare(code, totals);
}

const ALL_MODRM = Array.from({ length: 256 }, (_, modrm) => modrm);
test('debug', (t) => {
  const totals = newTotals();
  const t0 = process.hrtime.bigint();
  for (const map of MAPS)
    for (let opcode = 0; opcode < 256; opcode++) {
      if (map.length === 0 && (IS_PREFIX.has(opcode) || (opcode & 0xf0) === 0x40 || opcode === 0x0f)) continue;
      if (map.length === 1 && (opcode === 0x38 || opcode === 0x3a)) continue;
      enumerate(map, opcode, ALL_MODRM.filter((m)=> m%1===0), totals);
    }
  console.log(totals.same, totals.undefined, totals.differenceCount, Number(process.hrtime.bigint() - t0) / 1e9);
  console.log(totals.differences.join('\n'));
  console.log([...OURS].filter((x) => !totals.ops.has(x)));
  t.pass();
});
void [SEED, fc, isLeaf, ONE_BYTE, TWO_BYTE, THREE_BYTE_38];
export type { Node };
