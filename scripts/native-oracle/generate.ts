/**
 * Makes an oracle case of a slot of encodings.ts: picks registers, an address of the wanted shape, operand values and a
 * place in the arena, and encodes the instruction.
 *
 * The order matters. Registers that hold an address are decided first, so that the operand lies where it was placed;
 * what is left gets operand values; what nobody chose stays random in all 64 bits.
 */
import { decode } from '../../src/actors/vcpu/isa/decode.ts';
import { FORMS, type Form, formIndex, formOf, normalise } from '../../src/actors/vcpu/isa/forms.ts';
import type { Insn, Size } from '../../src/actors/vcpu/isa/insn.ts';
import {
  AT_CL,
  AT_MOFFS,
  AT_NONE,
  AT_ONE,
  AT_OPCODE,
  AT_RAX,
  AT_REG,
  AT_RM,
  AT_TOP,
  type Place,
  SIZE_D64,
} from '../../src/actors/vcpu/isa/opcode-table.ts';
import { isVectorOp } from '../../src/actors/vcpu/isa/vector-ops.ts';
import { isX87Op } from '../../src/actors/vcpu/isa/x87-ops.ts';
import type { Prng } from '../../src/shared/prng.ts';
import { ARITHMETIC_FLAGS, RFLAGS_DF, RFLAGS_FIXED, RFLAGS_IF } from '../../src/shared/x86/rflags.ts';
import { type Address, bytes, encodeAddress, unusual } from './address.ts';
import { CODE_BASE, CODE_BYTES, PAGE_BYTES } from './arena.ts';
import {
  branchTarget,
  chooseValues,
  encodedAddress,
  type Operand,
  pickImmediate,
  placeOperand,
  placeRegisters,
  placeStrings,
} from './arrange.ts';
import type { OracleCase } from './case.ts';
import { CaseState } from './case-state.ts';
import { encode, INSN_BYTES_MAX } from './encode.ts';
import { hasRegOperand, placeSize, type Slot } from './encodings.ts';
import type { FpuCase } from './fpu-case.ts';
import { freedomOf } from './undefined-flags.ts';
import { controlOf } from './vector-values.ts';
import { fcwOf, fswOf } from './x87-values.ts';

const RCX = 1;
/** Of operations whose memory operand is longer than its letter says. */
const AREA_BYTES: { readonly [op: string]: number } = {
  cmpxchg16b: 16,
  fxrstor: 512,
  fnstenv: 28,
  fldenv: 28,
  fnsave: 108,
  frstor: 108,
};
const CS_DS_ES_SS = [0x26, 0x2e, 0x36, 0x3e];

/** One case of `slot`. Everything random comes from `rng`. */
export function makeCase(slot: Slot, rng: Prng): OracleCase {
  for (let tries = 0; tries < 100; tries++) {
    const made = new InstructionMaker(slot, rng).make();
    if (made !== null) return made;
  }
  throw new Error(`no case fits ${slot.encoding.op} ${JSON.stringify(slot)}`);
}

class InstructionMaker {
  readonly #slot: Slot;
  readonly #rng: Prng;
  readonly #state: CaseState;
  /** Byte registers 4…7 are AH CH DH BH: there must be no REX. */
  readonly #noRex: boolean;
  /** Has it operands in vector registers? */
  readonly #vector: boolean;
  readonly #x87: boolean;
  /** TOP of the x87 stack. */
  readonly #top: number;
  #opcode: number;
  #address: Address | null = null;
  /** Linear address of the memory operand. */
  #linear = 0n;
  /** Bytes of an absolute address. */
  #moffs: number[] = [];
  #segment = 0;
  #addressSize: 4 | 8 = 8;

  constructor(slot: Slot, rng: Prng) {
    this.#slot = slot;
    this.#rng = rng;
    this.#state = new CaseState(rng);
    const { leaf, rexB } = slot.encoding;
    const byteRegister = [leaf.dst, leaf.src].some(
      (place) => [AT_RM, AT_REG, AT_OPCODE].includes(place.at) && placeSize(place, slot.size) === 1,
    );
    this.#noRex = slot.rm === 'high' || (byteRegister && slot.size !== 8 && rexB < 0 && rng.chance(0.4));
    this.#x87 = isX87Op(slot.encoding.op);
    this.#vector = [leaf.dst, leaf.src].some((place) => place.at !== AT_NONE && place.file !== 'gpr');
    this.#top = (this.#vector || this.#x87) && rng.chance(0.5) ? rng.below(8) : 0;
    this.#opcode = rng.pick(slot.encoding.opcodes);
  }

