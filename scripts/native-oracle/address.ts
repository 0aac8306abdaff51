/** Encodes a memory operand of a wanted shape at a wanted place: ModRM, SIB, displacement, segment, address size. */

import type { CaseState } from './case-state.ts';
import type { RmShape } from './encodings.ts';
import { anyBits } from './values.ts';

export interface Address {
  /** mod and r/m of ModRM. */
  readonly modrm: number;
  /** SIB and displacement. */
  readonly tail: readonly number[];
  /** The displacement counts from the end of the instruction: `tail` holds zeros, `ripTarget` what to reach. */
  readonly ripTarget: bigint | null;
  readonly rexX: number;
  readonly rexB: number;
  /** 0, 0x64 or 0x65. */
  readonly segment: number;
  readonly addressSize: 4 | 8;
  /** Bit n: register n is base or index. */
  readonly registers: number;
}

export interface AddressWish {
  readonly linear: bigint;
  /** Where the access is: not `linear` when a bit offset moves it. */
  readonly access: bigint;
  readonly shape: RmShape;
  /** Bit n: better not use register n. */
  readonly avoid: number;
  /** What the instruction adds to RSP before it computes the address: POP. */
  readonly rspShift: bigint;
  /** Registers above 7 would need the REX prefix that high bytes forbid. */
  readonly lowOnly: boolean;
}

const RSP = 4;
const RBP = 5;
const SEGMENTS = [0x64, 0x65];

/** Decides the registers (and the segment base) so that the operand lies at `wish.linear`. */
export function encodeAddress(state: CaseState, wish: AddressWish): Address {
  const { rng } = state;
  if (wish.shape !== 'memory') return general(state, wish, wish.linear, { segment: 0, addressSize: 8 });
  const { segment, addressSize, offset } = unusual(state, wish.linear, wish.access);
  return general(state, wish, offset, { segment, addressSize }, rng.chance(0.5));
}

/** Picks FS, GS or neither, the address size, and the segment base: what is left is the offset in the segment. */
export function unusual(
  state: CaseState,
  linear: bigint,
  access = linear,
): { segment: number; addressSize: 4 | 8; offset: bigint } {
  const { rng } = state;
  const low = linear < 1n << 32n;
  const kind = rng.below(4);
  if (kind === 0 && low) return { segment: 0, addressSize: 4, offset: linear };
  const segment = rng.pick(SEGMENTS);
  const narrow = kind === 1 && low;
  let base: bigint;
  if (narrow) {
    base = BigInt.asUintN(64, linear - anyBits(rng, rng.pick([8, 31, 32])));
  } else {
    const far = BigInt.asIntN(48, anyBits(rng, 48));
    base = BigInt.asUintN(64, rng.pick([0n, BigInt(rng.below(0x1000)), far, far]));
    // AMD also wants the offset in the segment canonical, Intel only the sum.
    if (isCanonical(access) && !isCanonical(access - base)) base = 0n;
  }
  if (segment === 0x64) state.fsBase = base;
  else state.gsBase = base;
  return { segment, addressSize: narrow ? 4 : 8, offset: BigInt.asUintN(64, linear - base) };
}

export function isCanonical(address: bigint): boolean {
  return BigInt.asIntN(48, address) === BigInt.asIntN(64, address);
}

function general(
  state: CaseState,
  wish: AddressWish,
  offset: bigint,
  how: { segment: number; addressSize: 4 | 8 },
  indexed = wish.shape === 'indexed',
): Address {
  const common = { ...how, ripTarget: null, rexX: 0, rexB: 0, registers: 0 };
  const bits = how.addressSize * 8;
  if (!indexed) {
    const choice = state.rng.below(10);
    if (choice === 0 && offset < 1n << 31n)
      return { ...common, modrm: 5, tail: bytes(0n, 4), ripTarget: offset };
    if (choice === 1 && fitsSigned32(offset, bits))
      return { ...common, modrm: 4, tail: [0x25, ...bytes(offset, 4)] };
    return withBase(state, wish, offset, common);
  }
  return withIndex(state, wish, offset, common);
}

type Common = Omit<Address, 'modrm' | 'tail'>;

function withBase(state: CaseState, wish: AddressWish, offset: bigint, common: Common): Address {
  const bits = common.addressSize * 8;
  for (;;) {
    const base = pickRegister(state, wish, false);
    const { mod, disp } = fitBase(state, wish, base, offset, bits);
    if (mod < 0) continue;
    const needsSib = (base & 7) === RSP;
    // A SIB without index says the same as none.
    const sib = needsSib || state.rng.chance(0.1) ? [0x20 | (base & 7) | (state.rng.below(4) << 6)] : [];
    return {
      ...common,
      modrm: (mod << 6) | (sib.length > 0 ? RSP : base & 7),
      tail: [...sib, ...displacement(mod, disp)],
      rexB: base >> 3,
      registers: 1 << base,
    };
  }
}

