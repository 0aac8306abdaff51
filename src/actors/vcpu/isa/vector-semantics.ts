/**
 * What MMX and SSE instructions on integers and bits do, written once against {@link Emitter}; an MMX register is the
 * low half of 128 bits, so most of them have one meaning for both. What works with floats stands in
 * float-semantics.ts.
 *
 * @source Intel SDM vol. 2, "Instruction Set Reference"
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { RAX, RCX, RDX } from '../../../shared/x86/registers.ts';
import { CF, ZF } from '../../../shared/x86/rflags.ts';
import type { Size, Value } from './code.ts';
import type { Emitter, Role } from './emitter.ts';
import { isMemory } from './forms.ts';
import { SOFT_EXPLICIT, SOFT_EXTRA_SHIFT, softCode } from './soft-ops.ts';
import type { VectorOp } from './vector-ops.ts';
import { I32, I64, type Simd } from './wasm-module.ts';

export type VectorMeaning = (e: Emitter) => void;
/** Of the destination before and the source. */
type Binary = (e: Emitter, a: Value, b: Value) => Value;
type Unary = (e: Emitter, source: Value) => Value;
type Meanings = Partial<Record<VectorOp, VectorMeaning>>;

/** Is an MMX register an operand? */
export function touchesMmx({ form }: Emitter): boolean {
  return [form.dst, form.src].includes('mm') || form.op === 'emms';
}

/** An instruction of MMX or SSE, as its operands say: availability first, then its effects. */
export function vector(effects: VectorMeaning): VectorMeaning {
  return (e) => {
    const mmx = touchesMmx(e);
    if (!mmx || e.form.dst === 'xmm' || e.form.src === 'xmm') e.requireSse();
    if (mmx) e.requireMmx();
    effects(e);
    if (mmx) e.commitMmx(e.form.op === 'emms' ? 0 : 0xff);
    e.next();
  };
}

export function binary(compute: Binary): VectorMeaning {
  return vector((e) => {
    const source = e.vector('src');
    const before = e.vector('dst');
    e.writeVector('dst', e.let(compute(e, before, source)));
  });
}

function unary(compute: Unary): VectorMeaning {
  return vector((e) => e.writeVector('dst', e.let(compute(e, e.vector('src')))));
}

// ── shorthand ───────────────────────────────────────────────────────────────────────────────────────────────

const lanes = (simd: Simd): VectorMeaning => binary((e, a, b) => e.simd(simd, [a, b]));

const shuffle = (e: Emitter, a: Value, b: Value, bytes: readonly number[]): Value =>
  e.simd('shuffle', [a, b], bytes);
/** Bytes of lane `lane` of both operands in a row: 0…15 are those of the first. */
const laneBytes = (lane: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => lane * size + i);
const chosen = (size: number, order: readonly number[]): number[] =>
  order.flatMap((lane) => laneBytes(lane, size));
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const IOTA = range(16);

/** Lanes of `size` bytes from the low or high half, one of each operand in turn. */
const interleave = (size: number, high: boolean): Binary => {
  const count = 8 / size;
  const order = range(count).flatMap((i) => [i, i + 16 / size].map((lane) => lane + (high ? count : 0)));
  return (e, a, b) => shuffle(e, a, b, chosen(size, order));
};
/** The high half of what interleaving the low halves gives: MMX, whose register ends in the middle. */
const unpackHigh = (size: number): VectorMeaning =>
  binary((e, a, b) => {
    if (e.form.dst !== 'mm') return interleave(size, true)(e, a, b);
    return e.simd('replace64', [a, e.highHalf(interleave(size, false)(e, a, b))], [0]);
  });
/** Narrows both operands into one; MMX: the low halves of both, narrowed together. */
const pack = (simd: Simd): VectorMeaning =>
  binary((e, a, b) => {
    if (e.form.dst !== 'mm') return e.simd(simd, [a, b]);
    const together = e.let(e.simd('replace64', [a, e.lowHalf(b)], [1]));
    return e.simd(simd, [together, together]);
  });

