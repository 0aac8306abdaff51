import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type LoadOptions, loadImage, symbolValue, writeImage } from '../../../src/image/load.ts';
import { SimError, type SimErrorCode } from '../../../src/shared/errors.ts';
import { InvariantError } from '../../../src/shared/invariant.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { gpa } from '../../../src/shared/units.ts';
import { buildElf, CODE, CODE_GPA } from '../../support/elf-builder.ts';

const MIB = 1024 ** 2;
const OPTIONS: LoadOptions = { ramBytes: 4 * MIB, vcpuCount: 1 };

interface Refusal {
  readonly code: SimErrorCode;
  readonly message: RegExp;
  readonly hint?: RegExp;
}

function refused(t: ExecutionContext, act: () => unknown, { code, message, hint = /./ }: Refusal): void {
  const error = t.throws(act, { instanceOf: SimError, message });
  t.is(error?.code, code);
  t.regex(error?.hint ?? '', hint);
}

test('an ELF image becomes segments, an entry point and symbols, and lands where it says', (t) => {
  const { bytes } = buildElf({
    segments: [
      { gpa: 0x200000, data: Uint8Array.of(9, 8, 7), memBytes: 100, flags: 6 },
      { gpa: CODE_GPA, data: CODE },
    ],
    entry: CODE_GPA + 2,
    symbols: [{ name: 'counter', value: 0x200002n, size: 1n }],
  });
  const image = loadImage(bytes, OPTIONS);
  t.is(image.entry, gpa(0x100002));
  t.is(symbolValue(image, 'counter'), 0x200002);
  t.deepEqual(
    image.segments.map((segment) => [segment.gpa, segment.memBytes, segment.writable, segment.executable]),
    [
      [0x100000, 6, false, true],
      [0x200000, 100, true, false],
    ],
  );

  const ram = new Uint8Array(4 * MIB).fill(0xcc);
  writeImage(image, ram);
  t.deepEqual([...ram.subarray(CODE_GPA - 1, CODE_GPA + 7)], [0xcc, ...CODE, 0xcc]);
  t.deepEqual([...ram.subarray(0x1fffff, 0x200004)], [0xcc, 9, 8, 7, 0]);
  t.deepEqual([...ram.subarray(0x200000 + 99, 0x200000 + 101)], [0, 0xcc]);
  t.is(
    ram.subarray(0, CODE_GPA).find((byte) => byte !== 0xcc),
    undefined,
  );
});

test('an image is read from a file, and a file that cannot be read is named', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-load-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'image.elf');
  writeFileSync(path, buildElf().bytes);
  t.is(loadImage(path, OPTIONS).entry, gpa(CODE_GPA));
  const missing = { code: 'SIM_IMAGE_MISSING', message: /cannot read .*no-such-file/ } as const;
  refused(t, () => loadImage(join(folder, 'no-such-file'), OPTIONS), missing);
  refused(t, () => loadImage(folder, OPTIONS), { code: 'SIM_IMAGE_MISSING', message: /cannot read/ });
});

test('a flat image goes to 1 MiB, or where it is told, and starts at its first byte', (t) => {
  const flat = { ...OPTIONS, flat: true };
  const image = loadImage(CODE, flat);
  t.is(image.entry, gpa(0x100000));
  t.like(image.segments, [{ gpa: 0x100000, memBytes: CODE.byteLength, executable: true, writable: true }]);
  t.is(image.symbols.size, 0);
  const elsewhere = loadImage(CODE, { ...flat, baseGpa: 0x234567 });
  t.is(elsewhere.entry, gpa(0x234567));
  const ram = new Uint8Array(4 * MIB);
  writeImage(elsewhere, ram);
  t.deepEqual([...ram.subarray(0x234567, 0x234567 + CODE.byteLength)], [...CODE]);
});

