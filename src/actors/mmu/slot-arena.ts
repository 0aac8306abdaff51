/**
 * Arch blocks of memslots and the arena their arrays live in.
 *
 * All calls need slots_lock (one writer at a time); readers reach an arch block only through a slot they found inside
 * a kvm.srcu section. Freed blocks are poisoned, so that a use after free is seen by the I7 oracle.
 */
import {
  ARCH,
  ARCH_FREE,
  ARCH_LIMIT,
  ARCH_LIVE,
  ARCH_POISONED,
  ARENA_BLOCK as BLOCK,
  TRACK_MODES,
} from '../../shared/layout/memslot.ts';
import { roundUp } from '../../shared/struct.ts';
import { type Path, updating } from '../../shared/sync/point.ts';
import type { Vm } from './vm.ts';

const POISON_BYTE = 0xa5;

/** Fields of an arch block. */
export type ArchWord = keyof typeof ARCH.at;

export function archAddress(vm: Vm, arch: number, field: ArchWord): number {
  return vm.layout.archs + arch * ARCH.bytes + ARCH.at[field];
}

/** @param offset  ARCH.at.* */
function word(vm: Vm, arch: number, offset: number): number {
  return vm.mem.peek(vm.layout.archs + arch * ARCH.bytes + offset);
}

/**
 * Allocates counters, rmap and (optionally) a dirty bitmap for `npages` pages, all zero.
 *
 * @returns the arch index, or −1 when there is no memory (or an allocation failure is injected)
 */
export function* allocateArch(vm: Vm, npages: number): Path<number> {
  const { mem } = vm;
  const fail = vm.word('FAIL_ALLOCATIONS');
  yield updating(fail);
  if (mem.load(fail) > 0) {
    mem.add(fail, -1);
    return -1;
  }
  const trackBytes = roundUp(npages * TRACK_MODES * 2, 64);
  const rmapBytes = roundUp(npages * 4, 64);
  const dirtyBytes = roundUp(Math.ceil(npages / 32) * 4, 64);
  const arrays = trackBytes + rmapBytes + dirtyBytes;
  const arch = freeArch(vm);
  const block = arch < 0 ? 0 : takeBlock(vm, arrays);
  if (block === 0) return -1;
  const base = block + BLOCK.bytes;
  mem.fill(base, arrays, 0);
  const values: Record<ArchWord, number> = {
    STATE: ARCH_LIVE,
    GEN: word(vm, arch, ARCH.at.GEN) + 1,
    NPAGES: npages,
    TRACK: base,
    RMAP: base + trackBytes,
    DIRTY: base + trackBytes + rmapBytes,
    BYTES: arrays,
    BLOCK: block,
  };
  for (const field of Object.keys(values) as ArchWord[]) {
    mem.store(archAddress(vm, arch, field), values[field]);
  }
  return arch;
}

/** Poisons and frees. The caller has made sure (grace period, zap, flush) that nobody can reach it any more. */
export function releaseArch(vm: Vm, arch: number): void {
  const base = word(vm, arch, ARCH.at.TRACK);
  vm.mem.fill(base, word(vm, arch, ARCH.at.BYTES), POISON_BYTE);
  vm.mem.store(archAddress(vm, arch, 'STATE'), ARCH_POISONED);
  vm.mem.store(word(vm, arch, ARCH.at.BLOCK) + BLOCK.at.USED, 0);
}

/** Address of gfn_track[mode][page]: a 16-bit count. */
export function trackCounter(vm: Vm, arch: number, mode: number, page: number): number {
  return word(vm, arch, ARCH.at.TRACK) + (mode * word(vm, arch, ARCH.at.NPAGES) + page) * 2;
}

/** Address of rmap[page]: a bit per root that maps the page. */
export function rmapWord(vm: Vm, arch: number, page: number): number {
  return word(vm, arch, ARCH.at.RMAP) + page * 4;
}

/** Address of the dirty-bitmap word that holds `page`. */
export function dirtyWord(vm: Vm, arch: number, page: number): number {
  return word(vm, arch, ARCH.at.DIRTY) + Math.floor(page / 32) * 4;
}

/** Clears bit `root` of every rmap word. mmu_lock held for write, so plain accesses will do. */
export function dropFromRmaps(vm: Vm, root: number): void {
  const { mem } = vm;
  for (let arch = 0; arch < ARCH_LIMIT; arch++) {
    if (word(vm, arch, ARCH.at.STATE) !== ARCH_LIVE) continue;
    const from = word(vm, arch, ARCH.at.RMAP);
    const to = from + word(vm, arch, ARCH.at.NPAGES) * 4;
    for (let at = from; at < to; at += 4) mem.poke(at, mem.peek(at) & ~(1 << root));
  }
}

/** Is the arch block one that a slot may still use? False: use after free (I7). */
export function archIsLive(vm: Vm, arch: number): boolean {
  return arch >= 0 && arch < ARCH_LIMIT && word(vm, arch, ARCH.at.STATE) === ARCH_LIVE;
}

function freeArch(vm: Vm): number {
  // The one freed longest ago last: a stale index keeps pointing at a poisoned block for as long as possible.
  for (const state of [ARCH_FREE, ARCH_POISONED]) {
    for (let arch = 0; arch < ARCH_LIMIT; arch++) if (word(vm, arch, ARCH.at.STATE) === state) return arch;
  }
  return -1;
}

function takeBlock(vm: Vm, arrays: number): number {
  const { mem, layout } = vm;
  const end = layout.archArena + layout.archArenaBytes;
  const wanted = BLOCK.bytes + arrays;
  if (mem.load(layout.archArena + BLOCK.at.BYTES) === 0) {
    mem.store(layout.archArena + BLOCK.at.BYTES, layout.archArenaBytes);
  }
  for (let at = layout.archArena; at < end; ) {
    let bytes = mem.load(at + BLOCK.at.BYTES);
    if (mem.load(at + BLOCK.at.USED) === 0) {
      for (let next = at + bytes; next < end && mem.load(next + BLOCK.at.USED) === 0; next = at + bytes) {
        bytes += mem.load(next + BLOCK.at.BYTES);
        mem.store(at + BLOCK.at.BYTES, bytes);
      }
      if (bytes >= wanted) {
        if (bytes - wanted >= 2 * BLOCK.bytes) {
          mem.store(at + wanted + BLOCK.at.BYTES, bytes - wanted);
          mem.store(at + wanted + BLOCK.at.USED, 0);
          mem.store(at + BLOCK.at.BYTES, wanted);
        }
        mem.store(at + BLOCK.at.USED, 1);
        return at;
      }
    }
    at += bytes;
  }
  return 0;
}
