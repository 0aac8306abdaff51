/** Bochs: an interpreter of x86-64 in C++. It loads no kernels, so it boots QEMU's from a disk. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadImage } from '../../../src/image/load.ts';
import { kernelFile, QEMU_RAM_BYTES } from '../../qemu.ts';
import { guestImage, PEER_IMAGES_URL } from '../guests.ts';
import { needCommand, type Peer, runCommand } from './peer.ts';

const SECTOR_BYTES = 512;
/** Of the boot sector: how many sectors follow. */
const SECTORS_AT = 506;
/** Sectors of a track and heads: the disk's size is a multiple of both. */
const SECTORS = 63;
const HEADS = 16;

let work = '';

export const bochs: Peer = {
  name: 'bochs',
  async prepare() {
    needCommand('bochs', 'bochs', 'bochs bochsbios vgabios');
    work = mkdtempSync(join(tmpdir(), 'faultline-bench-'));
  },
  // Debian's has one CPU.
  can: ({ vcpuCount }) => vcpuCount === 1,
  run({ guest, rounds, vcpuCount }) {
    const image = loadImage(guestImage(guest.name, rounds), { ramBytes: QEMU_RAM_BYTES, vcpuCount });
    const cylinders = writeDisk(join(work, 'disk'), kernelFile({ image, vcpuCount }));
    writeFileSync(join(work, 'bochsrc'), configuration(cylinders));
    // Its debugger waits for a command before the first instruction.
    writeFileSync(join(work, 'commands'), 'c\n');
    const args = ['-q', '-f', join(work, 'bochsrc'), '-rc', join(work, 'commands')];
    return runCommand('bochs', args, 'checksum');
  },
  close() {
    if (work !== '') rmSync(work, { recursive: true });
  },
};

function configuration(cylinders: number): string {
  const bios = '/usr/share/bochs';
  return [
    'config_interface: textconfig',
    'display_library: rfb, options="timeout=0"',
    `memory: guest=${QEMU_RAM_BYTES / 1024 ** 2}, host=${QEMU_RAM_BYTES / 1024 ** 2}`,
    'cpu: model=corei7_sandy_bridge_2600k, count=1, ips=100000000, reset_on_triple_fault=0',
    `romimage: file=${bios}/BIOS-bochs-latest`,
    `vgaromimage: file=${bios}/VGABIOS-lgpl-latest`,
    'boot: disk',
    'ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14',
    `ata0-master: type=disk, mode=flat, path="${join(work, 'disk')}", cylinders=${cylinders}, heads=${HEADS}, spt=${SECTORS}`,
    'port_e9_hack: enabled=1',
    `log: ${join(work, 'log')}`,
    'panic: action=fatal',
    'error: action=ignore',
    'info: action=ignore',
    'debug: action=ignore',
    'clock: sync=none',
    '',
  ].join('\n');
}

/** A boot sector, the kernel, and zeros up to the end of a cylinder. @returns how many cylinders */
function writeDisk(path: string, kernel: Uint8Array): number {
  const sectors = Math.ceil(kernel.byteLength / SECTOR_BYTES);
  const cylinders = Math.ceil((1 + sectors) / (SECTORS * HEADS));
  const disk = Buffer.alloc(cylinders * SECTORS * HEADS * SECTOR_BYTES);
  disk.set(readFileSync(new URL('disk-boot.bin', PEER_IMAGES_URL)));
  disk.writeUInt32LE(sectors, SECTORS_AT);
  disk.set(kernel, SECTOR_BYTES);
  writeFileSync(path, disk);
  return cylinders;
}
