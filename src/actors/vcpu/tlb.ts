/**
 * The soft TLB of one vCPU, as TypeScript uses it. The emulator core looks at the same entries by itself.
 */
import {
  ACCESS_R,
  ACCESS_W,
  ACCESS_X,
  CPU,
  CPU_FILLED,
  CPU_JUMP_CACHE,
  FILLED_LIMIT,
  JUMP_ENTRIES,
  JUMP_ENTRY_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_FETCH,
  TLB_LEVEL_SHIFT,
  TLB_READ,
  TLB_SET_BYTES,
  TLB_SLOW,
  TLB_TABLE_BYTES,
  TLB_WRITE,
  tlbGfn,
  tlbTable,
} from '../../shared/layout/cpu.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import type { Mem } from '../../shared/mem.ts';

const SLOW = Number(TLB_SLOW);

/** The table that answers for one ACCESS_* bit. */
export function tableOf(access: number): number {
  if (access === ACCESS_R) return TLB_READ;
  return access === ACCESS_W ? TLB_WRITE : TLB_FETCH;
}

/** @param low  of the linear address: its low 32 bits, which the index is part of */
function entryAddress(cpu: number, user: boolean, table: number, low: number): number {
  const index = (low >>> 12) & (TLB_ENTRIES - 1);
  return tlbTable(cpu, user, table) + index * TLB_ENTRY.bytes;
}

/** Drops everything, in both privilege sets, and with it the jump cache: it skips the translation of a fetch. */
export function flushTlb(mem: Mem, cpu: number): void {
  flushJumpCache(mem, cpu);
  // SHARED: plain accesses. Only the vCPU's own thread, or one that knows it parked, comes here.
  const filled = (cpu + CPU.at.TLB_FILLED) >>> 2;
  const count = mem.i32[filled]! - 1;
  mem.i32[filled] = 1;
  if (count >= 0) {
    for (let i = 0; i < count; i++) empty(mem, mem.i32[((cpu + CPU_FILLED) >>> 2) + i]!);
    return;
  }
  const from = tlbTable(cpu, false, TLB_READ);
  mem.touch(from, 2 * TLB_SET_BYTES);
  mem.i32.fill(-1, from >>> 2, (from + 2 * TLB_SET_BYTES) >>> 2);
}

/**
 * INVLPG: drops the page of `gva` from both privilege sets, and of a large page all parts. Jumps into it go through its
 * fetch entry; where that is not there any more, all jumps are dropped.
 *
 * @source Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches"
 */
export function flushPage(mem: Mem, cpu: number, gva: bigint): void {
  const filled = (cpu + CPU.at.TLB_FILLED) >>> 2;
  const known = mem.i32[filled]!;
  if (known === 0) {
    flushTlb(mem, cpu);
    return;
  }
  const { i32 } = mem;
  const low = Number(BigInt.asUintN(32, gva)) | 0;
  const high = Number(BigInt.asIntN(64, gva) >> 32n) | 0;
  const list = (cpu + CPU_FILLED) >>> 2;
  let jumps = i32[(cpu + CPU.at.FETCH_EVICTED) >>> 2] === 1;
  let count = known - 1;
  for (let i = count - 1; i >= 0; i--) {
    const at = i32[list + i]!;
    const level = i32[(at + TLB_ENTRY.at.PAGE) >>> 2]! >>> TLB_LEVEL_SHIFT;
    if (i32[(at >>> 2) + 1] !== high || ((i32[at >>> 2]! ^ low) & PAGE_MASKS[level]!) !== 0) continue;
    jumps ||= isFetchEntry(cpu, at);
    empty(mem, at);
    count -= 1;
    mem.touch((list + i) * 4, 4);
    i32[list + i] = i32[list + count]!;
  }
  i32[filled] = count + 1;
  if (jumps) flushJumpCache(mem, cpu);
}

/** Of the low half of an address: the bits that tell pages of a level apart. */
const PAGE_MASKS = [~0xfff, ~0x1f_ffff, ~0x3fff_ffff];

function isFetchEntry(cpu: number, at: number): boolean {
  const offset = (at - tlbTable(cpu, false, TLB_READ)) % TLB_SET_BYTES;
  return offset >= TLB_FETCH * TLB_TABLE_BYTES;
}

function empty(mem: Mem, at: number): void {
  mem.touch(at, TLB_ENTRY.bytes);
  for (let word = at >>> 2; word < (at + TLB_ENTRY.bytes) >>> 2; word++) mem.i32[word] = -1;
}

/** Empties the jump cache: its entries hold for one set of translations. */
export function flushJumpCache(mem: Mem, cpu: number): void {
  mem.i32[(cpu + CPU.at.FETCH_EVICTED) >>> 2] = 0;
  const empty = (cpu + CPU.at.JUMPS_EMPTY) >>> 2;
  if (mem.i32[empty] === 1) return;
  mem.i32[empty] = 1;
  const from = cpu + CPU_JUMP_CACHE;
  mem.touch(from, JUMP_ENTRIES * JUMP_ENTRY_BYTES);
  mem.i32.fill(-1, from >>> 2, (from + JUMP_ENTRIES * JUMP_ENTRY_BYTES) >>> 2);
}

