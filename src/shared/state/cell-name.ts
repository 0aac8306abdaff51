/**
 * The name of an address in a machine's shared memory, as people say it: `mmu_lock.STATE`, `vcpu 1 REQUESTS`,
 * `spte of gfn 0x21`. From the declarations of src/shared/layout, like the dump.
 */
import type { MachineLayout, Part, Region } from '../layout/machine.ts';
import { ARCH, ARCH_LIMIT, ARCH_LIVE, TRACK_MODE_NAMES } from '../layout/memslot.ts';
import type { Mem } from '../mem.ts';
import { type Field, SCALAR_BYTES, type ScalarType } from '../struct.ts';
import { hex } from '../units.ts';

export interface Cell {
  readonly name: string;
  /** Of the scalar at this address. */
  readonly type: ScalarType;
  /** The lock that it belongs to: its class name, with its vCPU if there is one each. */
  readonly lock?: string;
  /** A statistic, a sequence word, a free list: nothing of what the machine means. */
  readonly bookkeeping: boolean;
}

export interface Place {
  readonly region: Region;
  readonly element: number;
  readonly part: Part;
  readonly record: number;
  readonly field: Field;
  /** Index of the scalar within the field. */
  readonly scalar: number;
  /** Address of the record. */
  readonly address: number;
}

/**
 * @param mem  whose records know what they stand for (an access entry its gfn)
 * @returns null for an address between the records, or outside
 */
export function cellAt(layout: MachineLayout, mem: Mem, address: number): Cell | null {
  const place = placeOf(layout, address);
  if (place === null) return null;
  const { region, part, field } = place;
  const { type } = field;
  if (region.name === 'locks' || region.name === 'vcpu-locks') {
    const lock = region.name === 'locks' ? part.label! : `vcpu ${place.element} ${part.label}`;
    return { name: `${lock}.${fieldName(place)}`, type, lock, bookkeeping: false };
  }
  if (region.name === 'slot-arch-arena') return arenaCell(layout, mem, address);
  const bookkeeping = field.volatile === true || region.name === 'pools';
  return { name: nameOf(place, mem), type, bookkeeping };
}

/** The name of a cell, or else its address. */
export function cellName(layout: MachineLayout, mem: Mem, address: number): string {
  return cellAt(layout, mem, address)?.name ?? hex(address);
}

/** A counter, an rmap word, a word of a dirty bitmap: by the arch block whose arrays it belongs to. */
function arenaCell(layout: MachineLayout, mem: Mem, address: number): Cell {
  for (let arch = 0; arch < ARCH_LIMIT; arch++) {
    const word = (field: keyof typeof ARCH.at): number =>
      mem.i32[(layout.archs + arch * ARCH.bytes + ARCH.at[field]) >>> 2]!;
    const track = word('TRACK');
    if (word('STATE') !== ARCH_LIVE || address < track || address >= track + word('BYTES')) continue;
    const words = (array: 'dirty' | 'rmap', base: number): Cell => ({
      name: `slot-archs[${arch}].${array}[${(address - base) >>> 2}]`,
      type: 'i32',
      bookkeeping: false,
    });
    if (address >= word('DIRTY')) return words('dirty', word('DIRTY'));
    if (address >= word('RMAP')) return words('rmap', word('RMAP'));
    const count = (address - track) >>> 1;
    const pages = word('NPAGES');
    const mode = TRACK_MODE_NAMES[Math.floor(count / pages)] ?? 'padding';
    const name = `slot-archs[${arch}].gfn_track.${mode}[${count % pages}]`;
    return { name, type: 'u16', bookkeeping: false };
  }
  return { name: 'slot-arch-arena (no live block)', type: 'u8', bookkeeping: false };
}

function nameOf(place: Place, mem: Mem): string {
  const { region, element, part, record, address } = place;
  const field = fieldName(place);
  const long = place.field.type === 'u8' && place.field.count > 8;
  switch (region.name) {
    case 'vm':
      return field;
    case 'vcpus':
      return `vcpu ${element} ${field}`;
    case 'sptes':
      return `spte of gfn ${hex(record)}${element === 0 ? '' : ` in root ${element}`}`;
    case 'access-nodes': {
      const gfn = part.struct.fields.find(({ name }) => name === 'GFN')!;
      return `${field} of gfn ${hex(mem.i32[(address + gfn.offset) >>> 2]!)}`;
    }
    case 'cpus':
      return `cpu ${element} ${part.label === undefined ? field : `${part.label}[${record}]`}`;
    case 'slot-sets':
      return `slot set ${element} ${part.count > 1 ? `[${record}] ` : ''}${field}`;
    case 'ram':
      return `ram page ${element}+${hex(place.scalar)}`;
    default: {
      const which = region.count > 1 ? `${region.name}[${element}]` : region.name;
      if (long) return `${which}+${hex(place.scalar)}`;
      const inside = part.label ?? (region.parts.length > 1 ? part.struct.name : '');
      const number = part.count > 1 ? `[${record}]` : '';
      return [which, `${inside}${number}`, field].filter((word) => word !== '').join(' ');
    }
  }
}

function fieldName({ field, scalar }: Place): string {
  return field.count > 1 ? `${field.name}[${scalar}]` : field.name;
}

/** Where `address` stands in the declarations; null between the records, or outside. */
export function placeOf(layout: MachineLayout, address: number): Place | null {
  for (const region of layout.regions) {
    const offset = address - region.base;
    if (offset < 0 || offset >= region.stride * region.count) continue;
    const element = Math.floor(offset / region.stride);
    const within = offset - element * region.stride;
    for (const part of region.parts) {
      const inPart = within - part.offset;
      if (inPart < 0 || inPart >= part.struct.bytes * part.count) continue;
      const record = Math.floor(inPart / part.struct.bytes);
      const inRecord = inPart - record * part.struct.bytes;
      const field = part.struct.fields.findLast((candidate) => candidate.offset <= inRecord);
      if (field === undefined) return null;
      const scalar = Math.floor((inRecord - field.offset) / SCALAR_BYTES[field.type]);
      if (scalar >= field.count) return null;
      return { region, element, part, record, field, scalar, address: address - inRecord };
    }
  }
  return null;
}
