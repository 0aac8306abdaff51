/**
 * A small assembler for scenarios and tests: Intel syntax, one instruction a line, 64-bit mode. iced-x86 encodes.
 *
 * ```ts
 * const code = asm(CODE_GPA, `
 *         mov   ecx, 300
 *   next: lock inc dword [rbx + 4]
 *         loop  next
 *         out   0xf4, eax
 * `);
 * machine.load(code.bytes, CODE_GPA);
 * ```
 *
 * Registers, numbers (decimal, 0x…, with a sign), labels, `byte|word|dword|qword [base + index*scale + disp]`; the size
 * may be left out where a register says it. `[label]` is an absolute address. Prefixes: lock, rep, repe, repne. A
 * number takes the shortest form that holds it, a branch 32 bits. `;` begins a comment. Where one instruction has two
 * encodings (MOV r, r), the first that iced knows is taken.
 */
import { Code, Encoder, Instruction, MemoryOperand, Register } from 'iced-x86';

export interface Assembled {
  readonly bytes: Uint8Array;
  /** Linear address of each label. */
  readonly labels: Readonly<Record<string, number>>;
  /** Linear address behind the last instruction. */
  readonly end: number;
}

/** Instructions without operands, and strings: their operands are implied. */
const PLAIN: Readonly<Record<string, readonly number[]>> = {
  ret: [0xc3], leave: [0xc9], nop: [0x90], hlt: [0xf4], ud2: [0x0f, 0x0b], int3: [0xcc], cpuid: [0x0f, 0xa2],
  cld: [0xfc], std: [0xfd], clc: [0xf8], stc: [0xf9], pause: [0xf3, 0x90], mfence: [0x0f, 0xae, 0xf0],
  pushfq: [0x9c], popfq: [0x9d], iretq: [0x48, 0xcf], retfq: [0x48, 0xcb], xlatb: [0xd7], cqo: [0x48, 0x99],
  movsb: [0xa4], movsw: [0x66, 0xa5], movsd: [0xa5], movsq: [0x48, 0xa5],
  cmpsb: [0xa6], cmpsw: [0x66, 0xa7], cmpsd: [0xa7], cmpsq: [0x48, 0xa7],
  stosb: [0xaa], stosw: [0x66, 0xab], stosd: [0xab], stosq: [0x48, 0xab],
  lodsb: [0xac], lodsw: [0x66, 0xad], lodsd: [0xad], lodsq: [0x48, 0xad],
  scasb: [0xae], scasw: [0x66, 0xaf], scasd: [0xaf], scasq: [0x48, 0xaf],
  insb: [0x6c], outsb: [0x6e], sti: [0xfb], cli: [0xfa],
  rdmsr: [0x0f, 0x32], wrmsr: [0x0f, 0x30], rdtsc: [0x0f, 0x31],
}; // biome-ignore format: table
const PREFIXES: Readonly<Record<string, number>> = { lock: 0xf0, rep: 0xf3, repe: 0xf3, repne: 0xf2 };

/** iced's code names, where the mnemonic alone does not make them. */
const RENAMED: Readonly<Record<string, string>> = { enter: 'Enterq', 'push number': 'Pushq' };

type Operand =
  | { readonly kind: 'reg'; readonly reg: number; readonly bits: number; readonly name: string }
  | { readonly kind: 'mem'; readonly memory: () => MemoryOperand; readonly bits: number }
  | { readonly kind: 'num'; readonly value: bigint };

/** @throws Error naming the line that cannot be assembled */
export function asm(at: number, source: string): Assembled {
  const lines = source
    .split('\n')
    .map((line) => line.replace(/;.*/, '').trim())
    .filter((line) => line !== '');
  // The first pass gives the labels their places; a label's value never changes the size of what uses it.
  let labels: Record<string, number> = {};
  let bytes: number[] = [];
  for (const final of [false, true]) {
    const places: Record<string, number> = {};
    bytes = [];
    for (const line of lines) {
      const [, label, text] = /^(?:(\w+):)?\s*(.*)$/.exec(line)!;
      if (label !== undefined) places[label] = at + bytes.length;
      if (text !== '') bytes.push(...assembleLine(text!, at + bytes.length, final ? labels : null));
    }
    labels = places;
  }
  return { bytes: Uint8Array.from(bytes), labels, end: at + bytes.length };
}

