/** Puts the bytes of one instruction together from its parts. */
import {
  AT_IMM,
  AT_MOFFS,
  AT_OPCODE,
  AT_UNSIGNED,
  SIZE_D64,
} from '../../src/actors/vcpu/isa/opcode-table.ts';
import { type Address, bytes } from './address.ts';
import type { Operand } from './arrange.ts';
import { hasModrm, type Slot } from './encodings.ts';

export const INSN_BYTES_MAX = 15;

export interface Parts {
  readonly slot: Slot;
  readonly opcode: number;
  /** ModRM's reg with REX.R; what the encoding fixes of it counts. */
  readonly reg: number;
  readonly rm: Address | number;
  /** REX.B of a register in the opcode. */
  readonly opcodeB: number;
  /** Byte registers 4…7 are AH CH DH BH: there must be no REX. */
  readonly noRex: boolean;
  /** REX.W where it changes nothing. */
  readonly wide: boolean;
  /** dst, src, src2: immediates are taken from here. */
  readonly operands: readonly Operand[];
  /** Bytes of an absolute address. */
  readonly moffs: readonly number[];
  /** 0, 0x64 or 0x65. */
  readonly segment: number;
  readonly addressSize: 4 | 8;
  /** The legacy prefixes as they shall stand, given those that must be there and whether REX.W is. */
  readonly noise: (prefixes: readonly number[], wide: boolean) => readonly number[];
}

/**
 * All bytes but those of a relative branch target.
 * @returns `ripAt`: where a RIP-relative displacement stands, if there is one; null when a REX is needed and forbidden
 */
export function encode(parts: Parts): { head: number[]; ripAt: number } | null {
  const { slot, rm } = parts;
  const { encoding, size } = slot;
  const { leaf } = encoding;
  const modrm = hasModrm(encoding);
  const wide = encoding.rexW === 1 || (size === 8 && leaf.size >= 16 && leaf.size !== SIZE_D64) || parts.wide;
  let rex = rexBits(parts) | (wide ? 0x48 : 0);
  if (rex === 0 && !parts.noRex && parts.operands.some(needsEmptyRex)) rex = 0x40;
  if (rex !== 0 && parts.noRex) return null;

  const head = [...parts.noise(prefixesOf(parts), wide)];
  if (rex !== 0) head.push(rex);
  head.push(...encoding.map, parts.opcode);
  const regField = (parts.reg & 7) << 3;
  if (modrm && typeof rm === 'number') head.push(0xc0 | regField | (rm & 7));
  if (modrm && typeof rm !== 'number') head.push((rm.modrm & 0xc7) | regField, ...rm.tail);
  const ripAt = head.length - 4;
  for (const [index, place] of [leaf.dst, leaf.src, leaf.src2].entries()) {
    const operand = parts.operands[index]!;
    if (place.at === AT_MOFFS) head.push(...parts.moffs);
    if (operand.kind !== 'imm') continue;
    if (place.at === AT_IMM || place.at === AT_UNSIGNED) head.push(...bytes(operand.value, operand.size));
  }
  return { head, ripAt };
}

function rexBits({ slot, reg, rm, opcodeB }: Parts): number {
  const { encoding } = slot;
  const { leaf } = encoding;
  const named = [leaf.dst, leaf.src].some((place) => place.at === AT_OPCODE);
  let rex = reg > 7 ? 0x44 : 0;
  if (typeof rm !== 'number') rex |= (rm.rexB * 0x41) | (rm.rexX * 0x42);
  else if (hasModrm(encoding) && rm > 7) rex |= 0x41;
  else if ((named || encoding.rexB >= 0) && opcodeB === 1) rex |= 0x41;
  return rex;
}

/** SPL BPL SIL DIL and not AH CH DH BH: a REX has to say so. */
function needsEmptyRex(operand: Operand): boolean {
  return operand.kind === 'reg' && operand.size === 1 && operand.reg >= 4;
}

function prefixesOf({ slot, segment, addressSize }: Parts): number[] {
  const { encoding, size, lock, rep } = slot;
  const list: number[] = [];
  if (lock) list.push(0xf0);
  if (rep !== 0) list.push(rep);
  if (segment !== 0) list.push(segment);
  if (addressSize === 4) list.push(0x67);
  if (encoding.prefix > 0x66) list.push(encoding.prefix);
  if (encoding.prefix === 0x66 || (size === 2 && encoding.leaf.size >= 16)) list.push(0x66);
  return list;
}