function withIndex(state: CaseState, wish: AddressWish, offset: bigint, common: Common): Address {
  const { rng } = state;
  const bits = common.addressSize * 8;
  for (;;) {
    const index = pickRegister(state, wish, true);
    const log = rng.below(4);
    const scale = 1n << BigInt(log);
    const sib = (log << 6) | ((index & 7) << 3);
    const rexX = index >> 3;
    const turn = rng.below(10);
    if (turn === 0) {
      // No base: disp32 and a scaled index. The index may wrap around.
      if (!state.isOpen(index)) continue;
      const rest = BigInt(rng.below(Number(scale))) * (1n << BigInt(bits - log));
      let disp = BigInt(rng.u32() | 0) & ~(scale - 1n);
      disp |= offset & (scale - 1n);
      const value = BigInt.asUintN(bits, (BigInt.asUintN(bits, offset - disp) >> BigInt(log)) + rest);
      setAddressRegister(state, index, value, bits);
      return { ...common, modrm: 4, tail: [sib | 5, ...bytes(disp, 4)], rexX, registers: 1 << index };
    }
    if (turn === 1) {
      // One register as base and index: it is about the offset's share, the displacement makes up for the rest.
      if (!state.isOpen(index)) continue;
      const value = offset / (scale + 1n) + BigInt(rng.below(0x1000));
      const disp = BigInt.asIntN(bits, offset - value * (scale + 1n));
      if (!fitsSigned32(disp, bits)) continue;
      setAddressRegister(state, index, value, bits);
      const modrm = (2 << 6) | 4;
      const tail = [sib | (index & 7), ...bytes(disp, 4)];
      return { ...common, modrm, tail, rexX, rexB: rexX, registers: 1 << index };
    }
    const base = pickRegister(state, wish, false);
    if (base === index) continue;
    if (state.isOpen(index)) {
      const value = rng.chance(0.5) ? BigInt(rng.below(64)) : anyBits(rng, bits);
      setAddressRegister(state, index, value, bits);
    }
    const { mod, disp } = fitBase(state, wish, base, offset - state.gpr[index]! * scale, bits);
    if (mod < 0) continue;
    return {
      ...common,
      modrm: (mod << 6) | 4,
      tail: [sib | (base & 7), ...displacement(mod, disp)],
      rexX,
      rexB: base >> 3,
      registers: (1 << index) | (1 << base),
    };
  }
}

/** Decides the base, or, if it is decided, the displacement. mod −1: it cannot reach the offset. */
function fitBase(
  state: CaseState,
  wish: AddressWish,
  base: number,
  offset: bigint,
  bits: number,
): { mod: number; disp: bigint } {
  const { rng } = state;
  const shift = base === RSP ? wish.rspShift : 0n;
  if (!state.isOpen(base)) {
    const disp = BigInt.asIntN(bits, offset - state.gpr[base]! - shift);
    if (!fitsSigned32(disp, bits)) return { mod: -1, disp };
    return { mod: BigInt.asIntN(8, disp) === BigInt.asIntN(32, disp) ? 1 : 2, disp };
  }
  const mod = rng.below(3);
  if (mod === 0 && (base & 7) === RBP) return { mod: -1, disp: 0n };
  const disp = mod === 0 ? 0n : BigInt.asIntN(mod === 1 ? 8 : 32, anyBits(rng, rng.pick([12, 32])));
  setAddressRegister(state, base, offset - disp - shift, bits);
  return { mod, disp };
}

/** With a 32-bit address size the upper half does not count, so it is left as it was. */
function setAddressRegister(state: CaseState, register: number, value: bigint, bits: number): void {
  if (bits === 64) state.choose(register, value);
  else state.chooseLow(register, 4, false, BigInt.asUintN(32, value));
}

function pickRegister(state: CaseState, wish: AddressWish, index: boolean): number {
  const { rng } = state;
  for (let tries = 0; ; tries++) {
    const register = rng.below(wish.lowOnly ? 8 : 16);
    if (index && register === RSP) continue;
    if (tries < 20 && (wish.avoid & (1 << register)) !== 0) continue;
    if (tries < 20 && !state.isOpen(register)) continue;
    return register;
  }
}

function fitsSigned32(offset: bigint, bits: number): boolean {
  return bits === 32 || BigInt.asIntN(32, offset) === BigInt.asIntN(64, offset);
}

function displacement(mod: number, disp: bigint): number[] {
  return mod === 0 ? [] : bytes(disp, mod === 1 ? 1 : 4);
}

/** Little-endian. */
export function bytes(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Number(BigInt.asUintN(8, value >> BigInt(i * 8))));
}
