/**
 * Every way to encode what the generated core executes: the leaves of the decoder's opcode tables, and of each leaf the
 * operand sizes and operand shapes. One such combination is a slot; generate.ts makes cases of it.
 */
import { CORE_OPS, type CoreOp, type HostOp, type Size } from '../../src/actors/vcpu/isa/insn.ts';
import {
  AT_MOFFS,
  AT_OPCODE,
  AT_REG,
  AT_RM,
  BY_MOD,
  BY_PREFIX,
  BY_REG,
  BY_REX_B,
  BY_REX_W,
  BY_RM,
  isLeaf,
  type Leaf,
  MOD_MEM,
  type Node,
  ONE_BYTE,
  type Place,
  SIZE_D64,
  SIZE_V,
  SIZE_Y,
  SIZE_Z,
  THREE_BYTE_3A,
  THREE_BYTE_38,
  TWO_BYTE,
} from '../../src/actors/vcpu/isa/opcode-table.ts';
import { X87_OPS } from '../../src/actors/vcpu/isa/x87-ops.ts';

/** A leaf and what the bytes must be to reach it. −1: whatever they like. */
export interface Encoding {
  readonly op: CoreOp | HostOp;
  readonly leaf: Leaf;
  /** Escape bytes. */
  readonly map: readonly number[];
  /** Several when the low bits name a register. */
  readonly opcodes: readonly number[];
  readonly reg: number;
  readonly mod: 'any' | 'memory' | 'register';
  readonly rm: number;
  /** 0 for none of 66 F3 F2, or the one of them. */
  readonly prefix: number;
  readonly rexB: number;
  readonly rexW: number;
}

/**
 * Where the r/m operand is. `high`: AH CH DH BH. `memory` is what has a segment base or a 32-bit address size; string
 * operands and moffs are `base` or `memory` too.
 */
export type RmShape = 'none' | 'register' | 'high' | 'base' | 'indexed' | 'memory';

export interface Slot {
  readonly encoding: Encoding;
  readonly size: Size;
  readonly rm: RmShape;
  readonly lock: boolean;
  /** 0, F3 or F2: of string instructions. */
  readonly rep: number;
}

/** What no case covers, and why. Everything else of CORE_OPS has slots; a unit test says so. */
export const NOT_COVERED: { readonly [op in CoreOp]?: string } = {};

/** Operations of TypeScript that a process may use, and so can be compared. */
const HOST_OPS_COVERED: readonly HostOp[] = ['maskmovq', 'maskmovdqu', 'fxrstor', ...X87_OPS];

type Path = Omit<Encoding, 'op' | 'leaf' | 'map' | 'opcodes'>;
const FREE: Path = { reg: -1, mod: 'any', rm: -1, prefix: -1, rexB: -1, rexW: -1 };
const PREFIX_OF_INDEX = [0, 0x66, 0xf3, 0xf2];
/** PREFETCHW's opcode with a register does nothing on Intel and is undefined on AMD. */
const PREFETCHW = 0x0d;

export const ENCODINGS: readonly Encoding[] = collect();
export const SLOTS: readonly Slot[] = ENCODINGS.flatMap(slotsOf);

function collect(): Encoding[] {
  const core = new Set<string>([...CORE_OPS, ...HOST_OPS_COVERED]);
  const found = new Map<string, Encoding>();
  const visit = (node: Node, map: readonly number[], opcode: number, path: Path): void => {
    if (isLeaf(node)) {
      if (node.op === null || !core.has(node.op)) return;
      const named = [node.dst, node.src].some((place) => place.at === AT_OPCODE);
      const key = JSON.stringify([node, map, named ? opcode & ~7 : opcode, path]);
      const opcodes = [...(found.get(key)?.opcodes ?? []), opcode];
      found.set(key, { op: node.op, leaf: node, map, opcodes, ...path });
      return;
    }
    for (const [index, next] of node.next.entries()) {
      const chosen = step(node.kind, index, path);
      if (chosen !== null) visit(next, map, opcode, chosen);
    }
  };
  for (const [map, nodes] of [
    [[], ONE_BYTE],
    [[0x0f], TWO_BYTE],
    [[0x0f, 0x38], THREE_BYTE_38],
    [[0x0f, 0x3a], THREE_BYTE_3A],
  ] as const) {
    for (const [opcode, node] of nodes.entries()) visit(node, map, opcode, FREE);
  }
  return [...found.values()];
}

