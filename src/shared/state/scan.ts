/**
 * The inner loop of the state hash: adds up the words of one column of shared memory, mixed with where they stand.
 *
 * A column is the same field of many records: `records` times, `stride` bytes apart, `units` units in a row. The sum is
 *
 *     Σ mix(value ⊕ (key + index × STEP))  modulo 2⁶⁴, over the units that are not 0
 *
 * `index` counts the units of the whole column. Zero adds nothing, so memory nobody wrote costs only the look, and
 * padding costs nothing. For one index, `mix` is a permutation: changing one unit to another value other than 0 always
 * changes the sum. Sums of disjoint columns may be added, in any order.
 *
 * It is WebAssembly because JavaScript has no 64-bit multiplication: the same loop over 32-bit words was ten times slower
 * both on data and on zeros (scripts/bench/state-hash.ts).
 *
 * @source the mixer: Austin Appleby's MurmurHash3, fmix64, with its constants
 */
import type { Mem } from '../mem.ts';

/** Bytes that are read and mixed at a time. */
export type Unit = 1 | 4 | 8;

/** @returns the sum, a signed 64-bit number */
export type Scan = (base: number, units: number, stride: number, records: number, key: bigint) => bigint;

/** What the key grows by from unit to unit: odd, so it comes back only after 2⁶⁴. */
export const STEP = 0x9e3779b97f4a7c15n;
const MIX_1 = 0xff51afd7ed558ccdn;
const MIX_2 = 0xc4ceb9fe1a85ec53n;
/** Zeros are skipped by so many bytes. */
const LINE_BYTES = 64;

/** The scans over one machine's memory, by unit. Nobody may write what is scanned. */
export function makeScans(mem: Mem): Readonly<Record<Unit, Scan>> {
  compiled ??= new WebAssembly.Module(encodeModule());
  const { exports } = new WebAssembly.Instance(compiled, { machine: { memory: mem.wasm } });
  return { 1: exports['scan1'] as Scan, 4: exports['scan4'] as Scan, 8: exports['scan8'] as Scan };
}

let compiled: WebAssembly.Module | undefined;

// ── the module ──────────────────────────────────────────────────────────────────────────────────────────────
// Opcodes by their names in the WebAssembly Core Specification, "Binary Format", "Instructions".
const [BLOCK, LOOP, IF, ELSE, END, SELECT] = [0x02, 0x03, 0x04, 0x05, 0x0b, 0x1b];
const [I32_EQZ, I32_EQ, I32_NE, I32_GE_U, I64_EQZ] = [0x45, 0x46, 0x47, 0x4f, 0x50];
const [I32_ADD, I32_SUB, I32_MUL] = [0x6a, 0x6b, 0x6c];
const [I64_ADD, I64_MUL, I64_OR, I64_XOR, I64_SHR_U] = [0x7c, 0x7e, 0x84, 0x85, 0x88];
const br = (depth: number) => [0x0c, depth];
const brIf = (depth: number) => [0x0d, depth];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const tee = (local: number) => [0x22, local];
const i32 = (value: number) => [0x41, ...signed(BigInt(value))];
const i64 = (value: bigint) => [0x42, ...signed(BigInt.asIntN(64, value))];
/** Zero-extending load to i64. The alignment is a hint; 0 claims nothing. */
const load = (unit: Unit, offset: number) => [{ 1: 0x31, 4: 0x35, 8: 0x29 }[unit], 0, offset];

const I32 = 0x7f;
const I64 = 0x7e;
const VOID = 0x40;

// Locals: the parameters of a Scan first.
const [BASE, UNITS, STRIDE, RECORDS, KEY] = [0, 1, 2, 3, 4];
const [AT, STOP, LAST, VALUE, MIXED, SUM] = [5, 6, 7, 8, 9, 10];

