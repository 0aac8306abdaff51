/**
 * The operand forms of MMX and SSE instructions: what the opcode tables say, with every memory shape for what compilers
 * write most and the general one for the rest.
 */
import type { Form, Shape } from './forms.ts';
import type { Bytes, Size } from './insn.ts';
import {
  AT_IMM,
  AT_NONE,
  AT_RM,
  AT_UNSIGNED,
  BY_MOD,
  isLeaf,
  type Leaf,
  MOD_MEM,
  type Node,
  type Place,
  SIZE_Y,
  THREE_BYTE_3A,
  THREE_BYTE_38,
  TWO_BYTE,
} from './opcode-table.ts';
import type { VectorOp } from './vector-ops.ts';

export type VectorForm = Pick<Form, 'op' | 'size' | 'srcSize' | 'dst' | 'src' | 'src2'>;

/** Which r/m operands a path through the table leaves: bit 0 memory, bit 1 a register. */
const MEMORY = 1;
const REGISTER = 2;

const COMMON: ReadonlySet<string> = new Set<VectorOp>([
  'movaps',
  'movups',
  'movdqa',
  'movdqu',
  'movq',
  'movsd',
  'movss',
]);

export const VECTOR_FORMS: readonly VectorForm[] = collect();

function collect(): VectorForm[] {
  const forms = new Map<string, VectorForm>();
  const visit = (node: Node, rm: number): void => {
    if (isLeaf(node)) {
      if (node.vector && !node.x87)
        for (const form of formsOf(node, rm)) forms.set(JSON.stringify(form), form);
      return;
    }
    for (const [index, next] of node.next.entries()) {
      const allowed = node.kind === BY_MOD ? rm & (index === 0 ? MEMORY : REGISTER) : rm;
      if (allowed !== 0) visit(next, allowed);
    }
  };
  for (const map of [TWO_BYTE, THREE_BYTE_38, THREE_BYTE_3A]) {
    for (const node of map) visit(node, MEMORY | REGISTER);
  }
  return [...forms.values()];
}

function formsOf(leaf: Leaf, rm: number): VectorForm[] {
  const op = leaf.op as VectorOp;
  const allowed = leaf.mod === MOD_MEM ? rm & MEMORY : rm;
  const forms: VectorForm[] = [];
  for (const size of leaf.size === SIZE_Y ? ([4, 8] as const) : [leaf.size as Size]) {
    const place = [leaf.dst, leaf.src].find(({ at }) => at === AT_RM);
    const srcSize = place === undefined ? 8 : place.size === SIZE_Y ? size : (place.size as Bytes);
    for (const dst of shapesOf(op, leaf.dst, allowed)) {
      for (const src of shapesOf(op, leaf.src, allowed)) {
        const [src2] = shapesOf(op, leaf.src2, allowed) as [Shape];
        forms.push({ op, size, srcSize, dst, src, src2 });
      }
    }
  }
  return forms;
}

function shapesOf(op: VectorOp, { at, file }: Place, allowed: number): Shape[] {
  switch (at) {
    case AT_NONE:
      return ['none'];
    case AT_IMM:
    case AT_UNSIGNED:
      return ['imm'];
    default: {
      const register = (file === 'gpr' ? 'reg' : file) as Shape;
      if (at !== AT_RM) return [register];
      const memory: Shape[] = COMMON.has(op) ? ['base', 'indexed', 'memory'] : ['memory'];
      return [...((allowed & REGISTER) !== 0 ? [register] : []), ...((allowed & MEMORY) !== 0 ? memory : [])];
    }
  }
}