/** Even lanes of both operands, and odd ones: what horizontal operations combine. MMX: of the low halves. */
function pairs(e: Emitter, a: Value, b: Value, size: number): { even: Value; odd: Value } {
  const count = 8 / size;
  const mmx = e.form.dst === 'mm';
  const pick = (odd: number): number[] => {
    const own = range(count).map((i) => 2 * i + odd);
    if (!mmx) return [...own, ...own.map((lane) => lane + 2 * count)];
    const half = own.slice(0, count / 2);
    return [...half, ...half.map((lane) => lane + 2 * count), ...own];
  };
  return {
    even: e.let(shuffle(e, a, b, chosen(size, pick(0)))),
    odd: e.let(shuffle(e, a, b, chosen(size, pick(1)))),
  };
}

const horizontal = (simd: Simd, size: number): VectorMeaning =>
  binary((e, a, b) => {
    const { even, odd } = pairs(e, a, b, size);
    return e.simd(simd, [even, odd]);
  });

/** The source's sign: negates, clears or keeps each lane of the destination. */
const sign = (bits: 8 | 16 | 32): VectorMeaning =>
  binary((e, a, b) => {
    const [greater, subtract] = (
      { 8: ['gtS8', 'sub8'], 16: ['gtS16', 'sub16'], 32: ['gtS32', 'sub32'] } as const
    )[bits];
    const zero = e.zeroVector();
    const negative = e.let(e.simd(greater, [zero, b]));
    const positive = e.simd(greater, [b, zero]);
    const turned = e.simd(subtract, [e.simd('xor', [a, negative]), negative]);
    return e.simd('and', [turned, e.simd('or', [positive, negative])]);
  });

/** Widened products of the low and the high four words, and their upper halves in order. */
const highProducts = (low: Simd, high: Simd): Binary => {
  const order = [1, 3, 5, 7, 9, 11, 13, 15];
  return (e, a, b) => shuffle(e, e.simd(low, [a, b]), e.simd(high, [a, b]), chosen(2, order));
};

/** A byte count as a vector of equal bytes: what {@link shifted} moves by. */
const splatByte = (e: Emitter, count: Value): Value => e.simd('splat8', [count]);

/** `vector` moved down by `count` bytes (i32, at most 240 matter), zeros from above. */
function movedDown(e: Emitter, vector: Value, count: Value): Value {
  return e.simd('swizzle', [vector, e.simd('addSatU8', [e.vectorOf(IOTA), splatByte(e, count)])]);
}

/** `vector` moved up by `count` bytes (i32, 0…16), zeros from below. */
function movedUp(e: Emitter, vector: Value, count: Value): Value {
  return e.simd('swizzle', [vector, e.simd('sub8', [e.vectorOf(IOTA), splatByte(e, count)])]);
}

/** The immediate byte, i32. */
const immediate = (e: Emitter): Value => e.let(e.immediate(1).low().and(0xff));

/**
 * Shuffles lanes as the two-bit fields of the immediate say: result lane i is lane `field[i % 4] + base` of `source`,
 * where `moves` is true, and lane i itself elsewhere.
 */
function shuffledByImmediate(
  e: Emitter,
  source: Value,
  what: { size: 2 | 4; base: number; moves: (lane: number) => boolean },
): Value {
  const { size, base, moves } = what;
  const imm = immediate(e);
  const field = (i: number): Value =>
    imm
      .shrU(2 * i)
      .and(3)
      .shl(8 * i);
  // Four bytes with a field each, then each of them for all bytes of its lane.
  const fields = e.let(e.simd('splat32', [field(0).or(field(1)).or(field(2)).or(field(3)).mul(size)]));
  const count = 16 / size;
  const spread = range(count).flatMap((lane) => new Array<number>(size).fill(moves(lane) ? lane % 4 : 16));
  const offsets = range(count).flatMap((lane) =>
    range(size).map((byte) => (moves(lane) ? base * size : lane * size) + byte),
  );
  const indices = e.simd('add8', [e.simd('swizzle', [fields, e.vectorOf(spread)]), e.vectorOf(offsets)]);
  return e.simd('swizzle', [source, indices]);
}

