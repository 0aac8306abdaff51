/**
 * What each instruction does, written once against {@link Emitter}. Staged from micro-op records it becomes the
 * interpreter and the single-step emulator; a region compiler will stage the same functions with constant operands.
 *
 * Every function keeps the order that makes faults precise and single-stepping repeatable: memory accesses first, then
 * registers, flags and RIP.
 *
 * @source Intel SDM vol. 2, "Instruction Set Reference": one function per mnemonic, in the order of insn.ts
 */
import { RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP } from '../../../shared/x86/registers.ts';
import {
  AF,
  ARITHMETIC_FLAGS,
  CF,
  OF,
  PF,
  RFLAGS_AC,
  RFLAGS_DF,
  RFLAGS_FIXED,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_TF,
  SF,
  ZF,
} from '../../../shared/x86/rflags.ts';
import { VECTOR_DE, VECTOR_GP } from '../../../shared/x86/vectors.ts';
import type { Size, Value } from './code.ts';
import type { Branch, Emitter } from './emitter.ts';
import { carryOverflow, FLAGS_ADD, FLAGS_DEC, FLAGS_INC, FLAGS_RESULT, FLAGS_SUB, signBit } from './flags.ts';
import { FLOAT_MEANINGS } from './float-semantics.ts';
import { isMemory, type PseudoOp } from './forms.ts';
import type { CoreOp } from './insn.ts';
import { VECTOR_MEANINGS } from './vector-semantics.ts';
import type { AtomicOperation } from './wasm-module.ts';

type Meaning = (e: Emitter) => void;

/** Writes the whole handler of one form: its effects, and where it goes from there. */
export function emitInstruction(e: Emitter): void {
  const meaning = MEANINGS[e.form.op];
  if (meaning === undefined) throw new Error(`no meaning for ${e.form.op}`);
  meaning(e);
}

