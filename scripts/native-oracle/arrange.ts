/**
 * What is worth trying with each operation: where its stack, strings and memory operand go, and which values make its
 * operands interesting together. Everything undecided afterwards stays random.
 */
import type { Size } from '../../src/actors/vcpu/isa/insn.ts';
import { AT_REG, AT_UNSIGNED, type Place } from '../../src/actors/vcpu/isa/opcode-table.ts';
import { isVectorOp } from '../../src/actors/vcpu/isa/vector-ops.ts';
import { isX87Op } from '../../src/actors/vcpu/isa/x87-ops.ts';
import type { Prng } from '../../src/shared/prng.ts';
import { isCanonical, unusual } from './address.ts';
import { CODE_BASE, CODE_BYTES, DATA_BASE, DATA_BYTES, PAGE_BYTES } from './arena.ts';
import type { CaseState } from './case-state.ts';
import type { Slot } from './encodings.ts';
import { anyBits, division, operandValue, shiftCount } from './values.ts';
import { controlOf, vectorValue } from './vector-values.ts';
import { extendedValue, x87Memory } from './x87-values.ts';

export type Operand =
  | { readonly kind: 'none'; readonly size: Size }
  | { readonly kind: 'reg'; readonly size: Size; readonly reg: number; readonly high: boolean }
  /** Numbered as in FpuCase. */
  | { readonly kind: 'vector'; readonly size: Size; readonly register: number }
  | { readonly kind: 'mem'; readonly size: Size; readonly linear: bigint }
  | { readonly kind: 'imm'; readonly size: Size; readonly value: bigint };

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;
const RFLAGS_IN_POPF = 0x244ed5n; // ID AC NT, and the arithmetic flags, DF and IF; never TF

const ENTER_DEPTH = 5;

/** Before any address is encoded: the stack, frame and table registers of operations that have them. */
export function placeRegisters(state: CaseState, slot: Slot, reg: number): void {
  const { op, leaf } = slot.encoding;
  const { size } = slot;
  switch (op) {
    case 'push':
    case 'pushf':
    case 'call':
      state.choose(RSP, state.place(size) + BigInt(size));
      break;
    case 'callind': {
      // CALL RSP of an address that is none has two reasons to fault: which comes first is up to the processor.
      const top = state.place(size);
      state.choose(RSP, (isCanonical(top) ? top : state.placeAt('inside', size)) + BigInt(size));
      break;
    }
    case 'pop':
    case 'popf':
    case 'ret':
      state.choose(RSP, state.place(size));
      break;
    case 'enter': {
      const frame = size * ENTER_DEPTH;
      state.choose(RSP, state.place(frame) + BigInt(frame));
      state.choose(RBP, state.place(frame) + BigInt(frame));
      break;
    }
    case 'leave':
      state.choose(RBP, state.place(size));
      break;
    case 'bt':
    case 'bts':
    case 'btr':
    case 'btc':
      if (leaf.src.at === AT_REG) state.chooseLow(reg, size, false, bitOffset(state, size));
      break;
    default:
      // Most instructions do not care where the stack is; let it be usable now and then.
      if (state.rng.chance(0.2)) state.choose(RSP, state.placeAt('inside', 8));
  }
}

function bitOffset(state: CaseState, size: Size): bigint {
  const { rng } = state;
  const turn = rng.below(10);
  if (turn < 3) return BigInt(rng.below(size * 8));
  if (turn < 8) return BigInt(rng.below(8192) - 4096);
  return turn === 8 ? anyBits(rng, size * 8) : operandValue(rng, size * 8);
}

