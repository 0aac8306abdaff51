/**
 * Lazy arithmetic flags. An instruction stores what its flags follow from; whoever needs a flag works it out.
 *
 *   kind        A               B                    CF            OF                     AF
 *   ──────────  ──────────────  ───────────────────  ────────────  ─────────────────────  ────────────
 *   BITS        the six flags in place, B unused
 *   SUB, SBB    first operand   second operand       A < B, A ≤ B  from A, B and result   from A^B^result
 *   ADD, ADC    result          second operand       A < B, A ≤ B  from A, B and result   from A^B^result
 *   LOGIC       result          unused               0             0                      0
 *   INC, DEC    result          CF before, 0 or 1    B             A at the sign border   A at a nibble border
 *   RESULT      result          CF OF AF in place    B             B                      B
 *
 * SBB and ADC are SUB and ADD with a borrow or carry in, so the kind is the base kind plus that carry. A and B are
 * zero extended from the operand size. ZF, SF and PF follow from the result; from SUB on upwards a kind ≥ ADD has it
 * in A as it stands.
 *
 * Flags that the SDM leaves undefined take whatever value costs least. Which these are, scripts/native-oracle knows.
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { AF, ARITHMETIC_FLAGS, CF, OF, PF, SF, ZF } from '../../../shared/x86/rflags.ts';
import { Code, type Size, type Value } from './code.ts';
import { type Callee, type FunctionBody, I32, I64, type ModuleBuilder } from './wasm-module.ts';

export const FLAGS_BITS = 0;
export const FLAGS_SUB = 1;
export const FLAGS_SBB = 2;
export const FLAGS_ADD = 3;
export const FLAGS_ADC = 4;
export const FLAGS_LOGIC = 5;
export const FLAGS_INC = 6;
export const FLAGS_DEC = 7;
export const FLAGS_RESULT = 8;

/** Functions over the lazy state, shared by all handlers of a module. All take `cpu`. */
export interface FlagHelpers {
  /** (cpu) → the six flags in place. */
  readonly flags: Callee;
  /** (cpu) → CF, 0 or 1. */
  readonly carry: Callee;
  /** (cpu, even condition code) → 0 or 1. */
  readonly condition: Callee;
}

export function kindWord(kind: number, size: Size): number {
  return kind | (size << 8);
}

const stateA = (code: Code, cpu: Value): Value => code.load(I64, 8, cpu, CPU.at.FLAGS_RESULT_A);
const stateB = (code: Code, cpu: Value): Value => code.load(I64, 8, cpu, CPU.at.FLAGS_RESULT_B);
const stateKindWord = (code: Code, cpu: Value): Value => code.load(I32, 4, cpu, CPU.at.FLAGS_KIND);
/** The kind alone. The size lies above it and never reaches bit 12. */
const stateKind = (code: Code, cpu: Value): Value => code.load(I32, 1, cpu, CPU.at.FLAGS_KIND);

/** Records the lazy state. `kind` may be a value, when a carry decides between a kind and the next. */
export function setFlags(code: Code, cpu: Value, kind: number | Value, size: Size, a: Value, b: Value): void {
  code.store(8, cpu, CPU.at.FLAGS_RESULT_A, a);
  code.store(8, cpu, CPU.at.FLAGS_RESULT_B, b);
  const word = typeof kind === 'number' ? code.i32(kindWord(kind, size)) : kind.add(size << 8);
  code.store(4, cpu, CPU.at.FLAGS_KIND, word);
}

/** LOGIC needs no second operand, so it stores none. */
export function setLogicFlags(code: Code, cpu: Value, size: Size, result: Value): void {
  code.store(8, cpu, CPU.at.FLAGS_RESULT_A, result);
  code.store(4, cpu, CPU.at.FLAGS_KIND, code.i32(kindWord(FLAGS_LOGIC, size)));
}

/** Records all six flags in place (i32). */
export function setFlagBits(code: Code, cpu: Value, bits: Value): void {
  code.store(8, cpu, CPU.at.FLAGS_RESULT_A, bits.wide());
  code.store(4, cpu, CPU.at.FLAGS_KIND, code.i32(FLAGS_BITS));
}

