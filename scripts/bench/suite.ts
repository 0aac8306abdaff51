/** What a benchmark suite is, and how its numbers are taken. */
import type { Peer } from './peers/peer.ts';

export interface BenchOptions {
  /** Fewer and shorter rounds: for a look, not for a record. */
  readonly quick: boolean;
  /** What Faultline is compared with, where a suite compares: ready to run. */
  readonly peers: readonly Peer[];
}

/** One measured line. */
export interface Row {
  readonly what: string;
  /** Median over the rounds. */
  readonly value: number;
  readonly unit: string;
  /** All rounds, in the order they were taken. */
  readonly rounds: readonly number[];
  /** The value is a ratio: Faultline's over this peer's. */
  readonly peer?: string;
  /** What issue and README promise: `at least` or `at most` this. */
  readonly goal?: { readonly is: 'at least' | 'at most'; readonly value: number };
}

export interface Suite {
  readonly name: string;
  /** One line: what it measures, beside what. */
  readonly about: string;
  run(options: BenchOptions): Promise<Row[]>;
  /** Fields that `--json` adds to its object. */
  summary?(rows: readonly Row[]): Readonly<Record<string, unknown>>;
  /** In place of a line for each row: a table as the README has it. */
  table?(rows: readonly Row[]): string;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/**
 * Takes measurements of everything in turn, `rounds` times, and until the time is over once more and again: at least one
 * round, however long it takes.
 */
export async function roundRobin(
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
  each: (round: number) => Promise<void>,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  for (let round = 0; round === 0 || (round < rounds && performance.now() < end); round++) await each(round);
}

/**
 * Takes `rounds` measurements of each variant, interleaved so that a machine that slows down slows all of them, after
 * one round that does not count.
 */
export async function interleaved<Name extends string>(
  rounds: number,
  variants: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(variants) as Name[];
  const taken = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (const name of names) await variants[name]();
  for (let round = 0; round < rounds; round++) {
    for (const name of names) taken[name].push(await variants[name]());
  }
  return taken;
}

export function row(what: string, unit: string, rounds: readonly number[], goal?: Row['goal']): Row {
  return { what, value: median(rounds), unit, rounds, ...(goal === undefined ? {} : { goal }) };
}
