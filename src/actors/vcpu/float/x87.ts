/**
 * The x87 instructions, as host operations: what each reads, computes and leaves on the stack.
 *
 * Every one of them checks that x87 may be used, then reads memory, then computes; registers, status and the pointers to
 * the last instruction change when nothing can go wrong any more. A store to memory is made before the stack is popped.
 *
 * @source Intel SDM vol. 2, the page of each instruction; vol. 1, "x87 FPU Instruction Set"
 */
import type { Path } from '../../../shared/sync/point.ts';
import { CR0_EM, CR0_MP, CR0_TS } from '../../../shared/x86/control-registers.ts';
import { RAX } from '../../../shared/x86/registers.ts';
import { AF, CF, OF, PF, SF, ZF } from '../../../shared/x86/rflags.ts';
import { VECTOR_NM } from '../../../shared/x86/vectors.ts';
import {
  FP_DENORMAL,
  FP_EXCEPTIONS,
  FP_INEXACT,
  FP_INVALID,
  FP_OVERFLOW,
  FP_UNDERFLOW,
  FP_ZERO_DIVIDE,
  FSW_B,
  FSW_C0,
  FSW_C1,
  FSW_C2,
  FSW_C3,
  FSW_ES,
  FSW_SF,
} from '../../../shared/x86/x87.ts';
import { pendingX87 } from '../fpu-access.ts';
import type { Insn, MemOperand, VectorOperand } from '../isa/insn.ts';
import type { X87Op } from '../isa/x87-ops.ts';
import { checkWritable, readLinear, writeLinear } from '../linear-memory.ts';
import { linearAddress, usesStackSegment } from '../operands.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from '../vcpu.ts';
import { EXTENDED, TRUNCATE, unpack } from './number.ts';
import {
  arithmetic,
  comparison,
  extract,
  FLOAT_OF_BYTES,
  fromDecimal,
  fromFloat,
  fromInteger,
  INDEFINITE,
  remainder,
  result,
  root,
  scale,
  toDecimal,
  toFloat,
  toInteger,
  toIntegral,
  UNORDERED,
  type X87Binary,
  type X87Result,
} from './x87-arithmetic.ts';
import {
  angle,
  circular,
  powerMinusOne,
  timesLogarithm,
  timesLogarithmPlusOne,
  type X87Constant,
  x87Constant,
} from './x87-functions.ts';
import { X87 } from './x87-state.ts';

/** Exceptions that keep a result from a register, unless masked. */
const BEFORE = FP_INVALID | FP_DENORMAL | FP_ZERO_DIVIDE;
/** And from memory. */
const BEFORE_STORE = BEFORE | FP_OVERFLOW | FP_UNDERFLOW;
const CONDITIONS = FSW_C0 | FSW_C2 | FSW_C3;

/** They neither wait for exceptions nor count as the last instruction. */
const CONTROL: ReadonlySet<string> = new Set<X87Op>([
  'fninit', 'fnclex', 'fneni', 'fndisi', 'fnsetpm', 'fnstcw', 'fnstsw', 'fldcw', 'fwait', 'fnstenv', 'fldenv', 'fnsave', 'frstor',
]); // biome-ignore format: table
const WITHOUT_WAITING: ReadonlySet<string> = new Set<X87Op>([
  'fninit', 'fnclex', 'fneni', 'fndisi', 'fnsetpm', 'fnstcw', 'fnstsw', 'fnstenv', 'fnsave',
]); // biome-ignore format: table

/** May it run now? #NM, or #MF for what an instruction before has left. */
export function requireX87(vcpu: Vcpu, op: X87Op): Outcome {
  const cr0 = vcpu.get64('CR0');
  if (op === 'fwait') {
    const both = CR0_MP | CR0_TS;
    if ((cr0 & both) === both) return vcpu.raise(VECTOR_NM);
  } else if ((cr0 & (CR0_EM | CR0_TS)) !== 0n) return vcpu.raise(VECTOR_NM);
  return WITHOUT_WAITING.has(op) ? OUTCOME_OK : pendingX87(vcpu);
}

