/** The benchmark guests, made to run as long as a measurement needs. */
import { readFileSync } from 'node:fs';
import { isElf, parseElf } from '../../src/image/elf.ts';
import { Machine, type MachineOptions, type RunReport } from '../../src/index.ts';

/** From dist/scripts/bench to the sources' images. */
const IMAGES = new URL('../../../test/guests/images/', import.meta.url);

/** The programs of the core's own benchmark. */
export const CORE_GUESTS = ['bench-registers', 'bench-sieve', 'bench-recursion', 'bench-sha256'] as const;

export function guestImage(name: string): Uint8Array {
  return readFileSync(new URL(`${name}.elf`, IMAGES));
}

/** The image with its `bench_rounds` multiplied by `factor`. */
export function withRounds(image: Uint8Array, factor: number): Uint8Array {
  if (!isElf(image)) throw new Error('no ELF image');
  const { symbols, segments } = parseElf(image);
  const symbol = symbols.get('bench_rounds');
  if (symbol === undefined) throw new Error('the image has no symbol bench_rounds');
  const segment = segments.find(
    ({ virtualAddress, data }) =>
      symbol.value >= virtualAddress && symbol.value + 4n <= virtualAddress + BigInt(data.byteLength),
  );
  if (segment === undefined) throw new Error('bench_rounds lies outside what the file gives');
  const changed = image.slice();
  const at = segment.data.byteOffset - image.byteOffset + Number(symbol.value - segment.virtualAddress);
  const view = new DataView(changed.buffer, changed.byteOffset);
  view.setUint32(at, Math.max(1, Math.round(view.getUint32(at, true) * factor)), true);
  return changed;
}

/** Runs a machine to its guest's end. @throws Error unless every vCPU exited with 0 and every invariant held */
export async function runGuest(options: MachineOptions): Promise<RunReport> {
  const machine = await Machine.create(options);
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
