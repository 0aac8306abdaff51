/**
 * What semantics are written against: operands, guest memory, flags and ways to leave, without saying how any of
 * them is done. Two backends do it from micro-op records: fast-emitter.ts through the soft TLB, and
 * emulated-emitter.ts through the access log, one access carried out by the host at a time.
 *
 * The order every semantic function keeps: all memory accesses first, then registers, flags and RIP. An access that
 * cannot be done leaves the handler, so nothing before it may have been committed.
 */
import { CPU, EXIT_EXCEPTION } from '../../../shared/layout/cpu.ts';
import { CR0_EM, CR0_NE, CR0_TS, CR4_OSFXSR } from '../../../shared/x86/control-registers.ts';
import { RCX } from '../../../shared/x86/registers.ts';
import { VECTOR_GP, VECTOR_MF, VECTOR_NM, VECTOR_UD } from '../../../shared/x86/vectors.ts';
import { FSW_ES, FSW_TOP, MM_EXPONENT } from '../../../shared/x86/x87.ts';
import { Code, type Size, type Value } from './code.ts';
import type { Helpers } from './core-helpers.ts';
import {
  carryFlag,
  condition,
  FLAGS_LOGIC,
  flagBits,
  type KnownFlags,
  knownCondition,
  setFlagBits,
  setFlags,
  setLogicFlags,
} from './flags.ts';
import { type Form, isMemory, type Shape } from './forms.ts';
import type { Bytes } from './insn.ts';
import { UOP } from './uop.ts';
import { type AtomicOperation, type FunctionBody, I32, I64 } from './wasm-module.ts';

export type Role = 'dst' | 'src' | 'src2';
export type Branch = 'taken' | 'next';

/** What many iterations of MOVS and STOS come to. */
export type Stretch = 'copy' | 'fill';

/** 128 bits. */
export interface Pair {
  readonly low: Value;
  readonly high: Value;
}

/** A guest location being read and then written by one instruction. */
export interface Cell {
  readonly value: Value;
  write(value: Value): void;
}

export abstract class Emitter extends Code {
  readonly form: Form;
  readonly helpers: Helpers;
  readonly uop: Value;
  readonly cpu: Value;

  constructor(fn: FunctionBody, form: Form, helpers: Helpers) {
    super(fn);
    this.form = form;
    this.helpers = helpers;
    this.uop = this.parameter(0, I32);
    this.cpu = this.parameter(1, I32);
  }

  // ── operands ────────────────────────────────────────────────────────────────────────────────────────────────
  /** Reads an operand now. Memory is an access. */
  read(role: Role, size: Size = this.form.size): Value {
    const shape = this.form[role];
    if (isMemory(shape)) return this.loadGuest(this.address(role), size);
    return this.let(shape === 'imm' ? this.immediate(size) : this.readRegister(role, size));
  }
  /** Writes an operand. Memory is an access; a register is a commit. */
  write(role: Role, value: Value, size: Size = this.form.size): void {
    if (isMemory(this.form[role])) this.storeGuest(this.address(role), size, this.let(value));
    else this.writeRegister(role, size, value);
  }
  /** Reads an operand that the same instruction then writes. `offset` (i64 bytes) is added to its address. */
  modify(role: Role, size: Size = this.form.size, offset?: Value): Cell {
    if (isMemory(this.form[role])) return this.modifyGuest(this.address(role, offset), size);
    return {
      value: this.let(this.readRegister(role, size)),
      write: (value) => this.writeRegister(role, size, value),
    };
  }
  /** General register `index`, cut to `size`. */
  register(index: number, size: Size): Value {
    return this.let(this.load(I64, size, this.cpu, CPU.at.GPR + index * 8));
  }
  /** Commits a general register; 32 bits clear the upper half, fewer keep the rest. */
  setRegister(index: number, size: Size, value: Value): void {
    const offset = CPU.at.GPR + index * 8;
    if (size === 4) this.store(8, this.cpu, offset, value.cut(4));
    else this.store(size, this.cpu, offset, value);
  }
  /** Byte register AH CH DH BH. */
  highByte(index: number): Value {
    return this.let(this.load(I64, 1, this.cpu, CPU.at.GPR + index * 8 + 1));
  }
  setHighByte(index: number, value: Value): void {
    this.store(1, this.cpu, CPU.at.GPR + index * 8 + 1, value);
  }
  /** The bits of RFLAGS that are not arithmetic. */
  systemFlags(): Value {
    return this.let(this.load(I64, 8, this.cpu, CPU.at.RFLAGS));
  }
  setSystemFlags(value: Value): void {
    this.store(8, this.cpu, CPU.at.RFLAGS, value);
  }
  privilegeLevel(): Value {
    return this.load(I32, 4, this.cpu, CPU.at.CPL);
  }