type Shift = { simd: Simd; bits: 16 | 32 | 64; arithmetic: boolean };

/** Shifts by the immediate, or by the low 64 bits of the source; too far is all zeros or all signs. */
const shift = ({ simd, bits, arithmetic }: Shift): VectorMeaning =>
  vector((e) => {
    const count = e.let(e.form.src === 'imm' ? e.immediate(8) : e.lowHalf(e.vector('src')));
    const value = e.vector('dst');
    if (arithmetic) {
      const limited = e.select(count.ltU(bits), count, e.i64(bits - 1)).low();
      e.writeVector('dst', e.let(e.simd(simd, [value, limited])));
      return;
    }
    const moved = e.simd(simd, [value, count.low()]);
    e.writeVector('dst', e.let(e.select(count.ltU(bits), moved, e.zeroVector())));
  });

const shiftBytes = (move: (e: Emitter, vector: Value, count: Value) => Value): VectorMeaning =>
  vector((e) => {
    const imm = immediate(e);
    const count = e.let(e.select(imm.ltU(16), imm, e.i32(16)));
    e.writeVector('dst', e.let(move(e, e.vector('dst'), count)));
  });

/** |a − b| of unsigned bytes. */
const distance = (e: Emitter, a: Value, b: Value): Value =>
  e.simd('or', [e.simd('subSatU8', [a, b]), e.simd('subSatU8', [b, a])]);

/** Lane `index` (i32) of `size` bytes, zero extended to an i64. */
function extractLane(e: Emitter, source: Value, index: Value, size: Size): Value {
  const moved = movedDown(e, source, e.let(index.mul(size)));
  return e.lowHalf(moved).cut(size);
}

/** `source` with lane `index` (i32) of `size` bytes replaced by the low bytes of `value` (i64). */
function insertLane(e: Emitter, source: Value, index: Value, what: { size: Size; value: Value }): Value {
  const { size, value } = what;
  const [splat, equal] = (
    { 1: ['splat8', 'eq8'], 2: ['splat16', 'eq16'], 4: ['splat32', 'eq32'], 8: ['splat64', 'eq64'] } as const
  )[size];
  const numbers = range(16 / size).flatMap((lane) => [lane, ...new Array<number>(size - 1).fill(0)]);
  const here = e.simd(equal, [e.vectorOf(numbers), e.simd(splat, [size === 8 ? index.wide() : index])]);
  return e.simd('bitSelect', [e.simd(splat, [size === 8 ? value : value.low()]), source, here]);
}

const extract = (size: Size): VectorMeaning =>
  vector((e) => {
    const count = (e.form.src === 'mm' ? 8 : 16) / size;
    const index = immediate(e).and(count - 1);
    const value = e.let(extractLane(e, e.let(readWhole(e, 'src')), index, size));
    if (isMemory(e.form.dst)) e.write('dst', value, size);
    // A general register is zero extended.
    else e.write('dst', value, Math.max(e.form.size, 4) as Size);
  });

const insert = (size: Size): VectorMeaning =>
  vector((e) => {
    const { form } = e;
    const value = e.read('src', isMemory(form.src) ? size : ((size === 8 ? 8 : 4) as Size));
    const count = (form.dst === 'mm' ? 8 : 16) / size;
    const index = immediate(e).and(count - 1);
    e.writeVector('dst', e.let(insertLane(e, e.vector('dst'), index, { size, value })));
  });

/** A register, all of it. */
const readWhole = (e: Emitter, role: Role): Value => e.vector(role, 16);

