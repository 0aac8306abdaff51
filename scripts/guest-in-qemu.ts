/**
 * Runs guest images in QEMU (qemu.ts): a second opinion on guests, on real x86 semantics. Needs qemu-system-x86_64.
 *
 *   node dist/scripts/guest-in-qemu.js                   every image, compared with expected.json
 *   node dist/scripts/guest-in-qemu.js hello paging      these
 *   node dist/scripts/guest-in-qemu.js storm 4 100       the storm: vCPUs, millions of turns until it is stopped
 *
 * QEMU knows no introspector and no memslots: guests that wait for the host are left out. So is strict,
 * which holds what QEMU 7.2 does differently from the manual. The storm runs with all CPUs in one thread (its turns
 * are slow then): with a thread for each, QEMU 7.2 now and then runs code that another CPU has translated from before
 * a change, which on hardware never happens to the CPU that made the change.
 *
 * QEMU_ARGS in the environment is added to QEMU's arguments: QEMU_ARGS='-d int -D int.log'
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadImage, symbolValue } from '../src/image/load.ts';
import * as storm from '../src/storm/guest-image.ts';
import { type ExpectedGuest, readExpected } from './build-guests.ts';
import { kernelFile, QEMU, QEMU_RAM_BYTES, type QemuRun, qemuArguments } from './qemu.ts';

const QEMU_DIFFERS = 'strict';
const TIMEOUT_MS = 120_000;

interface QemuResult {
  /** All vCPUs' exit codes, or-ed. */
  readonly exitCode: number;
  readonly console: string;
  readonly dumps: readonly Buffer[];
}

function runInQemu(run: QemuRun, how: { readonly oneThread?: boolean } = {}): QemuResult {
  const work = mkdtempSync(join(tmpdir(), 'faultline-qemu-'));
  try {
    const kernel = join(work, 'kernel');
    writeFileSync(kernel, kernelFile(run));
    const args = qemuArguments(kernel, run, how);
    if (process.env['QEMU_ARGS'] !== undefined) args.push(...process.env['QEMU_ARGS'].split(' '));
    const { status, stdout, stderr, error } = spawnSync(QEMU, args, {
      timeout: TIMEOUT_MS,
      maxBuffer: 2 ** 28,
    });
    if (error !== undefined && status === null) throw error;
    if (status === null || status % 2 === 0) {
      throw new Error(`QEMU ended with ${status}: ${stdout.toString('latin1')} ${stderr.toString('latin1')}`);
    }
    let end = stdout.byteLength;
    const dumps = (run.dumps ?? []).toReversed().map(({ bytes }) => {
      end -= bytes;
      return stdout.subarray(end, end + bytes);
    });
    return { exitCode: status >> 1, console: stdout.toString('latin1', 0, end), dumps: dumps.reverse() };
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** What differs from the expectation, or null. */
function difference(expected: ExpectedGuest, actual: QemuResult): string | null {
  if (actual.exitCode !== expected.exitCode)
    return `exit ${actual.exitCode}, not ${expected.exitCode}: ${actual.console}`;
  if (expected.console === null) return null;
  const lines = actual.console.trimEnd().split('\n');
  const order = (texts: readonly string[]) =>
    (expected.consoleOrder === 'any' ? [...texts].sort() : texts).join('\n');
  return order(lines) === order(expected.console) ? null : `console: ${actual.console}`;
}

function runGuest(name: string, expected: ExpectedGuest): string | null {
  const options = { ramBytes: expected.memBytes, vcpuCount: expected.smp };
  const image = loadImage(`test/guests/images/${name}.elf`, options);
  return difference(expected, runInQemu({ image, vcpuCount: expected.smp }));
}

/**
 * The storm without a storm: no page is restricted, no slot vanishes.
 *
 * @returns what the guest found, or what its counters say when it has ended; null when all is well
 */
function runStorm(vcpuCount: number, turns: number): string | null {
  const image = loadImage(storm.stormGuestImage(), { ramBytes: QEMU_RAM_BYTES, vcpuCount });
  const gpa = (name: string) => symbolValue(image, name);
  const seeds = new BigUint64Array(vcpuCount).map((_, index) => BigInt(index + 1) * 0x1234567n);
  const dataGpa = gpa('storm_stop');
  const dataEnd = gpa('storm_shadow') + Number(image.symbols.get('storm_shadow')!.size);
  const { exitCode, dumps } = runInQemu(
    {
      image,
      vcpuCount,
      patches: [{ gpa: gpa('storm_seeds'), bytes: new Uint8Array(seeds.buffer) }],
      poke: { gpa: dataGpa, turns },
      dumps: [
        { gpa: dataGpa, bytes: dataEnd - dataGpa },
        { gpa: storm.STORM_TEST_GPA, bytes: storm.STORM_PAGES * 4096 },
      ],
    },
    { oneThread: true },
  );
  const [data, test] = dumps as [Buffer, Buffer];
  for (let index = 0; index < vcpuCount; index++) {
    const counter = (name: string) => data.readBigUInt64LE(gpa(name) - dataGpa + index * storm.STORM_STRIDE);
    process.stdout.write(
      `  vCPU ${index}: ${counter('storm_ops')} turns, ${counter('storm_faults')} faults\n`,
    );
    if (counter('storm_errors') === 0n) continue;
    const [at, vector] = [counter('storm_error_gpa'), counter('storm_error_vector')];
    return `vCPU ${index}: ${counter('storm_errors')} errors, the last at ${at.toString(16)}, vector ${vector}`;
  }
  for (let page = 0; page < storm.STORM_PAGES; page++) {
    const own = (name: string, index: number) =>
      data.readBigUInt64LE(gpa(name) - dataGpa + (index * storm.STORM_PAGES + page) * 8);
    for (const [name, offset] of [
      ['storm_counts', storm.STORM_COUNTER_OFFSET],
      ['storm_split_counts', storm.STORM_SPLIT_COUNTER_OFFSET],
    ] as const) {
      let sum = 0n;
      for (let index = 0; index < vcpuCount; index++) sum += own(name, index);
      const shared = test.readBigUInt64LE(page * 4096 + offset);
      if (shared !== sum) return `page ${page}: ${name} add up to ${sum}, the counter is ${shared}`;
      if (sum === 0n) return `page ${page}: ${name} are 0: it ran too short`;
    }
    for (let index = 0; index < vcpuCount; index++) {
      const cell = test.readBigUInt64LE(page * 4096 + storm.STORM_CELLS_OFFSET + index * 8);
      if (cell !== own('storm_shadow', index)) return `page ${page}: cell ${index} is not its shadow`;
    }
  }
  return exitCode === 0 ? null : `exit ${exitCode}`;
}

function main(args: readonly string[]): number {
  if (args[0] === 'storm') {
    const failure = runStorm(Number(args[1] ?? 2), Number(args[2] ?? 100) * 1e6);
    process.stdout.write(failure === null ? 'storm: ok\n' : `storm: ${failure}\n`);
    return failure === null ? 0 : 1;
  }
  let failures = 0;
  for (const [name, expected] of Object.entries(readExpected())) {
    if (expected.host !== null || name === QEMU_DIFFERS || (args.length > 0 && !args.includes(name)))
      continue;
    const failure = runGuest(name, expected);
    process.stdout.write(`${name}: ${failure ?? 'ok'}\n`);
    if (failure !== null) failures++;
  }
  return failures === 0 ? 0 : 1;
}

process.exitCode = main(process.argv.slice(2));