  /** An implicit address or count register, as the address size sees it. */
  addressRegister(index: number): Value {
    return this.let(this.cutAddress(this.register(index, 8)));
  }
  setAddressRegister(index: number, value: Value): void {
    this.setRegister(index, 8, this.cutAddress(value));
  }

  // ── vectors: 128 bits, of which an MMX register is the low half ────────────────────────────────────────────
  /** Reads a vector register, or memory of `bytes`, zero extended. 16 bytes have to be aligned, or #GP. */
  vector(role: Role, bytes: Bytes = this.form.srcSize, aligned = true): Value {
    const shape = this.form[role];
    if (!isMemory(shape)) return this.let(this.readVectorRegister(role));
    const address = this.address(role);
    if (bytes < 16) return this.let(this.fromLow(this.loadGuest(address, bytes as Size)));
    if (aligned) this.#requireAligned(address);
    return this.loadGuestVector(address);
  }
  /** Writes a vector register, or the low `bytes` of memory, an access. Of an MMX register, the low half. */
  writeVector(role: Role, value: Value, bytes: Bytes = this.form.srcSize, aligned = true): void {
    if (!isMemory(this.form[role])) {
      this.writeVectorRegister(role, value);
      return;
    }
    const address = this.address(role);
    if (bytes < 16) {
      this.storeGuest(address, bytes as Size, this.let(this.lowHalf(value).cut(bytes as Size)));
      return;
    }
    if (aligned) this.#requireAligned(address);
    this.storeGuestVector(address, this.let(value));
  }
  #requireAligned(address: Value): void {
    this.if(address.low().and(15), () => this.raise(VECTOR_GP));
  }
  /** XMM0, where it is an operand without being named. */
  xmm0(): Value {
    return this.let(this.loadVector(this.cpu, CPU.at.XMM));
  }
  /** An i64 in the low half, zero above. */
  fromLow(low: Value): Value {
    return this.simd('replace64', [this.zeroVector(), low], [0]);
  }
  lowHalf(vector: Value): Value {
    return this.simd('extract64', [vector], [0], I64);
  }
  highHalf(vector: Value): Value {
    return this.simd('extract64', [vector], [1], I64);
  }
  zeroVector(): Value {
    return this.vectorOf(new Array<number>(16).fill(0));
  }
  vectorOf(bytes: readonly number[]): Value {
    return this.simd('const', [], bytes);
  }
  /** #UD or #NM when SSE is not to be used now. First of all. */
  requireSse(): void {
    const osfxsr = Number(CR4_OSFXSR);
    const cr0 = this.load(I32, 4, this.cpu, CPU.at.CR0).and(Number(CR0_EM | CR0_TS));
    const cr4 = this.load(I32, 4, this.cpu, CPU.at.CR4).and(osfxsr).xor(osfxsr);
    this.if(cr0.or(cr4), () => {
      this.if(this.load(I32, 4, this.cpu, CPU.at.CR0).and(Number(CR0_EM)).or(cr4), () =>
        this.raise(VECTOR_UD),
      );
      this.raise(VECTOR_NM);
    });
  }
  /** The same for MMX; #MF when an x87 instruction before has left an unmasked exception. */
  requireMmx(): void {
    const cr0 = this.load(I32, 4, this.cpu, CPU.at.CR0);
    this.if(cr0.and(Number(CR0_EM)), () => this.raise(VECTOR_UD));
    this.if(cr0.and(Number(CR0_TS)), () => this.raise(VECTOR_NM));
    const pending = this.load(I32, 4, this.cpu, CPU.at.FSW).and(FSW_ES);
    this.if(this.select(cr0.and(Number(CR0_NE)), pending, this.i32(0)), () => this.raise(VECTOR_MF));
  }
  /** What every MMX instruction does to the x87 state: TOP is 0, and no register empty or (`tags` 0) all of them. */
  commitMmx(tags = 0xff): void {
    const status = this.load(I32, 4, this.cpu, CPU.at.FSW);
    this.store(4, this.cpu, CPU.at.FSW, status.and(~FSW_TOP));
    this.store(4, this.cpu, CPU.at.FTW, this.i32(tags));
  }
  protected abstract readVectorRegister(role: Role): Value;
  protected abstract writeVectorRegister(role: Role, value: Value): void;

  /** High 64 bits of the unsigned product. */
  mulHighU(a: Value, b: Value): Value {
    return this.let(this.call(I64, this.helpers.mulHighU, a, b));
  }
  /** Unsigned 128 by 64 bits; needs high < divisor. */
  divide128(high: Value, low: Value, divisor: Value): { quotient: Value; remainder: Value } {
    const quotient = this.fn.local(I64);
    const remainder = this.fn.local(I64);
    for (const value of [high, low, divisor]) value.put();
    this.fn.call(this.helpers.divide128.index);
    this.fn.set(remainder);
    this.fn.set(quotient);
    return { quotient: this.parameter(quotient, I64), remainder: this.parameter(remainder, I64) };
  }

  protected abstract readRegister(role: Role, size: Size): Value;
  protected abstract writeRegister(role: Role, size: Size, value: Value): void;
  /** The immediate, cut to `size`. */
  abstract immediate(size: Size): Value;
  /** Linear address of a memory operand plus `offset`, evaluated now. */
  abstract address(role: Role, offset?: Value): Value;
  /** Effective address without segment base or `offset`: what LEA computes. */
  abstract effectiveAddress(role: Role): Value;
  /** Cuts an implicit address register to the address size (i64). */
  abstract cutAddress(value: Value): Value;
  /** Base of the segment of an implicit memory operand. */
  abstract segmentBase(): Value;
  abstract nextPc(): Value;

  // ── guest memory ────────────────────────────────────────────────────────────────────────────────────────────
  abstract loadGuest(address: Value, size: Size): Value;
  abstract storeGuest(address: Value, size: Size, value: Value): void;
  abstract loadGuestVector(address: Value): Value;
  abstract storeGuestVector(address: Value, value: Value): void;
  abstract modifyGuest(address: Value, size: Size): Cell;
  /** Faults as a write would, and does nothing. */
  abstract checkWritable(address: Value, size: Size): void;
  /**
   * Locked read-modify-write; returns the value found. `operation` with `operand` says it in one atomic
   * instruction where there is one; `compute` says it for any value found.
   */
  abstract lockedUpdate(
    address: Value,
    size: Size,
    atomic: { operation: AtomicOperation; operand: Value } | null,
    compute: (found: Value) => Value,
  ): Value;
  /** Locked compare-and-exchange; returns the value found. */
  abstract lockedCompareExchange(address: Value, size: Size, expected: Value, replacement: Value): Value;
  /** CMPXCHG16B: the pair found. Only the host, holding the split lock, can carry it out. */
  abstract lockedCompareExchangePair(address: Value, expected: Pair, replacement: Pair): Pair;

  // ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────
  /** Must the arithmetic flags be right after this instruction? */
  get wantsFlags(): boolean {
    return this.form.flags;
  }
  setFlags(kind: number | Value, size: Size, a: Value, b: Value): void {
    if (!this.wantsFlags) return;
    setFlags(this, this.cpu, kind, size, a, b);
    this.#known = typeof kind === 'number' ? { kind, size, a, b } : null;
  }
  setLogicFlags(size: Size, result: Value): void {
    if (!this.wantsFlags) return;
    setLogicFlags(this, this.cpu, size, result);
    this.#known = { kind: FLAGS_LOGIC, size, a: result, b: result };
  }
  setFlagBits(bits: Value): void {
    if (!this.wantsFlags) return;
    setFlagBits(this, this.cpu, bits);
    this.#known = null;
  }
  /** What this handler has set the flags to, when it has. */
  #known: KnownFlags | null = null;
  /** The six arithmetic flags in place, i32. */
  flagBits(): Value {
    return flagBits(this, this.cpu, this.helpers);
  }
  /** CF, i32 0 or 1. */
  carry(): Value {
    return carryFlag(this, this.cpu, this.helpers);
  }
  condition(cc: number): Value {
    const known = this.#known === null ? null : knownCondition(this, this.#known, cc);
    return known ?? condition(this, this.cpu, this.helpers, cc);
  }

  // ── leaving ─────────────────────────────────────────────────────────────────────────────────────────────────
  /** On to the next instruction. */
  abstract next(): void;
  /** To the target of a direct branch, or past it. */
  abstract branch(branch: Branch): void;
  /** To a computed address. */
  abstract jump(rip: Value): void;
  /** The instruction is complete, and the host has to look before the next one runs. */
  abstract nextThroughHost(): void;
  /** First of all: the instruction must not run in the fast core, because it cannot start again in the middle. */
  abstract stepOnly(): void;
  /** The instruction raises a fault: nothing of it has happened. */
  abstract raise(vector: number): void;
  /**
   * Runs `body` (one iteration, its registers committed at its end) as the REP prefix asks. `count` is RCX, cut to
   * the address size. `body` returns whether to go on, apart from the count, or null for always. With a `stretch`, many
   * iterations may be done at a time in another way.
   */
  abstract repeat(body: () => Value | null, stretch?: Stretch): void;
}

