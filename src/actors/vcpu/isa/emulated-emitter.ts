/**
 * Handlers for single steps: each access is described in the CPU's log and the handler left; the host carries it out
 * and runs the handler again from the top, which then finds in the log what it had asked for. Nothing is committed
 * before the last access.
 */
import {
  CPU,
  EXIT_DONE,
  LOG_CAS,
  LOG_CHECK_WRITABLE,
  LOG_READ,
  LOG_READ_MODIFY,
  LOG_WRITE,
} from '../../../shared/layout/cpu.ts';
import { RCX } from '../../../shared/x86/registers.ts';
import { VECTOR_GP } from '../../../shared/x86/vectors.ts';
import type { Size, Value } from './code.ts';
import { type Branch, type Cell, type Pair, RecordEmitter } from './emitter.ts';
import type { Bytes } from './insn.ts';
import { UOP } from './uop.ts';
import { type AtomicOperation, I32, I64 } from './wasm-module.ts';

export class EmulatedEmitter extends RecordEmitter {
  #accesses = 0;

  /** Access number `#accesses`: described and left for while the host has not carried it out. */
  #access(kind: number, size: Bytes, address: Value, value: Value, expect: Value): number {
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
  /** 16 bytes take two elements of the log. */
  override loadGuestVector(address: Value): Value {
    const index = this.#access(LOG_READ, 16, address, this.i64(0), this.i64(0));
    this.#accesses++;
    return this.let(this.loadVector(this.cpu, CPU.at.LOG_VALUE + index * 8));
  }
  override storeGuestVector(address: Value, value: Value): void {
    // Before the access is described, because describing it leaves.
    this.store(8, this.cpu, CPU.at.LOG_VALUE + (this.#accesses + 1) * 8, this.highHalf(value));
    this.#access(LOG_WRITE, 16, address, this.lowHalf(value), this.i64(0));
    this.#accesses++;
  }
  override checkWritable(address: Value, size: Size): void {
    this.#access(LOG_CHECK_WRITABLE, size, address, this.i64(0), this.i64(0));
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
  override stepOnly(): void {}
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
