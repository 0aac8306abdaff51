/**
 * Builds the guest programs: test/guests/*.asm and *.c into test/guests/images/*.elf, and the storm's guest into
 * src/storm/guest-image.ts. Images are committed, so that nothing but this script needs nasm, gcc and binutils.
 *
 *   npm run build:guests              builds, and says what changed
 *   npm run build:guests -- --check   compares committed images with their sources, without a compiler; exit 1 if stale
 *
 * An image is one .asm file with a `_start`, or one .c file with crt0.asm and, if there is one, the .asm of the same
 * name. Its header comment says how to run it and what comes out:
 *
 *   run:    -smp 2 -m 4M
 *   expect: exit 0, console "hello", "world" in either order, and whatever else a reader should know
 *   host:   what somebody outside has to do for the guest to end; absent when nothing
 *   flags:  of the compiler, for code that needs more than general registers
 *
 * `@NAME@` in a console text stands for the last line that the same C program prints when it is compiled for, and run
 * on, this machine. A .c file that includes "NAME.expected.h" gets that file from such a run too: the program compiled
 * with GUEST_RECORD defined prints it.
 *
 * images/expected.json holds all of it, with a hash of each image's sources and one of the image. What other emulators
 * need to run guests (peer-images.ts) is built as well.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseElf } from '../src/image/elf.ts';
import { hex, parseSize } from '../src/shared/units.ts';
import {
  compile,
  GUESTS,
  guestFlags,
  hashOf,
  IMAGES,
  inGuests,
  LDFLAGS,
  LINKER_SCRIPT,
  linkNatively,
  run,
  sha256,
} from './compile-guest.ts';
import { buildPeerImages, stalePeerImages } from './peer-images.ts';

const EXPECTED = 'test/guests/images/expected.json';
const STORM_SOURCE = 'src/storm/guest.asm';
const STORM_MODULE = 'src/storm/guest-image.ts';
const STORM = 'storm';

/** Sources that are part of images, not images. */
const CRT0 = 'crt0.asm';

/** What a test needs to know of one image. */
export interface ExpectedGuest {
  readonly smp: number;
  /** Least RAM it runs with, as written: `48M`. */
  readonly mem: string;
  readonly memBytes: number;
  /** Of every vCPU. */
  readonly exitCode: number;
  /** Lines on the console, null when the header says nothing about them. */
  readonly console: readonly string[] | null;
  readonly consoleOrder: 'given' | 'any';
  /** The same C runs as a program of this machine: it says what the guest prints. */
  readonly native: boolean;
  /** What the host has to do for the guest to end, or null. */
  readonly host: string | null;
  /** The header's own words. */
  readonly expect: string;
  /** SHA-256 of the sources, and of the image. */
  readonly sources: string;
  readonly image: string;
}
export type ExpectedGuests = Readonly<Record<string, ExpectedGuest>>;

/** One image to be: its name and its own sources, the one with the header first. */
interface Guest {
  readonly name: string;
  readonly sources: readonly string[];
}

/** Images, what is expected of them, and nothing else, as committed. */
export function readExpected(): ExpectedGuests {
  return JSON.parse(readFileSync(EXPECTED, 'utf8')) as ExpectedGuests;
}

/** Compares what is committed with the sources. @returns one line for each thing that is stale */
export function staleGuests(): string[] {
  const stale: string[] = [];
  if (!existsSync(EXPECTED)) return [`${EXPECTED} is missing`];
  const expected = readExpected();
  const guests = listGuests();
  for (const guest of guests) {
    const entry = expected[guest.name];
    if (entry === undefined) stale.push(`${guest.name}: never built`);
    else if (entry.sources !== hashSources(guest)) stale.push(`${guest.name}: sources changed`);
    else if (committedImageHash(guest.name) !== entry.image)
      stale.push(`${guest.name}: image changed by hand`);
  }
  const known = new Set(guests.map((guest) => guest.name));
  for (const name of Object.keys(expected)) if (!known.has(name)) stale.push(`${name}: has no source`);
  for (const file of readdirSync(IMAGES)) {
    const name = basename(file, '.elf');
    if (file.endsWith('.elf') && !known.has(name)) stale.push(`${name}: image without a source`);
  }
  return [...stale, ...stalePeerImages()];
}

