/**
 * Handlers for speed: guest memory through the soft TLB, branches from block to block, and out with precise state when
 * something is not at hand. The interpreter is made of these.
 */
import {
  ACCESS_R,
  ACCESS_W,
  CPU,
  EXIT_BUDGET,
  EXIT_HOST,
  EXIT_HOT,
  EXIT_MEMORY,
  EXIT_STEP,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_READ,
  TLB_TABLE_BYTES,
  TLB_WRITE,
} from '../../../shared/layout/cpu.ts';
import { RCX } from '../../../shared/x86/registers.ts';
import type { Size, Value, Variable } from './code.ts';
import { lookUpJump } from './core-helpers.ts';
import { type Branch, type Cell, type Pair, RecordEmitter, type Stretch } from './emitter.ts';
import type { Bytes } from './insn.ts';
import { moveStretch } from './string-stretch.ts';
import { UOP } from './uop.ts';
import { type AtomicOperation, I32, I64 } from './wasm-module.ts';

/** Iterations done singly where no stretch of them could be. */
const SINGLE_ITERATIONS = 8;
/** So many iterations of a stretch count as one. */
const STRETCH_COST_LOG2 = 4;
/** REP iterations after which the fast core lets the host look at requests. */
const REP_ITERATIONS_MAX = 4096;

