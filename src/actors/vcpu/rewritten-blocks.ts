/**
 * Blocks of pages that have been written since they were decoded, kept with the bytes they were made from: data beside
 * code voids all code of its page, but changes none of it, and then nothing has to be decoded again.
 *
 * What is decoded follows from RIP and bytes alone.
 */
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import { INSN_BYTES_MAX } from './isa/decode.ts';

interface Kept<Item> {
  readonly page: number;
  readonly bytes: Uint8Array;
  readonly items: readonly Item[];
}

// LIMIT: blocks that are kept. Beyond it they are all forgotten: code that is rewritten is seldom much.
const KEPT_MAX = 1024;

export class RewrittenBlocks<Item> {
  readonly #kept = new Map<bigint, Kept<Item>>();

  /**
   * What was made of the block at `rip` in RAM page `page`, if its bytes are still the same; else null.
   *
   * @param code  the page's bytes
   */
  find(rip: bigint, page: number, code: Uint8Array): readonly Item[] | null {
    const kept = this.#kept.get(rip);
    if (kept === undefined || kept.page !== page) return null;
    const { bytes, items } = kept;
    const from = Number(rip & 0xfffn);
    for (let i = 0; i < bytes.length; i++) if (code[from + i] !== bytes[i]) return null;
    return items;
  }

  /** @param end  offset in the page at which the last instruction, or what is none, begins or ends: no byte behind the
   *              longest instruction from there was looked at */
  keep(rip: bigint, page: number, code: Uint8Array, items: readonly Item[], end: number): void {
    if (this.#kept.size >= KEPT_MAX) this.#kept.clear();
    const bytes = code.slice(Number(rip & 0xfffn), Math.min(PAGE_BYTES, end + INSN_BYTES_MAX));
    this.#kept.set(rip, { page, bytes, items });
  }
}