/** Builds everything. @returns one line for each file written anew */
function buildGuests(): string[] {
  const work = mkdtempSync(join(tmpdir(), 'faultline-guests-'));
  const changed: string[] = [];
  const write = (path: string, content: string | Uint8Array) => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    if (existsSync(path) && readFileSync(path).equals(bytes)) return;
    changed.push(`${existsSync(path) ? 'changed' : 'new'}: ${path} (${bytes.byteLength} bytes)`);
    writeFileSync(path, bytes);
  };
  try {
    mkdirSync(IMAGES, { recursive: true });
    const expected: Record<string, ExpectedGuest> = {};
    for (const guest of listGuests()) {
      const image = buildImage(guest, work);
      if (guest.name === STORM) write(STORM_MODULE, stormModule(image));
      else write(join(IMAGES, `${guest.name}.elf`), image);
      expected[guest.name] = {
        ...expectations(guest, work),
        sources: hashSources(guest),
        image: sha256(image),
      };
    }
    for (const file of readdirSync(IMAGES)) {
      if (!file.endsWith('.elf') || expected[basename(file, '.elf')] !== undefined) continue;
      rmSync(join(IMAGES, file));
      changed.push(`removed: ${join(IMAGES, file)}`);
    }
    write(EXPECTED, expectedJson(expected));
    buildPeerImages(work, write);
  } finally {
    rmSync(work, { recursive: true });
  }
  return changed;
}

function listGuests(): Guest[] {
  const files = readdirSync(GUESTS).sort();
  const programs = new Set(files.filter((file) => file.endsWith('.c')).map((file) => basename(file, '.c')));
  const guests: Guest[] = [];
  for (const file of files) {
    if (file.endsWith('.c')) {
      const beside = `${basename(file, '.c')}.asm`;
      const own = files.includes(beside) ? [file, beside] : [file];
      guests.push({ name: basename(file, '.c'), sources: own.map(inGuests) });
    } else if (file.endsWith('.asm') && file !== CRT0 && !programs.has(basename(file, '.asm'))) {
      guests.push({ name: basename(file, '.asm'), sources: [inGuests(file)] });
    }
  }
  if (existsSync(STORM_SOURCE)) {
    guests.push({ name: STORM, sources: [STORM_SOURCE] });
  }
  return guests;
}

// ── compiling ───────────────────────────────────────────────────────────────────────────────────

function buildImage(guest: Guest, work: string): Uint8Array {
  if (includesRecord(guest)) {
    writeFileSync(join(work, `${guest.name}.expected.h`), runNatively(guest, ['-DGUEST_RECORD'], work));
  }
  const objects = assembled(guest).map((source) => compile(source, guestFlags(source), work));
  const out = join(work, `${guest.name}.elf`);
  run('ld', [...LDFLAGS, '-T', LINKER_SCRIPT, '-o', out, ...objects]);
  // Labels that macros made: nobody asks for them by name.
  run('objcopy', ['--wildcard', '--strip-symbol', '..@*', out]);
  return readFileSync(out);
}

/** Everything that becomes an object file of the image. */
function assembled(guest: Guest): readonly string[] {
  return isC(guest) ? [inGuests(CRT0), ...guest.sources] : guest.sources;
}

/** What the program prints on this machine: its C and assembly with a C library instead of crt0. */
function runNatively(guest: Guest, flags: readonly string[], work: string): string {
  return run(linkNatively(guest.name, guest.sources, flags, work), []);
}

function isC(guest: Guest): boolean {
  return guest.sources[0]!.endsWith('.c');
}

function includesRecord(guest: Guest): boolean {
  return (
    isC(guest) && readFileSync(guest.sources[0]!, 'utf8').includes(`#include "${guest.name}.expected.h"`)
  );
}

// ── expectations ────────────────────────────────────────────────────────────────────────────────