/** Where the immediate has a one, lanes of the source. */
const blendImmediate = (size: 2 | 4 | 8): VectorMeaning =>
  binary((e, a, b) => {
    const imm = immediate(e);
    const bits = range(16 / size).flatMap((lane) => [1 << lane, ...new Array<number>(size - 1).fill(0)]);
    const [splat, equal] = (
      { 2: ['splat16', 'eq16'], 4: ['splat32', 'eq32'], 8: ['splat64', 'eq64'] } as const
    )[size];
    const masks = e.vectorOf(bits);
    const all = e.simd(splat, [size === 8 ? imm.wide() : imm]);
    return e.simd('bitSelect', [b, a, e.simd(equal, [e.simd('and', [all, masks]), masks])]);
  });

/** Where XMM0 has a sign, lanes of the source. */
const blendVariable = (sign: (e: Emitter, mask: Value) => Value): VectorMeaning =>
  binary((e, a, b) => e.simd('bitSelect', [b, a, sign(e, e.xmm0())]));

/** Widens the low lanes of the source, which are all that memory holds, step by step. */
const extend = (...steps: readonly Simd[]): VectorMeaning =>
  unary((e, source) => steps.reduce((value, step) => e.simd(step, [value]), source));

const move = (aligned: boolean): VectorMeaning =>
  vector((e) => e.writeVector('dst', e.vector('src', 16, aligned), 16, aligned));

/** One bit of each lane into a general register. */
const mask = (simd: Simd): VectorMeaning =>
  vector((e) => {
    const bits = e.simd(simd, [readWhole(e, 'src')], [], I32);
    e.write('dst', e.let((e.form.src === 'mm' ? bits.and(0xff) : bits).wide()));
  });

/** MOVSS and MOVSD: from memory the rest is cleared, from a register kept; to memory only `bytes` go. */
const moveScalar = (bytes: 4 | 8): VectorMeaning =>
  vector((e) => {
    const { dst, src } = e.form;
    if (isMemory(dst)) e.write('dst', e.lowHalf(readWhole(e, 'src')).cut(bytes), bytes);
    else if (isMemory(src)) e.writeVector('dst', e.vector('src', bytes));
    else {
      const order = IOTA.map((i) => (i < bytes ? i + 16 : i));
      e.writeVector('dst', e.let(shuffle(e, readWhole(e, 'dst'), readWhole(e, 'src'), order)));
    }
  });

/** MOVLPS … MOVHPD: one half from or to memory, the other kept. */
const moveHalf = (half: 0 | 1): VectorMeaning =>
  vector((e) => {
    if (isMemory(e.form.dst)) {
      const whole = readWhole(e, 'src');
      e.write('dst', e.let(half === 0 ? e.lowHalf(whole) : e.highHalf(whole)), 8);
    } else {
      const loaded = e.read('src', 8);
      e.writeVector('dst', e.let(e.simd('replace64', [readWhole(e, 'dst'), loaded], [half])));
    }
  });

// ── the instructions ────────────────────────────────────────────────────────────────────────────────────────

const MOVES: Meanings = {
  movaps: move(true),
  movapd: move(true),
  movdqa: move(true),
  movntps: move(true),
  movntpd: move(true),
  movntdq: move(true),
  movntdqa: move(true),
  movups: move(false),
  movupd: move(false),
  movdqu: move(false),
  lddqu: move(false),
  movss: moveScalar(4),
  movsd: moveScalar(8),
  movlps: moveHalf(0),
  movlpd: moveHalf(0),
  movhps: moveHalf(1),
  movhpd: moveHalf(1),
  movhlps: binary((e, a, b) => e.simd('replace64', [a, e.highHalf(b)], [0])),
  movlhps: binary((e, a, b) => e.simd('replace64', [a, e.lowHalf(b)], [1])),
  movsldup: unary((e, source) => shuffle(e, source, source, chosen(4, [0, 0, 2, 2]))),
  movshdup: unary((e, source) => shuffle(e, source, source, chosen(4, [1, 1, 3, 3]))),
  movddup: unary((e, source) => shuffle(e, source, source, chosen(8, [0, 0]))),
  movntq: vector((e) => e.write('dst', e.let(e.lowHalf(e.vector('src', 8))), 8)),
  movq2dq: vector((e) => e.writeVector('dst', e.vector('src', 8))),
  movdq2q: vector((e) => e.writeVector('dst', readWhole(e, 'src'))),
  // Between general registers, memory and vector registers, 4 and 8 bytes.
  movd: vector((e) => moveGeneral(e, 4)),
  movq: vector((e) => moveGeneral(e, 8)),
  movmskps: mask('mask32'),
  movmskpd: mask('mask64'),
  pmovmskb: mask('mask8'),
  emms: vector(() => undefined),
};