/** Operations with a meaning. `blockstart` and `host` belong to the interpreter, and `fall` is a jump. */
const MEANINGS: Partial<Record<CoreOp | PseudoOp, Meaning>> = {
  // ── moves ─────────────────────────────────────────────────────────────────────────────────────────────────
  mov: then((e) => e.write('dst', e.read('src'))),
  movzx: then((e) => e.write('dst', e.read('src', e.form.srcSize as Size))),
  movsx: then((e) => {
    const { size } = e.form;
    const srcSize = e.form.srcSize as Size;
    e.write('dst', e.read('src', srcSize).signed(srcSize).cut(size));
  }),
  lea: then((e) => e.write('dst', e.effectiveAddress('src'))),
  xchg: then((e) => {
    const replacement = e.read('src');
    if (isMemory(e.form.dst)) {
      const address = e.address('dst');
      const atomic = { operation: 'xchg', operand: replacement } as const;
      e.write(
        'src',
        e.lockedUpdate(address, e.form.size, atomic, () => replacement),
      );
      return;
    }
    const found = e.read('dst');
    e.write('dst', replacement);
    e.write('src', found);
  }),
  bswap: then((e) => {
    // A 16-bit BSWAP is undefined; the cores at hand clear the register half.
    const { size } = e.form;
    e.write('dst', size === 2 ? e.i64(0) : swapBytes(e, e.read('dst'), size));
  }),
  movbe: then((e) => e.write('dst', swapBytes(e, e.read('src'), e.form.size))),
  cmovcc: then((e) => {
    const source = e.read('src');
    // The source is read, and 32 bits clear the upper half, whatever the condition.
    e.write('dst', e.let(e.select(e.condition(e.form.cc), source, e.read('dst'))));
  }),
  setcc: then((e) => e.write('dst', e.condition(e.form.cc).wide(), 1)),
  cbw: then((e) => {
    const half = (e.form.size / 2) as Size;
    e.setRegister(RAX, e.form.size, e.register(RAX, half).signed(half).cut(e.form.size));
  }),
  cwd: then((e) => {
    const { size } = e.form;
    e.setRegister(RDX, size, e.register(RAX, size).signed(size).shrS(63).cut(size));
  }),
  xlat: then((e) => {
    const index = e.register(RAX, 1);
    const address = e.let(e.cutAddress(e.register(RBX, 8).add(index)).add(e.segmentBase()));
    e.setRegister(RAX, 1, e.loadGuest(address, 1));
  }),

  // ── arithmetic and logic ──────────────────────────────────────────────────────────────────────────────────
  add: then((e) => addition(e, null)),
  adc: then((e) => addition(e, e.carry())),
  sub: then((e) => subtraction(e, null)),
  sbb: then((e) => subtraction(e, e.carry())),
  and: then((e) => logic(e, 'and')),
  or: then((e) => logic(e, 'or')),
  xor: then((e) => logic(e, 'xor')),
  cmp: then((e) => {
    const first = e.read('dst');
    e.setFlags(FLAGS_SUB, e.form.size, first, e.read('src'));
  }),
  test: then((e) => {
    const first = e.read('dst');
    e.setLogicFlags(e.form.size, e.let(first.and(e.read('src'))));
  }),
  inc: then((e) => {
    const { size } = e.form;
    const carry = e.wantsFlags ? e.carry().wide() : e.i64(0);
    const { result } = update(e, { operation: 'add', operand: e.i64(1) }, (found) => found.add(1).cut(size));
    e.setFlags(FLAGS_INC, size, result, carry);
  }),
  dec: then((e) => {
    const { size } = e.form;
    const carry = e.wantsFlags ? e.carry().wide() : e.i64(0);
    const { result } = update(e, { operation: 'sub', operand: e.i64(1) }, (found) => found.sub(1).cut(size));
    e.setFlags(FLAGS_DEC, size, result, carry);
  }),
  neg: then((e) => {
    const { size } = e.form;
    const { found } = update(e, null, (value) => e.i64(0).sub(value).cut(size));
    e.setFlags(FLAGS_SUB, size, e.i64(0), found);
  }),
  not: then((e) => {
    const { size } = e.form;
    update(e, { operation: 'xor', operand: e.i64(-1).cut(size) }, (value) => value.not().cut(size));
  }),
  mul: then((e) => multiplyAccumulator(e, false)),
  imul: then((e) => multiplyAccumulator(e, true)),
  imul2: then((e) => {
    const source = e.read('src');
    multiply(e, e.read('dst'), source);
  }),
  imul3: then((e) => {
    const source = e.read('src');
    multiply(e, source, e.immediate(e.form.size));
  }),
  div: then((e) => divide(e, false)),
  idiv: then((e) => divide(e, true)),

  // ── shifts and bits ───────────────────────────────────────────────────────────────────────────────────────
  shl: then((e) =>
    shift(e, (value, count, bits) => {
      if (bits === 64) {
        const result = e.let(value.shl(count));
        const carry = value.shrU(e.i64(64).sub(count)).and(1);
        return { result, carry, overflow: signBit(result, 8).xor(carry) };
      }
      const wide = e.let(value.shl(count));
      const carry = wide.bit(bits);
      return { result: e.let(wide.cut(e.form.size)), carry, overflow: wide.bit(bits - 1).xor(carry) };
    }),
  ),
  shr: then((e) =>
    shift(e, (value, count, bits) => ({
      result: e.let(value.shrU(count)),
      carry: value.shrU(count.sub(1)).and(1),
      overflow: value.bit(bits - 1),
    })),
  ),
  sar: then((e) =>
    shift(e, (value, count) => {
      const { size } = e.form;
      const signed = e.let(value.signed(size));
      return {
        result: e.let(signed.shrS(count).cut(size)),
        carry: signed.shrS(count.sub(1)).and(1),
        overflow: e.i64(0),
      };
    }),
  ),
  rol: then((e) =>
    rotate(e, (value, count, bits) => {
      const result = e.let(rotateLeft(e, value, count, bits));
      const carry = result.and(1);
      return { result, carry, overflow: result.bit(bits - 1).xor(carry) };
    }),
  ),
  ror: then((e) =>
    rotate(e, (value, count, bits) => {
      const result = e.let(
        rotateLeft(
          e,
          value,
          e
            .i64(bits)
            .sub(count.and(bits - 1))
            .and(bits - 1),
          bits,
        ),
      );
      return {
        result,
        carry: result.bit(bits - 1),
        overflow: result.bit(bits - 1).xor(result.bit(bits - 2)),
      };
    }),
  ),
  rcl: then((e) =>
    rotateThroughCarry(e, (value, carry, count, bits) => {
      // Two shifts for the wrapped part: a shift by all 64 bits would be one by none.
      const result = value
        .shl(count)
        .or(carry.shl(count.sub(1)))
        .or(value.shrU(1).shrU(e.i64(bits).sub(count)))
        .cut(e.form.size);
      return { result: e.let(result), carry: value.shrU(e.i64(bits).sub(count)).and(1) };
    }),
  ),
  rcr: then((e) =>
    rotateThroughCarry(e, (value, carry, count, bits) => {
      const up = e.i64(bits).sub(count);
      const result = value.shrU(count).or(carry.shl(up)).or(value.shl(1).shl(up)).cut(e.form.size);
      return { result: e.let(result), carry: value.shrU(count.sub(1)).and(1) };
    }),
  ),
  shld: then((e) => shiftDouble(e, true)),
  shrd: then((e) => shiftDouble(e, false)),
  bt: then((e) => bitTest(e, null)),
  bts: then((e) => bitTest(e, 'or')),
  btr: then((e) => bitTest(e, 'and')),
  btc: then((e) => bitTest(e, 'xor')),
  bsf: then((e) => bitScan(e, (source) => source.ctz())),
  bsr: then((e) => bitScan(e, (source) => e.i64(63).sub(source.clz()))),
  tzcnt: then((e) => {
    const bits = e.form.size * 8;
    const source = e.read('src');
    countZeros(e, source, bits === 64 ? source.ctz() : source.or(1n << BigInt(bits)).ctz());
  }),
  lzcnt: then((e) => {
    const source = e.read('src');
    countZeros(e, source, source.clz().sub(64 - e.form.size * 8));
  }),
  popcnt: then((e) => {
    const source = e.read('src');
    e.write('dst', source.popcnt());
    e.setFlagBits(source.isZero().shl(6));
  }),

  adcx: then((e) => addWithOneFlag(e, CF)),
  adox: then((e) => addWithOneFlag(e, OF)),
  crc32: then((e) => {
    const source = e.read('src', e.form.srcSize as Size);
    const rest = e.variable(e.read('dst', 4).xor(source));
    const bits = e.variable(e.i32((e.form.srcSize as number) * 8));
    e.loopWhile(() => {
      const divisor = e.i64(0).sub(rest.and(1)).and(CRC32C);
      rest.assign(rest.shrU(1).xor(divisor));
      bits.assign(bits.sub(1));
      return bits;
    });
    e.write('dst', rest.cut(4));
  }),

  // ── compare and exchange ──────────────────────────────────────────────────────────────────────────────────
  cmpxchg: then((e) => {
    const { size, lock, dst } = e.form;
    const replacement = e.read('src');
    const accumulator = e.register(RAX, size);
    let found: Value;
    if (lock && isMemory(dst)) {
      found = e.lockedCompareExchange(e.address('dst'), size, accumulator, replacement);
    } else {
      const cell = e.modify('dst');
      found = cell.value;
      // Memory is written back even when the comparison fails. A register is not: its upper half would be cleared.
      if (isMemory(dst)) cell.write(e.let(e.select(found.eq(accumulator), replacement, found)));
      else e.if(found.eq(accumulator), () => cell.write(replacement));
    }
    e.if(found.ne(accumulator), () => e.setRegister(RAX, size, found));
    e.setFlags(FLAGS_SUB, size, accumulator, found);
  }),
  cmpxchg8b: then((e) => {
    const pair = (high: number, low: number): Value =>
      e.let(e.register(high, 4).shl(32).or(e.register(low, 4)));
    const expected = pair(RDX, RAX);
    const replacement = pair(RCX, RBX);
    let found: Value;
    if (e.form.lock) {
      found = e.lockedCompareExchange(e.address('dst'), 8, expected, replacement);
    } else {
      const cell = e.modify('dst', 8);
      found = cell.value;
      cell.write(e.let(e.select(found.eq(expected), replacement, found)));
    }
    const equal = e.let(found.eq(expected));
    e.if(equal.isZero(), () => {
      e.setRegister(RAX, 4, found.cut(4));
      e.setRegister(RDX, 4, found.shrU(32));
    });
    setZeroFlag(e, equal);
  }),
  cmpxchg16b: then((e) => {
    const expected = { low: e.register(RAX, 8), high: e.register(RDX, 8) };
    const replacement = { low: e.register(RBX, 8), high: e.register(RCX, 8) };
    const found = e.lockedCompareExchangePair(e.address('dst'), expected, replacement);
    const equal = e.let(found.low.eq(expected.low).and(found.high.eq(expected.high)));
    e.if(equal.isZero(), () => {
      e.setRegister(RAX, 8, found.low);
      e.setRegister(RDX, 8, found.high);
    });
    setZeroFlag(e, equal);
  }),
  xadd: then((e) => {
    const { size } = e.form;
    const addend = e.read('src');
    const { found, result } = update(e, { operation: 'add', operand: addend }, (value) =>
      value.add(addend).cut(size),
    );
    // The source first: with the same register twice the sum is what stays.
    e.write('src', found);
    if (!isMemory(e.form.dst)) e.write('dst', result);
    e.setFlags(FLAGS_ADD, size, result, addend);
  }),

  // ── stack ─────────────────────────────────────────────────────────────────────────────────────────────────
  push: then((e) => push(e, e.read('src'), e.form.size)),
  pop: then((e) => {
    const { size, dst } = e.form;
    const top = e.register(RSP, 8);
    const value = e.loadGuest(top, size);
    const commit = (): void => e.setRegister(RSP, 8, top.add(size));
    // POP RSP keeps the value read; POP to memory stores before it moves RSP.
    if (!isMemory(dst)) commit();
    e.write('dst', value);
    if (isMemory(dst)) commit();
  }),
  pushf: then((e) => {
    const { size } = e.form;
    push(e, e.let(e.flagBits().wide().or(e.systemFlags()).or(RFLAGS_FIXED).and(PUSHF_IMAGE).cut(size)), size);
  }),
  popf: (e) => {
    const { size } = e.form;
    const top = e.register(RSP, 8);
    const value = e.loadGuest(top, size);
    e.setRegister(RSP, 8, top.add(size));
    const system = e.systemFlags();
    const level = e.let(e.privilegeLevel());
    const ioLevel = system.shrU(12).and(3).low();
    const may = (allowed: Value, bits: number): Value => e.select(allowed, e.i64(bits), e.i64(0));
    const always = RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | (size === 2 ? 0 : RFLAGS_AC | RFLAGS_ID);
    const mask = e.let(
      e
        .i64(always)
        .or(may(level.isZero(), RFLAGS_IOPL))
        .or(may(level.leU(ioLevel), RFLAGS_IF)),
    );
    e.setFlagBits(value.low().and(ARITHMETIC_FLAGS));
    e.setSystemFlags(system.and(mask.not()).or(value.and(mask)));
    // IF or TF may be set now.
    e.nextThroughHost();
  },
  leave: then((e) => {
    const { size } = e.form;
    const frame = e.register(RBP, 8);
    const value = e.loadGuest(frame, size);
    e.setRegister(RSP, 8, frame.add(size));
    e.setRegister(RBP, size, value);
  }),
  enter: then((e) => {
    const { size, cc: level } = e.form;
    // Its stores and loads take turns: what was stored before a miss would be loaded when it starts again.
    if (level > 0) e.stepOnly();
    const top = e.register(RSP, 8);
    const outer = e.register(RBP, 8);
    const frame = e.let(top.sub(size));
    e.storeGuest(frame, size, outer.cut(size));
    for (let n = 1; n < level; n++) {
      e.storeGuest(e.let(frame.sub(n * size)), size, e.loadGuest(e.let(outer.sub(n * size)), size));
    }
    if (level > 0) e.storeGuest(e.let(frame.sub(level * size)), size, frame.cut(size));
    const bottom = e.let(frame.sub(level * size).sub(e.immediate(2)));
    // Nothing is stored there, but it has to be writable.
    e.checkWritable(bottom, size);
    e.setRegister(RBP, size, frame);
    e.setRegister(RSP, 8, bottom);
  }),

  // ── flags ─────────────────────────────────────────────────────────────────────────────────────────────────
  lahf: then((e) => {
    e.setHighByte(
      RAX,
      e
        .flagBits()
        .and(SF | ZF | AF | PF | CF)
        .or(RFLAGS_FIXED)
        .wide(),
    );
  }),
  sahf: then((e) => {
    const overflow = e.flagBits().and(OF);
    e.setFlagBits(
      e
        .highByte(RAX)
        .low()
        .and(SF | ZF | AF | PF | CF)
        .or(overflow),
    );
  }),
  clc: then((e) => e.setFlagBits(e.flagBits().and(ARITHMETIC_FLAGS & ~CF))),
  stc: then((e) => e.setFlagBits(e.flagBits().or(CF))),
  cmc: then((e) => e.setFlagBits(e.flagBits().xor(CF))),
  cld: then((e) => e.setSystemFlags(e.systemFlags().and(~RFLAGS_DF))),
  std: then((e) => e.setSystemFlags(e.systemFlags().or(RFLAGS_DF))),

  // ── branches ──────────────────────────────────────────────────────────────────────────────────────────────
  jmp: (e) => e.branch('taken'),
  fall: (e) => e.branch('taken'),
  jcc: (e) => branchIf(e, e.condition(e.form.cc)),
  jmpind: (e) => e.jump(target(e, e.read('src', 8))),
  jrcxz: (e) => branchIf(e, e.addressRegister(RCX).isZero()),
  loop: (e) => loop(e, null),
  loope: (e) => loop(e, e.condition(4)),
  loopne: (e) => loop(e, e.condition(5)),
  call: (e) => {
    push(e, e.let(e.nextPc()), 8);
    e.branch('taken');
  },
  callind: (e) => {
    const rip = target(e, e.read('src', 8));
    push(e, e.let(e.nextPc()), 8);
    e.jump(rip);
  },
  ret: (e) => {
    const top = e.register(RSP, 8);
    const rip = target(e, e.loadGuest(top, 8));
    e.setRegister(RSP, 8, top.add(8).add(e.immediate(8)));
    e.jump(rip);
  },

  // ── strings ───────────────────────────────────────────────────────────────────────────────────────────────
  movs: (e) =>
    e.repeat(() => {
      const { size } = e.form;
      const from = e.addressRegister(RSI);
      const to = e.addressRegister(RDI);
      e.storeGuest(to, size, e.loadGuest(e.let(from.add(e.segmentBase())), size));
      const step = stringStep(e);
      e.setAddressRegister(RSI, from.add(step));
      e.setAddressRegister(RDI, to.add(step));
      return null;
    }, 'copy'),
  stos: (e) =>
    e.repeat(() => {
      const { size } = e.form;
      const to = e.addressRegister(RDI);
      e.storeGuest(to, size, e.register(RAX, size));
      e.setAddressRegister(RDI, to.add(stringStep(e)));
      return null;
    }, 'fill'),
  lods: (e) =>
    e.repeat(() => {
      const { size } = e.form;
      const from = e.addressRegister(RSI);
      const value = e.loadGuest(e.let(from.add(e.segmentBase())), size);
      e.setRegister(RAX, size, value);
      e.setAddressRegister(RSI, from.add(stringStep(e)));
      return null;
    }),
  cmps: (e) =>
    e.repeat(() => {
      const { size } = e.form;
      const from = e.addressRegister(RSI);
      const to = e.addressRegister(RDI);
      const first = e.loadGuest(e.let(from.add(e.segmentBase())), size);
      const second = e.loadGuest(to, size);
      const step = stringStep(e);
      e.setAddressRegister(RSI, from.add(step));
      e.setAddressRegister(RDI, to.add(step));
      return compareOnce(e, first, second);
    }),
  scas: (e) =>
    e.repeat(() => {
      const { size } = e.form;
      const to = e.addressRegister(RDI);
      const second = e.loadGuest(to, size);
      e.setAddressRegister(RDI, to.add(stringStep(e)));
      return compareOnce(e, e.register(RAX, size), second);
    }),

  // ── nothing to see ────────────────────────────────────────────────────────────────────────────────────────
  nop: (e) => e.next(),
  fence: then((e) => e.fn.fence()),

  ...VECTOR_MEANINGS,
  ...FLOAT_MEANINGS,
};