/** Reads the header comment; throws when it does not say what it must. */
function expectations(guest: Guest, work: string): Omit<ExpectedGuest, 'sources' | 'image'> {
  const header = headerOf(guest.sources[0]!);
  const [, smp, mem] = /^-smp (\d+) -m (\d+[KMG])$/.exec(header.get('run') ?? '') ?? [];
  const [, exitCode] = /^exit (0x[0-9a-f]+|\d+)\b/.exec(header.get('expect') ?? '') ?? [];
  if (smp === undefined || mem === undefined || exitCode === undefined) {
    throw new Error(`${guest.sources[0]}: the header needs 'run: -smp N -m SIZE' and 'expect: exit N…'`);
  }
  let expect = header.get('expect')!;
  const native = /@\w+@/.test(expect);
  if (native) expect = expect.replace(/@\w+@/, runNatively(guest, [], work).trim().split('\n').at(-1)!);
  const texts = /console ((?:"[^"]*"(?:, )?)+)( in either order)?/.exec(expect);
  return {
    smp: Number(smp),
    mem,
    memBytes: parseSize(mem),
    exitCode: Number(exitCode),
    console: texts === null ? null : [...texts[1]!.matchAll(/"([^"]*)"/g)].map((text) => text[1]!),
    consoleOrder: texts?.[2] === undefined ? 'given' : 'any',
    native,
    host: header.get('host') ?? null,
    expect,
  };
}

/** The `key: text` lines of the first comment; a text goes on where the next line is indented below it. */
function headerOf(source: string): Map<string, string> {
  const header = new Map<string, string>();
  let key = '';
  for (const line of readFileSync(source, 'utf8').split('\n')) {
    const comment = /^(?:;| \*|\/\*) ?(.*?)(?: \*\/)?$/.exec(line);
    if (comment === null) break;
    const text = comment[1]!;
    const [, start, first] = /^(run|expect|host):\s+(.*)$/.exec(text) ?? [];
    if (start !== undefined) {
      key = start;
      header.set(key, first!);
    } else if (key !== '' && /^ {8}\S/.test(text)) {
      header.set(key, `${header.get(key)} ${text.trim()}`);
    } else {
      key = '';
    }
  }
  return header;
}

// ── hashes and the storm's module ───────────────────────────────────────────────────────────────

/** As Biome would write it: short lists on one line. */
function expectedJson(expected: ExpectedGuests): string {
  const text = JSON.stringify(expected, null, 2).replace(
    /\[\n\s+([^\]]*?)\n\s+\]/g,
    (list, items: string) => {
      const line = `[${items.replace(/,\n\s+/g, ', ')}]`;
      return line.length < 90 ? line : list;
    },
  );
  return `${text}\n`;
}

function hashSources(guest: Guest): string {
  return hashOf([...assembled(guest), LINKER_SCRIPT]);
}

/** Of the image as committed; null when there is none. */
function committedImageHash(name: string): string | null {
  const path = name === STORM ? STORM_MODULE : join(IMAGES, `${name}.elf`);
  if (!existsSync(path)) return null;
  const bytes = readFileSync(path);
  if (name !== STORM) return sha256(bytes);
  const text = bytes.toString('utf8').replaceAll('\r\n', '\n');
  const [, base64] = /'([A-Za-z0-9+/=]{100,})'/.exec(text) ?? [];
  if (base64 === undefined) return null;
  const image = Buffer.from(base64, 'base64');
  return text === stormModule(image) ? sha256(image) : null;
}

/** The module that carries the storm's image: the npm package has no room for loose files. */
function stormModule(image: Uint8Array): string {
  const constants = [...parseElf(image).symbols]
    .filter(([name]) => /^STORM_[A-Z0-9_]+$/.test(name))
    .map(([name, { value }]) => `export const ${name} = ${hex(value)};`);
  return `/**
 * The storm's guest, assembled from guest.asm. Generated by scripts/build-guests.ts (npm run build:guests): change
 * the source, not this file. What the constants mean stands in the source, under the same names.
 */

${constants.join('\n')}

/** A static ELF64 image, base64. */
export const STORM_GUEST_BASE64 =
  '${Buffer.from(image).toString('base64')}';

/** The image as the loader takes it: a fresh copy with every call. */
export function stormGuestImage(): Uint8Array {
  return Uint8Array.from(atob(STORM_GUEST_BASE64), (char) => char.charCodeAt(0));
}
`;
}

function main(args: readonly string[]): number {
  const unknown = args.find((arg) => arg !== '--check');
  if (unknown !== undefined) {
    process.stderr.write(`build-guests: unknown argument '${unknown}'; there is: --check\n`);
    return 2;
  }
  const check = args.includes('--check');
  const lines = check ? staleGuests() : buildGuests();
  for (const line of lines) process.stdout.write(`${line}\n`);
  const count = Object.keys(readExpected()).length;
  if (lines.length === 0) process.stdout.write(`${count} images, all up to date\n`);
  else if (check) process.stdout.write('stale: npm run build:guests\n');
  return check && lines.length > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
