/**
 * A region of shared memory as text, every word by its declared name.
 *
 *     slot-sets: 4 × 2112 bytes at 0x12c0
 *     [0].slot-set 0x12c0  GENERATION 4  COUNT 1
 *     [0].slot[0] 0x1300  ID 0  AS_ID 0  FLAGS 1  BASE_GFN 32 (0x20)  NPAGES 16 (0x10)  …
 *     zero: [0].slot[1…63]
 *
 * SHARED: plain reads. While the machine runs, a dump shows each word as it was at some moment, not all at the same.
 */
import { SimError } from '../errors.ts';
import type { MachineLayout, Part, Region } from '../layout/machine.ts';
import type { Mem } from '../mem.ts';
import { type Field, SCALAR_BYTES } from '../struct.ts';
import { suggest } from '../suggest.ts';
import { hex } from '../units.ts';

export interface DumpOptions {
  /** First element of the region that is printed: a vCPU, a root, a page of RAM. 0 if not given. */
  readonly first?: number;
  /** How many elements; all the rest if not given. */
  readonly count?: number;
  /** A line for every word, with who writes it and what it means. */
  readonly verbose?: boolean;
  /** Prints caches as well: TLBs, jump caches, micro-ops. */
  readonly caches?: boolean;
}

const LINE_COLUMNS = 132;
/** Bytes in a row of a hexadecimal dump; a field of at most so many is printed within its line. */
const ROW_BYTES = 16;

/**
 * Prints region `name`. Records of zeros are named, not printed.
 *
 * @throws SimError SIM_USAGE when there is no such region, or no such element in it
 */
export function dumpRegion(mem: Mem, layout: MachineLayout, name: string, opts: DumpOptions = {}): string {
  const region = findRegion(layout, name);
  const { first, end } = range(region, opts);
  const lines = [`${name}: ${region.count} × ${region.stride} bytes at ${hex(region.base)}`];
  let zeros: { readonly from: RecordPlace; to: RecordPlace }[] = [];
  const tellZeros = () => {
    if (zeros.length > 0) lines.push(`zero: ${zeros.map(({ from, to }) => rangeName(from, to)).join(', ')}`);
    zeros = [];
  };
  for (const place of recordsOf(region, first, end, opts.caches === true)) {
    const last = zeros.at(-1);
    if (!isZero(mem, place.address, place.part.struct.bytes)) {
      tellZeros();
      lines.push(...recordLines(mem, place, opts.verbose === true));
    } else if (last?.to.row === place.row) last.to = place;
    else zeros.push({ from: place, to: place });
  }
  tellZeros();
  return lines.join('\n');
}

function findRegion(layout: MachineLayout, name: string): Region {
  const region = layout.regions.find((candidate) => candidate.name === name);
  if (region !== undefined) return region;
  const names = layout.regions.map((candidate) => candidate.name);
  const near = suggest(name, names);
  throw new SimError('SIM_USAGE', `no region '${name}'`, {
    hint: `${near === null ? '' : `did you mean '${near}'? `}regions: ${names.join(', ')}`,
  });
}

function range(region: Region, opts: DumpOptions): { first: number; end: number } {
  const { first = 0, count = region.count - first } = opts;
  const whole = Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0;
  if (!whole || first + count > region.count) {
    throw new SimError('SIM_USAGE', `'${region.name}' has no elements ${first} to ${first + count - 1}`, {
      hint: region.count === 0 ? 'it is empty' : `its elements are 0 to ${region.count - 1}`,
    });
  }
  return { first, end: first + count };
}

// ── records ─────────────────────────────────────────────────────────────────────────────────────────────────
interface RecordPlace {
  readonly part: Part;
  readonly address: number;
  /** Records of one row have names that differ only in `index`. */
  readonly row: string;
  readonly index: number;
  readonly name: (index: number | string) => string;
}