/** The path after choice `index` of a node, or null if an earlier choice excludes it. */
function step(kind: number, index: number, path: Path): Path | null {
  switch (kind) {
    case BY_REG:
      return path.reg >= 0 && path.reg !== index ? null : { ...path, reg: index };
    case BY_MOD: {
      const mod = index === 0 ? 'memory' : 'register';
      return path.mod !== 'any' && path.mod !== mod ? null : { ...path, mod };
    }
    case BY_RM:
      // Only ever asked of a register.
      return { ...path, rm: index, mod: 'register' };
    case BY_PREFIX:
      return { ...path, prefix: PREFIX_OF_INDEX[index]! };
    case BY_REX_B:
      return { ...path, rexB: index };
    case BY_REX_W:
      return { ...path, rexW: index };
    default:
      throw new Error(`opcode table: node kind ${kind}`);
  }
}

function slotsOf(encoding: Encoding): Slot[] {
  const slots: Slot[] = [];
  for (const size of sizesOf(encoding)) {
    for (const rm of shapesOf(encoding, size)) {
      const inMemory = rm === 'base' || rm === 'indexed' || rm === 'memory';
      const lockable = encoding.leaf.lock && inMemory && encoding.leaf.dst.at === AT_RM;
      for (const lock of lockable ? [false, true] : [false]) {
        for (const rep of repsOf(encoding)) slots.push({ encoding, size, rm, lock, rep });
      }
    }
  }
  return slots;
}

function sizesOf({ leaf, prefix }: Encoding): Size[] {
  const possible = (sizes: Size[]): Size[] => {
    if (prefix === 0x66) return [2];
    return prefix === 0 ? sizes.filter((size) => size !== 2) : sizes;
  };
  switch (leaf.size) {
    case SIZE_V:
      return possible([2, 4, 8]);
    case SIZE_Y:
      return [4, 8];
    case SIZE_Z:
      return possible([2, 4]);
    case SIZE_D64:
      return possible([2, 8]);
    default:
      return [leaf.size as Size];
  }
}

/** Whether a ModRM follows the opcode: for an operand, or to tell what the opcode means. */
export function hasModrm({ leaf, reg, mod, rm }: Encoding): boolean {
  return leaf.modrm || reg >= 0 || rm >= 0 || mod !== 'any';
}

/** Bytes of an operand in an instruction of operand size `size`. */
export function placeSize(place: Place, size: Size): Size {
  if (place.size === SIZE_Z) return size === 8 ? 4 : size;
  return place.size === SIZE_V || place.size === SIZE_Y || place.size === SIZE_D64
    ? size
    : (place.size as Size);
}

/** The place of the operand that ModRM's r/m names, if any. */
export function rmPlace(leaf: Leaf): Place | null {
  return [leaf.dst, leaf.src, leaf.src2].find((place) => place.at === AT_RM) ?? null;
}

function shapesOf(encoding: Encoding, size: Size): RmShape[] {
  const { leaf, map, opcodes, mod, rm } = encoding;
  if (map.length === 1 && opcodes[0] === PREFETCHW && mod === 'register') return [];
  const moffs = [leaf.dst, leaf.src].some((place) => place.at === AT_MOFFS);
  if (moffs || leaf.string) return ['base', 'memory'];
  if (!hasModrm(encoding)) return ['none'];
  if (rm >= 0) return ['register'];
  const shapes: RmShape[] = [];
  if (mod !== 'memory' && leaf.mod !== MOD_MEM) {
    shapes.push('register');
    const place = rmPlace(leaf);
    if (place !== null && placeSize(place, size) === 1 && size !== 8) shapes.push('high');
  }
  if (mod !== 'register') shapes.push('base', 'indexed', 'memory');
  return shapes;
}

function repsOf({ leaf, op }: Encoding): number[] {
  if (!leaf.string || op === 'xlat') return [0];
  return [0, 0xf3, 0xf2];
}

/** Whether the instruction has a reg field that names a general register. */
export function hasRegOperand(leaf: Leaf): boolean {
  return [leaf.dst, leaf.src].some((place) => place.at === AT_REG && place.file === 'gpr');
}