/** The six flags in place, i32. */
export function flagBits(code: Code, cpu: Value, helpers: FlagHelpers): Value {
  return code.let(code.call(I32, helpers.flags, cpu));
}

/** CF as i32 0 or 1. */
export function carryFlag(code: Code, cpu: Value, helpers: FlagHelpers): Value {
  return code.let(
    code.choose(
      stateKind(code, cpu).eq(FLAGS_SUB),
      stateA(code, cpu).ltU(stateB(code, cpu)),
      code.call(I32, helpers.carry, cpu),
    ),
  );
}

/**
 * Condition code `cc` (0…15) as i32 truth. What follows a compare, a test or a loop count is inline; the rest calls.
 *
 * @source Intel SDM vol. 1, appendix B, "EFLAGS Condition Codes"
 */
export function condition(code: Code, cpu: Value, helpers: FlagHelpers, cc: number): Value {
  const negated = (cc & 1) === 1;
  const even = cc & 14;
  const truth = conditionEven(code, cpu, helpers, even);
  return code.let(negated ? truth.isZero() : truth);
}

function conditionEven(code: Code, cpu: Value, helpers: FlagHelpers, cc: number): Value {
  const slow = code.call(I32, helpers.condition, cpu, code.i32(cc));
  const a = stateA(code, cpu);
  const b = stateB(code, cpu);
  const kind = (): Value => stateKind(code, cpu);
  const afterSub = (fast: Value, otherwise: Value): Value =>
    code.choose(kind().eq(FLAGS_SUB), fast, otherwise);
  const afterLogic = (fast: Value): Value => code.choose(kind().eq(FLAGS_LOGIC), fast, slow);
  /** Moves the sign bit of the operand size to bit 63. */
  const up = (value: Value): Value =>
    value.shl(code.i32(64).sub(stateKindWord(code, cpu).shrU(8).shl(3)).wide());
  switch (cc) {
    case 2:
      return afterSub(a.ltU(b), slow);
    case 4:
      return afterSub(a.eq(b), code.choose(kind().geU(FLAGS_ADD), a.isZero(), slow));
    case 6:
      return afterSub(a.leU(b), slow);
    case 8:
      return afterSub(up(a.sub(b)).ltS(0), code.choose(kind().geU(FLAGS_ADD), up(a).ltS(0), slow));
    case 12:
      return afterSub(up(a).ltS(up(b)), afterLogic(up(a).ltS(0)));
    case 14:
      return afterSub(up(a).leS(up(b)), afterLogic(up(a).leS(0)));
    default:
      return slow;
  }
}

/** Flags whose kind and operands are known while the code is generated. */
export interface KnownFlags {
  readonly kind: number;
  readonly size: Size;
  readonly a: Value;
  readonly b: Value;
}

/** Condition code `cc` as i32 truth from known flags, or null where the general way is as good. */
export function knownCondition(code: Code, flags: KnownFlags, cc: number): Value | null {
  const { kind, size, a, b } = flags;
  const up = (value: Value): Value => (size === 8 ? value : value.shl(64 - size * 8));
  const even = ((): Value | null => {
    if (kind === FLAGS_SUB) {
      if (cc >> 1 === 1) return a.ltU(b);
      if (cc >> 1 === 2) return a.eq(b);
      if (cc >> 1 === 3) return a.leU(b);
      if (cc >> 1 === 4) return up(a.sub(b)).ltS(0);
      if (cc >> 1 === 6) return up(a).ltS(up(b));
      return cc >> 1 === 7 ? up(a).leS(up(b)) : null;
    }
    if (kind < FLAGS_ADD) return null;
    if (cc >> 1 === 2) return a.isZero();
    if (cc >> 1 === 4) return up(a).ltS(0);
    if (kind === FLAGS_ADD) return cc >> 1 === 1 ? a.ltU(b) : null;
    if (kind !== FLAGS_LOGIC) return null;
    if (cc >> 1 === 0 || cc >> 1 === 1) return code.i32(0);
    if (cc >> 1 === 3) return a.isZero();
    if (cc >> 1 === 6) return up(a).ltS(0);
    return cc >> 1 === 7 ? up(a).leS(0) : null;
  })();
  if (even === null) return null;
  return code.let((cc & 1) === 1 ? even.isZero() : even);
}