/** What PUSHF leaves out of the image: RF and VM. */
const PUSHF_IMAGE = ~((1 << 16) | (1 << 17));

/** The polynomial of CRC-32C, bits in the order of a reflected sum. */
const CRC32C = 0x82f6_3b78n;

/** ADCX and ADOX: one flag is carry in and carry out, all others stay. */
function addWithOneFlag(e: Emitter, flag: number): void {
  const { size } = e.form;
  const source = e.read('src');
  const before = e.read('dst');
  const flags = e.flagBits();
  const carry = flags.and(flag).ne(0).wide();
  const partial = e.let(before.add(source));
  const whole = e.let(partial.add(carry));
  const out = size === 8 ? partial.ltU(before).or(whole.ltU(partial)) : whole.shrU(32).low();
  const after = e.let(out.mul(flag));
  e.write('dst', whole.cut(size));
  e.setFlagBits(e.let(flags.and(ARITHMETIC_FLAGS & ~flag).or(after)));
}

/** An instruction that goes on to the next one. */
function then(effects: Meaning): Meaning {
  return (e) => {
    effects(e);
    e.next();
  };
}

function swapBytes(e: Emitter, value: Value, size: Size): Value {
  const pairs = 0x00ff00ff00ff00ffn;
  const quads = 0x0000ffff0000ffffn;
  const bytes = e.let(value.and(pairs).shl(8).or(value.shrU(8).and(pairs)));
  const words = e.let(bytes.and(quads).shl(16).or(bytes.shrU(16).and(quads)));
  const all = words.rotl(32);
  return size === 8 ? all : all.shrU(64 - size * 8);
}

