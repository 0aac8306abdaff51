/** What the block cache tells whoever compiles its blocks, and what it asks of them. */
import type { NormalInsn } from './isa/forms.ts';

/** An instruction of a block, and the record that the interpreter would go on with to carry it out. */
export interface DecodedInsn {
  readonly insn: NormalInsn;
  readonly record: number;
}

/** A block as who compiles it sees it. It lies in one page. */
export interface DecodedBlock {
  readonly rip: bigint;
  /** RAM page that it was decoded from. */
  readonly page: number;
  /** Address of the record at its start. */
  readonly start: number;
  /** In order; two may share a record. The last one branches, goes to the host, or is a pseudo instruction that falls on. */
  readonly insns: readonly DecodedInsn[];
  /** Guest instructions, which is what the block is charged for. */
  readonly count: number;
}

/** Who compiles blocks. What it made of them must not be entered once it has been told that they are gone. */
export interface BlockCompiler {
  /** Entries of a fresh block until it is asked to compile it. */
  readonly heat: number;
  /** Blocks of this RAM page are gone. */
  pageDropped(page: number): void;
  /** All blocks are gone. */
  allDropped(): void;
}