  /** null: what was drawn does not go together. */
  make(): OracleCase | null {
    const { encoding, rm, lock } = this.#slot;
    const { leaf, op } = encoding;
    const rng = this.#rng;
    const state = this.#state;

    const regField = encoding.reg >= 0 ? encoding.reg : rng.below(8);
    const rexR = (encoding.reg < 0 || !hasRegOperand(leaf)) && !this.#noRex && rng.chance(0.5) ? 1 : 0;
    const reg = regField | (rexR << 3);
    const rmRegister = this.#pickRmRegister();
    const opcodeB = encoding.rexB >= 0 ? encoding.rexB : this.#noRex ? 0 : rng.below(2);
    const codeOffset = this.#pickCodeOffset();

    // Where things are.
    placeRegisters(state, this.#slot, reg);
    if (rm === 'base' || rm === 'indexed' || rm === 'memory') {
      if (leaf.string) this.#placeString();
      else this.#placeMemory(reg);
    }
    const operand = (place: Place): Operand =>
      this.#operand(place, { reg, rmRegister, opcodeRegister: (this.#opcode & 7) | (opcodeB << 3) });
    const operands = [leaf.dst, leaf.src, leaf.src2].map(operand);
    chooseValues(state, this.#slot, operands, codeOffset);

    const encoded = encode({
      slot: this.#slot,
      opcode: this.#opcode,
      reg,
      rm: this.#address ?? rmRegister,
      opcodeB,
      noRex: this.#noRex,
      wide: this.#uselessRexW(),
      operands,
      moffs: this.#moffs,
      segment: this.#segment,
      addressSize: this.#addressSize,
      noise: (prefixes, wide) => this.#noise(prefixes, wide),
    });
    if (encoded === null) return null;
    const { head, ripAt } = encoded;
    const length = head.length + leaf.branch;
    if (length > INSN_BYTES_MAX) return null;
    const next = BigInt(CODE_BASE + codeOffset + length);
    if (leaf.branch > 0) {
      const relative = branchTarget(state, codeOffset, length, leaf.branch) - next;
      head.push(...bytes(relative, leaf.branch));
    }
    const ripTarget = this.#address?.ripTarget ?? null;
    if (ripTarget !== null) head.splice(ripAt, 4, ...bytes(ripTarget - next, 4));

    return this.#finish(head, codeOffset, { lock, op });
  }

  #finish(head: number[], codeOffset: number, want: { lock: boolean; op: string }): OracleCase | null {
    const state = this.#state;
    const rng = this.#rng;
    const code = Uint8Array.from(head);
    const insn = decode(code, 0, code.length, BigInt(CODE_BASE + codeOffset));
    if ('fault' in insn || insn.op !== want.op || insn.length !== code.length || insn.lock !== want.lock) {
      throw new Error(
        `${Buffer.from(code).toString('hex')} was meant as ${want.op}: ${JSON.stringify(insn, bigText)}`,
      );
    }
    let rflags = RFLAGS_FIXED | RFLAGS_IF | (rng.u32() & ARITHMETIC_FLAGS);
    if (state.backwards) rflags |= RFLAGS_DF;
    // What would lie behind the last code page is not there: the fetch faults.
    const mapped = code.subarray(0, CODE_BYTES - codeOffset);
    return {
      code: mapped,
      instructionCount: 1,
      codeOffset,
      fill: state.fill,
      chosen: state.chosen,
      gpr: state.gpr,
      rflags,
      fsBase: state.fsBase,
      gsBase: state.gsBase,
      ...state.patch(),
      fpu:
        isVectorOp(want.op) || this.#vector || want.op === 'fxrstor' || isX87Op(want.op) ? this.#fpu() : null,
      freedom: freedomOf(insn, this.#shiftCountOf(insn), this.#sourceIsZero(insn)),
      group: groupOfCode(mapped, 1),
    };
  }

  #x87Control(): Pick<FpuCase, 'fcw' | 'fsw' | 'ftw'> {
    const rng = this.#rng;
    const ftw = rng.chance(0.5) ? 0xff : rng.below(256);
    if (!this.#x87) return { fcw: 0x37f, fsw: this.#top << 11, ftw };
    // Comparisons: what an unmasked exception leaves in the conditions is up to the processor.
    const fcw = fcwOf(rng) | (/^f[iu]?com|^ftst/.test(this.#slot.encoding.op) ? 3 : 0);
    // Room for what is pushed, and operands that are there, most of the time.
    const pushes = /^f(i|b)?ld|^fxtract|^fsincos|^fptan/.test(this.#slot.encoding.op);
    const free = pushes ? 1 << ((this.#top - 1) & 7) : 0;
    const usual = 0xff & ~free;
    return {
      fcw,
      fsw: fswOf(rng, fcw, this.#top),
      ftw: rng.chance(0.85) ? usual : rng.below(256) & ~(this.#slot.encoding.op === 'fxtract' ? free : 0),
    };
  }

  #fpu(): FpuCase {
    const rng = this.#rng;
    return {
      fill: this.#state.fill,
      chosen: [...this.#state.vectors].sort(([a], [b]) => a - b),
      mxcsr: controlOf(rng),
      ...this.#x87Control(),
    };
  }

  // ── choices ───────────────────────────────────────────────────────────────────────────────────────────────

  #pickRmRegister(): number {
    const { encoding, rm } = this.#slot;
    if (encoding.rm >= 0) return encoding.rm;
    if (rm === 'high') return 4 + this.#rng.below(4);
    return this.#rng.below(this.#noRex ? 4 : 16);
  }

  #pickCodeOffset(): number {
    const rng = this.#rng;
    const turn = rng.below(100);
    if (turn < 10) return PAGE_BYTES * (1 + rng.below(3)) - 1 - rng.below(8);
    if (turn < 11) return CODE_BYTES - 1 - rng.below(6);
    return anywhereInCode(rng);
  }

  /** Registers whose value the instruction's meaning hangs on, beside its operands. */
  #implicit(): number {
    const { op, leaf } = this.#slot.encoding;
    let mask = [leaf.src, leaf.src2].some((place) => place.at === AT_CL) ? 1 << RCX : 0;
    if (['mul', 'imul', 'div', 'idiv', 'cmpxchg8b', 'cmpxchg16b'].includes(op)) mask |= 0b0101;
    if (op === 'cmpxchg') mask |= 0b0001;
    if (op === 'cmpxchg8b' || op === 'cmpxchg16b') mask |= 0b1010;
    return mask;
  }

  #placeMemory(reg: number): void {
    const { encoding, size, rm } = this.#slot;
    const { leaf, op } = encoding;
    const state = this.#state;
    const place = [leaf.dst, leaf.src, leaf.src2].find(({ at }) => at === AT_RM || at === AT_MOFFS);
    const operandBytes = AREA_BYTES[op] ?? (place === undefined ? 1 : placeSize(place, size));
    this.#linear = placeOperand(state, this.#slot, operandBytes);
    if (place?.at === AT_MOFFS) {
      let offset = this.#linear;
      if (rm === 'memory') {
        const how = unusual(state, offset);
        this.#segment = how.segment;
        this.#addressSize = how.addressSize;
        offset = how.offset;
      }
      this.#moffs = bytes(offset, this.#addressSize);
      return;
    }
    // Often the register operand is kept out of the address, so that its value can be chosen.
    const avoid = this.#implicit() | (hasRegOperand(leaf) && this.#rng.chance(0.8) ? 1 << reg : 0);
    this.#address = encodeAddress(state, {
      linear: encodedAddress(state, this.#slot, reg, this.#linear),
      access: this.#linear,
      shape: rm,
      avoid,
      rspShift: op === 'pop' ? BigInt(size) : 0n,
      lowOnly: this.#noRex,
    });
    this.#segment = this.#address.segment;
    this.#addressSize = this.#address.addressSize;
  }

  #placeString(): void {
    const how = placeStrings(this.#state, this.#slot);
    this.#segment = how.segment;
    this.#addressSize = how.addressSize;
  }

  #operand(place: Place, registers: { reg: number; rmRegister: number; opcodeRegister: number }): Operand {
    const size = place.at === AT_NONE ? 1 : placeSize(place, this.#slot.size);
    const inRegister = (register: number): Operand => {
      if (place.file === 'st') return { kind: 'vector', size, register: 16 + (register & 7) };
      if (place.file === 'xmm') return { kind: 'vector', size, register };
      if (place.file === 'mm') return { kind: 'vector', size, register: 16 + ((register - this.#top) & 7) };
      const high = size === 1 && this.#noRex && register >= 4;
      return { kind: 'reg', size, reg: high ? register - 4 : register, high };
    };
    switch (place.at) {
      case AT_NONE:
        return { kind: 'none', size };
      case AT_RM:
        return this.#address === null ? inRegister(registers.rmRegister) : this.#inMemory(size);
      case AT_REG:
        return inRegister(registers.reg);
      case AT_OPCODE:
        return inRegister(registers.opcodeRegister);
      case AT_MOFFS:
        return this.#inMemory(size);
      case AT_RAX:
        return { kind: 'reg', size, reg: 0, high: false };
      case AT_CL:
        return { kind: 'reg', size, reg: RCX, high: false };
      case AT_TOP:
        return { kind: 'vector', size, register: 16 };
      case AT_ONE:
        return { kind: 'imm', size, value: 1n };
      default:
        return { kind: 'imm', size, value: pickImmediate(this.#rng, this.#slot, place, size) };
    }
  }

  #inMemory(size: Size): Operand {
    return { kind: 'mem', size, linear: this.#linear };
  }

  // ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** W where the size does not hang on it: branches, pushes and byte operations. */
  #uselessRexW(): boolean {
    const { leaf, rexW } = this.#slot.encoding;
    if (this.#noRex || rexW >= 0 || this.#slot.size === 2 || this.#x87) return false;
    const fixed = leaf.size < 16 || leaf.size === SIZE_D64;
    return fixed && !leaf.extend && this.#rng.chance(0.1);
  }

  /** Prefixes in any order, and now and then one that changes nothing. */
  #noise(prefixes: readonly number[], wide: boolean): number[] {
    const { encoding } = this.#slot;
    const rng = this.#rng;
    const list = [...prefixes];
    if (list.includes(0x66)) {
      if (rng.chance(0.03)) list.push(0x66);
    } else if (wide && encoding.prefix < 0 && encoding.leaf.branch === 0 && rng.chance(0.05)) {
      // REX.W beats 66. Not on branches: there 66 means something to AMD.
      if (!/^(jmp|call|ret)/.test(encoding.op)) list.push(0x66);
    }
    if (rng.chance(0.04)) list.push(rng.pick(CS_DS_ES_SS));
    const countsInRcx = encoding.leaf.branch === 1 && /^(loop|jrcxz)/.test(encoding.op);
    if (countsInRcx && rng.chance(0.4)) list.push(0x67);
    for (let i = list.length - 1; i > 0; i--) {
      const j = rng.below(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    // A REX before another prefix counts for nothing.
    if (list.length > 0 && rng.chance(0.02)) list.unshift(0x40 | rng.below(16));
    return list;
  }

  // ── what the SDM leaves open ──────────────────────────────────────────────────────────────────────────────

  #shiftCountOf(insn: Insn): number {
    const count = insn.src2 ?? insn.src;
    if (count?.kind === 'imm') return Number(count.value & 0xffn);
    return Number(this.#state.gpr[RCX]! & 0xffn);
  }

  #sourceIsZero(insn: Insn): boolean {
    if (insn.op !== 'bsf' && insn.op !== 'bsr') return false;
    const value =
      insn.src?.kind === 'reg'
        ? this.#state.gpr[insn.src.reg]!
        : (this.#state.memory(this.#linear, insn.size) ?? 1n);
    return BigInt.asUintN(insn.size * 8, value) === 0n;
  }
}

/** A few dozen offsets over all alignments, so that they pack well. */
export function anywhereInCode(rng: Prng): number {
  return 0x200 + 193 * rng.below(64);
}

/** The group of a case with this code. */
export function groupOfCode(code: Uint8Array, instructionCount: number): string {
  if (instructionCount > 1) return 'sequence';
  const insn = decode(code, 0, code.length, 0n);
  return 'fault' in insn ? 'cut off' : groupOf(insn);
}

/** Name of the form that executes `insn`, or would if there were one. */
function groupOf(insn: Insn): string {
  const form = formOf(normalise(insn));
  const index = formIndex(form);
  return index < 0 ? `${formName(form)} (no form)` : formName(FORMS[index]!);
}

export function formName(form: Form): string {
  const { op, size, srcSize, dst, src, src2, cc, lock, rep } = form;
  const words = [op, op === 'movzx' || op === 'movsx' ? `${size}<${srcSize}` : `${size}`];
  const shapes = [dst, src, src2].filter((shape) => shape !== 'none');
  if (shapes.length > 0) words.push(shapes.join(','));
  if (op === 'jcc' || op === 'setcc' || op === 'cmovcc' || op === 'enter') words.push(`cc${cc}`);
  if (lock) words.push('lock');
  if (rep !== 'none') words.push(rep);
  return words.join(' ');
}

const bigText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}` : value);
