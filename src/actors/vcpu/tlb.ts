/**
 * The soft TLB of one vCPU, as TypeScript uses it. The emulator core looks at the same entries by itself.
 */
import {
  ACCESS_R,
  ACCESS_W,
  CPU_JUMP_CACHE,
  JUMP_ENTRIES,
  JUMP_ENTRY_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_FETCH,
  TLB_READ,
  TLB_SET_BYTES,
  TLB_SLOW,
  TLB_WRITE,
  tlbTable,
} from '../../shared/layout/cpu.ts';
import type { Mem } from '../../shared/mem.ts';

const EMPTY = 0xffff_ffff_ffff_ffffn;

/** The table that answers for one ACCESS_* bit. */
export function tableOf(access: number): number {
  if (access === ACCESS_R) return TLB_READ;
  return access === ACCESS_W ? TLB_WRITE : TLB_FETCH;
}

function entryAddress(cpu: number, user: boolean, table: number, gva: bigint): number {
  const index = Number((gva >> 12n) & BigInt(TLB_ENTRIES - 1));
  return tlbTable(cpu, user, table) + index * TLB_ENTRY.bytes;
}

/** Drops everything, in both privilege sets, and with it the jump cache: it skips the translation of a fetch. */
export function flushTlb(mem: Mem, cpu: number): void {
  const from = tlbTable(cpu, false, TLB_READ) >>> 2;
  mem.i32.fill(-1, from, from + ((2 * TLB_SET_BYTES) >>> 2));
  flushJumpCache(mem, cpu);
}

/**
 * INVLPG. Everything goes: entries are 4 KiB parts of pages whose size they do not remember, and all parts of a large
 * page have to go.
 *
 * @source Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"
 */
export function flushPage(mem: Mem, cpu: number, _gva: bigint): void {
  flushTlb(mem, cpu);
}

/** Empties the jump cache: its entries hold for one set of translations. */
export function flushJumpCache(mem: Mem, cpu: number): void {
  const from = (cpu + CPU_JUMP_CACHE) >>> 2;
  mem.i32.fill(-1, from, from + ((JUMP_ENTRIES * JUMP_ENTRY_BYTES) >>> 2));
}

/** Shared-memory address of the byte at `gva`, or −1 on a miss. `access` is one ACCESS_* bit. */
export function lookup(mem: Mem, cpu: number, user: boolean, access: number, gva: bigint): number {
  const at = entryAddress(cpu, user, tableOf(access), gva);
  const page = gva & ~0xfffn;
  const tag = mem.u64[at / 8]!;
  if (tag !== page && tag !== (page | TLB_SLOW)) return -1;
  return (Number(gva & 0xffff_ffffn) + mem.i32[(at + TLB_ENTRY.at.ADDEND) >>> 2]!) | 0;
}

/** Enters gva's page → the RAM page at `host`, for one kind of access; `slow` keeps the core from using it. */
export function insert(
  mem: Mem,
  cpu: number,
  entry: { user: boolean; access: number; gva: bigint; host: number; gfn: number; slow: boolean },
): void {
  const page = entry.gva & ~0xfffn;
  const at = entryAddress(cpu, entry.user, tableOf(entry.access), entry.gva);
  mem.i32[(at + TLB_ENTRY.at.ADDEND) >>> 2] = (entry.host - Number(page & 0xffff_ffffn)) | 0;
  mem.i32[(at + TLB_ENTRY.at.GFN) >>> 2] = entry.gfn;
  mem.u64[at / 8] = entry.slow ? page | TLB_SLOW : page;
}

/** Every filled entry, for the I6 oracle. The vCPU must be outside guest mode. */
export function* filledEntries(
  mem: Mem,
  cpu: number,
): Generator<{ access: number; gfn: number; gva: bigint }> {
  for (const user of [false, true]) {
    for (const access of [1, 2, 4]) {
      const table = tlbTable(cpu, user, tableOf(access));
      for (let at = table; at < table + TLB_ENTRIES * TLB_ENTRY.bytes; at += TLB_ENTRY.bytes) {
        const tag = mem.u64[at / 8]!;
        if (tag !== EMPTY)
          yield { access, gva: tag & ~TLB_SLOW, gfn: mem.i32[(at + TLB_ENTRY.at.GFN) >>> 2]! };
      }
    }
  }
}
