/**
 * Runs guest images in QEMU, whose CPUs a small shim (qemu-shim.asm) puts into the state of our boot protocol: a
 * second opinion on guests, on real x86 semantics. Needs nasm and qemu-system-x86_64.
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
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBootTables } from '../src/image/boot.ts';
import { type LoadedImage, loadImage, symbolValue, writeImage } from '../src/image/load.ts';
import * as storm from '../src/storm/guest-image.ts';
import { type ExpectedGuest, readExpected } from './build-guests.ts';

const SHIM = 'scripts/qemu-shim.asm';
const QEMU_DIFFERS = 'strict';
const RAM_BYTES = 512 * 1024 ** 2;
/** Boot tables as they are written, and no stack: what lies between GDT and the end of the IDT. */
const TABLES = { from: 0x500, to: 0x9000 };
/** As in the shim. */
const DUMP_COUNT = 2;
const TIMEOUT_MS = 120_000;

interface QemuRun {
  readonly image: LoadedImage;
  readonly vcpuCount: number;
  /** One host thread for all CPUs. */
  readonly oneThread?: boolean;
  /** Bytes of the image to set before it starts, by gpa. */
  readonly patches?: readonly { readonly gpa: number; readonly bytes: Uint8Array }[];
  /** A word that becomes 1 after so many turns of one more CPU. */
  readonly poke?: { readonly gpa: number; readonly turns: number };
  /** Memory to be given back at the end: DUMP_COUNT areas at most. */
  readonly dumps?: readonly { readonly gpa: number; readonly bytes: number }[];
}

interface QemuResult {
  /** All vCPUs' exit codes, or-ed. */
  readonly exitCode: number;
  readonly console: string;
  readonly dumps: readonly Buffer[];
}

function runInQemu(run: QemuRun): QemuResult {
  const work = mkdtempSync(join(tmpdir(), 'faultline-qemu-'));
  try {
    const kernel = join(work, 'kernel');
    writeFileSync(kernel, kernelFile(run, work));
    const cpus = run.vcpuCount + (run.poke === undefined ? 0 : 1);
    const args = [
      '-kernel',
      kernel,
      '-m',
      '512M',
      '-smp',
      String(cpus),
      '-cpu',
      'max',
      '-nographic',
      '-no-reboot',
    ];
    args.push(
      '-monitor',
      'none',
      '-serial',
      'none',
      '-debugcon',
      'stdio',
      '-accel',
      `tcg,thread=${run.oneThread === true ? 'single' : 'multi'}`,
    );
    args.push('-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04');
    if (process.env['QEMU_ARGS'] !== undefined) args.push(...process.env['QEMU_ARGS'].split(' '));
    const { status, stdout, stderr } = spawnSync('qemu-system-x86_64', args, {
      timeout: TIMEOUT_MS,
      maxBuffer: 2 ** 28,
    });
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

/** The shim, its configuration, and everything to be copied. */
function kernelFile(run: QemuRun, work: string): Uint8Array {
  const shimPath = join(work, 'shim.bin');
  execFileSync('nasm', ['-f', 'bin', SHIM, '-o', shimPath]);
  const shim = readFileSync(shimPath);

  const ram = new Uint8Array(RAM_BYTES);
  writeBootTables(ram, { vcpuCount: run.vcpuCount });
  writeImage(run.image, ram);
  for (const { gpa, bytes } of run.patches ?? []) ram.set(bytes, gpa);
  const areas = [
    { gpa: TABLES.from, bytes: TABLES.to - TABLES.from, memBytes: TABLES.to - TABLES.from },
    // With the zeros at its end: patches may lie there.
    ...run.image.segments.map(({ gpa, memBytes }) => ({ gpa, bytes: memBytes, memBytes })),
  ];
  for (const { gpa, bytes } of areas) exitByInterrupt(ram.subarray(gpa, gpa + bytes));

  const recordsBytes = areas.length * 16;
  const file = Buffer.alloc(
    shim.byteLength + recordsBytes + areas.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  file.set(shim);
  const config = [
    run.image.entry,
    run.vcpuCount,
    run.vcpuCount,
    run.poke?.gpa ?? 0,
    run.poke?.turns ?? 0,
    ...Array.from({ length: DUMP_COUNT }, (_, index) => run.dumps?.[index]).flatMap((dump) => [
      dump?.gpa ?? 0,
      dump?.bytes ?? 0,
    ]),
    areas.length,
  ];
  for (const [index, word] of config.entries())
    file.writeUInt32LE(word, shim.byteLength - config.length * 4 + index * 4);
  let data = shim.byteLength + recordsBytes;
  for (const [index, { gpa, bytes, memBytes }] of areas.entries()) {
    for (const [word, value] of [gpa, data, bytes, memBytes].entries()) {
      file.writeUInt32LE(value, shim.byteLength + index * 16 + word * 4);
    }
    file.set(ram.subarray(gpa, gpa + bytes), data);
    data += bytes;
  }
  return file;
}

/** `out 0xf4, eax; ud2` becomes `int 0xf4; ud2`: isa-debug-exit would end all vCPUs with the first. */
function exitByInterrupt(code: Uint8Array): void {
  for (let at = 0; at + 4 <= code.byteLength; at++) {
    if (code[at] === 0xe7 && code[at + 1] === 0xf4 && code[at + 2] === 0x0f && code[at + 3] === 0x0b)
      code[at] = 0xcd;
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
  const image = loadImage(storm.stormGuestImage(), { ramBytes: RAM_BYTES, vcpuCount });
  const gpa = (name: string) => symbolValue(image, name);
  const seeds = new BigUint64Array(vcpuCount).map((_, index) => BigInt(index + 1) * 0x1234567n);
  const dataGpa = gpa('storm_stop');
  const dataEnd = gpa('storm_shadow') + Number(image.symbols.get('storm_shadow')!.size);
  const { exitCode, dumps } = runInQemu({
    image,
    vcpuCount,
    oneThread: true,
    patches: [{ gpa: gpa('storm_seeds'), bytes: new Uint8Array(seeds.buffer) }],
    poke: { gpa: dataGpa, turns },
    dumps: [
      { gpa: dataGpa, bytes: dataEnd - dataGpa },
      { gpa: storm.STORM_TEST_GPA, bytes: storm.STORM_PAGES * 4096 },
    ],
  });
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
