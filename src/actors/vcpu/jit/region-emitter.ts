/**
 * The semantics staged with everything constant that a decoded instruction says: registers are locals, flags are worked
 * out from what is known of them. What cannot be done at once (a TLB miss, an exception) gives the instruction up to the
 * interpreter, which does it from its start, precisely; so nothing of it may have been committed, which is what the order
 * of the semantics promises.
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { RCX } from '../../../shared/x86/registers.ts';
import type { Size, Value } from '../isa/code.ts';
import type { Branch, Role } from '../isa/emitter.ts';
import { FastEmitter } from '../isa/fast-emitter.ts';
import {
  conditionOfBits,
  FLAGS_BITS,
  FLAGS_LOGIC,
  flagBits,
  kindWord,
  knownCarry,
  knownCondition,
  knownFlagBits,
} from '../isa/flags.ts';
import { type Form, type NormalInsn, recordImmediate } from '../isa/forms.ts';
import type { MemOperand, Operand } from '../isa/insn.ts';
import { registerOffset } from '../isa/uop.ts';
import { I32, I64 } from '../isa/wasm-module.ts';
import type { RegionCode } from './region-code.ts';

/** Where a branch at the end of a block goes on, in the region's own structure. */
export interface Branching {
  branch(branch: Branch): void;
  jump(rip: Value): void;
}

export class RegionEmitter extends FastEmitter {
  readonly #code: RegionCode;
  readonly #insn: NormalInsn;
  readonly #record: number;
  readonly #branching: Branching;

  constructor(code: RegionCode, form: Form, at: { insn: NormalInsn; record: number }, branching: Branching) {
    super(code.fn, form, code.helpers);
    this.#code = code;
    this.#insn = at.insn;
    this.#record = at.record;
    this.#branching = branching;
  }