function assembleLine(
  text: string,
  rip: number,
  labels: Readonly<Record<string, number>> | null,
): readonly number[] {
  const [first, ...rest] = text.split(/\s+/);
  const prefix = PREFIXES[first!];
  if (prefix !== undefined) return [prefix, ...assembleLine(rest.join(' '), rip + 1, labels)];
  const plain = PLAIN[first!];
  if (plain !== undefined && rest.length === 0) return plain;
  if (first === 'db') return rest.join('').split(',').map(Number);
  const operands = rest.length === 0 ? [] : splitOperands(rest.join(' '));
  const parsed = operands.map((operand) => parseOperand(operand, rip, labels));
  const [size] = parsed.flatMap((operand) =>
    operand.kind === 'num' || operand.bits === 0 ? [] : [operand.bits],
  );
  for (const code of codesOf(first!, parsed, size ?? 64)) {
    const encoded = encode(code, parsed, rip);
    if (encoded !== null) return encoded;
  }
  throw new Error(`cannot assemble: ${text}`);
}

function splitOperands(text: string): string[] {
  return text.split(',').map((operand) => operand.trim());
}

const BITS: Readonly<Record<string, number>> = { byte: 8, word: 16, dword: 32, qword: 64, oword: 128 };

function parseOperand(text: string, rip: number, labels: Readonly<Record<string, number>> | null): Operand {
  const memory = /^(?:(byte|word|dword|qword|oword)\s*)?\[(.*)\]$/.exec(text);
  if (memory !== null) {
    return { kind: 'mem', memory: parseAddress(memory[2]!, rip, labels), bits: BITS[memory[1] ?? ''] ?? 0 };
  }
  const reg = registerNamed(text);
  if (reg !== null) return reg;
  return { kind: 'num', value: numberOf(text, rip, labels) };
}

function registerNamed(text: string): (Operand & { kind: 'reg' }) | null {
  const short = /^r(\d+)d$/.test(text) ? text : text.replace(/^r(\d+)b$/, 'r$1l');
  const reg = (Register as unknown as Record<string, number>)[short.toUpperCase()];
  // The table is one of numbers to names as well.
  if (typeof reg !== 'number' || text === 'none') return null;
  const name = text.toUpperCase();
  if (/^[c-g]s$|^[es]s$/.test(text)) return { kind: 'reg', reg, bits: 16, name: 'Sreg' };
  if (/^cr\d$/.test(text)) return { kind: 'reg', reg, bits: 64, name: 'cr' };
  const bits = reg >= Register.RAX ? 64 : reg >= Register.EAX ? 32 : reg >= Register.AX ? 16 : 8;
  return { kind: 'reg', reg, bits, name };
}

function numberOf(text: string, rip: number, labels: Readonly<Record<string, number>> | null): bigint {
  if (/^[A-Za-z_]\w*$/.test(text)) {
    // Before the labels have their places, any address near by will do.
    const place = labels === null ? rip : labels[text];
    if (place === undefined) throw new Error(`no label or register: ${text}`);
    return BigInt(place);
  }
  return text.startsWith('-') ? -BigInt(text.slice(1).trim()) : BigInt(text);
}

/** `base + index*scale ± number`, in any order. */
function parseAddress(
  text: string,
  rip: number,
  labels: Readonly<Record<string, number>> | null,
): () => MemoryOperand {
  let base = Register.None;
  let index = Register.None;
  let scale = 1;
  let displacement = 0n;
  for (const term of text.replaceAll('-', '+-').split('+')) {
    const piece = term.replaceAll(' ', '');
    if (piece === '') continue;
    const scaled = /^(\w+)\*([1248])$/.exec(piece);
    const reg = registerNamed(scaled?.[1] ?? piece);
    if (reg === null) displacement += numberOf(piece, rip, labels);
    else if (scaled === null && base === Register.None) base = reg.reg;
    else {
      index = reg.reg;
      scale = Number(scaled?.[2] ?? 1);
    }
  }
  const width = base === Register.None ? 8 : displacement === 0n ? 0 : fits(displacement, 8) ? 1 : 8;
  const shape = base === Register.None && index === Register.None ? 4 : width;
  // iced takes the object away with each use.
  return () => new MemoryOperand(base, index, scale, displacement, shape, false, Register.None);
}

function fits(value: bigint, bits: number): boolean {
  return BigInt.asIntN(bits, value) === value;
}

