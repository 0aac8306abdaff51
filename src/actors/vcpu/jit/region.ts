/**
 * What is compiled at a time: blocks of the block cache that lead to each other, with one function for all of them.
 *
 * A region has several entries. Control comes in at their start records, and goes out with a record for the interpreter's
 * loop: the one of an instruction that wants something rare, or the start of a block that is not in the region. So
 * everything rare is the interpreter's, and compiled code needs no exits of its own.
 */
import type { DecodedBlock, DecodedInsn } from '../decoded-block.ts';
import type { NormalInsn } from '../isa/forms.ts';

/** A block and where control goes from its end, as far as its bytes say. */
export interface RegionBlock {
  readonly block: DecodedBlock;
  /** Target of the branch at its end, null without a direct one. */
  readonly taken: bigint | null;
  /** What follows it, null where control never simply goes on. */
  readonly next: bigint | null;
  /** Where the indirect branch at its end is tried to go to, before the jump cache is asked. */
  readonly predicted: readonly bigint[];
}

export interface Region {
  readonly blocks: ReadonlyMap<bigint, RegionBlock>;
  /** RIPs of the blocks that it may be entered at, the one that made it hot first. */
  readonly entries: readonly bigint[];
  /** Guest instructions in it. */
  readonly count: number;
}

const INDIRECT: ReadonlySet<string> = new Set(['jmpind', 'callind', 'ret']);
const FALLS_THROUGH: ReadonlySet<string> = new Set(['jcc', 'jrcxz', 'loop', 'loope', 'loopne']);
const GOES_TO_TARGET: ReadonlySet<string> = new Set([...FALLS_THROUGH, 'jmp', 'call', 'fall']);

export function regionBlock(block: DecodedBlock): RegionBlock {
  const { insn } = lastInsn(block);
  const taken = GOES_TO_TARGET.has(insn.op) ? BigInt.asUintN(64, insn.target) : null;
  return { block, taken, next: FALLS_THROUGH.has(insn.op) ? following(insn) : null, predicted: [] };
}

export function lastInsn(block: DecodedBlock): DecodedInsn {
  return block.insns[block.insns.length - 1]!;
}

/** Where a call at the end of `block` will return to, null when it ends with none. */
export function returnSite(block: DecodedBlock): bigint | null {
  const { insn } = lastInsn(block);
  return insn.op === 'call' || insn.op === 'callind' ? following(insn) : null;
}

/** Does it end with a branch to an address that only running tells? */
export function isIndirect(block: DecodedBlock): boolean {
  return INDIRECT.has(lastInsn(block).insn.op);
}

function following(insn: NormalInsn): bigint {
  return BigInt.asUintN(64, insn.rip + BigInt(insn.length));
}