/** Linear address of the memory operand. */
export function placeOperand(state: CaseState, slot: Slot, size: number): bigint {
  const { op } = slot.encoding;
  const { rng } = state;
  if (op === 'lea' || op === 'nop' || op === 'prefetch') return anyBits(rng, rng.pick([32, 48, 64]));
  // CLFLUSH is a hint to the core: it does not look whether the page is there.
  if (op === 'clflush') return state.placeAt('inside', size);
  if (op.startsWith('bt') && slot.encoding.leaf.src.at === AT_REG) {
    // LIMIT: how many bytes around the bit are touched is up to the processor, so no page ends there.
    return state.placeAt(rng.chance(0.95) ? 'inside' : 'unmapped', size);
  }
  // AMD reads four bytes for MOVSXD with 66, Intel two.
  if (op === 'movsxd' && slot.size === 2) return state.placeAt('inside', size);
  if (op === 'fxrstor') return fxArea(state);
  // At which of their bytes these fault is up to the processor.
  if (/^(fldenv|fnstenv|fnsave|frstor)$/.test(op)) return state.placeAt('inside', size);
  if (size === 16 && rng.chance(op === 'cmpxchg16b' ? 0.9 : 0.75)) return state.place(size) & ~15n;
  return state.place(size);
}

/** What the address of the instruction must be for its access to be at `linear`: bit strings count from it. */
export function encodedAddress(state: CaseState, slot: Slot, reg: number, linear: bigint): bigint {
  const { op, leaf } = slot.encoding;
  if (!op.startsWith('bt') || leaf.src.at !== AT_REG) return linear;
  const bits = slot.size * 8;
  const offset = BigInt.asIntN(bits, state.gpr[reg]!);
  return BigInt.asUintN(64, linear - (offset >> BigInt(Math.log2(bits))) * BigInt(slot.size));
}

// ── strings ─────────────────────────────────────────────────────────────────────────────────────────────────

export interface StringPlace {
  readonly segment: number;
  readonly addressSize: 4 | 8;
}

/** Source, destination, count and contents of a string instruction, and RBX, AL of XLAT. */
export function placeStrings(state: CaseState, slot: Slot): StringPlace {
  const { op } = slot.encoding;
  const { rng } = state;
  if (op === 'xlat') {
    const index = rng.below(256);
    const how = segmentOf(state, slot, state.place(1));
    state.chooseLow(RAX, 1, false, BigInt(index));
    chooseAddress(state, RBX, how.offset - BigInt(index), how.addressSize);
    return how;
  }
  const { size, rep } = slot;
  if (size === 1 && rep !== 0 && op !== 'stos' && rng.chance(0.02)) return longString(state, slot);
  const count = rep === 0 ? 1 : rng.chance(0.1) ? 0 : 1 + rng.below(rng.pick([2, 4, 8, 24]));
  const bytes = Math.max(count, 1) * size;
  let source = state.place(bytes);
  // CMPS: which operand is read first is up to the processor, so only one of them may fault.
  let destination = op === 'cmps' && rng.chance(0.5) ? state.placeAt('inside', bytes) : state.place(bytes);
  if (op === 'cmps' && !state.isMapped(destination, bytes)) source = state.placeAt('inside', bytes);
  if (op === 'movs' && rng.chance(0.3)) destination = source + BigInt(rng.below(33) - 16);
  const usesDestination = op !== 'lods';
  const how = segmentOf(state, slot, op === 'stos' || op === 'scas' ? destination & 0xffff_ffffn : source);
  if (how.addressSize === 4 && destination >= 1n << 32n) destination = state.placeAt('inside', bytes);

  fillStrings(state, { op, size, count, source, destination });
  // Either direction walks over the same bytes.
  state.backwards = rng.chance(0.5);
  const back = state.backwards ? BigInt(bytes - size) : 0n;
  chooseAddress(state, RSI, how.offset + back, how.addressSize);
  if (usesDestination) chooseAddress(state, RDI, destination + back, how.addressSize);
  if (rep !== 0) chooseAddress(state, RCX, BigInt(count), how.addressSize);
  return how;
}

/**
 * More repetitions than the core does in one go, and nothing written that was not there: MOVS and CMPS of a string with
 * itself, LODS, SCAS.
 */
function longString(state: CaseState, slot: Slot): StringPlace {
  const { rng } = state;
  const count = 4000 + rng.below(DATA_BYTES - 4000);
  const from = BigInt(DATA_BASE + rng.below(DATA_BYTES - count + 1));
  const how = segmentOf(state, slot, from);
  state.backwards = rng.chance(0.5);
  const back = state.backwards ? BigInt(count - 1) : 0n;
  chooseAddress(state, RSI, how.offset + back, how.addressSize);
  chooseAddress(state, RDI, from + back, how.addressSize);
  chooseAddress(state, RCX, BigInt(count), how.addressSize);
  return how;
}

