/**
 * The state hash: two machines with the same hash are in the same state, in whatever engine, process or layout.
 *
 * It covers every hashed region (layout/machine.ts) except its caches and the words marked `volatile` (struct.ts). What
 * is hashed are names and values: the name of region, part and field, the index of the record. Where a field stands
 * does not matter, nor do padding, the place of a region, or a field that is always 0.
 *
 * Take it while the machine is at rest: every vCPU between two instructions and outside guest mode, its arithmetic
 * flags brought home (the core keeps them lazily, in more than one form for the same flags), every lock free.
 *
 * A hash is a sum over the words that are not 0 (scan.ts), so a caller who knows what changed could keep it up to date.
 */
import type { MachineLayout, Region } from '../layout/machine.ts';
import type { Mem } from '../mem.ts';
import { type Field, SCALAR_BYTES } from '../struct.ts';
import { makeScans, type Scan, STEP, type Unit } from './scan.ts';

/** Hashes as 16 hexadecimal digits. */
export interface StateHash {
  readonly total: string;
  /** By the region's name: where two states differ. A region that was never written has hash 0. */
  readonly regions: Readonly<Record<string, string>>;
}

interface Column {
  readonly scan: Scan;
  readonly base: number;
  readonly units: number;
  readonly stride: number;
  readonly records: number;
  readonly key: bigint;
}

/** Hashes one machine, again and again. */
export class StateHasher {
  readonly #columns: readonly (readonly [region: string, columns: readonly Column[]])[];

  constructor(mem: Mem, layout: MachineLayout) {
    const scans = makeScans(mem);
    this.#columns = layout.regions
      .filter((region) => region.hashed)
      .map((region) => [region.name, columnsOf(region, scans)]);
  }

  /** @locking takes nothing: the machine has to be at rest */
  hash(): StateHash {
    const regions: Record<string, string> = {};
    let total = 0n;
    for (const [name, columns] of this.#columns) {
      let sum = 0n;
      for (const { scan, base, units, stride, records, key } of columns) {
        sum += scan(base, units, stride, records, key);
      }
      regions[name] = digits(sum);
      total += sum;
    }
    return { total: digits(total), regions };
  }
}

/** The hash of one state. Who hashes often keeps a {@link StateHasher}. */
export function stateHash(mem: Mem, layout: MachineLayout): StateHash {
  return new StateHasher(mem, layout).hash();
}

function digits(sum: bigint): string {
  return BigInt.asUintN(64, sum).toString(16).padStart(16, '0');
}

function columnsOf(region: Region, scans: Readonly<Record<Unit, Scan>>): Column[] {
  const columns: Column[] = [];
  for (const part of region.parts) {
    if (part.cache === true) continue;
    for (const field of part.struct.fields) {
      const bytes = SCALAR_BYTES[field.type] * field.count;
      if (field.volatile === true || bytes * part.count * region.count === 0) continue;
      const unit = unitOf(bytes);
      const key = nameKey(region.name, part.label ?? part.struct.name, field);
      const base = region.base + part.offset + field.offset;
      const partBytes = part.struct.bytes * part.count;
      // Elements without anything between them are one long row of records; so are elements of one record each.
      const [rows, records, stride] =
        part.count === 1
          ? [1, region.count, region.stride]
          : partBytes === region.stride
            ? [1, region.count * part.count, part.struct.bytes]
            : [region.count, part.count, part.struct.bytes];
      for (let row = 0; row < rows; row++) {
        const shape = { scan: scans[unit], base: base + row * region.stride, key };
        const index = BigInt(row * records) * BigInt(bytes / unit);
        const column = { ...shape, units: bytes / unit, stride, records, key: key + index * STEP };
        // Records without anything between them are one long record.
        columns.push(bytes === stride ? { ...column, units: column.units * records, records: 1 } : column);
      }
    }
  }
  return columns;
}

/** The largest unit that divides the field; it follows from the declaration alone. */
function unitOf(bytes: number): Unit {
  if (bytes % 8 === 0) return 8;
  return bytes % 4 === 0 ? 4 : 1;
}

/** FNV-1a over the names, 64 bits. */
function nameKey(region: string, part: string, field: Field): bigint {
  let key = 0xcbf29ce484222325n;
  for (const char of `${region}/${part}/${field.name}`) {
    key = BigInt.asUintN(64, (key ^ BigInt(char.codePointAt(0)!)) * 0x100000001b3n);
  }
  return key;
}