/**
 * Reads the destination, computes, writes it back: locked, in memory, or in a register. A register is written at once,
 * so this comes after every other access. Memory of XADD is written here, its registers by the caller.
 */
function update(
  e: Emitter,
  atomic: { operation: AtomicOperation; operand: Value } | null,
  compute: (found: Value) => Value,
): { found: Value; result: Value } {
  const { size, dst, lock, op } = e.form;
  if (lock && isMemory(dst)) {
    const found = e.lockedUpdate(e.address('dst'), size, atomic, compute);
    return { found, result: e.let(compute(found)) };
  }
  const cell = e.modify('dst');
  const result = e.let(compute(cell.value));
  if (isMemory(dst) || op !== 'xadd') cell.write(result);
  return { found: cell.value, result };
}

function addition(e: Emitter, carry: Value | null): void {
  const { size } = e.form;
  const second = e.read('src');
  const sum = (found: Value): Value => {
    const both = found.add(second);
    return (carry === null ? both : both.add(carry.wide())).cut(size);
  };
  const { result } = update(e, carry === null ? { operation: 'add', operand: second } : null, sum);
  e.setFlags(carry === null ? FLAGS_ADD : carry.add(FLAGS_ADD), size, result, second);
}

function subtraction(e: Emitter, borrow: Value | null): void {
  const { size } = e.form;
  const second = e.read('src');
  const difference = (found: Value): Value => {
    const both = found.sub(second);
    return (borrow === null ? both : both.sub(borrow.wide())).cut(size);
  };
  const { found } = update(e, borrow === null ? { operation: 'sub', operand: second } : null, difference);
  e.setFlags(borrow === null ? FLAGS_SUB : borrow.add(FLAGS_SUB), size, found, second);
}