function segmentOf(state: CaseState, slot: Slot, linear: bigint): StringPlace & { offset: bigint } {
  if (slot.rm === 'memory') return unusual(state, linear);
  return { segment: 0, addressSize: 8, offset: linear };
}

function chooseAddress(state: CaseState, register: number, value: bigint, addressSize: 4 | 8): void {
  if (addressSize === 8) state.choose(register, value);
  else state.chooseLow(register, 4, false, BigInt.asUintN(32, value));
}

/** Equal stretches for CMPS, few different elements for SCAS: so that repetition goes on for a while. */
function fillStrings(
  state: CaseState,
  what: { op: string; size: Size; count: number; source: bigint; destination: bigint },
): void {
  const { rng } = state;
  const { op, size, count, source, destination } = what;
  const bits = size * 8;
  const contents = new Uint8Array(Math.max(count, 1) * size);
  if (op === 'cmps') {
    for (let i = 0; i < contents.length; i++) contents[i] = rng.u32() & 0xff;
    if (!state.patchBytes(source, contents)) return;
    const other = contents.slice();
    if (rng.chance(0.7)) other[rng.below(other.length)]! ^= 1 << rng.below(8);
    state.patchBytes(destination, other);
  }
  if (op === 'scas') {
    const needle = operandValue(rng, bits);
    const hay = operandValue(rng, bits);
    const often = rng.chance(0.5);
    for (let element = 0; element < contents.length / size; element++) {
      const value = rng.chance(0.15) === often ? needle : hay;
      for (let i = 0; i < size; i++) contents[element * size + i] = Number((value >> BigInt(i * 8)) & 0xffn);
    }
    state.patchBytes(destination, contents);
    state.chooseLow(RAX, size, false, needle);
  }
}

// ── values ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Values of the operands, as far as they are still open. */
export function chooseValues(
  state: CaseState,
  slot: Slot,
  operands: readonly Operand[],
  codeOffset: number,
): void {
  const { op } = slot.encoding;
  const { size } = slot;
  const { rng } = state;
  const bits = size * 8;
  const [dst, src] = operands as [Operand, Operand, Operand];
  if (isX87Op(op)) {
    chooseX87(state, op, dst, src);
    return;
  }
  if (isVectorOp(op) || [dst, src].some(({ kind }) => kind === 'vector')) {
    chooseVectors(state, op, [dst, src]);
    return;
  }
  const operand = dst.kind === 'none' ? src : dst;
  switch (op) {
    case 'mul':
    case 'imul':
      set(state, operand, operandValue(rng, bits));
      state.chooseLow(RAX, size, false, operandValue(rng, bits));
      break;
    case 'div':
    case 'idiv': {
      const { dividend, divisor } = division(rng, bits, op === 'idiv');
      set(state, operand, divisor);
      if (size === 1) state.chooseLow(RAX, 2, false, dividend);
      else {
        state.chooseLow(RAX, size, false, BigInt.asUintN(bits, dividend));
        state.chooseLow(RDX, size, false, dividend >> BigInt(bits));
      }
      break;
    }
    case 'cmpxchg': {
      const value = operandValue(rng, bits);
      set(state, dst, value);
      state.chooseLow(RAX, size, false, rng.chance(0.5) ? value : operandValue(rng, bits));
      set(state, src, operandValue(rng, bits));
      break;
    }
    case 'cmpxchg8b':
    case 'cmpxchg16b':
      compareExchangePair(state, dst, op === 'cmpxchg8b' ? 4 : 8);
      break;
    case 'rol':
    case 'ror':
    case 'rcl':
    case 'rcr':
    case 'shl':
    case 'shr':
    case 'sar':
    case 'shld':
    case 'shrd':
      state.chooseLow(RCX, 1, false, BigInt(shiftCount(rng)));
      set(state, dst, operandValue(rng, bits));
      if (op === 'shld' || op === 'shrd') set(state, src, operandValue(rng, bits));
      break;
    case 'jrcxz':
    case 'loop':
    case 'loope':
    case 'loopne':
      state.choose(RCX, rng.pick([0n, 1n, 2n, 1n << 32n, (1n << 32n) | 1n, anyBits(rng, 64)]));
      break;
    case 'cbw':
    case 'cwd':
    case 'sahf':
    case 'lahf':
      state.choose(RAX, operandValue(rng, 64));
      break;
    case 'popf':
      state.setMemory(state.gpr[RSP]!, size, anyBits(rng, 64) & (size === 2 ? 0x4ed5n : RFLAGS_IN_POPF));
      break;
    case 'ret':
      state.setMemory(state.gpr[RSP]!, 8, codeAddress(state, codeOffset));
      break;
    case 'jmpind':
      set(state, operand, codeAddress(state, codeOffset));
      break;
    case 'callind': {
      // Which comes first, a push that faults or a target that is none, is up to the processor.
      const pushes = state.isWritable(state.gpr[RSP]! - 8n, 8);
      set(state, operand, codeAddress(state, codeOffset, pushes));
      break;
    }
    default: {
      const value = operandValue(rng, bits);
      if (dst.kind !== 'none') set(state, dst, BigInt.asUintN(dst.size * 8, value));
      if (src.kind === 'reg' || src.kind === 'mem') {
        const same = rng.chance(0.2);
        set(state, src, BigInt.asUintN(src.size * 8, same ? value : operandValue(rng, src.size * 8)));
      }
    }
  }
}

