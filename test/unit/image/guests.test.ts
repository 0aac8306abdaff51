import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import { readExpected, staleGuests } from '../../../scripts/build-guests.ts';
import { loadImage, symbolValue } from '../../../src/image/load.ts';
import * as storm from '../../../src/storm/guest-image.ts';

const expected = readExpected();
const pathOf = (name: string) => `test/guests/images/${name}.elf`;

test('committed images are those of the committed sources', (t) => {
  t.deepEqual(staleGuests(), [], 'npm run build:guests');
});

test('a changed source, a changed image and a missing one are noticed without a compiler', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'faultline-guests-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  cpSync('test/guests', join(root, 'test/guests'), { recursive: true });
  cpSync('src/storm', join(root, 'src/storm'), { recursive: true });
  const check = () => {
    const script = resolve('dist/scripts/build-guests.js');
    const { status, stdout } = spawnSync(process.execPath, [script, '--check'], {
      cwd: root,
      env: { PATH: '' },
      encoding: 'utf8',
    });
    return { status, lines: stdout.trim().split('\n') };
  };
  t.is(check().status, 0);
  appendFileSync(join(root, 'test/guests/hello.asm'), '; one more line\n');
  appendFileSync(join(root, 'test/guests/images/straddle.elf'), 'x');
  appendFileSync(join(root, 'src/storm/guest-image.ts'), '// touched\n');
  appendFileSync(join(root, 'test/guests/bench.h'), '/* one more line */\n');
  appendFileSync(join(root, 'test/guests/images/peers/qemu-shim.bin'), 'x');
  writeFileSync(join(root, 'test/guests/fresh.asm'), '');
  rmSync(join(root, 'test/guests/two-writers.asm'));
  const { status, lines } = check();
  t.is(status, 1);
  // Of bench.h: the benchmarks, and those built for 32 bits.
  const includers = [
    ...Object.keys(expected).filter((name) => name.startsWith('bench-') && name !== 'bench-pf'),
    ...readdirSync('test/guests/images/peers').filter((file) => file.endsWith('.i386.bin')),
  ];
  t.deepEqual(
    lines.sort(),
    [
      ...includers.map((name) => `${name}: sources changed`),
      'fresh: never built',
      'hello: sources changed',
      'qemu-shim.bin: image changed by hand',
      'stale: npm run build:guests',
      'storm: image changed by hand',
      'straddle: image changed by hand',
      'two-writers: has no source',
      'two-writers: image without a source',
    ].sort(),
  );
});

test('every image loads on the machine its header asks for', (t) => {
  for (const [name, guest] of Object.entries(expected)) {
    const source = name === 'storm' ? storm.stormGuestImage() : pathOf(name);
    const image = loadImage(source, { ramBytes: guest.memBytes, vcpuCount: guest.smp });
    t.is(symbolValue(image, '_start'), image.entry, name);
  }
});

test('headers are understood: vCPUs, memory, exit code, console, and what the host must do', (t) => {
  t.like(expected['hello'], {
    smp: 2,
    mem: '4M',
    memBytes: 4 * 1024 ** 2,
    exitCode: 0,
    console: ['hello from vcpu 0', 'hello from vcpu 1'],
    consoleOrder: 'any',
    host: null,
  });
  t.like(expected['exec-page'], { exitCode: 2, console: null });
  t.regex(expected['pf-selftest']?.host ?? '', /test_id/);
  for (const [name, { expect }] of Object.entries(expected)) t.notRegex(expect, /@/, name);
});

test('the checksum of bench-sha256 is that of another SHA-256', (t) => {
  let block = Buffer.alloc(64);
  for (let round = 0; round < 1000; round++) {
    block = Buffer.concat([createHash('sha256').update(block).digest(), Buffer.alloc(32)]);
  }
  t.deepEqual(expected['bench-sha256']?.console, ['begin', block.toString('hex', 0, 8)]);
});

test('the checksums of bench-recursion and bench-sieve follow from fib(20) and the primes below 65536', (t) => {
  const chain = (rounds: number, value: bigint) => {
    let sum = 0n;
    for (let round = 0; round < rounds; round++) sum = BigInt.asUintN(64, sum * 31n + value);
    return ['begin', sum.toString(16).padStart(16, '0')];
  };
  t.deepEqual(expected['bench-recursion']?.console, chain(50, 6765n));
  t.deepEqual(expected['bench-sieve']?.console, chain(20, 6542n));
});

test("the storm's constants are its symbols, and its image stays clear of the regions it storms", (t) => {
  const image = loadImage(storm.stormGuestImage(), {
    ramBytes: 64 * 1024 ** 2,
    vcpuCount: storm.STORM_VCPU_LIMIT,
  });
  for (const [name, value] of Object.entries(storm)) {
    if (typeof value === 'number') t.is(symbolValue(image, name), value, name);
  }
  const end = Math.max(...image.segments.map(({ gpa, memBytes }) => gpa + memBytes));
  t.true(end <= storm.STORM_TEST_GPA);
  const regionBytes = storm.STORM_PAGES * 4096;
  t.true(storm.STORM_TEST_GPA + regionBytes <= storm.STORM_VICTIM_GPA);
  t.true(storm.STORM_CELLS_OFFSET + storm.STORM_VCPU_LIMIT * 8 <= 4096);
});

test('what the host reads and writes of the storm has a symbol of the right size', (t) => {
  const image = loadImage(storm.stormGuestImage(), { ramBytes: 64 * 1024 ** 2, vcpuCount: 1 });
  const sizes = {
    storm_seeds: storm.STORM_VCPU_LIMIT * 8,
    storm_stop: 4,
    storm_ops: storm.STORM_VCPU_LIMIT * storm.STORM_STRIDE,
    storm_faults: storm.STORM_VCPU_LIMIT * storm.STORM_STRIDE,
    storm_errors: storm.STORM_VCPU_LIMIT * storm.STORM_STRIDE,
    storm_error_gpa: storm.STORM_VCPU_LIMIT * storm.STORM_STRIDE,
    storm_error_vector: storm.STORM_VCPU_LIMIT * storm.STORM_STRIDE,
    storm_counts: storm.STORM_VCPU_LIMIT * storm.STORM_PAGES * 8,
    storm_split_counts: storm.STORM_VCPU_LIMIT * storm.STORM_PAGES * 8,
    storm_shadow: storm.STORM_VCPU_LIMIT * storm.STORM_PAGES * 8,
  };
  const areas = Object.entries(sizes).map(([name, bytes]) => {
    t.is(image.symbols.get(name)?.size, BigInt(bytes), name);
    return { name, from: symbolValue(image, name), to: symbolValue(image, name) + bytes };
  });
  areas.sort((a, b) => a.from - b.from);
  for (const [index, { name, from, to }] of areas.entries()) {
    t.is(from % 4, 0, name);
    t.true(to <= (areas[index + 1]?.from ?? Number.POSITIVE_INFINITY), name);
  }
});