test('a flat image that is none, or does not fit', (t) => {
  const flat = { ...OPTIONS, flat: true };
  const format = (message: RegExp, hint?: RegExp): Refusal => ({
    code: 'SIM_IMAGE_FORMAT',
    message,
    ...(hint && { hint }),
  });
  refused(t, () => loadImage(new Uint8Array(), flat), format(/flat image is empty/));
  refused(t, () => loadImage(buildElf().bytes, flat), format(/is an ELF file/, /leave out --flat/));
  refused(t, () => loadImage(CODE, { ...flat, baseGpa: 4 * MIB - 5 }), {
    code: 'SIM_CONFIG_RANGE',
    message: /needs RAM up to 0x400000, the machine has 4M/,
    hint: /-m 8M/,
  });
});

test('an image that needs more RAM says how much would do', (t) => {
  const at = (gpa: number) => buildElf({ segments: [{ gpa, data: CODE, memBytes: 0x1000 }] }).bytes;
  const needs = (gpa: number, hint: RegExp) =>
    refused(t, () => loadImage(at(gpa), OPTIONS), {
      code: 'SIM_CONFIG_RANGE',
      message: /the machine has 4M/,
      hint,
    });
  needs(0x3ff001, /-m 8M$/);
  needs(40 * MIB, /-m 64M$/);
  needs(256 * MIB, /-m 512M$/);
  needs(3 * 1024 * MIB, /-m 3328M$/);
  t.notThrows(() => loadImage(at(0x3ff000), OPTIONS));
});

test('segments that the boot protocol has no room for', (t) => {
  const format = (message: RegExp, hint: RegExp): Refusal => ({ code: 'SIM_IMAGE_FORMAT', message, hint });
  const at = (gpa: number) => buildElf({ segments: [{ gpa, data: CODE }] }).bytes;
  refused(
    t,
    () => loadImage(at(0xffffc), OPTIONS),
    format(/p_vaddr 0xffffc lies below 0x100000/, /0x100000 or above/),
  );
  refused(
    t,
    () => loadImage(at(2 ** 32 - 5), OPTIONS),
    format(/0xfffffffb…0x100000000 reaches past 4 GiB/, /first 4 GiB/),
  );
  refused(t, () => loadImage(at(2 ** 40), OPTIONS), format(/0x10000000000…/, /first 4 GiB/));
  const high = buildElf();
  high.view.setBigUint64(high.programHeader(0) + 0x10, 0xffffffff80100000n, true);
  high.view.setBigUint64(0x18, 0xffffffff80100000n, true);
  refused(
    t,
    () => loadImage(high.bytes, OPTIONS),
    format(/p_paddr 0x100000 is not p_vaddr 0xffffffff80100000/, /identity/),
  );
});

test('other kinds of files are told by name, with what to do', (t) => {
  const file = (bytes: readonly number[], size = 1024) => {
    const whole = new Uint8Array(size);
    whole.set(bytes);
    return whole;
  };
  const kind = (bytes: Uint8Array, message: RegExp, hint?: RegExp) =>
    refused(t, () => loadImage(bytes, OPTIONS), { code: 'SIM_IMAGE_FORMAT', message, ...(hint && { hint }) });
  kind(new Uint8Array(), /the image is empty/);
  kind(file([0x90, 0x90, 0xc3, 0x00]), /no image format we know: it starts with 90 90 c3 00/, /--flat/);
  kind(Uint8Array.of(0x90), /starts with 90/);
  kind(file([0x1f, 0x8b]), /gzip/, /gunzip/);
  kind(file([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), /xz/, /unxz/);
  kind(file([0x28, 0xb5, 0x2f, 0xfd]), /zstd/, /unzstd/);
  kind(file([0x23, 0x21]), /script/);
  kind(file([0x4d, 0x5a]), /PE file.*not supported yet/);
  kind(file([...Buffer.from('!<arch>\n')]), /archive/, /link it/);

  const kernel = file([0x4d, 0x5a]); // an EFI stub in front
  new DataView(kernel.buffer).setUint16(0x1fe, 0xaa55, true);
  kind(kernel, /PE file/);
  kernel.set(Buffer.from('HdrS'), 0x202);
  kind(kernel, /bzImage\), which needs a PC/, /linux: /);
  const sector = file([0xeb, 0x3c], 512);
  new DataView(sector.buffer).setUint16(0x1fe, 0xaa55, true);
  kind(sector, /boot sector/);

  const multiboot = file([0x90]);
  const words = new DataView(multiboot.buffer);
  words.setUint32(16, 0x1badb002, true);
  kind(multiboot, /no image format we know/); // the magic number alone is nothing
  words.setUint32(24, -0x1badb002, true);
  kind(multiboot, /multiboot 1\): not supported yet/, /64-bit mode/);
  const second = file([0x90]);
  for (const [index, word] of [0xe85250d6, 0, 24, -(0xe85250d6 + 24)].entries()) {
    new DataView(second.buffer).setUint32(8 + index * 4, word, true);
  }
  kind(second, /multiboot 2\)/);
  const inElf = buildElf({ segments: [{ gpa: CODE_GPA, data: multiboot }] });
  kind(inElf.bytes, /ELF file for multiboot loaders/);
  inElf.view.setUint8(4, 1);
  kind(inElf.bytes, /multiboot/);
});