function set(state: CaseState, operand: Operand, value: bigint): void {
  if (operand.kind === 'vector' && !state.vectors.has(operand.register)) {
    state.vectors.set(operand.register, BigInt.asUintN(operand.register < 16 ? 128 : 80, value));
  }
  if (operand.kind === 'reg') state.chooseLow(operand.reg, operand.size, operand.high, value);
  if (operand.kind === 'mem') state.setMemory(operand.linear, operand.size, value);
}

/** Operands of MMX and SSE, alike now and then, and XMM0 where it is a mask. */
function chooseVectors(state: CaseState, op: string, operands: readonly Operand[]): void {
  const { rng } = state;
  if (op.includes('blendv')) state.vectors.set(0, vectorValue(rng, op));
  if (op.startsWith('maskmov')) placeMasked(state);
  if (op.startsWith('pcmpestr')) {
    for (const register of [RAX, RDX]) state.choose(register, BigInt(rng.below(50) - 25));
  }
  const value = vectorValue(rng, op);
  for (const operand of operands) {
    if (operand.kind === 'none' || operand.kind === 'imm') continue;
    const own = rng.chance(0.15) ? value : vectorValue(rng, op);
    if (op === 'ldmxcsr') {
      // AMD has a bit 17.
      set(state, operand, BigInt(controlOf(rng) | (rng.chance(0.2) ? 1 << rng.pick([16, 18, 24, 31]) : 0)));
    } else if (operand.kind === 'reg') set(state, operand, operandValue(rng, operand.size * 8));
    else if (operand.kind === 'vector' && operand.register >= 16)
      set(state, operand, BigInt.asUintN(64, own) | (BigInt(rng.below(65536)) << 64n));
    else set(state, operand, own);
  }
}

/** Whether bytes that are not stored are looked at, and when, is up to the processor: they are all there. */
/** ST0, ST1, the register named, and memory. */
function chooseX87(state: CaseState, op: string, dst: Operand, src: Operand): void {
  const { rng } = state;
  const middle = rng.pick([0, 0, 0, 1, 2]);
  const named = [dst, src].flatMap((operand) => (operand.kind === 'vector' ? [operand.register] : []));
  const same = extendedValue(rng, middle);
  for (const register of new Set([16, 17, ...named])) {
    state.vectors.set(register, rng.chance(0.1) ? same : extendedValue(rng, middle));
  }
  // Beyond, nothing is defined: −1 … 1, and −0.29 … 0.41.
  const st0 = state.vectors.get(16)!;
  const limit = op === 'f2xm1' ? 0x3ffen : op === 'fyl2xp1' ? 0x3ffcn : 0x7fffn;
  const exponent = (st0 >> 64n) & 0x7fffn;
  if (exponent > limit && exponent < 0x7fffn) state.vectors.set(16, st0 & ~((0x7fffn & ~limit) << 64n));
  for (const operand of [dst, src]) {
    if (operand.kind !== 'mem') continue;
    const bytes = (operand.size as number) === 1 ? 8 : operand.size;
    set(state, { ...operand, size: bytes }, x87Memory(rng, op, bytes));
  }
}