/** Operands read from a micro-op record. */
export abstract class RecordEmitter extends Emitter {
  protected field(type: typeof I32 | typeof I64, bytes: Size, offset: number): Value {
    return this.load(type, bytes, this.uop, offset);
  }
  protected pc(): Value {
    return this.field(I64, 8, UOP.at.PC);
  }
  nextPc(): Value {
    return this.pc().add(this.field(I64, 1, UOP.at.LENGTH));
  }
  protected registerAddress(role: Role): Value {
    // SHLD's count in CL is the one register operand that does not stand in the record.
    if (role === 'src2') return this.cpu.add(CPU.at.GPR + RCX * 8);
    return this.field(I32, 4, role === 'dst' ? UOP.at.DST : UOP.at.SRC);
  }
  protected override readRegister(role: Role, size: Size): Value {
    return this.load(I64, size, this.registerAddress(role), 0);
  }
  protected override writeRegister(role: Role, size: Size, value: Value): void {
    if (size === 4) this.store(8, this.registerAddress(role), 0, value.cut(4));
    else this.store(size, this.registerAddress(role), 0, value);
  }
  protected override readVectorRegister(role: Role): Value {
    const at = this.registerAddress(role);
    return this.form[role] === 'mm' ? this.fromLow(this.load(I64, 8, at, 0)) : this.loadVector(at, 0);
  }
  protected override writeVectorRegister(role: Role, value: Value): void {
    const at = this.registerAddress(role);
    if (this.form[role] !== 'mm') {
      this.storeVector(at, 0, value);
      return;
    }
    this.store(8, at, 0, this.lowHalf(value));
    this.store(2, at, 8, this.i32(MM_EXPONENT));
  }
  override immediate(_size: Size): Value {
    return this.field(I64, 8, UOP.at.IMM);
  }
  override address(role: Role, offset?: Value): Value {
    const sum = this.sum(this.form[role]);
    const moved = offset === undefined ? sum : sum.add(offset);
    if (this.form[role] !== 'memory') return this.let(moved);
    return this.let(this.cutAddress(moved).add(this.segmentBase()));
  }
  override effectiveAddress(role: Role): Value {
    const sum = this.sum(this.form[role]);
    return this.let(this.form[role] === 'memory' ? this.cutAddress(sum) : sum);
  }
  protected sum(shape: Shape): Value {
    const base = this.load(I64, 8, this.field(I32, 4, UOP.at.BASE), 0);
    const displaced = base.add(this.field(I64, 8, UOP.at.DISP));
    if (shape === 'base') return displaced;
    const index = this.load(I64, 8, this.field(I32, 4, UOP.at.INDEX), 0);
    return displaced.add(index.shl(this.field(I64, 1, UOP.at.SCALE)));
  }
  override cutAddress(value: Value): Value {
    return value.and(this.i64(-1n).shrU(this.field(I64, 1, UOP.at.ADDRESS_CUT)));
  }
  override segmentBase(): Value {
    return this.load(I64, 8, this.field(I32, 4, UOP.at.SEG), 0);
  }
  override raise(vector: number): void {
    this.store(4, this.cpu, CPU.at.EXIT_VECTOR, this.i32(vector));
    this.leave(EXIT_EXCEPTION);
  }
  leave(kind: number): void {
    this.return(this.call(I32, this.helpers.leave, this.uop, this.cpu, this.i32(kind)));
  }
  protected leaveTo(kind: number, rip: Value): void {
    this.return(this.call(I32, this.helpers.leaveTo, this.uop, this.cpu, this.i32(kind), rip));
  }
}