/** Writes the shared functions. */
export function buildFlagHelpers(module: ModuleBuilder): FlagHelpers {
  const flags = module.function([I32], [I32]);
  writeFlags(flags);
  const carry = module.function([I32], [I32]);
  writeCarry(carry, flags);
  const conditionBody = module.function([I32, I32], [I32]);
  writeCondition(conditionBody, flags);
  return { flags, carry, condition: conditionBody };
}

/** What the six flags follow from: CF i32, OF i64 0 or 1, AF in place and whatever besides (i64), and the result. */
interface FlagParts {
  readonly result: Value;
  readonly carry: Value;
  readonly overflow: Value;
  readonly adjust: Value;
}

/** Moves the sign bit of the operand size to bit 63 when shifted left by it. */
type Up = Value | number;

/** SUB and SBB. `borrow` is i32 0 or 1, null for SUB. */
function subtractionParts(code: Code, a: Value, b: Value, borrow: Value | null, up: Up): FlagParts {
  const difference = a.sub(b);
  const result = code.let(borrow === null ? difference : difference.sub(borrow.wide()));
  const carry = borrow === null ? a.ltU(b) : code.choose(borrow, a.leU(b), a.ltU(b));
  const differ = code.let(a.xor(b));
  return { result, carry, overflow: signOf(differ.and(a.xor(result)), up), adjust: differ.xor(result) };
}

/** ADD and ADC, from the result. `carryIn` is i32 0 or 1, null for ADD. */
function additionParts(code: Code, a: Value, b: Value, carryIn: Value | null, up: Up): FlagParts {
  const before = a.sub(b);
  const first = code.let(carryIn === null ? before : before.sub(carryIn.wide()));
  const carry = carryIn === null ? a.ltU(b) : code.choose(carryIn, a.leU(b), a.ltU(b));
  const overflow = signOf(a.xor(first).and(a.xor(b)), up);
  return { result: a, carry, overflow, adjust: a.xor(b).xor(first) };
}

/** INC and DEC: `border` is what the result is when the sign has changed, `nibble` its low digit when AF is set. */
function stepParts(a: Value, b: Value, border: Value, nibble: number): FlagParts {
  return {
    result: a,
    carry: b.low(),
    overflow: a.eq(border).wide(),
    adjust: a.and(15).eq(nibble).wide().shl(4),
  };
}

function signOf(value: Value, up: Up): Value {
  return value.shl(up).shrU(63);
}

/** CF, OF and AF in place (i64). */
function packThree({ carry, overflow, adjust }: FlagParts): Value {
  return carry.wide().or(overflow.shl(11)).or(adjust.and(AF));
}

/** All six in place (i32), from CF OF AF in place and the result. */
function packSix(three: Value, result: Value, up: Up): Value {
  const parity = result.and(0xff).popcnt().and(1).xor(1);
  const zero = result.shl(up).isZero().wide();
  return three.or(parity.shl(2)).or(zero.shl(6)).or(signOf(result, up).shl(7)).low();
}

function writeFlags(fn: FunctionBody): void {
  const code = new Code(fn);
  const cpu = code.parameter(0, I32);
  const kind = code.let(stateKind(code, cpu));
  const a = code.let(stateA(code, cpu));
  const b = code.let(stateB(code, cpu));
  code.if(kind.isZero(), () => code.return(a.low().and(ARITHMETIC_FLAGS)));
  const bits = code.let(stateKindWord(code, cpu).shrU(8).shl(3).wide());
  const up = code.let(code.i64(64).sub(bits));
  const result = code.variable(a);
  const three = code.variable(code.i64(0));
  const pack = (parts: FlagParts): void => three.assign(packThree(parts));
  const is = (wanted: number): Value => kind.eq(wanted);

  code.if(kind.leU(FLAGS_SBB), () => {
    const parts = subtractionParts(code, a, b, is(FLAGS_SBB), up);
    result.assign(parts.result);
    pack(parts);
  });
  code.if(is(FLAGS_ADD).or(is(FLAGS_ADC)), () => pack(additionParts(code, a, b, is(FLAGS_ADC), up)));
  const border = code.let(code.i64(1).shl(bits.sub(1)));
  code.if(is(FLAGS_INC), () => pack(stepParts(a, b, border, 0)));
  code.if(is(FLAGS_DEC), () => pack(stepParts(a, b, border.sub(1), 15)));
  code.if(is(FLAGS_RESULT), () => three.assign(b));
  packSix(three, result, up).put();
}

