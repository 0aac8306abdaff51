/**
 * Straight lines of several instructions: what single instructions cannot show. Lazy flags that one kind of
 * instruction leaves and another consumes, flags that are not computed because nobody looks, compares fused with the
 * jump behind them, blocks across a page border.
 *
 * RSP and RBP point into the data pages and are written by pushes and pops only, so memory operands stay where they
 * are. Nothing reads a flag that an instruction before it left undefined.
 */
import { decode } from '../../src/actors/vcpu/isa/decode.ts';
import { type Form, formOf, normalise } from '../../src/actors/vcpu/isa/forms.ts';
import type { Insn, Size } from '../../src/actors/vcpu/isa/insn.ts';
import {
  AT_CL,
  AT_IMM,
  AT_NONE,
  AT_ONE,
  AT_OPCODE,
  AT_RAX,
  AT_REG,
  AT_RM,
  AT_UNSIGNED,
  type Place,
} from '../../src/actors/vcpu/isa/opcode-table.ts';
import type { Prng } from '../../src/shared/prng.ts';
import {
  AF,
  ARITHMETIC_FLAGS,
  CF,
  OF,
  PF,
  RFLAGS_DF,
  RFLAGS_FIXED,
  RFLAGS_IF,
  SF,
  ZF,
} from '../../src/shared/x86/rflags.ts';
import type { Address } from './address.ts';
import { bytes } from './address.ts';
import { CODE_BASE, DATA_BASE, DATA_BYTES, PAGE_BYTES } from './arena.ts';
import { branchTarget, type Operand, pickImmediate } from './arrange.ts';
import { CODE_LIMIT, NO_FREEDOM, type OracleCase } from './case.ts';
import { CaseState } from './case-state.ts';
import { encode } from './encode.ts';
import { placeSize, SLOTS, type Slot } from './encodings.ts';
import { anywhereInCode } from './generate.ts';
import { maskedCount, undefinedFlags } from './undefined-flags.ts';
import { operandValue } from './values.ts';

const RAX = 0;
const RCX = 1;
const RSP = 4;
const RBP = 5;
const INSTRUCTIONS_MAX = 8;
const JUMP_BYTES = 2;

const PLAIN = [
  'mov', 'movzx', 'movsx', 'movsxd', 'lea', 'xchg', 'bswap', 'movbe', 'not', 'cbw', 'cwd', 'nop', 'push', 'pop',
  'std', 'cld',
]; // biome-ignore format: table
const FLAG_MAKERS = [
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test', 'inc', 'dec', 'neg', 'mul', 'imul', 'imul2', 'imul3',
  'rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd', 'bt', 'bts', 'btr', 'btc', 'tzcnt', 'lzcnt',
  'popcnt', 'cmpxchg', 'xadd', 'sahf', 'clc', 'stc', 'cmc',
]; // biome-ignore format: table
const FLAG_USERS = ['adc', 'sbb', 'rcl', 'rcr', 'setcc', 'cmovcc', 'lahf', 'pushf', 'cmc', 'inc', 'dec'];
/** Instructions that may do the jump behind them as well. */
const BEFORE_JUMP = ['cmp', 'test', 'add', 'sub', 'and', 'inc', 'dec'];

const USABLE: ReadonlyMap<string, readonly Slot[]> = usableSlots();

function usableSlots(): Map<string, Slot[]> {
  const map = new Map<string, Slot[]>();
  for (const op of new Set([...PLAIN, ...FLAG_MAKERS, ...FLAG_USERS])) {
    map.set(
      op,
      SLOTS.filter((slot) => slot.encoding.op === op && isUsable(slot)),
    );
  }
  return map;
}

function isUsable({ encoding, size, rm }: Slot): boolean {
  const { op, leaf } = encoding;
  if (rm === 'indexed' || rm === 'memory') return false;
  if (rm === 'base' && [leaf.dst, leaf.src].every((place) => place.at !== AT_RM)) return op === 'nop';
  // Results that may be undefined, and bit strings that reach anywhere.
  if ((op === 'bswap' || op === 'shld' || op === 'shrd') && size === 2) return false;
  return !(op.startsWith('bt') && rm === 'base' && leaf.src.at === AT_REG);
}

/**
 * @param tail  a variant of a form made for what comes after it, fused with a jump or without flags: the sequence ends
 *              so that the core uses it
 */
