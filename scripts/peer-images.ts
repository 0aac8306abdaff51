/**
 * What other emulators need to run guests: QEMU's shim, a boot sector for those that load no kernels, and benchmarks
 * built for 32 bits. Built by build-guests.ts and committed like the guests, so that comparing with a peer takes the peer
 * and no compiler.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { compile, GUESTS, guestFlags, hashOf, IMAGES, inGuests, run, sha256 } from './compile-guest.ts';

const CRT0_32 = inGuests('peers/crt0-i386.asm');
const LINKER_SCRIPT_32 = inGuests('peers/i386.ld');
const CFLAGS_32 = ['-m32', '-march=i686'];
const LDFLAGS_32 = ['-static', '-nostdlib', '--build-id=none', '-z', 'noexecstack'];

const PEER_IMAGES = `${IMAGES}/peers`;
/** By file: hashes of its sources and of itself. */
const BUILT = `${PEER_IMAGES}/built.json`;

type Built = Readonly<Record<string, { readonly sources: string; readonly image: string }>>;

interface PeerImage {
  readonly file: string;
  readonly sources: readonly string[];
  build(work: string): Uint8Array;
}

function peerImages(): PeerImage[] {
  const flat = ['qemu-shim', 'disk-boot'].map((name) => {
    const source = inGuests(`peers/${name}.asm`);
    return { file: `${name}.bin`, sources: [source], build: (work: string) => assemble(source, work) };
  });
  return [...flat, ...benchmarks().map(image32)];
}

/** Sources of the benchmarks that need nothing but C: their console text is made by running them natively. */
function benchmarks(): string[] {
  const sources = readdirSync(GUESTS).filter((file) => /^bench-.*\.c$/.test(file));
  return sources.map(inGuests).filter((path) => /^ \* expect: .*"@\w+@"/m.test(readFileSync(path, 'utf8')));
}

/** A multiboot kernel that may set `bench_rounds` by a word of its header: see crt0-i386.asm. */
function image32(source: string): PeerImage {
  const name = basename(source, '.c');
  return {
    file: `${name}.i386.bin`,
    sources: [CRT0_32, source, LINKER_SCRIPT_32],
    build(work) {
      const crt0 = join(work, 'crt0-i386.o');
      run('nasm', ['-f', 'elf32', '-w+error', CRT0_32, '-o', crt0]);
      const objects = [crt0, compile(source, [...guestFlags(source), ...CFLAGS_32], work)];
      const [linked, out] = [join(work, 'i386.elf'), join(work, 'i386.bin')];
      run('ld', ['-m', 'elf_i386', ...LDFLAGS_32, '-T', LINKER_SCRIPT_32, '-o', linked, ...objects]);
      run('objcopy', ['-O', 'binary', linked, out]);
      return readFileSync(out);
    },
  };
}

/** A flat binary. */
function assemble(source: string, work: string): Uint8Array {
  const out = join(work, 'flat.bin');
  run('nasm', ['-f', 'bin', '-w+error', source, '-o', out]);
  return readFileSync(out);
}

/** Compares what is committed with the sources. @returns one line for each thing that is stale */
export function stalePeerImages(): string[] {
  const built: Built = existsSync(BUILT) ? JSON.parse(readFileSync(BUILT, 'utf8')) : {};
  const images = peerImages();
  const stale: string[] = [];
  for (const { file, sources } of images) {
    const path = join(PEER_IMAGES, file);
    if (built[file] === undefined || !existsSync(path)) stale.push(`${file}: never built`);
    else if (built[file].sources !== hashOf(sources)) stale.push(`${file}: sources changed`);
    else if (built[file].image !== sha256(readFileSync(path))) stale.push(`${file}: image changed by hand`);
  }
  const known = new Set([...images.map(({ file }) => file), 'built.json']);
  const present = existsSync(PEER_IMAGES) ? readdirSync(PEER_IMAGES) : [];
  for (const file of present) if (!known.has(file)) stale.push(`${file}: image without a source`);
  return stale;
}

/** Builds all of them. @param write stores a file if it has changed */
export function buildPeerImages(
  work: string,
  write: (path: string, content: string | Uint8Array) => void,
): void {
  mkdirSync(PEER_IMAGES, { recursive: true });
  const built: Record<string, Built[string]> = {};
  for (const { file, sources, build } of peerImages()) {
    const image = build(work);
    write(join(PEER_IMAGES, file), image);
    built[file] = { sources: hashOf(sources), image: sha256(image) };
  }
  write(BUILT, `${JSON.stringify(built, null, 2)}\n`);
}