/** iced's codes that the operands could mean, best first. */
function codesOf(mnemonic: string, operands: readonly Operand[], size: number): Code[] {
  const numeric = operands[0]?.kind === 'num' ? `${mnemonic} number` : mnemonic;
  const stem = RENAMED[numeric] ?? RENAMED[mnemonic] ?? mnemonic[0]!.toUpperCase() + mnemonic.slice(1);
  const branches = /^(j\w+|call|loop\w*)$/.test(mnemonic) && operands[0]?.kind === 'num';
  if (branches) return named([`${stem}_rel32_64`, `${stem}_rel8_64`, `${stem}_rel8_64_RCX`]);
  let names = [stem];
  for (const operand of operands) {
    const kinds = kindsOf(operand, size);
    names = names.flatMap((name) => kinds.map((kind) => `${name}_${kind}`));
  }
  return named(names);
}

function named(names: readonly string[]): Code[] {
  return names
    .map((name) => (Code as unknown as Record<string, Code>)[name])
    .filter((code) => code !== undefined);
}

function kindsOf(operand: Operand, size: number): string[] {
  switch (operand.kind) {
    case 'reg':
      if (operand.name === 'Sreg' || operand.name === 'cr') return [operand.name];
      return [`r${operand.bits}`, `rm${operand.bits}`, operand.name];
    case 'mem': {
      const bits = operand.bits === 0 ? size : operand.bits;
      return [`rm${bits}`, `m${bits}`, 'm', 'm1664'];
    }
    default: {
      const kinds = ['imm8', `imm${size}`, 'imm32', 'imm64', 'imm16'];
      return fits(operand.value, 8) || operand.value === 1n ? kinds : [...kinds.slice(1), 'imm8'];
    }
  }
}

/** Null when iced refuses: a number out of range, or operands that the code does not take. */
function encode(code: Code, operands: readonly Operand[], rip: number): readonly number[] | null {
  const encoder = new Encoder(64);
  try {
    const instruction = build(code, operands);
    if (instruction === null) return null;
    encoder.encode(instruction, BigInt(rip));
    return [...encoder.takeBuffer()];
  } catch {
    // iced throws a string for what cannot be encoded; the caller tries the next code, and names the line if none is.
    return null;
  } finally {
    encoder.free();
  }
}

function build(code: Code, operands: readonly Operand[]): Instruction | null {
  const [a, b, c] = operands;
  if (a === undefined) return Instruction.create(code);
  if (b === undefined) {
    if (a.kind === 'reg') return Instruction.createReg(code, a.reg);
    if (a.kind === 'mem') return Instruction.createMem(code, a.memory());
    if (/_rel/.test(Code[code]!)) return Instruction.createBranch(code, a.value);
    return Instruction.createI32(code, Number(a.value));
  }
  if (c !== undefined) {
    if (a.kind === 'reg' && b.kind === 'reg' && c.kind === 'num')
      return Instruction.createRegRegI32(code, a.reg, b.reg, Number(c.value));
    if (a.kind === 'reg' && b.kind === 'mem' && c.kind === 'num')
      return Instruction.createRegMemI32(code, a.reg, b.memory(), Number(c.value));
    if (a.kind === 'mem' && b.kind === 'reg' && c.kind === 'num')
      return Instruction.createMemRegI32(code, a.memory(), b.reg, Number(c.value));
    if (a.kind === 'mem' && b.kind === 'reg' && c.kind === 'reg')
      return Instruction.createMemRegReg(code, a.memory(), b.reg, c.reg);
    return null;
  }
  if (a.kind === 'reg' && b.kind === 'reg') return Instruction.createRegReg(code, a.reg, b.reg);
  if (a.kind === 'reg' && b.kind === 'mem') return Instruction.createRegMem(code, a.reg, b.memory());
  if (a.kind === 'mem' && b.kind === 'reg') return Instruction.createMemReg(code, a.memory(), b.reg);
  if (a.kind === 'reg' && b.kind === 'num') {
    const wide = /_r64_imm64$/.test(Code[code]!);
    return wide
      ? Instruction.createRegI64(code, a.reg, BigInt.asIntN(64, b.value))
      : Instruction.createRegI32(code, a.reg, signed32(b.value, a.bits));
  }
  if (a.kind === 'mem' && b.kind === 'num')
    return Instruction.createMemI32(code, a.memory(), signed32(b.value, 32));
  if (a.kind === 'num' && b.kind === 'reg') return Instruction.createI32Reg(code, Number(a.value), b.reg);
  if (a.kind === 'num' && b.kind === 'num')
    return Instruction.createI32I32(code, Number(a.value), Number(b.value));
  return null;
}

/** As a signed number of 32 bits; of a 64-bit operand only if sign extension gives it back. */
function signed32(value: bigint, bits: number): number {
  if (bits === 64 && !fits(value, 32)) throw new Error(`${value} needs a 64-bit form`);
  return Number(BigInt.asIntN(32, value));
}