test('options out of range', (t) => {
  const { bytes } = buildElf();
  const range = (options: Partial<LoadOptions>, message: RegExp) =>
    refused(t, () => loadImage(bytes, { ...OPTIONS, ...options }), { code: 'SIM_CONFIG_RANGE', message });
  range({ ramBytes: MIB - 4096 }, /RAM of 1044480 bytes/);
  range({ ramBytes: MIB + 1 }, /RAM of 1048577 bytes/);
  range({ ramBytes: Number.NaN }, /RAM of NaN bytes/);
  range({ vcpuCount: 0 }, /0 vCPUs/);
  range({ vcpuCount: 17 }, /17 vCPUs/);
  range({ vcpuCount: 1.5 }, /1.5 vCPUs/);
  range({ flat: true, baseGpa: 0xfffff }, /gpa 1048575/);
  range({ flat: true, baseGpa: 2 ** 32 }, /gpa 4294967296/);
  refused(t, () => loadImage(bytes, { ...OPTIONS, baseGpa: 0x200000 }), {
    code: 'SIM_USAGE',
    message: /at 0x200000/,
  });
});

test('a missing symbol is named, and so is one that is no address', (t) => {
  const image = loadImage(buildElf({ symbols: [{ name: 'far', value: 2n ** 53n }] }).bytes, OPTIONS);
  const error = t.throws(() => symbolValue(image, 'near'), {
    instanceOf: SimError,
    message: /no symbol 'near'/,
  });
  t.is(error?.code, 'SIM_IMAGE_FORMAT');
  t.throws(() => symbolValue(image, 'far'), { instanceOf: SimError, message: /0x20000000000000/ });
  t.throws(() => symbolValue(loadImage(buildElf().bytes, OPTIONS), 'any'), {
    instanceOf: SimError,
    message: /no symbol 'any'/,
  });
});

test('RAM smaller than what the image was checked for is our own mistake, and stays as it was', (t) => {
  const image = loadImage(buildElf().bytes, OPTIONS);
  const ram = new Uint8Array(MIB + 5);
  t.throws(() => writeImage(image, ram), { instanceOf: InvariantError, message: /6 bytes at 0x100000/ });
  t.is(
    ram.find((byte) => byte !== 0),
    undefined,
  );
});

// Repeat with SEED=0x… npm test -- --match='*spoilt*'
const SEED = BigInt(process.env['SEED'] ?? Date.now());
const FUZZ_FILES = 24_000;
const GUARD_BYTES = 4096;
const UNTOUCHED = Buffer.alloc(GUARD_BYTES, 0xcc);