/** All six flags in place (i32) from known ones. */
export function knownFlagBits(code: Code, { kind, size, a, b }: KnownFlags): Value {
  const up = 64 - size * 8;
  const all = (parts: FlagParts): Value => code.let(packSix(packThree(parts), parts.result, up));
  const one = code.i32(1);
  const border = 1n << BigInt(size * 8 - 1);
  switch (kind) {
    case FLAGS_BITS:
      return code.let(a.low().and(ARITHMETIC_FLAGS));
    case FLAGS_SUB:
    case FLAGS_SBB:
      return all(subtractionParts(code, a, b, kind === FLAGS_SBB ? one : null, up));
    case FLAGS_ADD:
    case FLAGS_ADC:
      return all(additionParts(code, a, b, kind === FLAGS_ADC ? one : null, up));
    case FLAGS_INC:
      return all(stepParts(a, b, code.i64(border), 0));
    case FLAGS_DEC:
      return all(stepParts(a, b, code.i64(border - 1n), 15));
    case FLAGS_LOGIC:
      return code.let(packSix(code.i64(0), a, up));
    default:
      return code.let(packSix(b, a, up));
  }
}

/** CF as i32 0 or 1 from known flags. */
export function knownCarry(code: Code, { kind, a, b }: KnownFlags): Value {
  switch (kind) {
    case FLAGS_BITS:
      return code.let(a.low().and(CF));
    case FLAGS_SUB:
    case FLAGS_ADD:
      return code.let(a.ltU(b));
    case FLAGS_SBB:
    case FLAGS_ADC:
      return code.let(a.leU(b));
    case FLAGS_LOGIC:
      return code.i32(0);
    default:
      return code.let(b.low().and(1));
  }
}

function writeCarry(fn: FunctionBody, flags: FunctionBody): void {
  const code = new Code(fn);
  const cpu = code.parameter(0, I32);
  const kind = code.let(stateKind(code, cpu));
  const a = stateA(code, cpu);
  const b = stateB(code, cpu);
  code.if(kind.eq(FLAGS_LOGIC), () => code.return(code.i32(0)));
  code.if(kind.geU(FLAGS_INC), () => code.return(b.low().and(1)));
  code.if(kind.eq(FLAGS_ADD), () => code.return(a.ltU(b)));
  code.call(I32, flags, cpu).and(CF).put();
}

function writeCondition(fn: FunctionBody, flags: FunctionBody): void {
  const code = new Code(fn);
  const cc = code.parameter(1, I32);
  const bits = code.let(code.call(I32, flags, code.parameter(0, I32)));
  for (const even of [0, 2, 4, 6, 8, 10, 12]) {
    code.if(cc.eq(even), () => code.return(conditionOfBits(bits, even)));
  }
  conditionOfBits(bits, 14).put();
}

/** The even condition code `cc` as i32 truth, from the six flags in place. */
export function conditionOfBits(bits: Value, cc: number): Value {
  const has = (mask: number): Value => bits.and(mask).ne(0);
  const signNotOverflow = has(SF).xor(has(OF));
  switch (cc) {
    case 0:
      return has(OF);
    case 2:
      return has(CF);
    case 4:
      return has(ZF);
    case 6:
      return has(CF | ZF);
    case 8:
      return has(SF);
    case 10:
      return has(PF);
    case 12:
      return signNotOverflow;
    default:
      return signNotOverflow.or(has(ZF));
  }
}

/** Sign bit of a clean value, as an i64 0 or 1. */
export function signBit(value: Value, size: Size): Value {
  return value.bit(size * 8 - 1);
}

/** CF and OF (each an i64 0 or 1) as the B of kind RESULT. */
export function carryOverflow(carry: Value, overflow: Value): Value {
  return carry.or(overflow.shl(11));
}