export function makeSequence(rng: Prng, tail: Form | null = null): OracleCase {
  for (;;) {
    const made = new SequenceMaker(rng).make(tail);
    if (made !== null) return made;
  }
}

const SLOTS_OF_FORM = new Map<Form, readonly Slot[]>();

/** Slots whose instruction has the form, as far as one can tell without its operands. */
function slotsOfForm(form: Form): readonly Slot[] {
  let slots = SLOTS_OF_FORM.get(form);
  if (slots === undefined) {
    const inMemory = form.src === 'base' || form.src === 'indexed';
    slots = SLOTS.filter(({ encoding, size, rm, lock }) => {
      const { leaf } = encoding;
      if (encoding.op !== form.op || size !== form.size || lock) return false;
      return inMemory ? rm === form.src && leaf.src.at === AT_RM : rm === 'register' || rm === 'none';
    });
    SLOTS_OF_FORM.set(form, slots);
  }
  return slots;
}

/** Operations that overwrite all flags and stay in registers. */
const OVERWRITING = ['add', 'or', 'and', 'sub', 'xor', 'cmp', 'test'];

class SequenceMaker {
  readonly #rng: Prng;
  readonly #state: CaseState;
  readonly #code: number[] = [];
  readonly #codeOffset: number;
  #count = 0;
  /** RFLAGS bits that nobody may read now. */
  #undefined = 0;

  constructor(rng: Prng) {
    this.#rng = rng;
    this.#state = new CaseState(rng);
    const border = PAGE_BYTES * (1 + rng.below(3)) - 1 - rng.below(40);
    this.#codeOffset = rng.chance(0.1) ? border : anywhereInCode(rng);
    const middle = BigInt(DATA_BASE + (rng.chance(0.2) ? PAGE_BYTES : 0x200 + rng.below(DATA_BYTES - 0x400)));
    this.#state.choose(RSP, middle + BigInt(rng.below(32)));
    this.#state.choose(RBP, middle + BigInt(rng.below(32)));
    for (let n = 0; n < 16; n++) if (rng.chance(0.35)) this.#state.choose(n, operandValue(rng, 64));
  }

