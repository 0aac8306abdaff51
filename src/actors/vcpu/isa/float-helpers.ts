/**
 * Float arithmetic of SSE in the core: functions over the bits of singles (i32) and doubles (i64).
 *
 * Wasm rounds to nearest and tells nobody. Where MXCSR says nearest, operands are no denormal numbers and the result is
 * above the least normal number and finite, no exception but inexact is possible; whether that one is raised is worked
 * out unless its flag is set and masked already. Everything else is {@link FloatHelpers.soft}'s, which is exact.
 *
 * @source Knuth, "The Art of Computer Programming" vol. 2, 4.2.2, theorem B (the error of a sum); Intel SDM vol. 1,
 *         "SIMD Floating-Point Exception Conditions"
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { FP_INEXACT, MXCSR_MASKS_SHIFT, MXCSR_ROUNDING } from '../../../shared/x86/x87.ts';
import { Code, type Value } from './code.ts';
import { SOFT_EXTRA_SHIFT, SOFT_LONG, SOFT_TRUNCATES, type SoftOp, softCode } from './soft-ops.ts';
import {
  type Callee,
  CONVERT,
  F32,
  F64,
  type FunctionBody,
  I32,
  I64,
  type ModuleBuilder,
} from './wasm-module.ts';

export type Width = 32 | 64;
type Arithmetic = 'add' | 'sub' | 'mul' | 'div';
const ARITHMETIC: readonly Arithmetic[] = ['add', 'sub', 'mul', 'div'];

/** Of one width. Values are bits: i32 of singles, i64 of doubles. All take the CPU first. */
export interface WidthHelpers {
  /** (cpu, a, b) → result. */
  readonly arithmetic: Readonly<Record<Arithmetic | 'min' | 'max', Callee>>;
  /** (cpu, a) → root. */
  readonly sqrt: Callee;
  /** (cpu, predicate i32, a, b) → i32 truth. */
  readonly relation: Callee;
  /** (cpu, a, b) → i32: ZF, PF, CF in bits 0, 1, 2. */
  readonly comi: Callee;
  readonly ucomi: Callee;
  /** (cpu, how i32, a) → rounded to a whole number. */
  readonly integral: Callee;
  /** (cpu, a) → i64: signed, 32 or 64 bits, by MXCSR or truncating. */
  readonly integers: Readonly<Record<'round4' | 'round8' | 'truncate4' | 'truncate8', Callee>>;
  /** (cpu, signed i64) → float. */
  readonly fromInteger: Callee;
  /** (cpu, a) → the other width. */
  readonly convert: Callee;
}

export interface FloatHelpers {
  /** (cpu, operation, a i64, b i64) → i64: see soft-ops.ts. */
  readonly soft: Callee;
  readonly 32: WidthHelpers;
  readonly 64: WidthHelpers;
}

/** The import, which has to be declared before any function. */
export function importSoft(module: ModuleBuilder): Callee {
  return module.importFunction('machine', 'soft', [I32, I32, I64, I64], [I64]);
}

export function buildFloatHelpers(module: ModuleBuilder, soft: Callee): FloatHelpers {
  return { soft, 32: buildWidth(module, soft, 32), 64: buildWidth(module, soft, 64) };
}

function buildWidth(module: ModuleBuilder, soft: Callee, width: Width): WidthHelpers {
  const bits = width === 32 ? I32 : I64;
  const build = (
    params: readonly (typeof I32 | typeof I64)[],
    result: typeof I32 | typeof I64,
    write: (e: FloatCode) => void,
  ): FunctionBody => {
    const fn = module.function([I32, ...params], [result]);
    write(new FloatCode(fn, soft, width));
    return fn;
  };
  const two = (write: (e: FloatCode) => void): FunctionBody => build([bits, bits], bits, write);
  const integer = (long: boolean, truncates: boolean): FunctionBody =>
    build([bits], I64, (e) => writeInteger(e, long, truncates));
  const [add, sub, mul, div] = ARITHMETIC.map((name) => two((e) => writeArithmetic(e, name))) as [
    FunctionBody,
    FunctionBody,
    FunctionBody,
    FunctionBody,
  ];
  return {
    arithmetic: {
      add,
      sub,
      mul,
      div,
      min: two((e) => writeLesser(e, 'min')),
      max: two((e) => writeLesser(e, 'max')),
    },
    sqrt: build([bits], bits, writeRoot),
    relation: build([I32, bits, bits], I32, writeRelation),
    comi: build([bits, bits], I32, (e) => writeOrdered(e, 'comi')),
    ucomi: build([bits, bits], I32, (e) => writeOrdered(e, 'ucomi')),
    integral: build([I32, bits], bits, writeIntegral),
    integers: {
      round4: integer(false, false),
      round8: integer(true, false),
      truncate4: integer(false, true),
      truncate8: integer(true, true),
    },
    fromInteger: build([I64], bits, writeFromInteger),
    convert: build([bits], width === 32 ? I64 : I32, writeConvert),
  };
}