function moveGeneral(e: Emitter, bytes: 4 | 8): void {
  const { dst, src } = e.form;
  const isVector = (shape: string): boolean => shape === 'mm' || shape === 'xmm';
  const value = isVector(src) ? e.let(e.lowHalf(e.vector('src', bytes)).cut(bytes)) : e.read('src', bytes);
  if (isVector(dst)) e.writeVector('dst', e.let(e.fromLow(value)));
  else e.write('dst', value, bytes);
}

const LOGIC: Meanings = {
  ...all(['andps', 'andpd', 'pand'], lanes('and')),
  ...all(['orps', 'orpd', 'por'], lanes('or')),
  ...all(['xorps', 'xorpd', 'pxor'], lanes('xor')),
  // Of the two it is the destination that is inverted.
  ...all(
    ['andnps', 'andnpd', 'pandn'],
    binary((e, a, b) => e.simd('andNot', [b, a])),
  ),
  ptest: vector((e) => {
    const source = e.vector('src');
    const before = readWhole(e, 'dst');
    const none = (bits: Value): Value => e.simd('anyTrue', [bits], [], I32).isZero();
    const zero = none(e.simd('and', [before, source]));
    const carry = none(e.simd('andNot', [source, before]));
    e.setFlagBits(e.let(zero.mul(ZF).or(carry.mul(CF))));
  }),
};

/** The same meaning for each of `ops`. */
function all(ops: readonly VectorOp[], meaning: VectorMeaning): Meanings {
  return Object.fromEntries(ops.map((op) => [op, meaning]));
}