/** Everything but environments and whole states, which are x87-environment.ts's. */
export function* executeX87(vcpu: Vcpu, insn: Insn, op: X87Op): Path<Outcome> {
  const usable = requireX87(vcpu, op);
  if (usable !== OUTCOME_OK) return usable;
  const memory = memoryOf(insn);
  const read =
    insn.src?.kind === 'mem'
      ? yield* readLinear(vcpu, address(vcpu, insn.src), insn.srcSize, options(insn.src))
      : OUTCOME_OK;
  if (read !== OUTCOME_OK) return read;
  const outcome = yield* new Instruction(vcpu, insn, op).run(vcpu.value);
  if (outcome === OUTCOME_OK && !CONTROL.has(op)) {
    vcpu.set32('FOP', insn.extra);
    vcpu.set64('FIP', insn.rip);
    vcpu.set64('FDP', memory === null ? 0n : address(vcpu, memory));
  }
  return outcome;
}

function memoryOf(insn: Insn): MemOperand | null {
  return insn.src?.kind === 'mem' ? insn.src : insn.dst?.kind === 'mem' ? insn.dst : null;
}

const address = (vcpu: Vcpu, operand: MemOperand): bigint => linearAddress(vcpu, operand);
const options = (operand: MemOperand): { stack: boolean } => ({ stack: usesStackSegment(operand) });

const CONSTANTS: { readonly [op: string]: X87Constant } = {
  fld1: 'one',
  fldl2t: 'log2ten',
  fldl2e: 'log2e',
  fldpi: 'pi',
  fldlg2: 'log10two',
  fldln2: 'ln2',
  fldz: 'zero',
};
const SIGN = 1n << 79n;

class Instruction {
  readonly #vcpu: Vcpu;
  readonly #insn: Insn;
  readonly #op: X87Op;
  readonly #fpu: X87;

  constructor(vcpu: Vcpu, insn: Insn, op: X87Op) {
    this.#vcpu = vcpu;
    this.#insn = insn;
    this.#op = op;
    this.#fpu = new X87(vcpu);
  }

  /** @param loaded  what stood in memory */
  *run(loaded: bigint): Path<Outcome> {
    const op = this.#op;
    const fpu = this.#fpu;
    switch (op) {
      case 'fst':
      case 'fstp':
      case 'fstpnce':
      case 'fist':
      case 'fistp':
      case 'fisttp':
      case 'fbstp':
        return yield* this.#store();
      case 'fnstcw':
        return yield* this.#storeWord(this.#vcpu.get32('FCW'));
      case 'fnstsw':
        return yield* this.#storeWord(fpu.status);
      case 'fldcw':
        fpu.setControl(Number(loaded));
        return OUTCOME_OK;
      case 'fninit':
        fpu.reset();
        return OUTCOME_OK;
      case 'fnclex':
        fpu.setStatus(fpu.status & ~(FP_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B));
        return OUTCOME_OK;
      default:
        this.#compute(loaded);
        return OUTCOME_OK;
    }
  }

  #compute(loaded: bigint): void {
    const op = this.#op;
    const fpu = this.#fpu;
    const { control } = fpu;
    const constant = CONSTANTS[op];
    if (constant !== undefined) {
      fpu.clearC1();
      fpu.push(x87Constant(constant, control));
      return;
    }
    const binary = /^f(i?)(add|subr?|mul|divr?)(p?)$/.exec(op);
    if (binary !== null) {
      this.#arithmetic(binary[2] as X87Binary, binary[1] === 'i', loaded);
      if (binary[3] === 'p') this.#popIfDone();
      return;
    }
    switch (op) {
      case 'fld':
      case 'fild':
      case 'fbld':
        this.#load(loaded);
        return;
      case 'fcom':
      case 'fcomp':
      case 'fcompp':
      case 'ficom':
      case 'ficomp':
      case 'fucom':
      case 'fucomp':
      case 'fucompp':
      case 'fcomi':
      case 'fcomip':
      case 'fucomi':
      case 'fucomip':
        this.#compare(loaded);
        return;
      case 'ftst':
        this.#compareWith(0n, false);
        return;
      case 'fxam':
        this.#examine();
        return;
      case 'fxch':
        this.#exchange();
        return;
      case 'fchs':
        this.#unary((x) => result(x ^ SIGN));
        return;
      case 'fabs':
        this.#unary((x) => result(x & ~SIGN));
        return;
      case 'fsqrt':
        this.#unary((x) => root(x, control));
        return;
      case 'frndint':
        this.#unary((x) => toIntegral(x, control));
        return;
      case 'f2xm1':
        this.#unary((x) => powerMinusOne(x, control));
        return;
      case 'fscale':
        this.#binaryOfTop((x, y) => scale(x, y, control));
        return;
      case 'fprem':
      case 'fprem1':
        this.#remainder(op === 'fprem1');
        return;
      case 'fxtract':
        this.#extract();
        return;
      case 'fsin':
      case 'fcos':
        this.#circular(op === 'fsin' ? ['sin'] : ['cos']);
        return;
      case 'fsincos':
        this.#circular(['sin', 'cos']);
        return;
      case 'fptan':
        this.#circular(['tan', 'one']);
        return;
      case 'fpatan':
        this.#intoNext((x, y) => angle(y, x, control));
        return;
      case 'fyl2x':
        this.#intoNext((x, y) => timesLogarithm(y, x, control));
        return;
      case 'fyl2xp1':
        this.#intoNext((x, y) => timesLogarithmPlusOne(y, x, control));
        return;
      case 'fcmovb':
      case 'fcmove':
      case 'fcmovbe':
      case 'fcmovu':
      case 'fcmovnb':
      case 'fcmovne':
      case 'fcmovnbe':
      case 'fcmovnu':
        this.#move();
        return;
      case 'ffree':
      case 'ffreep':
        fpu.clearC1();
        fpu.free(this.#register(this.#insn.dst));
        if (op === 'ffreep') fpu.pop();
        return;
      case 'fincstp':
        fpu.clearC1();
        fpu.turn(1);
        return;
      case 'fdecstp':
        fpu.clearC1();
        fpu.turn(-1);
        return;
      default:
        // FNOP and FWAIT, and FNENI, FNDISI and FNSETPM, which older processors had a use for.
        return;
    }
  }