function logic(e: Emitter, operation: 'and' | 'or' | 'xor'): void {
  const second = e.read('src');
  const { result } = update(e, { operation, operand: second }, (found) => found[operation](second));
  e.setLogicFlags(e.form.size, result);
}

/** MUL and one-operand IMUL: rDX:rAX (or AX) = rAX × source. */
function multiplyAccumulator(e: Emitter, signed: boolean): void {
  const { size } = e.form;
  const bits = size * 8;
  const source = e.read('src');
  const accumulator = e.register(RAX, size);
  let low: Value;
  let high: Value;
  if (size === 8) {
    low = e.let(accumulator.mul(source));
    high = signed ? mulHighS(e, accumulator, source) : e.mulHighU(accumulator, source);
  } else {
    const product = e.let(
      signed ? accumulator.signed(size).mul(source.signed(size)) : accumulator.mul(source),
    );
    low = e.let(product.cut(size));
    high = e.let(product.shrU(bits).cut(size));
  }
  if (size === 1) {
    e.setRegister(RAX, 2, low.or(high.shl(8)));
  } else {
    e.setRegister(RAX, size, low);
    e.setRegister(RDX, size, high);
  }
  // CF and OF: does the upper half say anything that the lower one does not?
  const plain = signed ? low.signed(size).shrS(63).cut(size) : e.i64(0);
  const overflow = e.let(high.ne(plain).wide());
  e.setFlags(FLAGS_RESULT, size, low, carryOverflow(overflow, overflow));
}

