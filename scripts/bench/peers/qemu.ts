/** QEMU's TCG, a host thread for each CPU. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadImage } from '../../../src/image/load.ts';
import { kernelFile, QEMU, QEMU_PACKAGE, QEMU_RAM_BYTES, qemuArguments } from '../../qemu.ts';
import { guestImage } from '../guests.ts';
import { needCommand, type Peer, runCommand } from './peer.ts';

let work = '';

export const qemu: Peer = {
  name: 'qemu',
  async prepare() {
    needCommand('qemu', QEMU, QEMU_PACKAGE);
    work = mkdtempSync(join(tmpdir(), 'faultline-bench-'));
  },
  can: () => true,
  run({ guest, rounds, vcpuCount }) {
    const kernel = join(work, 'kernel');
    const image = loadImage(guestImage(guest.name, rounds), { ramBytes: QEMU_RAM_BYTES, vcpuCount });
    const run = { image, vcpuCount };
    writeFileSync(kernel, kernelFile(run));
    return runCommand(QEMU, qemuArguments(kernel, run), 1);
  },
  close() {
    if (work !== '') rmSync(work, { recursive: true });
  },
};