  // ── operands ────────────────────────────────────────────────────────────────────────────────────────────────
  override register(index: number, size: Size): Value {
    return this.let(this.#code.gpr(index).cut(size));
  }
  override setRegister(index: number, size: Size, value: Value): void {
    const code = this.#code;
    if (size === 8) code.setGpr(index, value);
    else if (size === 4) code.setGpr(index, value.cut(4));
    else {
      const mask = size === 1 ? 0xff : 0xffff;
      code.setGpr(index, code.gpr(index).and(~mask).or(value.and(mask)));
    }
  }
  override highByte(index: number): Value {
    return this.let(this.#code.gpr(index).shrU(8).and(0xff));
  }
  override setHighByte(index: number, value: Value): void {
    const code = this.#code;
    code.setGpr(index, code.gpr(index).and(~0xff00).or(value.and(0xff).shl(8)));
  }
  protected override readRegister(role: Role, size: Size): Value {
    const operand = this.#insn[role];
    // A shift by a constant of zero has the form of one by a register.
    if (operand?.kind === 'imm') return this.i64(operand.value).cut(size);
    if (operand?.kind !== 'reg') return role === 'src2' ? this.#code.gpr(RCX).cut(size) : this.i64(0);
    return operand.high
      ? this.#code.gpr(operand.reg).shrU(8).and(0xff)
      : this.#code.gpr(operand.reg).cut(size);
  }
  protected override writeRegister(role: Role, size: Size, value: Value): void {
    const operand = this.#insn[role];
    if (operand?.kind !== 'reg') throw new Error(`${this.form.op} writes ${role}, which is no register`);
    if (operand.high) this.setHighByte(operand.reg, value);
    else this.setRegister(operand.reg, size, value);
  }
  /** Vector registers stay in the CPU struct. */
  protected override registerAddress(role: Role): Value {
    const offset = registerOffset(this.#insn[role]);
    if (offset === null) throw new Error(`${this.form.op} has no register for ${role}`);
    return this.cpu.add(offset);
  }
  /** Control registers change by host operations only: one look is enough for a block. */
  override requireSse(): void {
    if (!this.#code.sseChecked) super.requireSse();
    this.#code.sseChecked = true;
  }
  override immediate(_size: Size): Value {
    return this.i64(recordImmediate(this.#insn));
  }
  override address(role: Role, offset?: Value): Value {
    const memory = memoryOperand(this.#insn[role]);
    const sum = this.#sum(memory);
    const moved = offset === undefined ? sum : sum.add(offset);
    const cut = memory.addressSize === 4 ? moved.cut(4) : moved;
    return this.let(memory.seg === 'none' ? cut : cut.add(this.segmentBase()));
  }
  override effectiveAddress(role: Role): Value {
    const memory = memoryOperand(this.#insn[role]);
    const sum = this.#sum(memory);
    return this.let(memory.addressSize === 4 ? sum.cut(4) : sum);
  }
  #sum({ base, index, scale, disp }: MemOperand): Value {
    const parts: Value[] = [];
    if (base >= 0) parts.push(this.#code.gpr(base));
    if (index >= 0) {
      const register = this.#code.gpr(index);
      parts.push(scale === 1 ? register : register.shl(Math.log2(scale)));
    }
    if (disp !== 0n || parts.length === 0) parts.push(this.i64(disp));
    return parts.reduce((sum, part) => sum.add(part));
  }
  override cutAddress(value: Value): Value {
    return this.#addressSize() === 4 ? value.cut(4) : value;
  }
  #addressSize(): 4 | 8 {
    return this.#memory()?.addressSize ?? this.#insn.addressSize;
  }
  override segmentBase(): Value {
    const segment = this.#memory()?.seg ?? this.#insn.seg;
    if (segment === 'none') return this.i64(0);
    return this.load(I64, 8, this.cpu, segment === 'fs' ? CPU.at.FS_BASE : CPU.at.GS_BASE);
  }
  #memory(): MemOperand | null {
    const operand = this.#insn.dst?.kind === 'mem' ? this.#insn.dst : this.#insn.src;
    return operand?.kind === 'mem' ? operand : null;
  }
  protected override pc(): Value {
    return this.i64(this.#insn.rip);
  }
  override nextPc(): Value {
    return this.i64(BigInt.asUintN(64, this.#insn.rip + BigInt(this.#insn.length)));
  }
  protected override tlb(): Value {
    return this.#code.tlb;
  }

  // ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────
  override setFlags(kind: number | Value, size: Size, a: Value, b: Value): void {
    if (!this.wantsFlags) return;
    const code = this.#code;
    const word = typeof kind === 'number' ? this.i32(kindWord(kind, size)) : kind.add(size << 8);
    // All of it before any is assigned: it may follow from the flags of before.
    a.put();
    b.put();
    word.put();
    for (const { local } of [code.flagsKind, code.flagsB, code.flagsA]) this.fn.set(local);
    this.#know(typeof kind === 'number' ? kind : null, size);
  }
  override setLogicFlags(size: Size, result: Value): void {
    if (!this.wantsFlags) return;
    const code = this.#code;
    code.flagsA.assign(result);
    code.flagsKind.assign(this.i32(kindWord(FLAGS_LOGIC, size)));
    this.#know(FLAGS_LOGIC, size);
  }
  override setFlagBits(bits: Value): void {
    if (!this.wantsFlags) return;
    const code = this.#code;
    code.flagsA.assign(bits.wide());
    code.flagsKind.assign(this.i32(FLAGS_BITS));
    this.#know(FLAGS_BITS, 1);
  }
  override flagBits(): Value {
    // Only to be kept beside those that it sets: nobody sees them.
    if (!this.wantsFlags) return this.i32(0);
    const known = this.#code.knownFlags();
    if (known !== null) return knownFlagBits(this, known);
    this.#code.storeFlags();
    return flagBits(this, this.cpu, this.helpers);
  }
  override carry(): Value {
    const known = this.#code.knownFlags();
    if (known !== null) return knownCarry(this, known);
    this.#code.storeFlags();
    return this.let(this.call(I32, this.helpers.carry, this.cpu));
  }
  override condition(cc: number): Value {
    const known = this.#code.knownFlags();
    if (known === null) {
      this.#code.storeFlags();
      const even = this.call(I32, this.helpers.condition, this.cpu, this.i32(cc & 14));
      return this.let((cc & 1) === 1 ? even.isZero() : even);
    }
    const direct = knownCondition(this, known, cc);
    if (direct !== null) return direct;
    const even =
      cc >> 1 === 1 ? knownCarry(this, known) : conditionOfBits(knownFlagBits(this, known), cc & 14);
    return this.let((cc & 1) === 1 ? even.isZero() : even);
  }
  /** How many conditional parts of the instruction are open. */
  #depth = 0;
  #setInside = false;
  override if(condition: Value, then: () => void, otherwise?: () => void): void {
    const code = this.#code;
    const before = code.known;
    const inside = (part: () => void) => (): void => {
      this.#depth++;
      part();
      this.#depth--;
      code.known = before;
    };
    super.if(condition, inside(then), otherwise === undefined ? undefined : inside(otherwise));
    if (this.#setInside) code.known = null;
  }
  #know(kind: number | null, size: Size): void {
    if (this.#depth > 0) this.#setInside = true;
    this.#code.known = kind === null ? null : { kind, size };
  }

  // ── leaving ─────────────────────────────────────────────────────────────────────────────────────────────────
  /** The interpreter does the instruction, from its start. */
  giveUp(): void {
    this.#code.exit(this.i32(this.#record));
  }
  override leave(_kind: number): void {
    this.giveUp();
  }
  protected override leaveAccess(): void {
    this.giveUp();
  }
  override raise(_vector: number): void {
    this.giveUp();
  }
  override next(): void {}
  override nextThroughHost(): void {
    throw new Error(`${this.form.op} is the interpreter's`);
  }
  override branch(branch: Branch): void {
    this.#branching.branch(branch);
  }
  override jump(rip: Value): void {
    this.#branching.jump(rip);
  }
  override repeat(body: () => Value | null): void {
    if (this.form.rep !== 'none') throw new Error(`${this.form.rep} ${this.form.op} is the interpreter's`);
    body();
  }
}

function memoryOperand(operand: Operand | null): MemOperand {
  if (operand?.kind !== 'mem') throw new Error('no memory operand');
  return operand;
}