function mulHighS(e: Emitter, a: Value, b: Value): Value {
  const unsigned = e.mulHighU(a, b);
  return e.let(unsigned.sub(a.shrS(63).and(b)).sub(b.shrS(63).and(a)));
}

/** Two- and three-operand IMUL: the product cut to the operand size. */
function multiply(e: Emitter, first: Value, second: Value): void {
  const { size } = e.form;
  const a = e.let(first.signed(size));
  const b = e.let(second.signed(size));
  const product = e.let(a.mul(b));
  const result = e.let(product.cut(size));
  if (!e.wantsFlags) {
    e.write('dst', result);
    return;
  }
  const lost = size === 8 ? mulHighS(e, a, b).ne(product.shrS(63)) : result.signed(size).ne(product);
  const overflow = e.let(lost.wide());
  e.write('dst', result);
  e.setFlags(FLAGS_RESULT, size, result, carryOverflow(overflow, overflow));
}

/** DIV and IDIV. The flags, which they leave undefined, stay as they are. */
function divide(e: Emitter, signed: boolean): void {
  const { size } = e.form;
  const divisor = e.read('src');
  const raise = (): void => e.raise(VECTOR_DE);
  e.if(divisor.isZero(), raise);
  if (size === 8) {
    const high = e.register(RDX, 8);
    const low = e.register(RAX, 8);
    const { quotient, remainder } = signed
      ? divideSigned128(e, high, low, divisor, raise)
      : divideUnsigned128(e, high, low, divisor, raise);
    e.setRegister(RAX, 8, quotient);
    e.setRegister(RDX, 8, remainder);
    return;
  }
  const bits = size * 8;
  const upper = size === 1 ? null : e.register(RDX, size);
  const dividend = upper === null ? e.register(RAX, 2) : e.let(upper.shl(bits).or(e.register(RAX, size)));
  let quotient: Value;
  let remainder: Value;
  if (signed) {
    const a = size === 4 ? dividend : e.let(dividend.signed((size * 2) as Size));
    const b = e.let(divisor.signed(size));
    // The one division that traps in WebAssembly overflows on x86 as well.
    if (size === 4) e.if(a.eq(-(1n << 63n)).and(b.eq(-1)), raise);
    quotient = e.let(a.divS(b));
    remainder = e.let(a.remS(b));
    e.if(quotient.signed(size).ne(quotient), raise);
  } else {
    quotient = e.let(dividend.divU(divisor));
    remainder = e.let(dividend.remU(divisor));
    e.if(quotient.cut(size).ne(quotient), raise);
  }
  if (size === 1) {
    e.setRegister(RAX, 2, quotient.and(0xff).or(remainder.and(0xff).shl(8)));
  } else {
    e.setRegister(RAX, size, quotient.cut(size));
    e.setRegister(RDX, size, remainder.cut(size));
  }
}

interface Division {
  readonly quotient: Value;
  readonly remainder: Value;
}