export class FastEmitter extends RecordEmitter {
  /**
   * Shared-memory address of a guest access, or leaves with EXIT_MEMORY.
   * @source shared/layout/cpu.ts, "soft TLB"
   */
  translate(address: Value, size: Bytes, access: number): Value {
    const table = ((access & ACCESS_W) === 0 ? TLB_READ : TLB_WRITE) * TLB_TABLE_BYTES;
    const entry = this.#tlbEntry(address);
    const page = (size === 1 ? address : address.add(size - 1)).and(~4095);
    this.if(this.load(I64, 8, entry, table + TLB_ENTRY.at.TAG).ne(page), () =>
      this.leaveAccess(EXIT_MEMORY, address, size, access),
    );
    return this.let(address.low().add(this.load(I32, 4, entry, table + TLB_ENTRY.at.ADDEND)));
  }
  /** Address of the entry for `address` in the first table of the TLB. */
  #tlbEntry(address: Value): Value {
    const index = address
      .low()
      .shrU(12 - Math.log2(TLB_ENTRY.bytes))
      .and((TLB_ENTRIES - 1) * TLB_ENTRY.bytes);
    return this.let(this.tlb().add(index));
  }
  /** Address of the TLB of this privilege level. */
  protected tlb(): Value {
    return this.load(I32, 4, this.cpu, CPU.at.TLB);
  }
  protected leaveAccess(kind: number, address: Value, size: Bytes, access: number): void {
    const what = this.i32(size | (access << 8));
    this.return(this.call(I32, this.helpers.leaveAccess, this.uop, this.cpu, this.i32(kind), address, what));
  }
  override loadGuest(address: Value, size: Size): Value {
    return this.let(this.load(I64, size, this.translate(address, size, ACCESS_R), 0));
  }
  override storeGuest(address: Value, size: Size, value: Value): void {
    this.store(size, this.translate(address, size, ACCESS_W), 0, value);
  }
  override loadGuestVector(address: Value): Value {
    return this.let(this.loadVector(this.translate(address, 16, ACCESS_R), 0));
  }
  override storeGuestVector(address: Value, value: Value): void {
    this.storeVector(this.translate(address, 16, ACCESS_W), 0, value);
  }
  override checkWritable(address: Value, size: Size): void {
    this.translate(address, size, ACCESS_W);
  }
  override modifyGuest(address: Value, size: Size): Cell {
    const host = this.translate(address, size, ACCESS_R | ACCESS_W);
    return {
      value: this.let(this.load(I64, size, host, 0)),
      write: (value) => this.store(size, host, 0, value),
    };
  }
  /** The address of a locked operand; a misaligned one leaves with EXIT_STEP, whatever the TLB says. */
  #translateLocked(address: Value, size: Size): Value {
    if (size > 1) {
      this.if(address.low().and(size - 1), () =>
        this.leaveAccess(EXIT_STEP, address, size, ACCESS_R | ACCESS_W),
      );
    }
    return this.translate(address, size, ACCESS_R | ACCESS_W);
  }
  protected atomic(operation: AtomicOperation, size: Size, host: Value, operands: readonly Value[]): Value {
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
    if (atomic !== null) return this.atomic(atomic.operation, size, host, [atomic.operand]);
    const expected = this.variable(this.load(I64, size, host, 0));
    const found: Variable = this.variable(expected);
    this.loopWhile(() => {
      expected.assign(found);
      found.assign(this.atomic('cmpxchg', size, host, [expected, compute(expected)]));
      return found.ne(expected);
    });
    return expected;
  }
  override lockedCompareExchange(address: Value, size: Size, expected: Value, replacement: Value): Value {
    const host = this.#translateLocked(address, size);
    return this.atomic('cmpxchg', size, host, [expected, replacement]);
  }
  override lockedCompareExchangePair(address: Value, expected: Pair): Pair {
    this.leaveAccess(EXIT_STEP, address, 16, ACCESS_R | ACCESS_W);
    // Never reached, but what follows wants values.
    return expected;
  }

  override next(): void {
    if (this.form.jcc < 0) {
      this.goOn(this.uop.add(UOP.bytes));
      return;
    }
    this.if(this.condition(this.form.jcc), () => this.branch('taken'));
    this.branch('next');
  }
  override branch(branch: Branch): void {
    const offset = branch === 'taken' ? UOP.at.LINK_TAKEN : UOP.at.LINK_NEXT;
    const link = this.let(this.field(I32, 4, offset));
    this.if(link.gtS(0), () => this.enterBlock(link));
    // A fused compare has its own immediate; it has no memory operand, so the target stands where the displacement is.
    const taken = this.form.jcc < 0 ? UOP.at.IMM : UOP.at.DISP;
    const target = branch === 'taken' ? this.field(I64, 8, taken) : this.nextPc();
    this.resolve(target, this.uop.add(offset));
  }
  /** To the target of a direct branch whose link word, at `link`, is no record. */
  resolve(target: Value, link: Value): void {
    this.return(this.call(I32, this.helpers.resolve, this.uop, this.cpu, target, link));
  }
  override jump(rip: Value): void {
    const target = this.let(rip);
    const record = this.let(lookUpJump(this, this.cpu, target));
    this.if(record, () => this.enterBlock(record));
    this.return(this.call(I32, this.helpers.leaveBlock, this.uop, this.cpu, target, this.i32(0)));
  }
  override nextThroughHost(): void {
    this.return(this.call(I32, this.helpers.leaveBlock, this.uop, this.cpu, this.nextPc(), this.i32(0)));
  }
  override stepOnly(): void {
    this.leave(EXIT_STEP);
  }
  override repeat(body: () => Value | null, stretch?: Stretch): void {
    if (this.form.rep === 'none') {
      body();
      this.next();
      return;
    }
    const left = this.variable(this.i32(REP_ITERATIONS_MAX));
    const one = (): void => {
      const goOn = body();
      this.setAddressRegister(RCX, this.register(RCX, 8).sub(1));
      if (goOn !== null) this.if(goOn.isZero(), () => this.next());
      left.assign(left.sub(1));
    };
    // Iterations to be done singly before a stretch is tried again.
    const single = this.variable(this.i32(0));
    this.loopWhile(() => {
      this.if(this.addressRegister(RCX).isZero(), () => this.next());
      if (stretch === undefined) {
        one();
        return left.gtS(0);
      }
      this.if(
        single,
        () => {
          single.assign(single.sub(1));
          one();
        },
        () => {
          const moved = moveStretch(this, stretch);
          left.assign(left.sub(moved.shrU(STRETCH_COST_LOG2)).sub(1));
          this.if(moved.isZero(), () => single.assign(this.i32(SINGLE_ITERATIONS)));
        },
      );
      return left.gtS(0);
    });
    this.leave(EXIT_BUDGET);
  }
  /** As {@link translate}, but a miss is `hit` 0 and nothing else. The access must lie in one page. */
  probe(address: Value, access: number): { readonly hit: Value; readonly host: Value } {
    const table = ((access & ACCESS_W) === 0 ? TLB_READ : TLB_WRITE) * TLB_TABLE_BYTES;
    const entry = this.#tlbEntry(address);
    const hit = this.let(this.load(I64, 8, entry, table + TLB_ENTRY.at.TAG).eq(address.and(~4095)));
    return { hit, host: this.let(address.low().add(this.load(I32, 4, entry, table + TLB_ENTRY.at.ADDEND))) };
  }
  /** To the block at `start`, interpreted or compiled. */
  enterBlock(start: Value): void {
    this.return(start);
  }
  /** Continues with the instruction at `record`. */
  protected goOn(record: Value): void {
    this.return(record);
  }
  host(): void {
    this.leave(EXIT_HOST);
  }
  /** A block without compiled code that has become hot; else the loop enters it by itself. */
  hot(): void {
    this.leave(EXIT_HOT);
  }
}
