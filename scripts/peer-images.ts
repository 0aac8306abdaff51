/**
 * What other emulators need to run guests: QEMU's shim. Built by build-guests.ts and committed like the guests, so that
 * comparing with a peer takes the peer and no compiler.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashOf, IMAGES, inGuests, run, sha256 } from './compile-guest.ts';

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
  const shim = inGuests('peers/qemu-shim.asm');
  return [{ file: 'qemu-shim.bin', sources: [shim], build: (work) => assemble(shim, work) }];
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
