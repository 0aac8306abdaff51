/**
 * What semantics are written against: operands, guest memory, flags and ways to leave, without saying how any of
 * them is done. Two backends do it from micro-op records: {@link FastEmitter} through the soft TLB, and
 * {@link EmulatedEmitter} through the access log, one access carried out by the host at a time.
 *
 * The order every semantic function keeps: all memory accesses first, then registers, flags and RIP. An access that
 * cannot be done leaves the handler, so nothing before it may have been committed.
 */
import {
  ACCESS_R,
  ACCESS_W,
  CPU,
  CPU_JUMP_CACHE,
  EXIT_ACCESS,
  EXIT_BLOCK,
  EXIT_BUDGET,
  EXIT_DONE,
  EXIT_EXCEPTION,
  EXIT_HOST,
  EXIT_MEMORY,
  EXIT_SPLIT_LOCK,
  JUMP_ENTRIES,
  LOG_CAS,
  LOG_READ,
  LOG_READ_MODIFY,
  LOG_WRITE,
  TLB_ENTRY,
  TLB_READ,
  TLB_TABLE_BYTES,
  TLB_WRITE,
} from '../../../shared/layout/cpu.ts';
import { VECTOR_GP } from '../../../shared/x86/vectors.ts';
import { Code, type Size, type Value, type Variable } from './code.ts';
import {
  carryFlag,
  condition,
  FLAGS_LOGIC,
  type FlagHelpers,
  flagBits,
  type KnownFlags,
  knownCondition,
  setFlagBits,
  setFlags,
  setLogicFlags,
} from './flags.ts';
import { type Form, isMemory, type Shape } from './forms.ts';
import { UOP } from './uop.ts';
import { type AtomicOperation, type FunctionBody, I32, I64 } from './wasm-module.ts';

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

/** REP iterations after which the fast core lets the host look at requests. */
const REP_ITERATIONS_MAX = 4096;

export type Role = 'dst' | 'src' | 'src2';
export type Branch = 'taken' | 'next';

/** Functions of the module that handlers call. Those that leave return −1. */
export interface Helpers extends FlagHelpers {
  /** (uop, cpu, exit kind) → −1: RIP is the record's PC. */
  readonly leave: FunctionBody;
  /** (uop, cpu, exit kind, gva, size | access << 8) → −1. */
  readonly leaveAccess: FunctionBody;
  /** (uop, cpu, rip, address of the link word or 0) → −1 with EXIT_BLOCK. */
  readonly leaveBlock: FunctionBody;
  /** (uop, cpu, exit kind, rip) → −1: RIP is `rip`. */
  readonly leaveTo: FunctionBody;
  /** (uop, cpu, index | kind << 8 | size << 16, gva, value, expect) → −1 with EXIT_ACCESS. */
  readonly leaveLog: FunctionBody;
  /** (uop, cpu, rip, address of the link word) → record, or −1. */
  readonly resolve: FunctionBody;
  /** (cpu, rip) → record, or 0. */
  readonly jumpCache: FunctionBody;
  /** (a, b) → high 64 bits of the unsigned product. */
  readonly mulHighU: FunctionBody;
  /** (high, low, divisor) → quotient, remainder; needs high < divisor. */
  readonly divide128: FunctionBody;
}

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
  abstract modifyGuest(address: Value, size: Size): Cell;
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
  /** The instruction raises a fault: nothing of it has happened. */
  abstract raise(vector: number): void;
  /**
   * Runs `body` (one iteration, its registers committed at its end) as the REP prefix asks. `count` is RCX, cut to
   * the address size. `body` returns whether to go on, apart from the count, or null for always.
   */
  abstract repeat(body: () => Value | null): void;
}

