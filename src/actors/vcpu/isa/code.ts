/**
 * Expressions over a WebAssembly function body, so that semantics read like arithmetic. A {@link Value} writes its
 * instructions each time it is used; {@link Code.let} evaluates it once, into a local. Guest values are i64, zero
 * extended from their operand size; truth values and shared-memory addresses are i32.
 */
import {
  BINARY,
  type Binary,
  type Callee,
  COMPARE,
  type Compare,
  F32,
  F64,
  FLOAT,
  type FloatOperation,
  type FunctionBody,
  I32,
  I32_EQZ,
  I32_WRAP_I64,
  I64,
  I64_EQZ,
  I64_EXTEND_I32_S,
  I64_EXTEND_I32_U,
  I64_EXTEND32_S,
  SIMD,
  type Simd,
  UNARY,
  type Unary,
  V128,
  type ValueType,
} from './wasm-module.ts';

/** What an operator takes: a value of the same type, or a number of it. */
export type Argument = Value | number | bigint;
export type Size = 1 | 2 | 4 | 8;

export class Value {
  readonly fn: FunctionBody;
  readonly type: ValueType;
  /** Writes the instructions that leave the value on the stack. */
  readonly put: () => void;

  constructor(fn: FunctionBody, type: ValueType, put: () => void) {
    this.fn = fn;
    this.type = type;
    this.put = put;
  }

  add(other: Argument): Value {
    return this.#binary('add', other);
  }
  sub(other: Argument): Value {
    return this.#binary('sub', other);
  }
  mul(other: Argument): Value {
    return this.#binary('mul', other);
  }
  divU(other: Argument): Value {
    return this.#binary('divU', other);
  }
  divS(other: Argument): Value {
    return this.#binary('divS', other);
  }
  remU(other: Argument): Value {
    return this.#binary('remU', other);
  }
  remS(other: Argument): Value {
    return this.#binary('remS', other);
  }
  and(other: Argument): Value {
    return this.#binary('and', other);
  }
  or(other: Argument): Value {
    return this.#binary('or', other);
  }
  xor(other: Argument): Value {
    return this.#binary('xor', other);
  }
  shl(other: Argument): Value {
    return this.#binary('shl', other);
  }
  shrU(other: Argument): Value {
    return this.#binary('shrU', other);
  }
  shrS(other: Argument): Value {
    return this.#binary('shrS', other);
  }
  rotl(other: Argument): Value {
    return this.#binary('rotl', other);
  }
  rotr(other: Argument): Value {
    return this.#binary('rotr', other);
  }
  not(): Value {
    return this.#binary('xor', -1);
  }
  eq(other: Argument): Value {
    return this.#compare('eq', other);
  }
  ne(other: Argument): Value {
    return this.#compare('ne', other);
  }
  ltU(other: Argument): Value {
    return this.#compare('ltU', other);
  }
  ltS(other: Argument): Value {
    return this.#compare('ltS', other);
  }
  leU(other: Argument): Value {
    return this.#compare('leU', other);
  }
  leS(other: Argument): Value {
    return this.#compare('leS', other);
  }
  gtU(other: Argument): Value {
    return this.#compare('gtU', other);
  }
  gtS(other: Argument): Value {
    return this.#compare('gtS', other);
  }
  geU(other: Argument): Value {
    return this.#compare('geU', other);
  }
  geS(other: Argument): Value {
    return this.#compare('geS', other);
  }
  /** i32 truth: is it zero? */
  isZero(): Value {
    return this.#then(I32, this.type === I64 ? I64_EQZ : I32_EQZ);
  }
  clz(): Value {
    return this.#unary('clz');
  }
  ctz(): Value {
    return this.#unary('ctz');
  }
  popcnt(): Value {
    return this.#unary('popcnt');
  }
  /** Low half of an i64 as an i32. */
  low(): Value {
    return this.type === I32 ? this : this.#then(I32, I32_WRAP_I64);
  }
  /** An i32 widened with zeros. */
  wide(): Value {
    return this.type === I64 ? this : this.#then(I64, I64_EXTEND_I32_U);
  }
  /** An i32 widened with its sign. */
  wideSigned(): Value {
    return this.type === I64 ? this : this.#then(I64, I64_EXTEND_I32_S);
  }
  /** Keeps the low `size` bytes of an i64 and clears the rest. */
  cut(size: Size): Value {
    if (size === 8) return this;
    return size === 4 ? this.low().wide() : this.and(size === 1 ? 0xff : 0xffff);
  }
  /** Sign-extends an i64 from its low `size` bytes. */
  signed(size: Size): Value {
    if (size === 8) return this;
    return size === 4 ? this.#then(I64, I64_EXTEND32_S) : this.#unary(size === 1 ? 'extend8S' : 'extend16S');
  }
  /** The instruction with this opcode on the value alone. */
  convert(type: ValueType, opcode: number): Value {
    return this.#then(type, opcode);
  }
  /** The bits of a float as an integer, or of an integer as a float, of the same width. */
  bits(): Value {
    switch (this.type) {
      case F32:
        return this.#then(I32, 0xbc);
      case F64:
        return this.#then(I64, 0xbd);
      case I32:
        return this.#then(F32, 0xbe);
      default:
        return this.#then(F64, 0xbf);
    }
  }
  /** Float arithmetic, and comparisons, which give an i32. */
  float(name: FloatOperation, other?: Value): Value {
    const opcode = FLOAT[name][this.type === F64 ? 1 : 0];
    const compares = opcode < 0x80;
    return new Value(this.fn, compares ? I32 : this.type, () => {
      this.put();
      other?.put();
      this.fn.op(opcode);
    });
  }
  /** Bit `index` of an i64, as an i64 0 or 1. */
  bit(index: number): Value {
    const shifted = index === 0 ? this : this.shrU(index);
    return index === 63 ? shifted : shifted.and(1);
  }

