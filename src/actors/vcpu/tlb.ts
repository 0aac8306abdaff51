/**
 * The soft TLB of one vCPU, as TypeScript uses it. The emulator core looks at the same entries by itself.
 */
import {
  ACCESS_R,
  ACCESS_W,
  CPU,
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
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
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
  flushJumpCache(mem, cpu);
  // SHARED: plain accesses. Only the vCPU's own thread, or one that knows it parked, comes here.
  const empty = (cpu + CPU.at.TLB_EMPTY) >>> 2;
  if (mem.i32[empty] === 1) return;
  mem.i32[empty] = 1;
  const from = tlbTable(cpu, false, TLB_READ);
  mem.touch(from, 2 * TLB_SET_BYTES);
  mem.i32.fill(-1, from >>> 2, (from + 2 * TLB_SET_BYTES) >>> 2);
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
  const empty = (cpu + CPU.at.JUMPS_EMPTY) >>> 2;
  if (mem.i32[empty] === 1) return;
  mem.i32[empty] = 1;
  const from = cpu + CPU_JUMP_CACHE;
  mem.touch(from, JUMP_ENTRIES * JUMP_ENTRY_BYTES);
  mem.i32.fill(-1, from >>> 2, (from + JUMP_ENTRIES * JUMP_ENTRY_BYTES) >>> 2);
}

/** Shared-memory address of the byte at `gva`, or −1 on a miss. `access` is one ACCESS_* bit. */
export function lookup(mem: Mem, cpu: number, user: boolean, access: number, gva: bigint): number {
  const at = entryAddress(cpu, user, tableOf(access), gva);
  const page = gva & ~0xfffn;
  const tag = mem.u64[at / 8]!;
  if (tag !== page && tag !== (page | TLB_SLOW)) return -1;
  return (Number(gva & 0xffff_ffffn) + mem.i32[(at + TLB_ENTRY.at.ADDEND) >>> 2]!) >>> 0;
}

/** Would an entry for `gva` take the place of another page's? */
export function wouldEvict(mem: Mem, cpu: number, user: boolean, access: number, gva: bigint): boolean {
  const tag = mem.u64[entryAddress(cpu, user, tableOf(access), gva) / 8]!;
  return tag !== EMPTY && (tag & ~0xfffn) !== (gva & ~0xfffn);
}

/** Enters gva's page → the RAM page at `host`, for one kind of access; `slow` keeps the core from using it. */
export function insert(
  mem: Mem,
  cpu: number,
  entry: { user: boolean; access: number; gva: bigint; host: number; gfn: number; slow: boolean },
): void {
  const page = entry.gva & ~0xfffn;
  const at = entryAddress(cpu, entry.user, tableOf(entry.access), entry.gva);
  mem.i32[(cpu + CPU.at.TLB_EMPTY) >>> 2] = 0;
  mem.touch(at, TLB_ENTRY.bytes);
  // The core stores through it without a word.
  if (entry.access === ACCESS_W && !entry.slow) mem.touch(entry.host, PAGE_BYTES);
  mem.i32[(at + TLB_ENTRY.at.ADDEND) >>> 2] = (entry.host - Number(page & 0xffff_ffffn)) | 0;
  mem.i32[(at + TLB_ENTRY.at.GFN) >>> 2] = entry.gfn;
  mem.u64[at / 8] = entry.slow ? page | TLB_SLOW : page;
}

/** Every filled entry, for the I6 oracle. The vCPU must be outside guest mode. */
export function* filledEntries(
  mem: Mem,
  cpu: number,
): Generator<{ access: number; gfn: number; gva: bigint }> {
  if (mem.i32[(cpu + CPU.at.TLB_EMPTY) >>> 2] === 1) return;
  for (const user of [false, true]) {
    for (const access of [1, 2, 4]) {
      const table = tlbTable(cpu, user, tableOf(access));
      for (let at = table; at < table + TLB_ENTRIES * TLB_ENTRY.bytes; at += TLB_ENTRY.bytes) {
        // The low half says it: that of a page has zeros. A bigint for each empty one would cost more than all else here.
        if (mem.i32[at >>> 2] === -1) continue;
        const gva = mem.u64[at / 8]! & ~TLB_SLOW;
        yield { access, gva, gfn: mem.i32[(at + TLB_ENTRY.at.GFN) >>> 2]! };
      }
    }
  }
}