/** Code over the bits of one width. Comparisons of magnitudes work on bits shifted left by one: the sign is out. */
class FloatCode extends Code {
  readonly width: Width;
  readonly type: typeof I32 | typeof I64;
  readonly cpu: Value;
  /** Twice the bits of the least normal number, and of infinity. */
  readonly least: bigint;
  readonly infinite: bigint;
  readonly softFunction: Callee;

  constructor(fn: FunctionBody, soft: Callee, width: Width) {
    super(fn);
    this.softFunction = soft;
    this.width = width;
    this.type = width === 32 ? I32 : I64;
    this.cpu = this.parameter(0, I32);
    this.least = width === 32 ? 1n << 24n : 1n << 53n;
    this.infinite = width === 32 ? 0xff00_0000n : 0xffe0_0000_0000_0000n;
  }
  /** A bits constant. */
  constant(value: bigint): Value {
    return this.width === 32 ? this.i32(Number(BigInt.asIntN(32, value))) : this.i64(value);
  }
  magnitude(bits: Value): Value {
    return bits.shl(1);
  }
  /** Above the least normal number, and finite: then the result was neither tiny nor too large. */
  isSafe(bits: Value): Value {
    const from = this.least + 1n;
    return this.magnitude(bits)
      .sub(this.constant(from))
      .ltU(this.constant(this.infinite - from));
  }
  isDenormal(bits: Value): Value {
    return this.magnitude(bits)
      .sub(this.constant(1n))
      .ltU(this.constant(this.least - 1n));
  }
  /** Zero, normal or infinite: what comparisons and conversions do without exceptions. */
  isPlain(bits: Value): Value {
    const from = this.magnitude(bits)
      .sub(this.constant(1n))
      .geU(this.constant(this.least - 1n));
    return from.and(this.magnitude(bits).leU(this.constant(this.infinite)));
  }
  roundsToNearest(): Value {
    return this.mxcsr().and(MXCSR_ROUNDING).isZero();
  }
  mxcsr(): Value {
    return this.load(I32, 4, this.cpu, CPU.at.MXCSR);
  }
  /** Nobody can tell whether it is raised once more. */
  inexactIsKnown(): Value {
    const both = FP_INEXACT | (FP_INEXACT << MXCSR_MASKS_SHIFT);
    return this.mxcsr().and(both).eq(both);
  }
  raiseInexact(when: Value): void {
    this.if(when, () => {
      const raised = this.load(I32, 4, this.cpu, CPU.at.FP_RAISED);
      this.store(4, this.cpu, CPU.at.FP_RAISED, raised.or(FP_INEXACT));
    });
  }
  /** What TypeScript makes of it, i64. */
  soft(op: SoftOp, operands: readonly Value[], extra: Value = this.i32(0)): Value {
    const [a, b = this.i64(0)] = operands;
    const code = extra.or(softCode(op));
    return this.call(I64, this.softFunction, this.cpu, code, a!.wide(), b.wide());
  }
  /** The same, as bits of this width. */
  softBits(op: SoftOp, operands: readonly Value[], extra?: Value): Value {
    const result = this.soft(op, operands, extra);
    return this.width === 32 ? result.low() : result;
  }
  op(name: string): SoftOp {
    return `${name}${this.width}` as SoftOp;
  }
  /** A double of the same value. */
  double(float: Value): Value {
    return this.width === 32 ? float.convert(F64, CONVERT.promote) : float;
  }
  /** Bits of a double's significand from its first to its last one. */
  significantBits(bits: Value): Value {
    return this.i64(53)
      .sub(bits.or(1n << 52n).ctz())
      .low();
  }
}

