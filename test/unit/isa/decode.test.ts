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
  THREE_BYTE_3A,
  THREE_BYTE_38,
  TWO_BYTE,
} from '../../../src/actors/vcpu/isa/opcode-table.ts';
import { isVectorOp } from '../../../src/actors/vcpu/isa/vector-ops.ts';
import { isX87Op } from '../../../src/actors/vcpu/isa/x87-ops.ts';

const { SEED = '0xdec0de' } = process.env;
const seed = Number(SEED);
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
  vmmcall: 'vmcall',
  wait: 'fwait',
  pcmpestri64: 'pcmpestri',
  pcmpestrm64: 'pcmpestrm',
  fxsave64: 'fxsave',
  fxrstor64: 'fxrstor',
  xsave64: 'xsave',
  xrstor64: 'xrstor',
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

/** Of these a general register has the operand size. */
const WITH_GENERAL_SIZE = /^(movmskp[sd]|pmovmskb|pextr[bw]|extractps|cvt.*si|cvtsi2s[sd])$/;
const isVector = (op: string): boolean => isVectorOp(op) || op.startsWith('maskmov') || isX87Op(op);

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
  'nop pause mfence lfence sfence prefetch endbr64 clflush invlpg ud hlt cpuid rdtsc rdtscp int int3 int1 syscall swapgs cli sti clts wbinvd rdmsr wrmsr vmcall xgetbv xsetbv xsave xrstor fxsave fxrstor clac stac clc stc cmc cld std lahf sahf lgdt lidt sgdt sidt cmpxchg8b cmpxchg16b'.split(
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
  if (code === 'Push_imm16') return 2;
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
  if (RegisterExt.isXMM(register)) return `xmm${RegisterExt.number(register)}`;
  if (RegisterExt.isST(register)) return `st${RegisterExt.number(register)}`;
  if (RegisterExt.isMM(register)) return `mm${RegisterExt.number(register)}`;
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

/** A vector instruction: registers say what they are; a size is told where there is a choice of one. */
function icedVectorText(op: string, insn: Instruction): string {
  const operands: string[] = [];
  let memory = 0;
  for (let index = 0; index < insn.opCount; index++) {
    const kind = insn.opKind(index);
    if (kind === OpKind.Register) operands.push(icedRegister(insn.opRegister(index)));
    else if (kind === OpKind.Memory) {
      memory = MemorySizeExt.size(insn.memorySize);
      operands.push(icedMemory(insn));
    } else if (kind === OpKind.Immediate8) operands.push(`${insn.immediate(index)}`);
    else operands.push(`implicit ${icedSegment(insn)} address ${kind === OpKind.MemorySegRDI ? 8 : 4}`);
  }
  const general = [0, 1].find(
    (index) =>
      index < insn.opCount &&
      insn.opKind(index) === OpKind.Register &&
      RegisterExt.isGPR(insn.opRegister(index)),
  );
  const size = WITH_GENERAL_SIZE.test(op) && general !== undefined ? icedOperandSize(insn, general) : 0;
  return [op, `size ${size}`, `memory ${memory}`, ...operands, `length ${insn.length}`].join('; ');
}

function icedText(op: string, insn: Instruction): string {
  if (isVector(op)) return icedVectorText(op, insn);
  const words = [op, `size ${icedSize(op, insn)}`];
  if (op === 'movzx' || op === 'movsx' || op === 'movsxd' || op === 'crc32')
    words.push(`from ${icedOperandSize(insn, 1)}`);
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

/** Of environments and whole states the operand size says how long they are. */
function x87AreaBytes({ op, size }: Insn): number | undefined {
  if (!/^(fldenv|fnstenv|fnsave|frstor)$/.test(op)) return undefined;
  return (size === 2 ? 14 : 28) + (op.endsWith('env') ? 0 : 80);
}

function ourVectorText(insn: Insn): string {
  const { op, dst, src, src2, length } = insn;
  const operands = [dst, src, src2].filter((operand) => operand !== null);
  const memory = operands.some(({ kind }) => kind === 'mem') ? (x87AreaBytes(insn) ?? insn.srcSize) : 0;
  const general = operands.some(({ kind }) => kind === 'reg');
  const size = WITH_GENERAL_SIZE.test(op) && general ? insn.size : 0;
  const implicit = op.startsWith('maskmov') ? [`implicit ${insn.seg} address ${insn.addressSize}`] : [];
  const texts = operands.map(operandText);
  return [op, `size ${size}`, `memory ${memory}`, ...implicit, ...texts, `length ${length}`].join('; ');
}

function ourText(insn: Insn): string {
  if (isVector(insn.op)) return ourVectorText(insn);
  const { op } = insn;
  const words = [op, `size ${SIZELESS.has(op) ? 0 : insn.size}`];
  if (op === 'movzx' || op === 'movsx' || op === 'movsxd' || op === 'crc32')
    words.push(`from ${insn.srcSize}`);
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
  if (operand.kind === 'mem') return memoryText(operand);
  return operand.kind === 'imm' ? `${operand.value}` : `${operand.kind}${operand.reg}`;
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
    if (totals.differences.length < 20) {
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
const IS_PREFIX = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** What follows ModRM: SIBs of every kind in turn, then a displacement and immediates, of either sign. */
function fill(code: Uint8Array, at: number, turn: number): void {
  const sign = turn & 1 ? 0x80 : 0;
  code[at] = (turn * 37 + 0x24) & 0xff;
  for (let i = 1; i < 13; i++) code[at + i] = ((0x11 * i + turn) & 0x7f) | sign;
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
/** Every reg, in memory and in a register: for opcodes that our table calls undefined whatever ModRM says. */
const FEW_MODRM = ALL_MODRM.filter((modrm) => (modrm & 7) === 2 && (modrm < 0x40 || modrm >= 0xc0));

function enumerateMap(map: readonly number[], nodes: readonly Node[] | null, totals: Totals): void {
  for (let opcode = 0; opcode < 256; opcode++) {
    if (map.length === 0 && (IS_PREFIX.has(opcode) || (opcode & 0xf0) === 0x40 || opcode === 0x0f)) continue;
    if (map.length === 1 && (opcode === 0x38 || opcode === 0x3a)) continue;
    const node = nodes?.[opcode];
    const known = node !== undefined && !(isLeaf(node) && node.op === null);
    enumerate(map, opcode, known ? ALL_MODRM : FEW_MODRM, totals);
  }
}

// ── tests ───────────────────────────────────────────────────────────────────────────────────────

test('every opcode with every ModRM and prefix set means what iced says', (t) => {
  const totals = newTotals();
  enumerateMap([], ONE_BYTE, totals);
  enumerateMap([0x0f], TWO_BYTE, totals);
  enumerateMap([0x0f, 0x38], THREE_BYTE_38, totals);
  enumerateMap([0x0f, 0x3a], THREE_BYTE_3A, totals);

  t.deepEqual(totals.differences, [], `${totals.differenceCount} differences`);
  t.deepEqual(
    [...OURS].filter((op) => !totals.ops.has(op)),
    [],
    'operations of the contract that no bytes decode to',
  );
  t.log(`${totals.same} instructions agree, ${totals.undefined} undefined in both or not ours`);
});

test('every SIB with every mod and REX addresses what iced says', (t) => {
  const totals = newTotals();
  const heads = [[], [0x67], [0x64], [0x65, 0x67]];
  const code = new Uint8Array(heads.length * 16 * 3 * 256 * SLOT_BYTES);
  let at = 0;
  for (const head of heads) {
    for (let rexLow = 0; rexLow < 16; rexLow++) {
      for (let mod = 0; mod < 3; mod++) {
        for (let sib = 0; sib < 256; sib++) {
          code.set(
            [...head, 0x40 + rexLow, 0x8b, (mod << 6) | 4, sib, sib ^ 0x80, 0x34, 0x56, 0x87 ^ sib],
            at,
          );
          at += SLOT_BYTES;
        }
      }
    }
  }
  compare(code, totals);
  t.deepEqual(totals.differences, []);
});

const PREFIX_BYTES = [
  0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x40, 0x41, 0x48, 0x4f,
];

/** 15 bytes: any prefixes in any order and number, an opcode that is ours more often than not, and anything. */
const anyBytes = fc
  .tuple(
    fc.oneof(
      { weight: 9, arbitrary: fc.array(fc.constantFrom(...PREFIX_BYTES), { maxLength: 4 }) },
      { weight: 1, arbitrary: fc.array(fc.constantFrom(...PREFIX_BYTES), { minLength: 12, maxLength: 15 }) },
    ),
    fc.constantFrom([], [], [0x0f], [0x0f, 0x38, 0xf1]),
    fc.uint8Array({ minLength: 15, maxLength: 15 }),
  )
  .map(([prefixes, map, rest]) => Uint8Array.from([...prefixes, ...map, ...rest].slice(0, 15)));

test('prefixes in any order and number mean what iced says', (t) => {
  const totals = newTotals();
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const ours = decode(bytes, 0, bytes.length, RIP);
      if ('fault' in ours && ours.fault === 'toolong') return; // iced has no word for it
      const code = new Uint8Array(SLOT_BYTES);
      code.set(bytes);
      totals.differences.length = 0;
      compare(code, totals);
      if (totals.differences.length > 0) throw new Error(totals.differences[0]);
    }),
    { seed, numRuns: 20_000 },
  );
  t.true(totals.same > 2000, `${totals.same} agreed`);
});

test('bytes that end early ask for more exactly until the instruction is complete', (t) => {
  const seen = { more: 0, undefined: 0, toolong: 0, insn: 0 };
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const whole = decode(bytes, 0, 15, RIP);
      seen['fault' in whole ? whole.fault : 'insn']++;
      const length = 'length' in whole ? whole.length : 15;
      for (let available = 0; available <= 15; available++) {
        // Bytes past `available` are another page's: they must not show through.
        const torn = bytes.map((byte, i) => (i < available ? byte : byte ^ 0xff));
        const part = decode(torn, 0, available, RIP);
        const expected = available < length ? { fault: 'more' } : whole;
        if (text(part) !== text(expected)) {
          throw new Error(`${available} bytes: ${text(part)}, not ${text(expected)}`);
        }
      }
    }),
    { seed, numRuns: 4000 },
  );
  t.is(seen.more, 0);
  t.true(seen.undefined > 100 && seen.toolong > 10 && seen.insn > 1000, JSON.stringify(seen));
});

