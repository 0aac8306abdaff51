/** How guest sources are compiled (gcc, nasm, binutils), and hashes that say whether an image is that of its sources. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export const GUESTS = 'test/guests';
export const IMAGES = 'test/guests/images';
export const LINKER_SCRIPT = 'test/guests/guest.ld';

export const CFLAGS = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-O2', '-ffreestanding', '-fno-pic'];
// No SSE (but see codeFlags), no red zone: crt0's handlers may run on any stack. No unwind tables, no notes: nobody reads them.
const CODE_FLAGS = [
  '-mno-red-zone',
  '-mgeneral-regs-only',
  '-fcf-protection=none',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-tree-loop-distribute-patterns',
];
const LINK_FLAGS = ['-nostdlib', '-static'];
export const LDFLAGS = [
  ...['-m', 'elf_x86_64', '-static', '-nostdlib', '--build-id=none', '--strip-debug'],
  ...['-z', 'noexecstack', '-z', 'max-page-size=0x1000'],
];
const NATIVE_SHIM = 'test/guests/native/shim.c';
/** Part of every source hash: other flags make other images. */
const RECIPE = [CFLAGS, LINK_FLAGS, CODE_FLAGS, LDFLAGS].flat().join(' ');

export function inGuests(file: string): string {
  return `${GUESTS}/${file}`;
}

/**
 * Flags for a guest's code, wherever it runs. A source whose header has a line `flags: …` uses those units of the
 * processor instead of general registers alone.
 */
export function codeFlags(source: string): string[] {
  const [, own] = /^ \* flags: +(.+)$/m.exec(readFileSync(source, 'utf8')) ?? [];
  if (own === undefined) return CODE_FLAGS;
  return [...CODE_FLAGS.filter((flag) => flag !== '-mgeneral-regs-only'), ...own.split(' ')];
}

/** The same, for code that runs with no operating system. */
export function guestFlags(source: string): string[] {
  return [...LINK_FLAGS, ...codeFlags(source)];
}

/** Object files are called by relative source names only, so that no path of this machine shows in them. */
export function compile(source: string, cflags: readonly string[], work: string): string {
  const object = join(work, `${basename(source)}.o`);
  if (source.endsWith('.asm')) run('nasm', ['-f', 'elf64', '-w+error', `-I${GUESTS}/`, source, '-o', object]);
  else run('gcc', [...CFLAGS, ...cflags, `-I${GUESTS}`, `-I${work}`, '-c', source, '-o', object]);
  return object;
}

/**
 * A guest as a program of this machine: its C and assembly with a C library instead of crt0.
 *
 * @returns the program's path
 */
export function linkNatively(
  name: string,
  sources: readonly string[],
  flags: readonly string[],
  work: string,
): string {
  const own = sources.map((source) => compile(source, ['-Dmain=guest_main', ...flags], work));
  const program = join(work, `${name}.native`);
  const shim = compile(NATIVE_SHIM, ['-fhosted'], work);
  run('gcc', ['-no-pie', '-z', 'noexecstack', '-o', program, ...own, shim]);
  return program;
}

export function run(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      maxBuffer: 2 ** 26,
    });
  } catch (error) {
    // What was wrong with the sources stands above this line: the compiler's own words.
    throw new Error(`failed: ${command} ${args.join(' ')}`, { cause: error });
  }
}

/** Of the sources, of every file of test/guests that they include, and of the recipe. */
export function hashOf(sources: readonly string[]): string {
  const hash = createHash('sha256').update(RECIPE);
  for (const path of withIncluded(sources)) {
    // Git may check text files out with other line ends.
    const text = readFileSync(path, 'utf8').replaceAll('\r\n', '\n');
    hash.update(`\0${path}\0${text.length}\0${text}`);
  }
  return hash.digest('hex');
}

/** What is generated in test/guests is no source. */
function withIncluded(sources: readonly string[]): string[] {
  const all = [...sources];
  for (const source of all) {
    for (const [, name] of readFileSync(source, 'utf8').matchAll(/^[#%]include "([^"]+)"/gm)) {
      const path = inGuests(name!);
      if (!all.includes(path) && existsSync(path)) all.push(path);
    }
  }
  return all;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