const ARITHMETIC: Meanings = {
  paddb: lanes('add8'),
  paddw: lanes('add16'),
  paddd: lanes('add32'),
  paddq: lanes('add64'),
  psubb: lanes('sub8'),
  psubw: lanes('sub16'),
  psubd: lanes('sub32'),
  psubq: lanes('sub64'),
  paddsb: lanes('addSatS8'),
  paddsw: lanes('addSatS16'),
  paddusb: lanes('addSatU8'),
  paddusw: lanes('addSatU16'),
  psubsb: lanes('subSatS8'),
  psubsw: lanes('subSatS16'),
  psubusb: lanes('subSatU8'),
  psubusw: lanes('subSatU16'),
  pminsb: lanes('minS8'),
  pminsw: lanes('minS16'),
  pminsd: lanes('minS32'),
  pminub: lanes('minU8'),
  pminuw: lanes('minU16'),
  pminud: lanes('minU32'),
  pmaxsb: lanes('maxS8'),
  pmaxsw: lanes('maxS16'),
  pmaxsd: lanes('maxS32'),
  pmaxub: lanes('maxU8'),
  pmaxuw: lanes('maxU16'),
  pmaxud: lanes('maxU32'),
  pavgb: lanes('avgU8'),
  pavgw: lanes('avgU16'),
  pabsb: unary((e, source) => e.simd('abs8', [source])),
  pabsw: unary((e, source) => e.simd('abs16', [source])),
  pabsd: unary((e, source) => e.simd('abs32', [source])),
  psignb: sign(8),
  psignw: sign(16),
  psignd: sign(32),
  phaddw: horizontal('add16', 2),
  phaddd: horizontal('add32', 4),
  phaddsw: horizontal('addSatS16', 2),
  phsubw: horizontal('sub16', 2),
  phsubd: horizontal('sub32', 4),
  phsubsw: horizontal('subSatS16', 2),
  pcmpeqb: lanes('eq8'),
  pcmpeqw: lanes('eq16'),
  pcmpeqd: lanes('eq32'),
  pcmpeqq: lanes('eq64'),
  pcmpgtb: lanes('gtS8'),
  pcmpgtw: lanes('gtS16'),
  pcmpgtd: lanes('gtS32'),
  pcmpgtq: lanes('gtS64'),
  pmullw: lanes('mul16'),
  pmulld: lanes('mul32'),
  pmulhw: binary(highProducts('mulLowS16', 'mulHighS16')),
  pmulhuw: binary(highProducts('mulLowU16', 'mulHighU16')),
  pmulhrsw: binary((e, a, b) => {
    // Only −1 · −1 differs: it wraps to −1 instead of staying below 1.
    const lowest = e.vectorOf(range(8).flatMap(() => [0x00, 0x80]));
    const wraps = e.simd('and', [e.simd('eq16', [a, lowest]), e.simd('eq16', [b, lowest])]);
    return e.simd('xor', [e.simd('mulRound16', [a, b]), wraps]);
  }),
  pmuludq: binary((e, a, b) => {
    const low = e.vectorOf(chosen(8, [0, 1]).map((_, i) => (i % 8 < 4 ? 0xff : 0)));
    return e.simd('mul64', [e.simd('and', [a, low]), e.simd('and', [b, low])]);
  }),
  pmuldq: binary((e, a, b) => {
    const signed = (value: Value): Value =>
      e.simd('shrS64', [e.simd('shl64', [value, e.i32(32)]), e.i32(32)]);
    return e.simd('mul64', [signed(a), signed(b)]);
  }),
  pmaddwd: lanes('dotS16'),
  // Unsigned bytes of the destination by signed ones of the source; pairs of products are added with saturation.
  pmaddubsw: binary((e, a, b) => {
    const low = e.simd('mul16', [e.simd('extendLowU8', [a]), e.simd('extendLowS8', [b])]);
    const high = e.simd('mul16', [e.simd('extendHighU8', [a]), e.simd('extendHighS8', [b])]);
    const [first, second] = [e.let(low), e.let(high)];
    const order = range(8).map((i) => 2 * i);
    const even = shuffle(e, first, second, chosen(2, order));
    const odd = shuffle(
      e,
      first,
      second,
      chosen(
        2,
        order.map((lane) => lane + 1),
      ),
    );
    return e.simd('addSatS16', [even, odd]);
  }),
  psadbw: binary((e, a, b) => {
    const sums = e.let(e.simd('pairsU16', [e.simd('pairsU8', [distance(e, a, b)])]));
    const odd = e.simd('shrU64', [sums, e.i32(32)]);
    const low = e.vectorOf(range(16).map((i) => (i % 8 < 4 ? 0xff : 0)));
    return e.simd('add64', [e.simd('and', [sums, low]), odd]);
  }),
  mpsadbw: binary((e, a, b) => {
    const imm = immediate(e);
    const from = e.let(movedDown(e, a, e.let(imm.and(4))));
    const block = e.let(movedDown(e, b, e.let(imm.and(3).shl(2))));
    const terms = range(4).map((byte) => {
      const bytes = e.let(
        e.simd('extendLowU8', [
          shuffle(
            e,
            from,
            from,
            IOTA.map((i) => (i + byte) % 16),
          ),
        ]),
      );
      const one = e.simd('extendLowU8', [
        shuffle(
          e,
          block,
          block,
          IOTA.map(() => byte),
        ),
      ]);
      return e.simd('abs16', [e.simd('sub16', [bytes, e.let(one)])]);
    });
    return terms.reduce((sum, term) => e.simd('add16', [sum, term]));
  }),
  phminposuw: unary((e, source) => {
    const word = (lane: number): Value => e.simd('extract16U', [source], [lane], I32);
    // The value above its position: the least of these is the least value, and of equal ones the first.
    const least = range(7).reduce(
      (best, lane) => {
        const other = e.let(
          word(lane + 1)
            .shl(3)
            .or(lane + 1),
        );
        return e.let(e.select(other.ltU(best), other, best));
      },
      e.let(word(0).shl(3)),
    );
    return e.fromLow(least.shrU(3).or(least.and(7).shl(16)).wide());
  }),
};