test('24 000 spoilt files: each is refused with a SimError, or loads into RAM and nowhere else', (t) => {
  t.log(`SEED=0x${SEED.toString(16)}`);
  const prng = new Prng(SEED);
  const sources = [
    buildElf({
      segments: [
        { gpa: CODE_GPA, data: CODE },
        { gpa: 0x101000, data: Uint8Array.of(1, 2, 3), memBytes: 64, flags: 6 },
      ],
      symbols: [
        { name: 'a', value: 1n },
        { name: 'bc', value: 2n, isGlobal: false },
      ],
    }).bytes,
    buildElf().bytes,
    new Uint8Array(readFileSync('test/guests/images/hello.elf')),
  ];
  const ramBytes = 0x110000;
  const guarded = new Uint8Array(ramBytes + 2 * GUARD_BYTES);
  const ram = guarded.subarray(GUARD_BYTES, GUARD_BYTES + ramBytes);
  // On both sides of RAM, and in RAM below the lowest gpa of an image. Nobody mends them: one wrong write shows.
  const guards = [0, CODE_GPA, GUARD_BYTES + ramBytes].map((offset) =>
    Buffer.from(guarded.buffer, offset, GUARD_BYTES).fill(UNTOUCHED),
  );
  let loaded = 0;
  let refusals = 0;
  for (let round = 0; round < FUZZ_FILES; round++) {
    const file = spoil(prng, prng.pick(sources));
    const options: LoadOptions = { ramBytes, vcpuCount: 1, flat: prng.chance(0.02) };
    try {
      const image = loadImage(file, options);
      loaded++;
      let end = CODE_GPA;
      for (const { gpa, data, memBytes } of image.segments) {
        if (!(gpa >= end && memBytes >= data.byteLength && gpa + memBytes <= ramBytes))
          t.fail(`round ${round}: segment`);
        end = gpa + memBytes;
      }
      const inside = ({ gpa, memBytes, executable }: (typeof image.segments)[0]) =>
        executable && image.entry >= gpa && image.entry < gpa + memBytes;
      if (!image.segments.some(inside)) t.fail(`round ${round}: entry`);
      writeImage(image, ram);
      if (guards.some((guard) => !guard.equals(UNTOUCHED))) t.fail(`round ${round}: write outside`);
    } catch (error) {
      refusals++;
      const known =
        error instanceof SimError && (error.code === 'SIM_IMAGE_FORMAT' || error.code === 'SIM_CONFIG_RANGE');
      if (!known) t.fail(`round ${round}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  // Both ways out are taken often, else this tests nothing.
  t.true(loaded > FUZZ_FILES / 50, `${loaded} loaded`);
  t.true(refusals > FUZZ_FILES / 4, `${refusals} refused`);
});

const AWKWARD = [
  0n,
  1n,
  55n,
  64n,
  0xfffn,
  0x1000n,
  0xffffn,
  0x100000n,
  0x10ffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** A copy with one to four changes where headers and tables are: bytes, whole fields, or its end. */
function spoil(prng: Prng, source: Uint8Array): Uint8Array {
  const file = source.slice();
  const view = new DataView(file.buffer);
  const sections = Number(view.getBigUint64(0x28, true));
  const tables = [
    { from: 0, to: 64 },
    { from: 64, to: Math.min(64 + view.getUint16(0x38, true) * 56, file.byteLength) },
    ...(sections === 0 ? [] : [{ from: sections, to: file.byteLength }]),
    { from: 0, to: file.byteLength },
  ];
  for (let change = 1 + prng.below(4); change > 0; change--) {
    const { from, to } = prng.pick(tables);
    const at = from + prng.below(to - from);
    const kind = prng.below(4);
    if (kind === 0) file[at] = prng.u32();
    else if (kind === 1) file[at]! ^= 1 << prng.below(8);
    else {
      const width = prng.pick([2, 4, 8] as const);
      const field = Math.min(at - (at % width), file.byteLength - width);
      const value = kind === 2 ? prng.pick(AWKWARD) : BigInt(prng.u32()) * BigInt(prng.u32());
      for (let byte = 0; byte < width; byte++)
        file[field + byte] = Number((value >> BigInt(byte * 8)) & 0xffn);
    }
  }
  return prng.chance(0.1) ? file.subarray(0, prng.below(file.byteLength)) : file;
}
