/** What a cell of shared memory is called in findings. */
import type { MachineLayout } from '../../shared/layout/machine.ts';
import { ARCH, ARCH_LIMIT, ARCH_LIVE, TRACK_MODE_NAMES } from '../../shared/layout/memslot.ts';
import type { Mem } from '../../shared/mem.ts';
import { cellAt } from '../../shared/state/cell-name.ts';
import { generic } from '../engine/finding.ts';

/** As `cellAt`, but counters and rmap words by the arch block they belong to; what has no name by its address. */
export function cellName(mem: Mem, layout: MachineLayout, addr: number): string {
  const { archArena, archArenaBytes } = layout;
  if (addr >= archArena && addr < archArena + archArenaBytes) return arenaName(mem, layout, addr);
  return cellAt(layout, mem, addr)?.name ?? `0x${addr.toString(16)}`;
}

/** The same without its numbers: equal for all cells of one declaration. */
export function kindOfCell(mem: Mem, layout: MachineLayout, addr: number): string {
  return generic(cellName(mem, layout, addr));
}

function arenaName(mem: Mem, layout: MachineLayout, addr: number): string {
  const word = (arch: number, field: keyof typeof ARCH.at): number =>
    mem.i32[(layout.archs + arch * ARCH.bytes + ARCH.at[field]) >>> 2]!;
  for (let arch = 0; arch < ARCH_LIMIT; arch++) {
    const track = word(arch, 'TRACK');
    if (word(arch, 'STATE') !== ARCH_LIVE || addr < track || addr >= track + word(arch, 'BYTES')) continue;
    const pages = word(arch, 'NPAGES');
    if (addr >= word(arch, 'DIRTY'))
      return `slot-archs[${arch}].dirty[${(addr - word(arch, 'DIRTY')) >>> 2}]`;
    if (addr >= word(arch, 'RMAP')) return `slot-archs[${arch}].rmap[${(addr - word(arch, 'RMAP')) >>> 2}]`;
    const count = (addr - track) >>> 1;
    const mode = TRACK_MODE_NAMES[Math.floor(count / pages)] ?? 'padding';
    return `slot-archs[${arch}].gfn_track.${mode}[${count % pages}]`;
  }
  return 'slot-arch-arena (no live block)';
}
