/**
 * Declares the byte layout of one record in shared memory, once, for everyone who touches it:
 * the actors (through `at`), the Wasm emitter (the same numbers), the dump and the state hash
 * (through `fields`).
 *
 * ```ts
 * export const COUNTER = struct('counter', {
 *   VALUE: i32('anyone (add)', 'how often it rang'),
 *   NAMES: u8('machine', 'ASCII, zero padded', 12),
 * });
 * Atomics.add(mem.i32, (base + COUNTER.at.VALUE) >> 2, 1);
 * ```
 *
 * Fields are laid out in order, each aligned to its own size; the record is padded to `align`.
 */

export type ScalarType = 'u8' | 'u16' | 'i32' | 'u32' | 'i64' | 'f64';

export interface FieldSpec {
  readonly type: ScalarType;
  /** How many scalars of this type stand in a row. */
  readonly count: number;
  /** Who may write it. One writer needs a store, several need a read-modify-write. */
  readonly writer: string;
  readonly meaning: string;
  /** Not part of the state hash, see {@link volatile}. */
  readonly volatile?: true;
}

export interface Field extends FieldSpec {
  readonly name: string;
  /** Bytes from the start of the record. */
  readonly offset: number;
}

export interface Struct<Names extends string = string> {
  readonly name: string;
  readonly bytes: number;
  readonly fields: readonly Field[];
  /** Byte offset of each field within the record. */
  readonly at: Readonly<Record<Names, number>>;
}

export const SCALAR_BYTES: Readonly<Record<ScalarType, number>> = {
  u8: 1,
  u16: 2,
  i32: 4,
  u32: 4,
  i64: 8,
  f64: 8,
};

const scalar =
  (type: ScalarType) =>
  (writer: string, meaning: string, count = 1): FieldSpec => ({ type, count, writer, meaning });

export const u8 = scalar('u8');
export const u16 = scalar('u16');
export const i32 = scalar('i32');
export const u32 = scalar('u32');
export const i64 = scalar('i64');
export const f64 = scalar('f64');

/**
 * Marks a word whose value, while the machine is at rest, nothing decides by: statistics, times, sequence words that are
 * only compared with what was read a moment ago, scratch of an instruction that is over. The state hash passes over it.
 */
export function volatile(spec: FieldSpec): FieldSpec {
  return { ...spec, volatile: true };
}

/** Lays `specs` out in order. `align` (bytes, a power of two) rounds the size up; 64 is a cache line. */
export function struct<const Names extends string>(
  name: string,
  specs: Readonly<Record<Names, FieldSpec>>,
  align = 8,
): Struct<Names> {
  const fields: Field[] = [];
  const at: Record<string, number> = {};
  let offset = 0;
  for (const [fieldName, spec] of Object.entries<FieldSpec>(specs)) {
    offset = roundUp(offset, SCALAR_BYTES[spec.type]);
    fields.push({ ...spec, name: fieldName, offset });
    at[fieldName] = offset;
    offset += SCALAR_BYTES[spec.type] * spec.count;
  }
  return { name, bytes: roundUp(offset, align), fields, at: at as Record<Names, number> };
}

/** The smallest multiple of `unit` that is at least `value`. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
