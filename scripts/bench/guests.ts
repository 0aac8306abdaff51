/** The benchmark guests, and machines that run them. */
import { readFileSync } from 'node:fs';
import { isElf, parseElf } from '../../src/image/elf.ts';
import { Machine, type MachineOptions, type RunReport } from '../../src/index.ts';
import type { ExpectedGuests } from '../build-guests.ts';

/** From dist/scripts/bench to the sources' images. */
const IMAGES = new URL('../../../test/guests/images/', import.meta.url);

/** What build-guests makes for other emulators. */
export const PEER_IMAGES_URL = new URL('peers/', IMAGES);

/** One benchmark guest, as its header describes it. */
export interface BenchGuest {
  readonly name: string;
  readonly ramBytes: number;
  /** The same C runs as a program of the host, and built for 32 bits. */
  readonly native: boolean;
}

/** The programs of the core's own benchmark. */
export const CORE_GUESTS = ['bench-registers', 'bench-sieve', 'bench-recursion', 'bench-sha256'] as const;

/** Rounds of a benchmark that keep a good emulator busy for about a second. */
const ROUNDS: Readonly<Record<string, number>> = {
  'bench-registers': 150_000,
  'bench-mix': 5_000,
  'bench-sieve': 700,
  'bench-sha256': 200_000,
  'bench-recursion': 1_600,
  'bench-bytecode': 1_000,
  'bench-calls': 3_000,
  'bench-qsort': 1_200,
  'bench-matmul': 600,
  'bench-sse': 2_000,
  'bench-strings': 5_000,
  'bench-chase': 5_000,
  'bench-pagetables': 4_000,
  'bench-exceptions': 16_000,
  'bench-smc': 1_600,
  'bench-locks': 40_000,
  'bench-xadd': 40_000,
  'bench-system': 100,
};

export function benchGuest(name: string): BenchGuest {
  const expected = JSON.parse(readFileSync(new URL('expected.json', IMAGES), 'utf8')) as ExpectedGuests;
  const { memBytes, native } = expected[name]!;
  return { name, ramBytes: memBytes, native };
}

/** Rounds for a part of that second, or for several of them. */
export function roundsFor(name: string, scale: number): number {
  const rounds = ROUNDS[name];
  if (rounds === undefined) throw new Error(`nobody has said how many rounds of ${name} are enough`);
  return Math.max(1, Math.round(rounds * scale));
}

/** The image with its `bench_rounds` set. */
export function guestImage(name: string, rounds: number): Uint8Array {
  const image = readFileSync(new URL(`${name}.elf`, IMAGES));
  if (!isElf(image)) throw new Error(`${name}: no ELF image`);
  const { symbols, segments } = parseElf(image);
  const symbol = symbols.get('bench_rounds');
  if (symbol === undefined) throw new Error(`${name}: no symbol bench_rounds`);
  const segment = segments.find(
    ({ virtualAddress, data }) =>
      symbol.value >= virtualAddress && symbol.value + 4n <= virtualAddress + BigInt(data.byteLength),
  );
  if (segment === undefined) throw new Error(`${name}: bench_rounds lies outside what the file gives`);
  const at = segment.data.byteOffset - image.byteOffset + Number(symbol.value - segment.virtualAddress);
  new DataView(image.buffer, image.byteOffset).setUint32(at, rounds, true);
  return image;
}

/**
 * Runs a machine to its guest's end.
 *
 * @param heard  takes console text as it comes
 * @throws       Error unless every vCPU exited with 0 and every invariant held
 */
export async function runGuest(
  options: MachineOptions,
  heard: (text: string) => void = () => {},
): Promise<RunReport> {
  const machine = await Machine.create(options);
  machine.on('console', ({ text }) => heard(text));
  await machine.start();
  const report = await machine.ended;
  if (report.exitCode !== 0) throw new Error(`the guest did not end well: ${report.verdict}`);
  return report;
}

/** Guest instructions a second, in millions. */
export async function guestRate(options: MachineOptions): Promise<number> {
  const report = await runGuest(options);
  return report.instructions / report.seconds / 1e6;
}