function divideUnsigned128(e: Emitter, high: Value, low: Value, divisor: Value, raise: () => void): Division {
  e.if(high.geU(divisor), raise);
  const quotient = e.variable(e.i64(0));
  const remainder = e.variable(e.i64(0));
  e.if(
    high.isZero(),
    () => {
      quotient.assign(low.divU(divisor));
      remainder.assign(low.remU(divisor));
    },
    () => {
      const long = e.divide128(high, low, divisor);
      quotient.assign(long.quotient);
      remainder.assign(long.remainder);
    },
  );
  return { quotient, remainder };
}

/** Divides magnitudes and puts the signs back; the remainder has the sign of the dividend. */
function divideSigned128(e: Emitter, high: Value, low: Value, divisor: Value, raise: () => void): Division {
  const negative = e.let(high.shrS(63));
  // Two's complement negation of 128 bits where `negative` is all ones.
  const lowMagnitude = e.let(low.xor(negative).sub(negative));
  const borrow = lowMagnitude.isZero().wide().and(negative);
  const highMagnitude = e.let(high.xor(negative).add(borrow));
  const divisorSign = e.let(divisor.shrS(63));
  const divisorMagnitude = e.let(divisor.xor(divisorSign).sub(divisorSign));
  const { quotient, remainder } = divideUnsigned128(e, highMagnitude, lowMagnitude, divisorMagnitude, raise);
  const sign = e.let(negative.xor(divisorSign));
  // Largest magnitude: 2^63 of a negative quotient, 2^63 - 1 of a positive one.
  e.if(quotient.gtU(e.i64((1n << 63n) - 1n).sub(sign)), raise);
  return {
    quotient: e.let(quotient.xor(sign).sub(sign)),
    remainder: e.let(remainder.xor(negative).sub(negative)),
  };
}

interface Shifted {
  readonly result: Value;
  /** i64 0 or 1. */
  readonly carry: Value;
  readonly overflow: Value;
}

/** The count of a shift or rotate, masked, as an i64. An immediate is masked already; of a shift it is not zero. */
function shiftCount(e: Emitter, role: 'src' | 'src2'): Value {
  if (e.form[role] === 'imm') return e.let(e.immediate(1));
  return e.let(e.read(role, 1).and(e.form.size === 8 ? 63 : 31));
}

/** Does `effects` unless the count is zero, which leaves all flags alone. SHLD's immediate may be zero when masked. */
function unlessZero(e: Emitter, role: 'src' | 'src2', count: Value, effects: () => void): void {
  if (role === 'src' && e.form.src === 'imm') effects();
  else e.if(count.isZero().isZero(), effects);
}

function shift(e: Emitter, compute: (value: Value, count: Value, bits: number) => Shifted): void {
  const { size } = e.form;
  const count = shiftCount(e, 'src');
  const cell = e.modify('dst');
  const { result, carry, overflow } = compute(cell.value, count, size * 8);
  cell.write(result);
  unlessZero(e, 'src', count, () => e.setFlags(FLAGS_RESULT, size, result, carryOverflow(carry, overflow)));
}

/** ROL and ROR touch CF and OF only. */
function rotate(e: Emitter, compute: (value: Value, count: Value, bits: number) => Shifted): void {
  const count = shiftCount(e, 'src');
  const cell = e.modify('dst');
  const { result, carry, overflow } = compute(cell.value, count, e.form.size * 8);
  cell.write(result);
  unlessZero(e, 'src', count, () => replaceCarryOverflow(e, carry, overflow));
}

function replaceCarryOverflow(e: Emitter, carry: Value, overflow: Value): void {
  if (!e.wantsFlags) return;
  const others = e.flagBits().and(ARITHMETIC_FLAGS & ~(CF | OF));
  e.setFlagBits(others.or(carryOverflow(carry, overflow).low()));
}

/** Rotates the low `bits` of a clean value left by `count` modulo `bits`. */
function rotateLeft(e: Emitter, value: Value, count: Value, bits: number): Value {
  if (bits === 64) return value.rotl(count);
  const by = e.let(count.and(bits - 1));
  const down = e.i64(bits).sub(by);
  return value
    .shl(by)
    .or(value.shrU(down))
    .cut((bits / 8) as Size);
}

function rotateThroughCarry(
  e: Emitter,
  compute: (value: Value, carry: Value, count: Value, bits: number) => { result: Value; carry: Value },
): void {
  const bits = e.form.size * 8;
  const masked = shiftCount(e, 'src');
  // The carry is one more bit of the ring: 8 and 16 bits wrap below the mask.
  const count = bits < 32 ? e.let(masked.remU(bits + 1)) : masked;
  const before = e.let(e.carry().wide());
  const cell = e.modify('dst');
  const value = cell.value;
  const after = compute(value, before, count, bits);
  const turned = e.let(count.isZero().isZero());
  cell.write(e.let(e.select(turned, after.result, value)));
  e.if(turned, () => {
    const carry = e.let(after.carry);
    const overflow =
      e.form.op === 'rcl'
        ? after.result.bit(bits - 1).xor(carry)
        : after.result.bit(bits - 1).xor(after.result.bit(bits - 2));
    replaceCarryOverflow(e, carry, overflow);
  });
}