const SHIFTS: Meanings = {
  psllw: shift({ simd: 'shl16', bits: 16, arithmetic: false }),
  pslld: shift({ simd: 'shl32', bits: 32, arithmetic: false }),
  psllq: shift({ simd: 'shl64', bits: 64, arithmetic: false }),
  psrlw: shift({ simd: 'shrU16', bits: 16, arithmetic: false }),
  psrld: shift({ simd: 'shrU32', bits: 32, arithmetic: false }),
  psrlq: shift({ simd: 'shrU64', bits: 64, arithmetic: false }),
  psraw: shift({ simd: 'shrS16', bits: 16, arithmetic: true }),
  psrad: shift({ simd: 'shrS32', bits: 32, arithmetic: true }),
  pslldq: shiftBytes(movedUp),
  psrldq: shiftBytes(movedDown),
};

const SHUFFLES: Meanings = {
  ...all(['punpcklbw'], binary(interleave(1, false))),
  ...all(['punpcklwd'], binary(interleave(2, false))),
  ...all(['punpckldq', 'unpcklps'], binary(interleave(4, false))),
  ...all(['punpcklqdq', 'unpcklpd'], binary(interleave(8, false))),
  ...all(['punpckhbw'], unpackHigh(1)),
  ...all(['punpckhwd'], unpackHigh(2)),
  ...all(['punpckhdq', 'unpckhps'], unpackHigh(4)),
  ...all(['punpckhqdq', 'unpckhpd'], unpackHigh(8)),
  packsswb: pack('narrowS16'),
  packssdw: pack('narrowS32'),
  packuswb: pack('narrowU16'),
  packusdw: pack('narrowU32'),
  pshufd: unary((e, source) => shuffledByImmediate(e, source, { size: 4, base: 0, moves: () => true })),
  pshufw: unary((e, source) =>
    shuffledByImmediate(e, source, { size: 2, base: 0, moves: (lane) => lane < 4 }),
  ),
  pshuflw: unary((e, source) =>
    shuffledByImmediate(e, source, { size: 2, base: 0, moves: (lane) => lane < 4 }),
  ),
  pshufhw: unary((e, source) =>
    shuffledByImmediate(e, source, { size: 2, base: 4, moves: (lane) => lane >= 4 }),
  ),
  shufps: binary((e, a, b) => {
    const pick = (from: Value): Value =>
      e.let(shuffledByImmediate(e, from, { size: 4, base: 0, moves: () => true }));
    return shuffle(e, pick(a), pick(b), chosen(4, [0, 1, 6, 7]));
  }),
  shufpd: binary((e, a, b) => {
    const imm = immediate(e);
    const half = (from: Value, bit: number): Value =>
      e.select(imm.and(bit), e.highHalf(from), e.lowHalf(from));
    return e.simd('replace64', [e.fromLow(half(a, 1)), half(b, 2)], [1]);
  }),
  pshufb: binary((e, a, b) => {
    // An index with its sign set gives zero, and so does one of 16 or more here.
    const kept = e.vectorOf(IOTA.map(() => (e.form.dst === 'mm' ? 0x87 : 0x8f)));
    return e.simd('swizzle', [a, e.simd('and', [b, kept])]);
  }),
  palignr: binary((e, a, b) => {
    const imm = immediate(e);
    if (e.form.dst === 'mm') {
      const both = e.simd('replace64', [b, e.lowHalf(a)], [1]);
      return movedDown(e, both, imm);
    }
    const indices = e.let(e.simd('addSatU8', [e.vectorOf(IOTA), splatByte(e, imm)]));
    const upper = e.simd('sub8', [indices, e.vectorOf(IOTA.map(() => 16))]);
    return e.simd('or', [e.simd('swizzle', [b, indices]), e.simd('swizzle', [a, upper])]);
  }),
  pinsrb: insert(1),
  pinsrw: insert(2),
  pinsrd: insert(4),
  pinsrq: insert(8),
  pextrb: extract(1),
  pextrw: extract(2),
  pextrd: extract(4),
  pextrq: extract(8),
  extractps: extract(4),
  insertps: vector((e) => {
    const imm = immediate(e);
    const index = e.let(imm.shrU(6).and(3));
    const value = isMemory(e.form.src)
      ? e.read('src', 4)
      : e.let(extractLane(e, readWhole(e, 'src'), index, 4));
    const inserted = insertLane(e, readWhole(e, 'dst'), e.let(imm.shrU(4).and(3)), { size: 4, value });
    const bits = e.vectorOf(range(4).flatMap((lane) => [1 << lane, 0, 0, 0]));
    const cleared = e.simd('eq32', [e.simd('and', [e.simd('splat32', [imm]), bits]), bits]);
    e.writeVector('dst', e.let(e.simd('andNot', [inserted, cleared])));
  }),
  pblendvb: blendVariable((e, mask) => e.simd('gtS8', [e.zeroVector(), mask])),
  blendvps: blendVariable((e, mask) => e.simd('shrS32', [mask, e.i32(31)])),
  blendvpd: blendVariable((e, mask) => e.simd('shrS64', [mask, e.i32(63)])),
  pblendw: blendImmediate(2),
  blendps: blendImmediate(4),
  blendpd: blendImmediate(8),
  pmovsxbw: extend('extendLowS8'),
  pmovsxbd: extend('extendLowS8', 'extendLowS16'),
  pmovsxbq: extend('extendLowS8', 'extendLowS16', 'extendLowS32'),
  pmovsxwd: extend('extendLowS16'),
  pmovsxwq: extend('extendLowS16', 'extendLowS32'),
  pmovsxdq: extend('extendLowS32'),
  pmovzxbw: extend('extendLowU8'),
  pmovzxbd: extend('extendLowU8', 'extendLowU16'),
  pmovzxbq: extend('extendLowU8', 'extendLowU16', 'extendLowU32'),
  pmovzxwd: extend('extendLowU16'),
  pmovzxwq: extend('extendLowU16', 'extendLowU32'),
  pmovzxdq: extend('extendLowU32'),
};

