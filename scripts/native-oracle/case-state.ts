/**
 * The state of a case in the making: registers, each either still open or decided, bytes to be patched into the arena,
 * and the places that operands and the stack are put at.
 */
import type { Prng } from '../../src/shared/prng.ts';
import {
  ARENA_BASE,
  BACKGROUND,
  DATA_BYTES,
  DATA_OFFSET,
  PAGE_BYTES,
  READ_ONLY_BYTES,
  READ_ONLY_OFFSET,
} from './arena.ts';
import { fillRegister, PATCH_LIMIT } from './case.ts';
import { anyBits } from './values.ts';

/** Operands and stack of one case lie this close together, so that one patch can hold both. */
const WINDOW_BYTES = 128;
const DATA_END = DATA_OFFSET + DATA_BYTES;

export type Placement = 'inside' | 'straddle' | 'end' | 'start' | 'readonly' | 'unmapped' | 'noncanonical';
const PLACEMENTS: readonly (readonly [Placement, number])[] = [
  ['inside', 76],
  ['straddle', 10],
  ['end', 4],
  ['start', 3],
  ['readonly', 4],
  ['unmapped', 2],
  ['noncanonical', 1],
];

export class CaseState {
  readonly rng: Prng;
  readonly fill: number;
  readonly gpr: bigint[] = [];
  chosen = 0;
  fsBase = 0n;
  gsBase = 0n;
  /** DF. */
  backwards: boolean;
  /** Chosen vector registers, numbered as in FpuCase. */
  readonly vectors = new Map<number, bigint>();
  readonly #patches: { at: number; bytes: Uint8Array }[] = [];
  #window = -1;

  constructor(rng: Prng) {
    this.rng = rng;
    this.fill = rng.below(0x100);
    this.backwards = rng.chance(0.1);
    for (let n = 0; n < 16; n++) this.gpr.push(fillRegister(this.fill, n));
  }

  isOpen(register: number): boolean {
    return (this.chosen & (1 << register)) === 0;
  }

  /** Decides a register's value; false, and nothing happens, if something decided it before. */
  choose(register: number, value: bigint): boolean {
    if (!this.isOpen(register)) return false;
    this.gpr[register] = BigInt.asUintN(64, value);
    this.chosen |= 1 << register;
    return true;
  }

  /** Decides the low `size` bytes (or, `high`, the second byte); the rest stays random. */
  chooseLow(register: number, size: number, high: boolean, value: bigint): boolean {
    const shift = high ? 8n : 0n;
    const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
    return this.choose(register, (this.gpr[register]! & ~mask) | ((value << shift) & mask));
  }

  /** A linear address for an operand of `size` bytes. */
  place(size: number): bigint {
    let turn = this.rng.below(100);
    for (const [placement, weight] of PLACEMENTS) {
      turn -= weight;
      if (turn < 0) return this.placeAt(placement, size);
    }
    return this.placeAt('inside', size);
  }

  placeAt(placement: Placement, size: number): bigint {
    const { rng } = this;
    const linear = (offset: number): bigint => BigInt(ARENA_BASE + offset);
    switch (placement) {
      case 'straddle':
        // The page border inside the operand; of a single byte, just before or behind it.
        return linear(this.#near(DATA_OFFSET + PAGE_BYTES - 1 - rng.below(Math.max(size - 1, 1))));
      case 'end':
        return linear(this.#near(DATA_END - rng.below(size + 1)));
      case 'start':
        return linear(this.#near(DATA_OFFSET - rng.below(size + 1)));
      case 'readonly':
        return linear(READ_ONLY_OFFSET + rng.below(READ_ONLY_BYTES - 64));
      case 'unmapped':
        return rng.chance(0.5) ? linear(DATA_END + rng.below(64)) : 0x1000_0000_0000n | anyBits(rng, 45);
      case 'noncanonical':
        return (1n << 63n) | anyBits(rng, 60);
      default:
        return linear(this.#inside(size));
    }
  }

  /** Little-endian bytes of `value`, patched to `linear` if they can be there; false if not. */
  setMemory(linear: bigint, size: number, value: bigint): boolean {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = Number((value >> BigInt(i * 8)) & 0xffn);
    return this.patchBytes(linear, bytes);
  }

  patchBytes(linear: bigint, bytes: Uint8Array): boolean {
    const at = mappedOffset(linear, bytes.length);
    if (at < 0) return false;
    const starts = this.#patches.map((patch) => patch.at);
    const ends = this.#patches.map((patch) => patch.at + patch.bytes.length);
    if (Math.max(at + bytes.length, ...ends) - Math.min(at, ...starts) > PATCH_LIMIT) return false;
    this.#patches.push({ at, bytes });
    return true;
  }

  /** Whether all `size` bytes lie in data pages. */
  isMapped(linear: bigint, size: number): boolean {
    return mappedOffset(linear, size) >= 0;
  }

  /** Whether all `size` bytes may be stored to. */
  isWritable(linear: bigint, size: number): boolean {
    const at = mappedOffset(linear, size);
    return at >= 0 && at < READ_ONLY_OFFSET;
  }

  /** What is at `linear` so far, or null if not all of it is mapped. */
  memory(linear: bigint, size: number): bigint | null {
    const at = mappedOffset(linear, size);
    if (at < 0) return null;
    const { patchOffset, patch } = this.patch();
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) {
      const byte = patch[at + i - patchOffset] ?? BACKGROUND[at + i]!;
      value = (value << 8n) | BigInt(byte);
    }
    return value;
  }

  /** All patched bytes as one range of the arena. */
  patch(): { patchOffset: number; patch: Uint8Array } {
    if (this.#patches.length === 0) return { patchOffset: DATA_OFFSET, patch: new Uint8Array(0) };
    const patchOffset = Math.min(...this.#patches.map((patch) => patch.at));
    const end = Math.max(...this.#patches.map((patch) => patch.at + patch.bytes.length));
    const patch = BACKGROUND.slice(patchOffset, end);
    for (const { at, bytes } of this.#patches) patch.set(bytes, at - patchOffset);
    return { patchOffset, patch };
  }

  #inside(size: number): number {
    if (size > WINDOW_BYTES) return DATA_OFFSET + this.rng.below(DATA_BYTES - size + 1);
    if (this.#window < 0) this.#window = DATA_OFFSET + this.rng.below(DATA_BYTES - WINDOW_BYTES);
    return this.#window + this.rng.below(WINDOW_BYTES - size + 1);
  }

  /** Puts the window around `offset`, unless it is somewhere already. */
  #near(offset: number): number {
    if (this.#window < 0) {
      const wanted = offset - WINDOW_BYTES / 2;
      this.#window = Math.min(Math.max(wanted, DATA_OFFSET), DATA_END - WINDOW_BYTES);
    }
    return offset;
  }
}

/** Arena offset of `size` bytes that all lie in mapped data pages, or −1. */
function mappedOffset(linear: bigint, size: number): number {
  if (linear < BigInt(ARENA_BASE) || linear > BigInt(ARENA_BASE) + 0xffffn) return -1;
  const at = Number(linear) - ARENA_BASE;
  const within = (from: number, count: number): boolean => at >= from && at + size <= from + count;
  return within(DATA_OFFSET, DATA_BYTES) || within(READ_ONLY_OFFSET, READ_ONLY_BYTES) ? at : -1;
}