function shiftDouble(e: Emitter, left: boolean): void {
  const { size } = e.form;
  const bits = size * 8;
  const count = shiftCount(e, 'src2');
  const source = e.read('src');
  const cell = e.modify('dst');
  const value = cell.value;
  const rest = e.let(e.i64(bits).sub(count));
  const nonZero = e.let(count.isZero().isZero());
  const [near, far] = left ? [value.shl(count), source.shrU(rest)] : [value.shrU(count), source.shl(rest)];
  const result = e.let(e.select(nonZero, near.or(far).cut(size), value));
  cell.write(result);
  unlessZero(e, 'src2', count, () => {
    const carry = left ? value.shrU(rest).and(1) : value.shrU(count.sub(1)).and(1);
    e.setFlags(FLAGS_RESULT, size, result, carryOverflow(carry, signBit(result.xor(value), size)));
  });
}

/** BT, BTS, BTR, BTC. With a register for the offset, memory is a bit string that reaches both ways. */
function bitTest(e: Emitter, operation: 'or' | 'and' | 'xor' | null): void {
  const { size, dst, src, lock } = e.form;
  const bits = size * 8;
  const offset = e.read('src');
  const index = e.let(offset.and(bits - 1));
  const moved =
    isMemory(dst) && src === 'reg'
      ? e.let(offset.signed(size).shrS(Math.log2(bits)).shl(Math.log2(size)))
      : undefined;
  const mask = e.let(e.i64(1).shl(index));
  const operand = operation === 'and' ? e.let(mask.not().cut(size)) : mask;
  let found: Value;
  if (operation === null) {
    found = isMemory(dst) ? e.loadGuest(e.address('dst', moved), size) : e.read('dst');
  } else if (lock && isMemory(dst)) {
    found = e.lockedUpdate(e.address('dst', moved), size, { operation, operand }, (value) =>
      value[operation](operand),
    );
  } else {
    const cell = e.modify('dst', size, moved);
    found = cell.value;
    cell.write(e.let(found[operation](operand)));
  }
  const others = e.flagBits().and(ARITHMETIC_FLAGS & ~CF);
  e.setFlagBits(others.or(found.shrU(index).and(1).low()));
}

/** BSF and BSR leave the destination alone when the source is zero. */
function bitScan(e: Emitter, scan: (source: Value) => Value): void {
  const source = e.read('src');
  e.if(source.isZero().isZero(), () => e.write('dst', scan(source)));
  e.setLogicFlags(e.form.size, source);
}

function countZeros(e: Emitter, source: Value, count: Value): void {
  const result = e.let(count);
  e.write('dst', result);
  e.setFlagBits(source.isZero().or(result.isZero().shl(6)));
}

function setZeroFlag(e: Emitter, equal: Value): void {
  const others = e.flagBits().and(ARITHMETIC_FLAGS & ~ZF);
  e.setFlagBits(others.or(equal.shl(6)));
}

function push(e: Emitter, value: Value, size: Size): void {
  const top = e.let(e.register(RSP, 8).sub(size));
  e.storeGuest(top, size, value);
  e.setRegister(RSP, 8, top);
}

function branchIf(e: Emitter, condition: Value): void {
  const go = (branch: Branch) => () => e.branch(branch);
  e.if(condition, go('taken'));
  e.branch('next');
}

/** The target of an indirect branch, which raises #GP before anything of it has happened if that is not canonical. */
function target(e: Emitter, rip: Value): Value {
  e.if(
    rip
      .add(1n << 47n)
      .shrU(48)
      .ne(0),
    () => e.raise(VECTOR_GP),
  );
  return rip;
}

function loop(e: Emitter, alsoNeeds: Value | null): void {
  const left = e.let(e.cutAddress(e.addressRegister(RCX).sub(1)));
  e.setAddressRegister(RCX, left);
  const more = left.isZero().isZero();
  branchIf(e, alsoNeeds === null ? more : more.and(alsoNeeds));
}

/** Bytes that a string instruction moves its pointers by. */
function stringStep(e: Emitter): Value {
  const { size } = e.form;
  const down = e.systemFlags().and(RFLAGS_DF).low();
  return e.let(e.select(down, e.i64(-size), e.i64(size)));
}

/** Flags of one comparison; whether REPE or REPNE goes on after it, null without a prefix. */
function compareOnce(e: Emitter, first: Value, second: Value): Value | null {
  e.setFlags(FLAGS_SUB, e.form.size, first, second);
  if (e.form.rep === 'none') return null;
  return e.form.rep === 'repne' ? first.ne(second) : first.eq(second);
}
