/** v86, an emulator of 32-bit PCs in JavaScript and WebAssembly: the same C, built for 32 bits. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { PEER_IMAGES_URL } from '../guests.ts';
import { type Peer, PeerAbsent, runCommand } from './peer.ts';

/** A process of its own, like the other peers: v86 keeps the event loop of its thread busy. */
const RUNNER = fileURLToPath(new URL(`./v86-run${import.meta.url.slice(-3)}`, import.meta.url));

let library = '';

export const v86: Peer = {
  name: 'v86',
  async prepare() {
    try {
      library = createRequire(import.meta.url).resolve('v86');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
      throw new PeerAbsent('v86', 'npm install --no-save v86');
    }
  },
  can: ({ guest, vcpuCount }) => vcpuCount === 1 && guest.native,
  run({ guest, rounds }) {
    const image = fileURLToPath(new URL(`${guest.name}.i386.bin`, PEER_IMAGES_URL));
    return runCommand(process.execPath, [RUNNER, library, image, String(rounds)]);
  },
  close() {},
};
