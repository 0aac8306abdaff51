/** What a cell of shared memory is called: the names of its layout, for reports. */
import type { MachineLayout, Part, Region } from '../../shared/layout/machine.ts';
import { ARCH, ARCH_LIMIT, ARCH_LIVE, TRACK_MODE_NAMES } from '../../shared/layout/memslot.ts';
import type { Mem } from '../../shared/mem.ts';
import { type Field, SCALAR_BYTES } from '../../shared/struct.ts';

export interface CellPlace {
  readonly region: Region;
  /** Of the region: a vCPU, a root, a slot set. */
  readonly element: number;
  readonly part: Part;
  readonly record: number;
  readonly field: Field;
  /** Of the field's scalars. */
  readonly index: number;
}

/** Where `addr` lies in the layout; null in padding and behind the end. */
export function placeOf(layout: MachineLayout, addr: number): CellPlace | null {
  for (const region of layout.regions) {
    if (addr < region.base || addr >= region.base + region.stride * region.count) continue;
    const element = Math.floor((addr - region.base) / region.stride);
    const within = (addr - region.base) % region.stride;
    for (const part of region.parts) {
      const offset = within - part.offset;
      if (offset < 0 || offset >= part.struct.bytes * part.count) continue;
      const at = offset % part.struct.bytes;
      const field = part.struct.fields.find(
        (f) => at >= f.offset && at < f.offset + SCALAR_BYTES[f.type] * f.count,
      );
      if (field === undefined) return null;
      const record = Math.floor(offset / part.struct.bytes);
      const index = Math.floor((at - field.offset) / SCALAR_BYTES[field.type]);
      return { region, element, part, record, field, index };
    }
    return null;
  }
  return null;
}

/**
 * `mmu_lock.STATE`, `vcpus[1].WAKE_SEQ`, `sptes[0].SPTE[32]`; what has no name is shown by its address.
 *
 * @param mem  to name counters and rmap words in the arena by the arch block they belong to
 */
export function cellName(mem: Mem, layout: MachineLayout, addr: number): string {
  const place = placeOf(layout, addr);
  if (place === null) return `0x${addr.toString(16)}`;
  const { region, element, part, record, field, index } = place;
  if (region.name === 'slot-arch-arena') return arenaName(mem, layout, addr);
  const whole = part.label ?? region.name;
  const inner = part.label === undefined && region.parts.length > 1 ? `.${part.struct.name}` : '';
  const which = region.count > 1 ? `[${element}]` : '';
  if (part.count > 1) {
    const flat = part.struct.fields.length === 1 && field.count === 1;
    if (flat) return `${whole}${which}.${field.name}[${record}]`;
    return `${whole}${which}${inner}[${record}].${field.name}${field.count > 1 ? `[${index}]` : ''}`;
  }
  return `${whole}${which}${inner}.${field.name}${field.count > 1 ? `[${index}]` : ''}`;
}

/** The same without its numbers: equal for all cells of one declaration. */
export function kindOfCell(mem: Mem, layout: MachineLayout, addr: number): string {
  return cellName(mem, layout, addr)
    .replaceAll(/\[\d+\]/g, '[]')
    .replace(/0x[0-9a-f]+/, 'cell');
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