  #binary(name: Binary, other: Argument): Value {
    return new Value(this.fn, this.type, () => {
      this.put();
      this.#putArgument(other);
      this.fn.op(BINARY[name][this.type === I64 ? 1 : 0]);
    });
  }
  #compare(name: Compare, other: Argument): Value {
    return new Value(this.fn, I32, () => {
      this.put();
      this.#putArgument(other);
      this.fn.op(COMPARE[name][this.type === I64 ? 1 : 0]);
    });
  }
  #unary(name: Unary): Value {
    return this.#then(this.type, UNARY[name][this.type === I64 ? 1 : 0]);
  }
  #then(type: ValueType, opcode: number): Value {
    return new Value(this.fn, type, () => {
      this.put();
      this.fn.op(opcode);
    });
  }
  #putArgument(argument: Argument): void {
    if (argument instanceof Value) argument.put();
    else if (this.type === I64) this.fn.i64(BigInt(argument));
    else this.fn.i32(Number(argument));
  }
}

/** A local that can be assigned again. */
export class Variable extends Value {
  readonly local: number;

  constructor(fn: FunctionBody, type: ValueType, local: number) {
    super(fn, type, () => fn.get(local));
    this.local = local;
  }
  assign(value: Value): void {
    value.put();
    this.fn.set(this.local);
  }
}

/** Statements and control flow over one function body. */
export class Code {
  readonly fn: FunctionBody;

  constructor(fn: FunctionBody) {
    this.fn = fn;
  }
  i32(value: number): Value {
    return new Value(this.fn, I32, () => this.fn.i32(value));
  }
  i64(value: number | bigint): Value {
    return new Value(this.fn, I64, () => this.fn.i64(BigInt(value)));
  }
  parameter(index: number, type: ValueType): Value {
    return new Value(this.fn, type, () => this.fn.get(index));
  }
  variable(initial: Value): Variable {
    const variable = new Variable(this.fn, initial.type, this.fn.local(initial.type));
    variable.assign(initial);
    return variable;
  }
  /** Evaluates `value` now, once. */
  let(value: Value): Value {
    return this.variable(value);
  }
  load(type: typeof I32 | typeof I64, bytes: Size, base: Value, offset: number): Value {
    return new Value(this.fn, type, () => {
      base.put();
      this.fn.load(type, bytes, offset);
    });
  }
  store(bytes: Size, base: Value, offset: number, value: Value): void {
    base.put();
    value.put();
    this.fn.store(value.type, bytes, offset);
  }
  /** A vector instruction over values on the stack; `immediate` is what its encoding holds. */
  simd(
    name: Simd,
    values: readonly Value[],
    immediate: readonly number[] = [],
    type: ValueType = V128,
  ): Value {
    return new Value(this.fn, type, () => {
      for (const value of values) value.put();
      this.fn.simd(SIMD[name], immediate);
    });
  }
  loadVector(base: Value, offset: number): Value {
    return new Value(this.fn, V128, () => {
      base.put();
      this.fn.loadVector(offset);
    });
  }
  storeVector(base: Value, offset: number, value: Value): void {
    base.put();
    value.put();
    this.fn.storeVector(offset);
  }
  call(type: ValueType, callee: Callee, ...values: readonly Value[]): Value {
    return new Value(this.fn, type, () => {
      for (const value of values) value.put();
      this.fn.call(callee.index);
    });
  }
  if(condition: Value, then: () => void, otherwise?: () => void): void {
    condition.put();
    this.fn.if();
    then();
    if (otherwise !== undefined) {
      this.fn.else();
      otherwise();
    }
    this.fn.end();
  }
  /** Evaluates one of the two. */
  choose(condition: Value, then: Value, otherwise: Value): Value {
    return new Value(this.fn, then.type, () => {
      condition.put();
      this.fn.if(then.type);
      then.put();
      this.fn.else();
      otherwise.put();
      this.fn.end();
    });
  }
  /** Evaluates both and keeps one. */
  select(condition: Value, then: Value, otherwise: Value): Value {
    return new Value(this.fn, then.type, () => {
      then.put();
      otherwise.put();
      condition.put();
      this.fn.select();
    });
  }
  /** Repeats `body` while the condition it returns holds. */
  loopWhile(body: () => Value): void {
    const head = this.fn.loop();
    body().put();
    this.fn.jumpIf(head);
    this.fn.end();
  }
  return(value: Value): void {
    value.put();
    this.fn.return();
  }
  /** Ends a function all of whose paths have returned. */
  unreachable(): void {
    this.fn.unreachable();
  }
}