/** 512 bytes with an MXCSR that can be loaded, most of the time. */
function fxArea(state: CaseState): bigint {
  const { rng } = state;
  // At which of its bytes it faults is up to the processor.
  const place = state.placeAt(rng.chance(0.95) ? 'inside' : 'noncanonical', 512);
  const at = rng.chance(0.9) ? place & ~15n : place;
  if (rng.chance(0.9)) state.setMemory(at + 24n, 4, BigInt(controlOf(rng)));
  return at;
}

function placeMasked(state: CaseState): void {
  state.choose(RDI, state.placeAt('inside', 16));
}

function compareExchangePair(state: CaseState, dst: Operand, half: 4 | 8): void {
  if (dst.kind !== 'mem') throw new Error('cmpxchg8b of a register');
  const { rng } = state;
  const bits = half * 8;
  const low = anyBits(rng, bits);
  const high = anyBits(rng, bits);
  state.setMemory(dst.linear, half * 2, (high << BigInt(bits)) | low);
  const turn = rng.below(4);
  state.chooseLow(RAX, half, false, turn === 0 ? anyBits(rng, bits) : low);
  state.chooseLow(RDX, half, false, turn === 1 ? anyBits(rng, bits) : high);
}

/** Value of an immediate operand at `place`. */
export function pickImmediate(rng: Prng, slot: Slot, place: Place, size: Size): bigint {
  const { op } = slot.encoding;
  if (op === 'enter') {
    // LIMIT: levels the core has a form for; see ENTER_LEVELS. The processor masks the level to five bits.
    if (place.size === 1) return BigInt(rng.below(ENTER_DEPTH) | (rng.below(8) << 5));
    return BigInt(rng.chance(0.8) ? rng.below(64) : rng.below(0x10000));
  }
  if (op === 'ret') return BigInt(rng.chance(0.5) ? rng.below(64) * 8 : rng.below(0x10000));
  if (place.at === AT_UNSIGNED) return BigInt(op.startsWith('bt') ? rng.below(256) : shiftCount(rng));
  return operandValue(rng, size * 8);
}

// ── branches ────────────────────────────────────────────────────────────────────────────────────────────────

const AROUND_CODE = 16;

/** Where an indirect branch goes: nearly always to an INT3. */
function codeAddress(state: CaseState, codeOffset: number, mayBeWild = true): bigint {
  const { rng } = state;
  const turn = rng.below(50);
  if (turn === 0 && mayBeWild) return state.placeAt('noncanonical', 1);
  if (turn === 1) return BigInt(DATA_BASE + rng.below(PAGE_BYTES)); // no execute
  if (turn === 2) return BigInt(CODE_BASE + CODE_BYTES + rng.below(PAGE_BYTES)); // not present
  for (;;) {
    const offset = rng.below(CODE_BYTES);
    if (clearOf(offset, codeOffset)) return BigInt(CODE_BASE + offset);
  }
}

/** Target of a direct branch with a displacement of `bytes` bytes. */
export function branchTarget(state: CaseState, codeOffset: number, length: number, bytes: number): bigint {
  const { rng } = state;
  if (bytes === 4) {
    for (;;) {
      const target = codeAddress(state, codeOffset);
      if (target < 1n << 31n) return target;
    }
  }
  for (;;) {
    const offset = codeOffset + length + (rng.below(256) - 128);
    if (offset >= 0 && clearOf(offset, codeOffset)) return BigInt(CODE_BASE + offset);
  }
}

function clearOf(offset: number, codeOffset: number): boolean {
  return offset < codeOffset - 1 || offset >= codeOffset + AROUND_CODE;
}