  /** null: the tail did not fit. */
  make(tail: Form | null): OracleCase | null {
    const rng = this.#rng;
    if (tail === null) this.#appendAny(1 + rng.below(INSTRUCTIONS_MAX - 1));
    // An index is any register, so nothing may change it before.
    else if (tail.src !== 'indexed') this.#appendAny(rng.below(4));
    if (tail === null) {
      if (rng.chance(0.5)) this.#append(USABLE.get(rng.pick(BEFORE_JUMP))!);
      if (rng.chance(0.7)) this.#appendJump(rng.below(16));
    } else {
      if (!this.#append(slotsOfForm(tail), tail)) return null;
      if (tail.jcc >= 0) this.#appendJump(tail.jcc);
      else {
        const slots = USABLE.get(rng.pick(OVERWRITING))!.filter(({ rm }) => rm === 'register');
        if (!this.#append(slots)) return null;
      }
    }
    const state = this.#state;
    const rflags =
      RFLAGS_FIXED | RFLAGS_IF | (rng.u32() & ARITHMETIC_FLAGS) | (state.backwards ? RFLAGS_DF : 0);
    return {
      code: Uint8Array.from(this.#code),
      instructionCount: this.#count,
      codeOffset: this.#codeOffset,
      fill: state.fill,
      chosen: state.chosen,
      gpr: state.gpr,
      rflags,
      fsBase: 0n,
      gsBase: 0n,
      ...state.patch(),
      fpu: null,
      freedom: { ...NO_FREEDOM, flags: this.#undefined },
      group: 'sequence',
    };
  }

  /** About `count` instructions of any kind. */
  #appendAny(count: number): void {
    while (this.#count < count) {
      const turn = this.#rng.below(10);
      this.#append(USABLE.get(this.#rng.pick(turn < 3 ? PLAIN : turn < 7 ? FLAG_MAKERS : FLAG_USERS))!);
    }
  }

  /** One instruction of one of these slots; false if what comes out does not fit here, or has not the form. */
  #append(slots: readonly Slot[], form: Form | null = null): boolean {
    const slot = this.#rng.pick(slots);
    const { op } = slot.encoding;
    const made = this.#encode(slot);
    if (made === null || this.#code.length + made.length > CODE_LIMIT - JUMP_BYTES) return false;
    const at = BigInt(CODE_BASE + this.#codeOffset + this.#code.length);
    const insn = decode(made, 0, made.length, at);
    if ('fault' in insn || insn.op !== op) {
      throw new Error(`${Buffer.from(made).toString('hex')} was meant as ${op}`);
    }
    if ((flagsRead(insn) & this.#undefined) !== 0) return false;
    if (form !== null && shapesOf(formOf(normalise(insn))) !== shapesOf(form)) return false;
    this.#undefined = undefinedAfter(insn, this.#undefined);
    this.#code.push(...made);
    this.#count++;
    return true;
  }

  /** JCC rel8 with condition `cc`, unless it would look at an undefined flag. */
  #appendJump(cc: number): void {
    const opcode = 0x70 | cc;
    if ((conditionFlags(cc) & this.#undefined) !== 0) return;
    const at = this.#codeOffset + this.#code.length;
    let target: bigint;
    do {
      target = branchTarget(this.#state, at, JUMP_BYTES, 1);
    } while (this.#holds(target));
    const relative = target - BigInt(CODE_BASE + at + JUMP_BYTES);
    this.#code.push(opcode, ...bytes(relative, 1));
    this.#count++;
  }

  /** Does the sequence itself lie there, or begin right behind it? */
  #holds(target: bigint): boolean {
    const offset = Number(target) - CODE_BASE - this.#codeOffset;
    return offset >= -1 && offset < this.#code.length + JUMP_BYTES;
  }

  #encode(slot: Slot): Uint8Array | null {
    const rng = this.#rng;
    const { encoding, size, rm } = slot;
    const { leaf } = encoding;
    const places = [leaf.dst, leaf.src, leaf.src2];
    const byteRegister = places.some(
      (place) => [AT_RM, AT_REG, AT_OPCODE].includes(place.at) && placeSize(place, size) === 1,
    );
    const noRex = rm === 'high' || (byteRegister && size !== 8 && encoding.rexB < 0 && rng.chance(0.3));
    const inMemory = rm === 'base' || rm === 'indexed';
    const limit = noRex ? 8 : 16;
    const reg =
      encoding.reg >= 0
        ? encoding.reg
        : this.#register(
            limit,
            places.find(({ at }) => at === AT_REG),
            size,
          );
    let rmRegister = this.#register(noRex && rm === 'register' ? 4 : limit, leaf.dst, size);
    if (rm === 'high') rmRegister = 4 + rng.below(4);
    if (encoding.rm >= 0) rmRegister = encoding.rm;
    const named = this.#register(
      limit,
      places.find(({ at }) => at === AT_OPCODE),
      size,
    );
    const opcode = encoding.opcodes.find((code) => (code & 7) === (named & 7)) ?? encoding.opcodes[0]!;
    const usesOpcode = places.some(({ at }) => at === AT_OPCODE);
    if (usesOpcode && (opcode & 7) !== (named & 7)) return null;
    const operand = (place: Place): Operand => {
      const bytesOf: Size = place.at === AT_NONE ? 1 : placeSize(place, size);
      const inRegister = (n: number): Operand => {
        const high = bytesOf === 1 && noRex && n >= 4;
        return { kind: 'reg', size: bytesOf, reg: high ? n - 4 : n, high };
      };
      switch (place.at) {
        case AT_REG:
          return inRegister(reg);
        case AT_RM:
          return inMemory ? { kind: 'mem', size: bytesOf, linear: 0n } : inRegister(rmRegister);
        case AT_OPCODE:
          return inRegister(named);
        case AT_RAX:
          return inRegister(RAX);
        case AT_CL:
          return inRegister(RCX);
        case AT_ONE:
          return { kind: 'imm', size: 1, value: 1n };
        case AT_IMM:
        case AT_UNSIGNED:
          return { kind: 'imm', size: bytesOf, value: pickImmediate(rng, slot, place, bytesOf) };
        default:
          return { kind: 'none', size: bytesOf };
      }
    };
    const encoded = encode({
      slot,
      opcode,
      reg,
      rm: inMemory ? this.#address(rm === 'indexed') : rmRegister,
      opcodeB: encoding.rexB >= 0 ? encoding.rexB : named >> 3,
      noRex,
      wide: false,
      operands: places.map(operand),
      moffs: [],
      segment: 0,
      addressSize: 8,
      noise: (prefixes) => prefixes,
    });
    return encoded === null ? null : Uint8Array.from(encoded.head);
  }

  /** A register, never RSP or RBP unless the numbers mean CH and DH or the like. */
  #register(limit: number, place: Place | undefined, size: Size): number {
    const bytesOf = place === undefined || place.at === AT_NONE ? size : placeSize(place, size);
    for (;;) {
      const n = this.#rng.below(limit);
      const high = bytesOf === 1 && limit === 8;
      if (high || (n !== RSP && n !== RBP)) return n;
    }
  }

  /** [rbp + disp8], [rsp + disp8], or [rbp + index × scale + disp8] with a small index. */
  #address(indexed: boolean): Address {
    const disp = this.#rng.below(96) - 48;
    const common = { ripTarget: null, rexX: 0, rexB: 0, segment: 0, addressSize: 8, registers: 0 } as const;
    if (indexed) {
      const index = this.#register(16, undefined, 8);
      this.#state.gpr[index] = BigInt(this.#rng.below(16));
      this.#state.chosen |= 1 << index;
      const sib = (this.#rng.below(4) << 6) | ((index & 7) << 3) | RBP;
      return { ...common, modrm: 0x44, tail: [sib, ...bytes(BigInt(disp), 1)], rexX: index >> 3 };
    }
    if (this.#rng.chance(0.5)) return { ...common, modrm: 0x45, tail: bytes(BigInt(disp), 1) };
    return { ...common, modrm: 0x44, tail: [0x24, ...bytes(BigInt(disp), 1)] };
  }
}

function shapesOf({ dst, src, src2 }: Form): string {
  return `${dst} ${src} ${src2}`;
}

/** Flags that condition code `cc` looks at. */
function conditionFlags(cc: number): number {
  return [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF][cc >> 1]!;
}

function flagsRead(insn: Insn): number {
  switch (insn.op) {
    case 'adc':
    case 'sbb':
    case 'rcl':
    case 'rcr':
    case 'cmc':
      return CF;
    case 'lahf':
      return SF | ZF | AF | PF | CF;
    case 'pushf':
      return ARITHMETIC_FLAGS;
    case 'setcc':
    case 'cmovcc':
    case 'jcc':
      return conditionFlags(insn.cc);
    default:
      return 0;
  }
}

const ALL_FLAGS: readonly string[] = [
  'add', 'adc', 'sub', 'sbb', 'cmp', 'neg', 'xadd', 'cmpxchg', 'popcnt', 'and', 'or', 'xor', 'test',
  'mul', 'imul', 'imul2', 'imul3',
]; // biome-ignore format: table
const COUNTED: readonly string[] = ['shl', 'shr', 'sar', 'shld', 'shrd', 'rol', 'ror', 'rcl', 'rcr'];
/** Counts that leave everything undefined that any count can. */
const WORST_COUNTS = [2, 31];

/** The undefined flags after `insn`, when `before` were undefined. */
function undefinedAfter(insn: Insn, before: number): number {
  if (COUNTED.includes(insn.op)) return undefinedAfterCount(insn, before);
  const fresh = undefinedFlags(insn, 0);
  return (before & ~(flagsWritten(insn) | fresh)) | fresh;
}

function flagsWritten({ op }: Insn): number {
  if (ALL_FLAGS.includes(op)) return ARITHMETIC_FLAGS;
  if (op === 'inc' || op === 'dec') return ARITHMETIC_FLAGS & ~CF;
  if (op === 'sahf') return SF | ZF | AF | PF | CF;
  if (op === 'tzcnt' || op === 'lzcnt') return CF | ZF;
  if (op.startsWith('bt') || op === 'clc' || op === 'stc' || op === 'cmc') return CF;
  return 0;
}

/** A count in CL may be anything, so it may leave flags as they were. */
function undefinedAfterCount(insn: Insn, before: number): number {
  const count = insn.src2 ?? insn.src;
  if (count?.kind !== 'imm') {
    return WORST_COUNTS.reduce((flags, worst) => flags | undefinedFlags(insn, worst), before);
  }
  const value = Number(count.value & 0xffn);
  if (maskedCount(insn, value) === 0) return before;
  const fresh = undefinedFlags(insn, value);
  const rotates = insn.op.startsWith('r');
  const written = rotates ? CF | OF : ARITHMETIC_FLAGS;
  return (before & ~written) | fresh;
}