function writeArithmetic(e: FloatCode, name: Arithmetic): void {
  const a = e.parameter(1, e.type);
  const b = e.parameter(2, e.type);
  const result = e.let(a.bits().float(name, b.bits()));
  const bits = e.let(result.bits());
  const slow = (): Value => e.softBits(e.op(name), [a, b]);
  const ordinary = e.isDenormal(a).or(e.isDenormal(b)).isZero().and(e.roundsToNearest());
  e.if(ordinary, () => {
    e.if(e.isSafe(bits), () => {
      e.if(e.inexactIsKnown(), () => e.return(bits));
      if (name === 'add' || name === 'sub') inexactSum(e, { name, a, b, result }, slow);
      else if (e.width === 32) e.raiseInexact(inexactSingle(e, { name, a, b, result }));
      else inexactDouble(e, { name, a, b, result: bits }, slow);
      e.return(bits);
    });
    // A zero that is no underflow: a difference, or of an operand that makes it one.
    e.if(e.magnitude(bits).isZero(), () => {
      const isZero = (value: Value): Value => e.magnitude(value).isZero();
      const isInfinite = (value: Value): Value => e.magnitude(value).eq(e.constant(e.infinite));
      if (name === 'add' || name === 'sub') e.return(bits);
      else e.if(isZero(a).or(name === 'mul' ? isZero(b) : isInfinite(b)), () => e.return(bits));
    });
  });
  slow().put();
}

interface Operation {
  readonly name: Arithmetic;
  /** Bits. */
  readonly a: Value;
  readonly b: Value;
  readonly result: Value;
}

/** The error of a sum is a float, found by six additions; unless one of those overflows. */
function inexactSum(e: FloatCode, { name, a, b, result }: Operation, slow: () => Value): void {
  const first = a.bits();
  const second = e.let(name === 'sub' ? b.bits().float('neg') : b.bits());
  const share = e.let(result.float('sub', first));
  const lostOfFirst = first.float('sub', result.float('sub', share));
  const error = e.let(lostOfFirst.float('add', second.float('sub', share)));
  const known = error.float('sub', error).float('eq', zeroFloat(e));
  e.if(known.isZero(), () => e.return(slow()));
  e.raiseInexact(error.float('ne', zeroFloat(e)));
}

function zeroFloat(e: FloatCode): Value {
  return e.constant(0n).bits();
}

/** Products of singles are exact as doubles. */
function inexactSingle(e: FloatCode, { name, a, b, result }: Operation): Value {
  const [first, second, third] = [a.bits(), b.bits(), result].map((value) => e.double(value)) as [
    Value,
    Value,
    Value,
  ];
  return name === 'mul'
    ? first.float('mul', second).float('ne', third)
    : third.float('mul', second).float('ne', first);
}

/** A product of m and n significant bits has m + n or one less: exact if that fits 53, for certain not if it cannot. */
function inexactDouble(e: FloatCode, { name, a, b, result }: Operation, slow: () => Value): void {
  const factors = name === 'mul' ? [a, b] : [result, b];
  const length = e.let(e.significantBits(factors[0]!).add(e.significantBits(factors[1]!)));
  e.if(length.eq(54), () => e.return(slow()));
  if (name === 'mul') e.raiseInexact(length.gtU(53));
  else {
    const back = result.bits().float('mul', b.bits());
    e.raiseInexact(length.gtU(53).or(back.float('ne', a.bits())));
  }
}

function writeRoot(e: FloatCode): void {
  const a = e.parameter(1, e.type);
  const result = e.let(a.bits().float('sqrt'));
  const bits = e.let(result.bits());
  e.if(e.isPlain(a).and(e.roundsToNearest()).and(e.isSafe(bits)), () => {
    e.if(e.inexactIsKnown(), () => e.return(bits));
    if (e.width === 32) {
      const root = e.let(e.double(result));
      e.raiseInexact(root.float('mul', root).float('ne', e.double(a.bits())));
      e.return(bits);
    } else {
      const length = e.let(e.significantBits(bits).shl(1));
      e.if(length.ne(54), () => {
        e.raiseInexact(length.gtU(53).or(result.float('mul', result).float('ne', a.bits())));
        e.return(bits);
      });
    }
  });
  e.softBits(e.op('sqrt'), [a]).put();
}

function writeLesser(e: FloatCode, name: 'min' | 'max'): void {
  const a = e.parameter(1, e.type);
  const b = e.parameter(2, e.type);
  const first = a.bits().float(name === 'min' ? 'lt' : 'gt', b.bits());
  e.if(e.isPlain(a).and(e.isPlain(b)), () => e.return(e.select(first, a, b)));
  e.softBits(e.op(name), [a, b]).put();
}

/** By outcome (equal, less, greater) the predicates that hold: EQ LT LE UNORD NEQ NLT NLE ORD from bit 0 on. */
const HOLDS_IF_EQUAL = 0b1010_0101;
const HOLDS_IF_LESS = 0b1001_0110;
const HOLDS_IF_GREATER = 0b1111_0000;