/** Operands read from a micro-op record. */
abstract class RecordEmitter extends Emitter {
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

export class FastEmitter extends RecordEmitter {
  /**
   * Shared-memory address of a guest access, or leaves with EXIT_MEMORY.
   * @source shared/layout/cpu.ts, "soft TLB"
   */
  translate(address: Value, size: Size, access: number): Value {
    const table = ((access & ACCESS_W) === 0 ? TLB_READ : TLB_WRITE) * TLB_TABLE_BYTES;
    const index = address.low().shrU(8).and(0xff0);
    const entry = this.let(this.load(I32, 4, this.cpu, CPU.at.TLB).add(index));
    const page = (size === 1 ? address : address.add(size - 1)).and(~4095);
    this.if(this.load(I64, 8, entry, table + TLB_ENTRY.at.TAG).ne(page), () =>
      this.#leaveAccess(EXIT_MEMORY, address, size, access),
    );
    return this.let(address.low().add(this.load(I32, 4, entry, table + TLB_ENTRY.at.ADDEND)));
  }
  #leaveAccess(kind: number, address: Value, size: Size | 16, access: number): void {
    const what = this.i32(size | (access << 8));
    this.return(this.call(I32, this.helpers.leaveAccess, this.uop, this.cpu, this.i32(kind), address, what));
  }
  override loadGuest(address: Value, size: Size): Value {
    return this.let(this.load(I64, size, this.translate(address, size, ACCESS_R), 0));
  }
  override storeGuest(address: Value, size: Size, value: Value): void {
    this.store(size, this.translate(address, size, ACCESS_W), 0, value);
  }
  override modifyGuest(address: Value, size: Size): Cell {
    const host = this.translate(address, size, ACCESS_R | ACCESS_W);
    return {
      value: this.let(this.load(I64, size, host, 0)),
      write: (value) => this.store(size, host, 0, value),
    };
  }
  /** The address of a locked operand; a misaligned one leaves with EXIT_SPLIT_LOCK, whatever the TLB says. */
  #translateLocked(address: Value, size: Size): Value {
    if (size > 1) {
      this.if(address.low().and(size - 1), () =>
        this.#leaveAccess(EXIT_SPLIT_LOCK, address, size, ACCESS_R | ACCESS_W),
      );
    }
    return this.translate(address, size, ACCESS_R | ACCESS_W);
  }
  #atomic(operation: AtomicOperation, size: Size, host: Value, operands: readonly Value[]): Value {
    host.put();
    for (const operand of operands) operand.put();
    this.fn.atomic(operation, size);
    const found = this.fn.local(I64);
    this.fn.set(found);
    return this.parameter(found, I64);
  }
  override lockedUpdate(
    address: Value,
    size: Size,
    atomic: { operation: AtomicOperation; operand: Value } | null,
    compute: (found: Value) => Value,
  ): Value {
    const host = this.#translateLocked(address, size);
    if (atomic !== null) return this.#atomic(atomic.operation, size, host, [atomic.operand]);
    const expected = this.variable(this.load(I64, size, host, 0));
    const found: Variable = this.variable(expected);
    this.loopWhile(() => {
      expected.assign(found);
      found.assign(this.#atomic('cmpxchg', size, host, [expected, compute(expected)]));
      return found.ne(expected);
    });
    return expected;
  }
  override lockedCompareExchange(address: Value, size: Size, expected: Value, replacement: Value): Value {
    const host = this.#translateLocked(address, size);
    return this.#atomic('cmpxchg', size, host, [expected, replacement]);
  }
  override lockedCompareExchangePair(address: Value, expected: Pair): Pair {
    this.#leaveAccess(EXIT_SPLIT_LOCK, address, 16, ACCESS_R | ACCESS_W);
    // Never reached, but what follows wants values.
    return expected;
  }

  override next(): void {
    if (this.form.jcc < 0) {
      this.return(this.uop.add(UOP.bytes));
      return;
    }
    this.if(this.condition(this.form.jcc), () => this.branch('taken'));
    this.branch('next');
  }
  override branch(branch: Branch): void {
    const offset = branch === 'taken' ? UOP.at.LINK_TAKEN : UOP.at.LINK_NEXT;
    const link = this.let(this.field(I32, 4, offset));
    this.if(link.gtS(0), () => this.#enterBlock(link));
    // A fused compare has its own immediate; it has no memory operand, so the target stands where the displacement is.
    const taken = this.form.jcc < 0 ? UOP.at.IMM : UOP.at.DISP;
    const target = branch === 'taken' ? this.field(I64, 8, taken) : this.nextPc();
    this.return(this.call(I32, this.helpers.resolve, this.uop, this.cpu, target, this.uop.add(offset)));
  }
  override jump(rip: Value): void {
    const target = this.let(rip);
    const record = this.let(lookUpJump(this, this.cpu, target));
    this.if(record, () => this.#enterBlock(record));
    this.return(this.call(I32, this.helpers.leaveBlock, this.uop, this.cpu, target, this.i32(0)));
  }
  override nextThroughHost(): void {
    this.return(this.call(I32, this.helpers.leaveBlock, this.uop, this.cpu, this.nextPc(), this.i32(0)));
  }
  override repeat(body: () => Value | null): void {
    if (this.form.rep === 'none') {
      body();
      this.next();
      return;
    }
    const left = this.variable(this.i32(REP_ITERATIONS_MAX));
    this.loopWhile(() => {
      this.if(this.addressRegister(RCX).isZero(), () => this.next());
      const goOn = body();
      this.setAddressRegister(RCX, this.register(RCX, 8).sub(1));
      if (goOn !== null) this.if(goOn.isZero(), () => this.next());
      left.assign(left.sub(1));
      return left;
    });
    this.leave(EXIT_BUDGET);
  }
  /** The block's start, when the host has chosen it: branches within the core do the same without coming here. */
  blockStart(): void {
    this.#enterBlock(this.uop);
  }
  /** Charges the block at `start` and goes to its first instruction, or leaves when budget or requests say so. */
  #enterBlock(start: Value): void {
    const length = this.load(I32, 1, start, UOP.at.LENGTH);
    const left = this.let(this.load(I32, 4, this.cpu, CPU.at.BUDGET).sub(length));
    this.cpu.put();
    this.fn.atomicLoad32(CPU.at.REQUESTS);
    const requests = this.fn.local(I32);
    this.fn.set(requests);
    this.if(this.parameter(requests, I32).or(left.shrS(31)), () =>
      this.return(this.call(I32, this.helpers.leave, start, this.cpu, this.i32(EXIT_BUDGET))),
    );
    this.store(4, this.cpu, CPU.at.BUDGET, left);
    this.return(start.add(UOP.bytes));
  }
  host(): void {
    this.leave(EXIT_HOST);
  }
}

/** The record that the jump cache has for `rip`, or 0 (i32). See {@link jumpKey}. */
export function lookUpJump(code: Code, cpu: Value, rip: Value): Value {
  const slot = rip
    .xor(rip.shrU(12))
    .low()
    .and(JUMP_ENTRIES - 1)
    .shl(4);
  const entry = code.let(cpu.add(slot));
  const level = code.load(I64, 4, cpu, CPU.at.CPL);
  const hit = code.load(I64, 8, entry, CPU_JUMP_CACHE).eq(rip.xor(level.shl(61)));
  return code.choose(hit, code.load(I32, 4, entry, CPU_JUMP_CACHE + 8), code.i32(0));
}

/**
 * Tag of a jump-cache entry. The privilege level is folded into bits that a canonical address has equal, so a
 * block of one level is never found from another and a change of level needs no flush.
 */
export function jumpKey(rip: bigint, privilegeLevel: number): bigint {
  return BigInt.asIntN(64, rip ^ (BigInt(privilegeLevel) << 61n));
}

export class EmulatedEmitter extends RecordEmitter {
  #accesses = 0;

  /** Access number `#accesses`: described and left for while the host has not carried it out. */
  #access(kind: number, size: Size | 16, address: Value, value: Value, expect: Value): number {
    const index = this.#accesses++;
    const what = this.i32(index | (kind << 8) | (size << 16));
    this.if(this.load(I32, 4, this.cpu, CPU.at.LOG_COUNT).leU(index), () =>
      this.return(this.call(I32, this.helpers.leaveLog, this.uop, this.cpu, what, address, value, expect)),
    );
    return index;
  }
  #read(kind: number, address: Value, size: Size): Value {
    const index = this.#access(kind, size, address, this.i64(0), this.i64(0));
    return this.let(this.load(I64, 8, this.cpu, CPU.at.LOG_VALUE + index * 8).cut(size));
  }
  override loadGuest(address: Value, size: Size): Value {
    return this.#read(LOG_READ, address, size);
  }
  override storeGuest(address: Value, size: Size, value: Value): void {
    this.#access(LOG_WRITE, size, address, value.cut(size), this.i64(0));
  }
  override modifyGuest(address: Value, size: Size): Cell {
    const value = this.#read(LOG_READ_MODIFY, address, size);
    return { value, write: (next) => this.storeGuest(address, size, next) };
  }
  override lockedUpdate(
    address: Value,
    size: Size,
    _atomic: { operation: AtomicOperation; operand: Value } | null,
    compute: (found: Value) => Value,
  ): Value {
    const found = this.#read(LOG_READ_MODIFY, address, size);
    this.#access(LOG_CAS, size, address, compute(found).cut(size), found);
    return found;
  }
  override lockedCompareExchange(address: Value, size: Size, expected: Value, replacement: Value): Value {
    return this.lockedUpdate(address, size, null, (found) =>
      this.select(found.eq(expected), replacement, found),
    );
  }
  override lockedCompareExchangePair(address: Value, expected: Pair, replacement: Pair): Pair {
    this.if(address.and(15).isZero().isZero(), () => this.raise(VECTOR_GP));
    const low = this.#read(LOG_READ_MODIFY, address, 8);
    const high = this.#read(LOG_READ_MODIFY, this.let(address.add(8)), 8);
    const equal = this.let(low.eq(expected.low).and(high.eq(expected.high)));
    const next = (wanted: Value, found: Value): Value => this.let(this.select(equal, wanted, found));
    const index = this.#accesses;
    const upper = (offset: number, value: Value): void =>
      this.store(8, this.cpu, offset + (index + 1) * 8, value);
    // Before the access is described, because describing it leaves.
    upper(CPU.at.LOG_VALUE, next(replacement.high, high));
    upper(CPU.at.LOG_EXPECT, high);
    this.#access(LOG_CAS, 16, address, next(replacement.low, low), low);
    return { low, high };
  }

  override next(): void {
    this.leaveTo(EXIT_DONE, this.nextPc());
  }
  override branch(branch: Branch): void {
    this.leaveTo(EXIT_DONE, branch === 'taken' ? this.field(I64, 8, UOP.at.IMM) : this.nextPc());
  }
  override jump(rip: Value): void {
    this.leaveTo(EXIT_DONE, rip);
  }
  override nextThroughHost(): void {
    this.next();
  }
  /** One iteration, after which RIP stays or moves on. */
  override repeat(body: () => Value | null): void {
    if (this.form.rep === 'none') {
      body();
      this.next();
      return;
    }
    this.if(this.addressRegister(RCX).isZero(), () => this.next());
    const goOn = body();
    const left = this.let(this.addressRegister(RCX).sub(1));
    this.setAddressRegister(RCX, left);
    const more = left.isZero().isZero();
    this.if(goOn === null ? more : more.and(goOn), () => this.leaveTo(EXIT_DONE, this.pc()));
    this.next();
  }
}

