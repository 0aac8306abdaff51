/**
 * The memory an oracle case sees, natively and in Faultline: the same linear addresses with the same rights.
 *
 *   0x10000000  code        4 pages   read, execute   INT3 wherever the case puts nothing
 *   0x10008000  data        2 pages   read, write     the background pattern, under the case's patch
 *   0x1000c000  read-only   1 page    read            likewise
 *
 * Nothing else in the low 4 GiB is mapped, so what strays from a page meets a page fault. The address lies below 2³¹:
 * RIP-relative, absolute and 32-bit addresses all reach it.
 */

export const ARENA_BASE = 0x1000_0000;
export const ARENA_BYTES = 0xd000;
export const PAGE_BYTES = 0x1000;

/** Offsets from ARENA_BASE. */
export const CODE_OFFSET = 0;
export const CODE_BYTES = 4 * PAGE_BYTES;
export const DATA_OFFSET = 0x8000;
export const DATA_BYTES = 2 * PAGE_BYTES;
export const READ_ONLY_OFFSET = 0xc000;
export const READ_ONLY_BYTES = PAGE_BYTES;

export const CODE_BASE = ARENA_BASE + CODE_OFFSET;
export const DATA_BASE = ARENA_BASE + DATA_OFFSET;
export const READ_ONLY_BASE = ARENA_BASE + READ_ONLY_OFFSET;

export const INT3 = 0xcc;

/** 32 well-mixed bits of `index` under `seed`: the finaliser of MurmurHash3 over a Weyl step. */
export function mix(seed: number, index: number): number {
  let h = (seed + Math.imul(index + 1, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** What the arena holds where no case has put anything, by arena offset. Bytes of no mapped data page are 0. */
export const BACKGROUND: Uint8Array = background();

function background(): Uint8Array {
  const bytes = new Uint8Array(ARENA_BYTES).fill(INT3, CODE_OFFSET, CODE_OFFSET + CODE_BYTES);
  const fill = (from: number, count: number): void => {
    for (let at = from; at < from + count; at++) bytes[at] = mix(0x0faced, at) >>> 24;
  };
  fill(DATA_OFFSET, DATA_BYTES);
  fill(READ_ONLY_OFFSET, READ_ONLY_BYTES);
  return bytes;
}