function writeRelation(e: FloatCode): void {
  const predicate = e.parameter(1, I32);
  const a = e.parameter(2, e.type);
  const b = e.parameter(3, e.type);
  e.if(e.isPlain(a).and(e.isPlain(b)), () => {
    const less = a.bits().float('lt', b.bits());
    const equal = a.bits().float('eq', b.bits());
    const unequal = e.select(less, e.i32(HOLDS_IF_LESS), e.i32(HOLDS_IF_GREATER));
    e.return(e.select(equal, e.i32(HOLDS_IF_EQUAL), unequal).shrU(predicate).and(1));
  });
  e.soft(e.op('relation'), [a, b], predicate.shl(SOFT_EXTRA_SHIFT)).low().and(1).put();
}

function writeOrdered(e: FloatCode, name: 'comi' | 'ucomi'): void {
  const a = e.parameter(1, e.type);
  const b = e.parameter(2, e.type);
  e.if(e.isPlain(a).and(e.isPlain(b)), () => {
    const less = a.bits().float('lt', b.bits());
    const equal = a.bits().float('eq', b.bits());
    e.return(less.shl(2).or(equal));
  });
  e.soft(e.op(name), [a, b]).low().put();
}

function writeIntegral(e: FloatCode): void {
  const how = e.parameter(1, I32);
  const a = e.parameter(2, e.type);
  e.if(e.isPlain(a), () => {
    const own = e.mxcsr().and(MXCSR_ROUNDING).shrU(13);
    const mode = e.let(e.select(how.and(4), own, how.and(3)));
    const modes = (['nearest', 'floor', 'ceil', 'trunc'] as const).map((name) => a.bits().float(name));
    const low = e.select(mode.and(1), modes[1]!, modes[0]!);
    const high = e.select(mode.and(1), modes[3]!, modes[2]!);
    const result = e.let(e.select(mode.and(2), high, low));
    e.raiseInexact(result.float('ne', a.bits()).and(how.and(8).isZero()));
    e.return(result.bits());
  });
  e.softBits(e.op('integral'), [a], how.shl(SOFT_EXTRA_SHIFT)).put();
}

function writeInteger(e: FloatCode, long: boolean, truncates: boolean): void {
  const a = e.parameter(1, e.type);
  const usual = truncates ? e.isPlain(a) : e.isPlain(a).and(e.roundsToNearest());
  e.if(usual, () => {
    const value = e.let(e.double(a.bits()));
    const whole = e.let(value.float(truncates ? 'trunc' : 'nearest'));
    const limit = long ? 2 ** 63 : 2 ** 31;
    const fits = whole.float('ge', double(e, -limit)).and(whole.float('lt', double(e, limit)));
    e.if(fits, () => {
      e.raiseInexact(whole.float('ne', value));
      const integer = whole.convert(I64, CONVERT.truncateToI64);
      e.return(long ? integer : integer.cut(4));
    });
  });
  const extra = (long ? SOFT_LONG : 0) | (truncates ? SOFT_TRUNCATES : 0);
  e.soft(e.op('integer'), [a], e.i32(extra)).put();
}

/** A constant double. */
function double(e: Code, value: number): Value {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return e.i64(view.getBigInt64(0)).bits();
}

/** Whole numbers that a significand holds are exact. */
function writeFromInteger(e: FloatCode): void {
  const value = e.parameter(1, I64);
  const bits = BigInt(e.width === 32 ? 24 : 53);
  e.if(value.add(1n << bits).leU(1n << (bits + 1n)), () => {
    const opcode = e.width === 32 ? CONVERT.f32FromI64 : CONVERT.f64FromI64;
    e.return(value.convert(e.width === 32 ? F32 : F64, opcode).bits());
  });
  e.softBits(e.op('fromInteger'), [value]).put();
}

function writeConvert(e: FloatCode): void {
  const a = e.parameter(1, e.type);
  if (e.width === 32) {
    e.if(e.isPlain(a), () => e.return(e.double(a.bits()).bits()));
    e.soft('widen', [a]).put();
    return;
  }
  const single = new FloatCode(e.fn, e.softFunction, 32);
  const result = e.let(a.bits().convert(F32, CONVERT.demote));
  const fits = single.isSafe(result.bits()).and(e.roundsToNearest()).or(e.magnitude(a).isZero());
  e.if(fits, () => {
    e.raiseInexact(single.double(result).float('ne', a.bits()));
    e.return(result.bits());
  });
  e.soft('narrow', [a]).low().put();
}