/** Writes the functions that leave, look up blocks, multiply and divide. */
export function writeLeave(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  commitExit(code, code.parameter(2, I32), code.load(I64, 8, uop, UOP.at.PC));
}

export function writeLeaveTo(fn: FunctionBody): void {
  const code = new Code(fn);
  commitExit(code, code.parameter(2, I32), code.parameter(3, I64));
}

export function writeLeaveAccess(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const what = code.parameter(4, I32);
  code.store(8, cpu, CPU.at.EXIT_GVA, code.parameter(3, I64));
  code.store(4, cpu, CPU.at.EXIT_SIZE, what.and(0xff));
  code.store(4, cpu, CPU.at.EXIT_ACCESS, what.shrU(8));
  commitExit(code, code.parameter(2, I32), code.load(I64, 8, uop, UOP.at.PC));
}

export function writeLeaveBlock(fn: FunctionBody): void {
  const code = new Code(fn);
  code.store(4, code.parameter(1, I32), CPU.at.EXIT_LINK, code.parameter(3, I32));
  commitExit(code, code.i32(EXIT_BLOCK), code.parameter(2, I64));
}

export function writeLeaveLog(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const what = code.parameter(2, I32);
  const index = code.let(what.and(0xff));
  const word = code.let(cpu.add(index.shl(2)));
  const quad = code.let(cpu.add(index.shl(3)));
  code.store(4, cpu, CPU.at.LOG_NEXT, index);
  code.store(4, word, CPU.at.LOG_KIND, what.shrU(8).and(0xff));
  code.store(4, word, CPU.at.LOG_SIZE, what.shrU(16));
  code.store(8, quad, CPU.at.LOG_GVA, code.parameter(3, I64));
  code.store(8, quad, CPU.at.LOG_VALUE, code.parameter(4, I64));
  code.store(8, quad, CPU.at.LOG_EXPECT, code.parameter(5, I64));
  commitExit(code, code.i32(EXIT_ACCESS), code.load(I64, 8, uop, UOP.at.PC));
}