/** Shared-memory address of the byte at `gva`, or −1 on a miss. `access` is one ACCESS_* bit. */
export function lookup(mem: Mem, cpu: number, user: boolean, access: number, gva: bigint): number {
  // By halves: bigints cost more than all else here.
  const low = Number(BigInt.asUintN(32, gva)) | 0;
  const at = entryAddress(cpu, user, tableOf(access), low);
  const tag = mem.i32[at >>> 2]! & ~SLOW;
  if (tag !== (low & ~0xfff) || mem.i32[(at >>> 2) + 1] !== (Number(BigInt.asIntN(64, gva) >> 32n) | 0)) {
    return -1;
  }
  return (low + mem.i32[(at + TLB_ENTRY.at.ADDEND) >>> 2]!) >>> 0;
}

/** Would an entry for `gva` take the place of another page's? */
export function wouldEvict(mem: Mem, cpu: number, user: boolean, access: number, gva: bigint): boolean {
  const at = entryAddress(cpu, user, tableOf(access), Number(BigInt.asUintN(32, gva)) | 0);
  return mem.i32[at >>> 2] !== -1 && (mem.u64[at / 8]! & ~0xfffn) !== (gva & ~0xfffn);
}

/** One entry to be. */
export interface Entry {
  readonly user: boolean;
  /** One ACCESS_* bit. */
  readonly access: number;
  readonly gva: bigint;
  /** The RAM page's address. */
  readonly host: number;
  readonly gfn: number;
  /** Of the guest page it is a part of. */
  readonly level: number;
  /** Keeps the core from using it. */
  readonly slow: boolean;
}

/** Enters gva's page → the RAM page at `host`, for one kind of access. */
export function insert(mem: Mem, cpu: number, entry: Entry): void {
  const { i32 } = mem;
  const page = entry.gva & ~0xfffn;
  const low = Number(BigInt.asUintN(32, page)) | 0;
  const at = entryAddress(cpu, entry.user, tableOf(entry.access), low);
  if (i32[at >>> 2] === -1) noteFilled(mem, cpu, at);
  else if (entry.access === ACCESS_X) i32[(cpu + CPU.at.FETCH_EVICTED) >>> 2] = 1;
  mem.touch(at, TLB_ENTRY.bytes);
  // The core stores through it without a word.
  if (entry.access === ACCESS_W && !entry.slow) mem.touch(entry.host, PAGE_BYTES);
  i32[(at + TLB_ENTRY.at.ADDEND) >>> 2] = (entry.host - low) | 0;
  i32[(at + TLB_ENTRY.at.PAGE) >>> 2] = entry.gfn | (entry.level << TLB_LEVEL_SHIFT);
  mem.u64[at / 8] = entry.slow ? page | TLB_SLOW : page;
}

/** An entry that was empty is not any more. */
function noteFilled(mem: Mem, cpu: number, at: number): void {
  const filled = (cpu + CPU.at.TLB_FILLED) >>> 2;
  const known = mem.i32[filled]!;
  if (known === 0) return;
  if (known > FILLED_LIMIT) {
    mem.i32[filled] = 0;
    return;
  }
  const place = cpu + CPU_FILLED + (known - 1) * 4;
  mem.touch(place, 4);
  mem.i32[place >>> 2] = at;
  mem.i32[filled] = known + 1;
}

/** Every filled entry, for the I6 oracle. The vCPU must be outside guest mode. */
export function* filledEntries(
  mem: Mem,
  cpu: number,
): Generator<{ access: number; gfn: number; gva: bigint }> {
  const known = mem.i32[(cpu + CPU.at.TLB_FILLED) >>> 2]!;
  const first = tlbTable(cpu, false, TLB_READ);
  const entries = (2 * TLB_SET_BYTES) / TLB_ENTRY.bytes;
  for (let i = 0; i < (known === 0 ? entries : known - 1); i++) {
    const at = known === 0 ? first + i * TLB_ENTRY.bytes : mem.i32[((cpu + CPU_FILLED) >>> 2) + i]!;
    // The low half says it: that of a page has zeros. A bigint for each empty one would cost more than all else here.
    if (mem.i32[at >>> 2] === -1) continue;
    const table = Math.floor(((at - first) % TLB_SET_BYTES) / TLB_TABLE_BYTES);
    const gva = mem.u64[at / 8]! & ~TLB_SLOW;
    yield { access: ACCESS_OF_TABLE[table]!, gva, gfn: tlbGfn(mem.i32[(at + TLB_ENTRY.at.PAGE) >>> 2]!) };
  }
}

const ACCESS_OF_TABLE: readonly number[] = [ACCESS_R, ACCESS_W, ACCESS_X];
