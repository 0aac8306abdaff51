/**
 * What the opcode tables are written in: cells of text, and choices between cells. See opcode-table.ts for the notation.
 */
import type { CoreOp, HostOp } from './insn.ts';

export type Op = CoreOp | HostOp;
export type Text = Op | `${Op} ${string}` | `!${string}`;
export type Cell = Text | Choice;

export interface Choice {
  readonly by: number;
  readonly cells: readonly Cell[];
}

/** Node kinds. Every kind but LEAF says which bits pick `next`. */
export const LEAF = 0;
export const BY_REG = 1;
export const BY_MOD = 2;
export const BY_RM = 3;
export const BY_PREFIX = 4;
export const BY_REX_B = 5;
export const BY_REX_W = 6;

export const group = (...cells: Cell[]): Choice => ({ by: BY_REG, cells });
export const byMod = (memory: Cell, register: Cell): Choice => ({ by: BY_MOD, cells: [memory, register] });
export const byRm = (...cells: Cell[]): Choice => ({ by: BY_RM, cells });
export const byPrefix = (none: Cell, p66: Cell, f3: Cell, f2: Cell): Choice => ({
  by: BY_PREFIX,
  cells: [none, p66, f3, f2],
});
export const byRexB = (clear: Cell, set: Cell): Choice => ({ by: BY_REX_B, cells: [clear, set] });
export const byRexW = (clear: Cell, set: Cell): Choice => ({ by: BY_REX_W, cells: [clear, set] });

/** No 66, F3 or F2. */
export const bare = (cell: Cell): Choice => byPrefix(cell, '!', '!', '!');
export const f3Or = (f3: Cell, other: Cell): Choice => byPrefix(other, other, f3, other);
export const times = (count: number, cell: Cell): Cell[] => new Array<Cell>(count).fill(cell);