export function writeJumpCache(fn: FunctionBody): void {
  const code = new Code(fn);
  lookUpJump(code, code.parameter(0, I32), code.parameter(1, I64)).put();
}

/** A direct branch whose link word is not a record: ask the host to link it, or go through the jump cache. */
export function writeResolve(fn: FunctionBody, jumpCache: FunctionBody, leaveBlock: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const rip = code.parameter(2, I64);
  const link = code.parameter(3, I32);
  const leave = (word: Value): void => code.return(code.call(I32, leaveBlock, uop, cpu, rip, word));
  code.if(code.load(I32, 4, link, 0).isZero(), () => leave(link));
  const record = code.let(code.call(I32, jumpCache, cpu, rip));
  code.if(record.isZero(), () => leave(code.i32(0)));
  record.put();
}

function commitExit(code: Code, kind: Value, rip: Value): void {
  const cpu = code.parameter(1, I32);
  code.store(4, cpu, CPU.at.EXIT_KIND, kind);
  code.store(4, cpu, CPU.at.EXIT_UOP, code.parameter(0, I32));
  code.store(8, cpu, CPU.at.RIP, rip);
  code.i32(-1).put();
}

/** High half of an unsigned 64 × 64 product, from four 32-bit products. */
export function writeMulHighU(fn: FunctionBody): void {
  const code = new Code(fn);
  const a = code.parameter(0, I64);
  const b = code.parameter(1, I64);
  const aLow = code.let(a.cut(4));
  const aHigh = code.let(a.shrU(32));
  const bLow = code.let(b.cut(4));
  const bHigh = code.let(b.shrU(32));
  const middle = code.let(aHigh.mul(bLow).add(aLow.mul(bLow).shrU(32)));
  const other = code.let(aLow.mul(bHigh).add(middle.cut(4)));
  aHigh.mul(bHigh).add(middle.shrU(32)).add(other.shrU(32)).put();
}

/** Restoring division of 128 bits by 64, one quotient bit a turn. */
export function writeDivide128(fn: FunctionBody): void {
  const code = new Code(fn);
  const divisor = code.parameter(2, I64);
  const remainder = code.variable(code.parameter(0, I64));
  const low = code.variable(code.parameter(1, I64));
  const turns = code.variable(code.i32(64));
  code.loopWhile(() => {
    const carry = code.let(remainder.shrU(63));
    remainder.assign(remainder.shl(1).or(low.shrU(63)));
    low.assign(low.shl(1));
    code.if(carry.low().or(remainder.geU(divisor)), () => {
      remainder.assign(remainder.sub(divisor));
      low.assign(low.or(1));
    });
    turns.assign(turns.sub(1));
    return turns;
  });
  low.put();
  remainder.put();
}