const text = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}` : part));

test('each byte is read once, in order, and none after the last', (t) => {
  fc.assert(
    fc.property(anyBytes, fc.nat(15), (bytes, available) => {
      const reads: number[] = [];
      const watched = new Proxy(bytes, {
        get(target, key) {
          reads.push(Number(key));
          return target[Number(key)];
        },
      });
      const result = decode(watched, 0, available, RIP);
      const count = 'length' in result ? result.length : available;
      if (reads.some((index, i) => index !== i) || reads.length !== count) {
        throw new Error(`${text(result)} read ${reads}`);
      }
    }),
    { seed, numRuns: 4000 },
  );
  t.pass();
});

function of(bytes: string, rip = 0x1000n): Insn | Undecoded {
  const code = Buffer.from(bytes.replaceAll(' ', ''), 'hex');
  return decode(code, 0, code.length, rip);
}

test('an instruction is decoded where it lies in shared memory, all its fields filled', (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(64));
  shared.set(Buffer.from('f0654c0fb15c880c', 'hex'), 40);
  t.deepEqual(decode(shared, 40, 24, 0x7000n), {
    op: 'cmpxchg',
    rip: 0x7000n,
    length: 8,
    size: 8,
    srcSize: 8,
    dst: { kind: 'mem', base: 0, index: 1, scale: 4, disp: 12n, seg: 'gs', addressSize: 8 },
    src: { kind: 'reg', reg: 11, high: false },
    src2: null,
    cc: 0,
    lock: true,
    rep: 'none',
    seg: 'none',
    addressSize: 8,
    target: 0n,
    extra: 0,
  });
});

test('a REX counts only right before the opcode', (t) => {
  t.like(of('48 01 d8'), { size: 8, length: 3 });
  t.like(of('48 66 01 d8'), { size: 2, length: 4 });
  t.like(of('66 48 01 d8'), { size: 8, length: 4 });
  t.like(of('48 41 01 d8'), { size: 4, dst: { reg: 8 }, src: { reg: 3 } });
  t.like(of('40 2e 88 e0'), { src: { reg: 0, high: true } });
  t.like(of('2e 40 88 e0'), { src: { reg: 4, high: false } });
});

test('of repeated prefixes the last counts, and segments that do nothing displace none', (t) => {
  t.like(of('64 65 8b 00'), { src: { seg: 'gs' } });
  t.like(of('65 64 8b 00'), { src: { seg: 'fs' } });
  t.like(of('64 3e 8b 00'), { src: { seg: 'fs' } });
  t.like(of('3e 8b 00'), { src: { seg: 'none' } });
  t.like(of('f2 f3 a6'), { op: 'cmps', rep: 'rep' });
  t.like(of('f3 f2 a6'), { op: 'cmps', rep: 'repne' });
  t.like(of('f2 f3 0f bc c1'), { op: 'tzcnt' });
  t.like(of('f3 f2 0f bc c1'), { op: 'bsf' });
});

test('F2 is a condition for cmps and scas, plain repetition for other strings, nothing elsewhere', (t) => {
  t.like(of('f2 ae'), { op: 'scas', rep: 'repne' });
  t.like(of('f2 48 ab'), { op: 'stos', rep: 'rep', size: 8 });
  t.like(of('f3 65 67 a5'), { op: 'movs', rep: 'rep', seg: 'gs', addressSize: 4, size: 4 });
  t.like(of('f3 c3'), { op: 'ret', rep: 'none' });
  t.like(of('f2 e8 00 00 00 00'), { op: 'call', rep: 'none' });
});

test('fifteen bytes decode and sixteen do not', (t) => {
  const fifteen = `${'2e'.repeat(8)} 48 c7 00 01 02 03`;
  t.like(of(`${fifteen} 04`), { op: 'mov', length: 15 });
  t.deepEqual(of(fifteen), { fault: 'more' });
  t.deepEqual(of(`2e ${fifteen} 04`), { fault: 'toolong' });
  t.deepEqual(of('66'.repeat(15)), { fault: 'toolong' });
  t.deepEqual(of('66'.repeat(14)), { fault: 'more' });
  t.deepEqual(of(''), { fault: 'more' });
});

test('LOCK is undefined without a memory destination or on what cannot be locked', (t) => {
  t.like(of('f0 01 03'), { op: 'add', lock: true });
  t.like(of('f0 48 0f c7 08'), { op: 'cmpxchg16b', lock: true });
  for (const bytes of ['f0 01 c3', 'f0 03 03', 'f0 39 03', 'f0 89 03', 'f0 0f a3 03', 'f0 90', 'f0 0f 0b']) {
    t.like(of(bytes), { fault: 'undefined' }, bytes);
  }
  // The opcode settles it: what follows may lie on a page that is not there.
  for (const bytes of ['f0 8d', 'f0 c1', 'f0 0f 01']) t.like(of(bytes), { fault: 'undefined' }, bytes);
  t.deepEqual(of('f0 80'), { fault: 'more' });
});

test('undefined opcodes are named so that they can be counted', (t) => {
  const names = {
    '06': '06',
    '9a': '9a',
    'd9 d1': 'd9 d1',
    'c5 f8 77': 'c5 (vex)',
    '62 f1': '62 (evex)',
    'f2 0f 6f 00': '0f 6f with f2',
    '66 0f 3a ff c1 08': '0f 3a ff (sse) with 66',
    '0f 38 ff c0': '0f 38 ff (sse)',
    '0f 01 fe': '0f 01 fe',
    '0f 01 28': '0f 01 /5',
    '0f 00 e0': '0f 00 /4 (verr)',
    '8d c0': '8d register',
    '0f ae 30': '0f ae /6 memory (xsave)',
    '0f 20 08': '0f 20 cr1',
    '44 0f 21 c0': '0f 21 dr8',
    '8e c8': '8e /1',
    'f0 89 00': '89 (lock)',
    'f0 0f 58 00': '0f 58 (lock)',
  };
  for (const [bytes, name] of Object.entries(names)) {
    const result = of(bytes);
    t.is('fault' in result && result.fault === 'undefined' ? result.name : '', name, bytes);
  }
});

test('addresses and targets wrap as the instruction pointer does', (t) => {
  const top = 0xffff_ffff_ffff_fff0n;
  t.like(of('e9 10 00 00 00', top), { target: 5n });
  t.like(of('eb f0', 4n), { target: 0xffff_ffff_ffff_fff6n });
  t.like(of('8b 05 10 00 00 00', top), { src: { base: -1, disp: 6n } });
  t.like(of('67 8b 05 00 00 00 80', top), { src: { disp: 0x7fff_fff7n, addressSize: 4 } });
  t.like(of('a1 88 77 66 55 44 33 22 f1'), { src: { base: -1, disp: 0xf122_3344_5566_7788n } });
  t.like(of('67 a1 88 77 66 f5'), { src: { disp: 0xf566_7788n, addressSize: 4 } });
  t.like(of('8b 04 25 00 00 00 80'), { src: { base: -1, index: -1, disp: -0x8000_0000n } });
});

test('immediates are sign-extended unless the instruction counts with them', (t) => {
  t.like(of('48 b8 88 77 66 55 44 33 22 f1'), { src: { value: -0xeddccbbaa998878n } });
  t.like(of('48 c7 c0 00 00 00 80'), { src: { value: -0x8000_0000n } });
  t.like(of('b8 00 00 00 80'), { size: 4, src: { value: -0x8000_0000n } });
  t.like(of('6a 80'), { op: 'push', size: 8, src: { value: -128n } });
  t.like(of('c1 e0 ff'), { src: { value: 255n } });
  t.like(of('d1 e0'), { src: { value: 1n } });
  t.like(of('d3 e0'), { src: { reg: 1, high: false } });
  t.like(of('c2 00 80'), { op: 'ret', src: { value: 0x8000n } });
  t.like(of('c8 00 80 1f'), { op: 'enter', src: { value: 0x8000n }, src2: { value: 31n } });
  t.like(of('cd 80'), { op: 'int', extra: 0x80 });
  t.like(of('cc'), { op: 'int3', extra: 3 });
  t.like(of('ec'), { op: 'in', size: 1, extra: -1 });
});