function* recordsOf(region: Region, first: number, end: number, caches: boolean): Generator<RecordPlace> {
  for (let element = first; element < end; element++) {
    const prefix = region.count > 1 ? `[${element}]` : '';
    for (const part of region.parts) {
      if (part.cache === true && !caches) continue;
      const partName = part.label ?? part.struct.name;
      const base = region.base + element * region.stride + part.offset;
      const alone = region.parts.length === 1 && part.count === 1;
      for (let record = 0; record < part.count; record++) {
        const address = base + record * part.struct.bytes;
        if (alone) {
          const name = (i: number | string) => (region.count > 1 ? `[${i}]` : region.name);
          yield { part, address, row: 'elements', index: element, name };
        } else {
          const path = prefix === '' ? partName : `${prefix}.${partName}`;
          const name = (i: number | string) => (part.count > 1 ? `${path}[${i}]` : path);
          yield { part, address, row: `${element} ${part.offset}`, index: record, name };
        }
      }
    }
  }
}

function rangeName(from: RecordPlace, to: RecordPlace): string {
  return from.name(from === to ? from.index : `${from.index}…${to.index}`);
}

function isZero(mem: Mem, address: number, bytes: number): boolean {
  for (let at = address; at < address + bytes; at++) if (mem.u8[at] !== 0) return false;
  return true;
}

function recordLines(mem: Mem, place: RecordPlace, verbose: boolean): string[] {
  const { part, address } = place;
  const head = `${place.name(place.index)} ${hex(address)}`;
  const fields = part.struct.fields.map((field) => ({
    field,
    value: isLong(field) ? '' : fieldText(mem, address + field.offset, field),
  }));
  if (!verbose && !part.struct.fields.some(isLong)) {
    const line = [head, ...fields.map(({ field, value }) => `${field.name} ${value}`)].join('  ');
    if (line.length <= LINE_COLUMNS) return [line];
  }
  const nameColumns = Math.max(...fields.map(({ field }) => field.name.length));
  const lines = [head];
  for (const { field, value } of fields) {
    const about = verbose ? `    ${field.writer}: ${field.meaning}` : '';
    lines.push(`  ${field.name.padEnd(nameColumns)}  ${value.padEnd(verbose ? 20 : 0)}${about}`.trimEnd());
    if (isLong(field)) lines.push(...byteRows(mem, address + field.offset, field.count));
  }
  return lines;
}

// ── values ──────────────────────────────────────────────────────────────────────────────────────────────────
function isLong(field: Field): boolean {
  return field.type === 'u8' && field.count > ROW_BYTES;
}

function fieldText(mem: Mem, address: number, field: Field): string {
  if (field.count === 1) return scalarText(mem, address, field);
  if (field.type === 'u8') return rowText(mem.u8.subarray(address, address + field.count));
  const filled: string[] = [];
  for (let index = 0; index < field.count; index++) {
    const text = scalarText(mem, address + index * SCALAR_BYTES[field.type], field);
    if (text !== '0') filled.push(`[${index}] ${text}`);
  }
  return filled.length === 0 ? '0' : filled.join(' ');
}

/** Decimal, and hexadecimal where that says more; addresses and bit patterns above 32 bits in hexadecimal only. */
function scalarText(mem: Mem, address: number, { type }: Field): string {
  switch (type) {
    case 'f64':
      return String(mem.f64[address / 8]!);
    case 'i64': {
      const value = mem.u64[address / 8]!;
      return value < 2n ** 32n ? numberText(Number(value)) : hex(value);
    }
    case 'i32':
      return numberText(mem.i32[address >>> 2]!);
    case 'u32':
      return numberText(mem.u32[address >>> 2]!);
    case 'u16':
      return numberText(mem.u16[address >>> 1]!);
    case 'u8':
      return numberText(mem.u8[address]!);
  }
}

function numberText(value: number): string {
  if (value >= 0 && value < 10) return String(value);
  return `${value} (${hex(value >>> 0)})`;
}

function byteRows(mem: Mem, address: number, count: number): string[] {
  const rows: string[] = [];
  for (let offset = 0; offset < count; offset += ROW_BYTES) {
    const row = mem.u8.subarray(address + offset, address + Math.min(count, offset + ROW_BYTES));
    if (row.every((byte) => byte === 0)) continue;
    rows.push(`    +${hex(offset, 4)}  ${rowText(row)}`);
  }
  return rows;
}

function rowText(row: Uint8Array): string {
  const bytes = Array.from(row, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const ascii = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.'));
  return `${bytes}  |${ascii.join('')}|`;
}