  // ── operands ──────────────────────────────────────────────────────────────────────────────────────────────
  #register(operand: Insn['dst']): number {
    return operand === null || operand.kind === 'mem' ? 0 : (operand as VectorOperand).reg;
  }
  /** An operand as a register of 80 bits: memory is converted first. */
  #fromMemory(loaded: bigint, integer: boolean): X87Result {
    const { srcSize } = this.#insn;
    if (integer) return result(fromInteger(BigInt.asIntN(srcSize * 8, loaded)));
    return fromFloat(FLOAT_OF_BYTES[srcSize]!, loaded);
  }

  /** May the result be stored? A stack fault leaves the indefinite number, unless that is not masked. */
  #isUsable(...registers: readonly number[]): 'yes' | 'indefinite' | 'no' {
    if (!registers.some((i) => this.#fpu.isEmpty(i))) return 'yes';
    return this.#fpu.underflow() ? 'indefinite' : 'no';
  }
  /** Whether the last operation was stopped by an exception that is not masked. */
  #stopped = false;
  #popIfDone(): void {
    if (!this.#stopped) this.#fpu.pop();
  }

  /** Stores what an operation has given into a register. */
  #commit(into: number, { bits, raised, up }: X87Result): void {
    if (this.#fpu.accept(raised, up, BEFORE)) this.#fpu.set(into, bits);
    else this.#stopped = true;
  }

  /** Runs an operation on registers that have to be in use. */
  #withRegisters(registers: readonly number[], into: number, compute: () => X87Result): void {
    const usable = this.#isUsable(...registers);
    if (usable === 'no') this.#stopped = true;
    else if (usable === 'indefinite') this.#fpu.set(into, INDEFINITE);
    else this.#commit(into, compute());
  }

  #unary(compute: (x: bigint) => X87Result): void {
    this.#withRegisters([0], 0, () => compute(this.#fpu.get(0)));
  }
  #binaryOfTop(compute: (x: bigint, y: bigint) => X87Result): void {
    this.#withRegisters([0, 1], 0, () => compute(this.#fpu.get(0), this.#fpu.get(1)));
  }
  /** ST1 becomes the result, and the stack is popped. */
  #intoNext(compute: (x: bigint, y: bigint) => X87Result): void {
    this.#withRegisters([0, 1], 1, () => compute(this.#fpu.get(0), this.#fpu.get(1)));
    this.#popIfDone();
  }

  // ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────
  #arithmetic(name: X87Binary, integer: boolean, loaded: bigint): void {
    const fpu = this.#fpu;
    const { dst, src } = this.#insn;
    if (src?.kind === 'mem') {
      this.#withRegisters([0], 0, () => {
        const operand = this.#fromMemory(loaded, integer);
        return this.#combined(name, fpu.get(0), operand);
      });
      return;
    }
    const [into, from] = [this.#register(dst), this.#register(src)];
    this.#withRegisters([into, from], into, () =>
      arithmetic(name, fpu.get(into), fpu.get(from), fpu.control),
    );
  }

  /** With an operand whose conversion may have raised something; a signaling NaN counts as what it was. */
  #combined(name: X87Binary, x: bigint, operand: X87Result): X87Result {
    const { control } = this.#fpu;
    const before = operand.raised & FP_DENORMAL;
    if ((operand.raised & FP_INVALID) !== 0) {
      const signaling = operand.bits & ~(1n << 62n);
      return arithmetic(name, x, signaling === operand.bits ? operand.bits : signaling, control);
    }
    if ((before & control.unmasked) !== 0 && unpack(EXTENDED, x).kind !== 'nan') return result(0n, before);
    const outcome = arithmetic(name, x, operand.bits, control);
    const hides =
      unpack(EXTENDED, x).kind === 'nan' || (outcome.raised & (FP_INVALID | FP_ZERO_DIVIDE)) !== 0;
    return { ...outcome, raised: outcome.raised | (hides ? 0 : before) };
  }

  #remainder(nearest: boolean): void {
    const fpu = this.#fpu;
    const usable = this.#isUsable(0, 1);
    if (usable !== 'yes') {
      if (usable === 'indefinite') fpu.set(0, INDEFINITE);
      fpu.setStatus(fpu.status & ~FSW_C2);
      return;
    }
    const outcome = remainder(fpu.get(0), fpu.get(1), nearest, fpu.control);
    const status = fpu.status & ~(CONDITIONS | FSW_C1);
    this.#commit(0, outcome);
    const isNan = unpack(EXTENDED, outcome.bits).kind === 'nan';
    if (this.#stopped || isNan) {
      fpu.setStatus(fpu.status & ~FSW_C2);
      return;
    }
    const { quotient, partial } = outcome;
    const bits =
      (partial ? FSW_C2 : 0) |
      (quotient & 4 ? FSW_C0 : 0) |
      (quotient & 2 ? FSW_C3 : 0) |
      (quotient & 1 ? FSW_C1 : 0);
    fpu.setStatus(status | outcome.raised | bits);
  }

  #extract(): void {
    const fpu = this.#fpu;
    const usable = this.#isUsable(0);
    if (usable === 'no') return;
    const { exponent, significand, raised } =
      usable === 'yes' ? extract(fpu.get(0)) : { exponent: INDEFINITE, significand: INDEFINITE, raised: 0 };
    if (usable === 'yes' && !fpu.accept(raised, false, BEFORE)) return;
    this.#pushOver(exponent, significand);
  }

  /** Replaces ST0 by `below` and pushes `above`, if there is room. */
  #pushOver(below: bigint, above: bigint): void {
    const fpu = this.#fpu;
    if (!fpu.isEmpty(-1)) {
      if (fpu.push(above)) fpu.set(1, INDEFINITE);
      return;
    }
    fpu.set(0, below);
    fpu.push(above);
  }

  #circular(names: readonly ('sin' | 'cos' | 'tan' | 'one')[]): void {
    const fpu = this.#fpu;
    const usable = this.#isUsable(0);
    fpu.setStatus(fpu.status & ~FSW_C2);
    if (usable === 'no') return;
    if (usable === 'indefinite') {
      if (names.length === 1) fpu.set(0, INDEFINITE);
      else this.#pushOver(INDEFINITE, INDEFINITE);
      return;
    }
    if (names.length > 1 && !fpu.isEmpty(-1)) {
      this.#pushOver(INDEFINITE, INDEFINITE);
      return;
    }
    const x = fpu.get(0);
    const outcomes = names.map((name) =>
      name === 'one' ? result(x87Constant('one', fpu.control)) : circular(name, x, fpu.control),
    );
    const [first, second] = outcomes;
    fpu.setStatus(fpu.status & ~(FSW_C2 | FSW_C1));
    if (first === null || second === null) {
      fpu.setStatus(fpu.status | FSW_C2);
      return;
    }
    if (second === undefined) {
      this.#commit(0, first!);
      return;
    }
    const raised = first!.raised | second.raised;
    if (!fpu.accept(raised, names[1] === 'one' ? first!.up : second.up, BEFORE)) return;
    fpu.set(0, first!.bits);
    // Of a NaN the tangent is pushed as well.
    const nan = names[1] === 'one' && unpack(EXTENDED, first!.bits).kind === 'nan';
    fpu.push(nan ? first!.bits : second.bits);
  }

  // ── moves ─────────────────────────────────────────────────────────────────────────────────────────────────
  #load(loaded: bigint): void {
    const fpu = this.#fpu;
    const { src, srcSize } = this.#insn;
    if (src?.kind !== 'mem') {
      const i = this.#register(src);
      if (fpu.isEmpty(i)) {
        if (fpu.underflow()) this.#pushMasked(INDEFINITE);
        return;
      }
      fpu.clearC1();
      fpu.push(fpu.get(i));
      return;
    }
    let operand: X87Result;
    if (this.#op === 'fild') operand = this.#fromMemory(loaded, true);
    else if (this.#op === 'fbld') operand = result(fromDecimal(loaded));
    else if (srcSize === 10) operand = result(BigInt.asUintN(80, loaded));
    else operand = this.#fromMemory(loaded, false);
    if (!fpu.isEmpty(-1)) {
      fpu.push(0n);
      return;
    }
    // A denormal number is loaded, whether that is masked or not.
    if (fpu.accept(operand.raised, false, FP_INVALID)) fpu.push(operand.bits);
  }

  /** Onto a stack that is known to be masked. */
  #pushMasked(value: bigint): void {
    this.#fpu.turn(-1);
    this.#fpu.set(0, value);
  }

  #exchange(): void {
    const fpu = this.#fpu;
    const i = this.#insn.src === null ? 1 : this.#register(this.#insn.src);
    const empty = [0, i].filter((n) => fpu.isEmpty(n));
    if (empty.length > 0) {
      if (!fpu.underflow()) return;
      for (const n of empty) fpu.set(n, INDEFINITE);
    } else fpu.clearC1();
    const [top, other] = [fpu.get(0), fpu.get(i)];
    fpu.set(0, other);
    fpu.set(i, top);
  }

  #move(): void {
    const fpu = this.#fpu;
    const from = this.#register(this.#insn.src);
    if (fpu.isEmpty(0) || fpu.isEmpty(from)) {
      if (fpu.underflow()) fpu.set(0, INDEFINITE);
      return;
    }
    const flags = Number(this.#vcpu.flags.rflags());
    const [, negated, name] = /^fcmov(n?)(be?|e|u)$/.exec(this.#op)!;
    const mask = { b: CF, e: ZF, be: CF | ZF, u: PF }[name!]!;
    if (((flags & mask) !== 0) !== (negated === 'n')) fpu.set(0, fpu.get(from));
  }

  /** FST and its like. Memory is written before anything changes. */
  *#store(): Path<Outcome> {
    const fpu = this.#fpu;
    const op = this.#op;
    const pops = op !== 'fst' && op !== 'fist';
    const { dst } = this.#insn;
    if (dst?.kind !== 'mem') {
      // FSTPNCE, an undocumented one, pops without a word when there is nothing.
      if (op === 'fstpnce' && fpu.isEmpty(0)) {
        fpu.clearC1();
        fpu.pop();
        return OUTCOME_OK;
      }
      const usable = this.#isUsable(0);
      if (usable === 'no') return OUTCOME_OK;
      if (usable === 'yes') fpu.clearC1();
      fpu.set(this.#register(dst), usable === 'yes' ? fpu.get(0) : INDEFINITE);
      if (pops) fpu.pop();
      return OUTCOME_OK;
    }
    const empty = fpu.isEmpty(0);
    const { bits, raised, up } = this.#toMemory(empty ? INDEFINITE : fpu.get(0));
    const exceptions = empty ? FP_INVALID : raised;
    const stores = (exceptions & fpu.control.unmasked & BEFORE_STORE) === 0;
    const { srcSize } = this.#insn;
    const at = address(this.#vcpu, dst);
    const outcome = stores
      ? yield* writeLinear(this.#vcpu, at, srcSize, bits, options(dst))
      : yield* checkWritable(this.#vcpu, at, srcSize, options(dst));
    if (outcome !== OUTCOME_OK) return outcome;
    if (empty) fpu.underflow();
    else if (stores) fpu.raise(raised, (raised & FP_INEXACT) !== 0 && up);
    // What was not stored was not rounded either.
    else fpu.raise(raised & ~FP_INEXACT);
    if (stores && pops) fpu.pop();
    return OUTCOME_OK;
  }

  #toMemory(x: bigint): X87Result {
    const { control } = this.#fpu;
    const { srcSize } = this.#insn;
    switch (this.#op) {
      case 'fist':
      case 'fistp':
        return toInteger(srcSize * 8, x, control.mode);
      case 'fisttp':
        return toInteger(srcSize * 8, x, TRUNCATE);
      case 'fbstp':
        return toDecimal(x, control.mode);
      default:
        return srcSize === 10 ? result(x) : toFloat(FLOAT_OF_BYTES[srcSize]!, x, control);
    }
  }

  *#storeWord(value: number): Path<Outcome> {
    const { dst } = this.#insn;
    if (dst?.kind === 'mem') {
      return yield* writeLinear(this.#vcpu, address(this.#vcpu, dst), 2, BigInt(value), options(dst));
    }
    const vcpu = this.#vcpu;
    vcpu.setGpr(RAX, (vcpu.gpr(RAX) & ~0xffffn) | BigInt(value));
    return OUTCOME_OK;
  }

  // ── comparisons ───────────────────────────────────────────────────────────────────────────────────────────
  #compare(loaded: bigint): void {
    const fpu = this.#fpu;
    const { src } = this.#insn;
    const quiet = this.#op.startsWith('fuc');
    const toFlags = /comip?$/.test(this.#op) && /^fu?comi/.test(this.#op);
    const pops = this.#op.endsWith('pp') ? 2 : this.#op.endsWith('p') ? 1 : 0;
    if (src?.kind === 'mem') {
      const operand = this.#fromMemory(loaded, this.#op.startsWith('fi'));
      if ((operand.raised & FP_INVALID) !== 0) this.#compareWith(operand.bits & ~(1n << 62n), quiet);
      else this.#compareWith(operand.bits, quiet, operand.raised);
    } else {
      const i = src === null ? 1 : this.#register(src);
      if (fpu.isEmpty(i) || fpu.isEmpty(0)) {
        if (!fpu.underflow()) this.#stopped = true;
        else this.#report(UNORDERED, toFlags);
      } else {
        const { outcome, raised } = comparison(fpu.get(0), fpu.get(i), quiet);
        if (fpu.accept(raised, false, BEFORE)) this.#report(outcome, toFlags);
        else this.#stopped = true;
      }
    }
    for (let n = 0; n < pops; n++) this.#popIfDone();
  }

  #compareWith(y: bigint, quiet: boolean, converted = 0): void {
    const fpu = this.#fpu;
    if (fpu.isEmpty(0)) {
      if (fpu.underflow()) this.#report(UNORDERED, false);
      else this.#stopped = true;
      return;
    }
    const { outcome, raised } = comparison(fpu.get(0), y, quiet);
    const all = raised | ((raised & FP_INVALID) !== 0 || outcome === UNORDERED ? 0 : converted);
    if (fpu.accept(all, false, BEFORE)) this.#report(outcome, false);
    else this.#stopped = true;
  }

  /** C3, C2 and C0, or ZF, PF and CF: bits 2, 1 and 0 of `outcome`. */
  #report(outcome: number, toFlags: boolean): void {
    if (!toFlags) {
      const bits = (outcome & 4 ? FSW_C3 : 0) | (outcome & 2 ? FSW_C2 : 0) | (outcome & 1 ? FSW_C0 : 0);
      this.#fpu.setStatus((this.#fpu.status & ~CONDITIONS) | bits);
      return;
    }
    const { flags } = this.#vcpu;
    const bits = (outcome & 4 ? ZF : 0) | (outcome & 2 ? PF : 0) | (outcome & 1 ? CF : 0);
    flags.setRflags((flags.rflags() & ~BigInt(CF | PF | ZF | SF | OF | AF)) | BigInt(bits));
  }

  #examine(): void {
    const fpu = this.#fpu;
    const value = unpack(EXTENDED, fpu.get(0));
    const classes = { unsupported: 0, nan: FSW_C0, infinite: FSW_C2 | FSW_C0, zero: FSW_C3, finite: FSW_C2 };
    let bits = classes[value.kind];
    if (value.denormal) bits = FSW_C3 | FSW_C2;
    if (fpu.isEmpty(0)) bits = FSW_C3 | FSW_C0;
    const sign = value.negative ? FSW_C1 : 0;
    fpu.setStatus((fpu.status & ~(CONDITIONS | FSW_C1)) | bits | sign);
  }
}
