/** Addresses, sizes and times: their types, how people write them, how we print them. */
import { SimError } from './errors.ts';

/** Guest physical address, bytes. At most 52 bits, so it is exact as a number. */
export type Gpa = number & { readonly unit: 'gpa' };

/** Guest frame number: floor(gpa / 4096). Divide; `>>` would cut it to 32 bits. */
export type Gfn = number & { readonly unit: 'gfn' };

/** Guest virtual address, 64 bits: a bigint at the edges, a Wasm i64 inside. */
export type Gva = bigint & { readonly unit: 'gva' };

export const GPA_BITS = 52;
/** The first address that is no guest physical address. */
export const GPA_LIMIT = 2 ** GPA_BITS;
const PAGE_BYTES = 4096;

/** @throws SimError SIM_CONFIG_RANGE unless `value` is an integer in [0, 2⁵²) */
export function gpa(value: number): Gpa {
  if (!Number.isInteger(value) || value < 0 || value >= GPA_LIMIT) {
    throw new SimError('SIM_CONFIG_RANGE', `${value} is no guest physical address`, {
      hint: `a guest physical address is an integer from 0 to 2^${GPA_BITS} - 1`,
    });
  }
  return value as Gpa;
}

/** @throws SimError SIM_CONFIG_RANGE unless `value` is an integer in [0, 2⁴⁰) */
export function gfn(value: number): Gfn {
  if (!Number.isInteger(value) || value < 0 || value >= GPA_LIMIT / PAGE_BYTES) {
    throw new SimError('SIM_CONFIG_RANGE', `${value} is no guest frame number`, {
      hint: `a guest frame number is an integer from 0 to 2^${GPA_BITS - 12} - 1`,
    });
  }
  return value as Gfn;
}

/** A 64-bit guest virtual address; numbers above 64 bits are cut, as the hardware does. */
export function gva(value: bigint | number): Gva {
  return BigInt.asUintN(64, BigInt(value)) as Gva;
}

export function gfnOf(address: Gpa): Gfn {
  return Math.floor(address / PAGE_BYTES) as Gfn;
}

/** The first byte of a frame. */
export function gpaOf(frame: Gfn): Gpa {
  return (frame * PAGE_BYTES) as Gpa;
}

/** `0x…`, without leading zeros unless `digits` asks for them. Negative numbers print as unsigned 64-bit. */
export function hex(value: number | bigint, digits = 1): string {
  const unsigned = value < 0 ? BigInt.asUintN(64, BigInt(value)) : value;
  return `0x${unsigned.toString(16).padStart(digits, '0')}`;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };
// A 0x number takes no unit: none of its letters is a hexadecimal digit, but `0x10K` says two things at once.
const SIZE = /^(?:(\d{1,16})([kmg]?)|(0x[0-9a-f]{1,14}))$/i;

/**
 * Bytes: `4096`, `4K`, `256M`, `1G` (powers of 1024), `0x1000`.
 *
 * @param name  what the text is, for the message: `--mem`
 * @throws SimError SIM_USAGE when it is none of these, or above 2⁵³ − 1
 */
export function parseSize(text: string, name = 'size'): number {
  const parts = SIZE.exec(text);
  const bytes =
    parts === null ? Number.NaN : Number(parts[3] ?? parts[1]) * SIZE_UNITS[(parts[2] ?? '').toLowerCase()]!;
  if (!Number.isSafeInteger(bytes)) {
    throw new SimError('SIM_USAGE', `${name}: '${text}' is not a size`, {
      hint: 'write bytes, or a number with K, M or G: 4096, 0x1000, 4K, 256M, 1G',
    });
  }
  return bytes;
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, '': 1000, m: 60_000 };
const DURATION = /^(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|)$/;
/** The longest time a timer can run, milliseconds: about 24 days. */
export const DURATION_LIMIT_MS = 2 ** 31 - 1;

/**
 * Milliseconds: `500ms`, `5s`, `2m`; a plain `5` is seconds. Fractions are allowed.
 *
 * @param name  what the text is, for the message: `--reply-timeout`
 * @throws SimError SIM_USAGE when it is none of these, zero, or longer than `DURATION_LIMIT_MS`
 */
export function parseDuration(text: string, name = 'duration'): number {
  const parts = DURATION.exec(text);
  const ms = parts === null ? Number.NaN : Number(parts[1]) * DURATION_UNITS_MS[parts[2]!]!;
  if (!(ms > 0 && ms <= DURATION_LIMIT_MS)) {
    throw new SimError('SIM_USAGE', `${name}: '${text}' is not a duration`, {
      hint: 'write a number above 0 with ms, s or m (seconds without a unit), up to 24 days: 500ms, 5s, 2m',
    });
  }
  return ms;
}

/** A count for people: digits in groups of three, `1 234 567`. */
export function formatCount(count: number | bigint): string {
  const digits = count.toString();
  return /^-?\d+$/.test(digits) ? digits.replace(/\B(?=(?:\d{3})+$)/g, ' ') : digits;
}

/** A time for people: three significant digits and a unit, `850 ns`, `12.3 µs`, `1.05 ms`, `2.50 s`. */
export function formatNs(ns: number): string {
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  if (ns < 999_500) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 999_500_000) return `${threeDigits(ns / 1e6)} ms`;
  return `${threeDigits(ns / 1e9)} s`;
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value.toFixed(value >= 9.995 ? 1 : 2);
}

/** A size for people, in the largest unit that divides it: `256M`, `4K`, `4097`. */
export function formatSize(bytes: number): string {
  for (const [unit, size] of [
    ['G', 1024 ** 3],
    ['M', 1024 ** 2],
    ['K', 1024],
  ] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}