/** PCMPxSTRx: TypeScript compares (soft-ops.ts); the index goes to ECX, a mask to XMM0. */
const compareStrings = (explicit: boolean, toMask: boolean): VectorMeaning =>
  vector((e) => {
    const source = e.vector('src', 16, false);
    e.storeVector(e.cpu, CPU.at.FP_A, readWhole(e, 'dst'));
    e.storeVector(e.cpu, CPU.at.FP_B, source);
    const { size } = e.form;
    const lengths = explicit
      ? [e.register(RAX, size).signed(size), e.register(RDX, size).signed(size)]
      : [e.i64(0), e.i64(0)];
    const code = immediate(e)
      .shl(SOFT_EXTRA_SHIFT)
      .or(softCode('strings') | (explicit ? SOFT_EXPLICIT : 0));
    const outcome = e.let(e.call(I64, e.helpers.float.soft, e.cpu, code, ...lengths));
    if (toMask) e.storeVector(e.cpu, CPU.at.XMM, e.loadVector(e.cpu, CPU.at.FP_RESULT));
    else e.setRegister(RCX, 4, outcome.and(0xff));
    e.setFlagBits(e.let(outcome.shrU(8).low()));
  });

const STRINGS: Meanings = {
  pcmpestri: compareStrings(true, false),
  pcmpestrm: compareStrings(true, true),
  pcmpistri: compareStrings(false, false),
  pcmpistrm: compareStrings(false, true),
};

export const VECTOR_MEANINGS: Meanings = {
  ...MOVES,
  ...LOGIC,
  ...ARITHMETIC,
  ...SHIFTS,
  ...SHUFFLES,
  ...STRINGS,
};