function scanBody(unit: Unit): number[] {
  const shifted = [...get(MIXED), ...get(MIXED), ...i64(33n), I64_SHR_U, I64_XOR];
  const lineWords = [8, 16, 24, 32, 40, 48, 56];
  // biome-ignore-start format: one step a line
  return [
    ...[2, 3, I32, 3, I64], //                                                       locals
    LOOP,
    VOID, //                                                                   for each record:
    ...get(BASE),
    ...tee(AT),
    ...get(UNITS),
    ...i32(unit),
    I32_MUL,
    I32_ADD,
    ...set(LAST),
    BLOCK,
    VOID,
    LOOP,
    VOID, //                                                      for each line:
    // Addresses are compared for equality only, since the end of a 4 GiB memory is 0.
    ...get(AT),
    ...get(LAST),
    I32_EQ,
    ...brIf(1),
    ...get(LAST),
    ...get(AT),
    I32_SUB,
    ...i32(LINE_BYTES),
    I32_GE_U,
    IF,
    VOID,
    ...get(AT),
    ...i32(LINE_BYTES),
    I32_ADD,
    ...set(STOP),
    ...get(AT),
    ...load(8, 0),
    ...lineWords.flatMap((offset) => [...get(AT), ...load(8, offset), I64_OR]),
    I64_EQZ,
    IF,
    VOID, //                                                            a line of zeros: the next one
    ...get(STOP),
    ...set(AT),
    ...get(KEY),
    ...i64(STEP * BigInt(LINE_BYTES / unit)),
    I64_ADD,
    ...set(KEY),
    ...br(2),
    END,
    ELSE,
    ...get(LAST),
    ...set(STOP),
    END, //                                        what is left is no whole line
    LOOP,
    VOID, //                                                                   for each unit of the line:
    ...get(AT),
    ...load(unit, 0),
    ...tee(VALUE),
    ...get(KEY),
    I64_XOR,
    ...set(MIXED),
    ...shifted,
    ...i64(MIX_1),
    I64_MUL,
    ...set(MIXED),
    ...shifted,
    ...i64(MIX_2),
    I64_MUL,
    ...set(MIXED),
    ...shifted,
    ...i64(0n),
    ...get(VALUE),
    I64_EQZ,
    I32_EQZ,
    SELECT,
    ...get(SUM),
    I64_ADD,
    ...set(SUM),
    ...get(KEY),
    ...i64(STEP),
    I64_ADD,
    ...set(KEY),
    ...get(AT),
    ...i32(unit),
    I32_ADD,
    ...tee(AT),
    ...get(STOP),
    I32_NE,
    ...brIf(0),
    END,
    ...br(0),
    END,
    END,
    ...get(BASE),
    ...get(STRIDE),
    I32_ADD,
    ...set(BASE),
    ...get(RECORDS),
    ...i32(1),
    I32_SUB,
    ...tee(RECORDS),
    ...brIf(0),
    END,
    ...get(SUM),
    END,
  ];
  // biome-ignore-end format: one step a line
}

/** One function type, the memory import, and a function for each unit. */
function encodeModule(): Uint8Array<ArrayBuffer> {
  const units = [1, 4, 8] as const;
  // Limits that the memory of every machine meets: shared, at least 0 and at most 65536 pages.
  const limits = [3, 0, ...unsigned(0x10000)];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [[0x60, 5, I32, I32, I32, I32, I64, 1, I64]]),
    ...section(2, [[...text('machine'), ...text('memory'), 2, ...limits]]),
    ...section(3, [[0], [0], [0]]),
    ...section(7, [...units.map((unit, index) => [...text(`scan${unit}`), 0, index])]),
    ...section(10, [...units.map((unit) => sized(scanBody(unit)))]),
  ]);
}

function section(id: number, items: readonly number[][]): number[] {
  return [id, ...sized([items.length, ...items.flat()])];
}

function text(ascii: string): number[] {
  return sized([...new TextEncoder().encode(ascii)]);
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

function signed(value: bigint): number[] {
  const last = value >= -64n && value < 64n;
  const low = Number(value & 0x7fn);
  return last ? [low] : [low | 0x80, ...signed(value >> 7n)];
}
