/**
 * A RAM disk for test boots: busybox, a few links to it, and an init that says when it is there, answers a few questions
 * and gives a shell.
 *
 * @source Linux, Documentation/driver-api/early-userspace/buffer-format.rst
 */

/** The lines that init writes, by which a boot is followed. */
export const INIT_RUNS = 'faultline: init runs';
export const SHELL_PROMPT = 'faultline# ';

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "${INIT_RUNS}: Linux $(uname -r), $(nproc) of $(grep -c ^processor /proc/cpuinfo) processors"
export PS1='${SHELL_PROMPT}'
exec setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'
`;

const APPLETS = [
  'sh', 'mount', 'echo', 'uname', 'nproc', 'grep', 'setsid', 'cat', 'ls', 'ps', 'free', 'dmesg', 'sleep', 'poweroff',
  'reboot', 'seq', 'dd', 'sha256sum', 'taskset', 'true',
]; // biome-ignore format: table
const DIRECTORIES = ['bin', 'dev', 'proc', 'sys', 'tmp'];

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;
const LINK = 0o120777;
const CHARACTER_DEVICE = 0o020600;
/** /dev/console: 5, 1. */
const CONSOLE = [5, 1] as const;

/** @param busybox a static one */
export function initramfs(busybox: Uint8Array): Uint8Array {
  const text = new TextEncoder();
  const archive = new Archive();
  for (const name of DIRECTORIES) archive.add(name, DIRECTORY);
  archive.add('dev/console', CHARACTER_DEVICE, new Uint8Array(), CONSOLE);
  archive.add('bin/busybox', PROGRAM, busybox);
  for (const name of APPLETS) archive.add(`bin/${name}`, LINK, text.encode('busybox'));
  archive.add('init', PROGRAM, text.encode(INIT));
  archive.add('TRAILER!!!', 0);
  return archive.bytes();
}

/** A cpio archive of the "newc" kind. */
class Archive {
  readonly #parts: Uint8Array[] = [];
  #size = 0;
  #inode = 0;

  add(
    name: string,
    mode: number,
    data: Uint8Array = new Uint8Array(),
    device: readonly [number, number] = [0, 0],
  ): void {
    this.#inode += 1;
    const named = `${name}\0`;
    // Inode, mode, uid, gid, links, mtime, size, device of the file (two), device it is (two), length of name, checksum.
    const fields = [this.#inode, mode, 0, 0, 1, 0, data.length, 0, 0, ...device, named.length, 0];
    const head = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    this.#put(new TextEncoder().encode(`070701${head}${named}`));
    this.#put(data);
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** With zeros up to a multiple of four. */
  #put(bytes: Uint8Array): void {
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    this.#parts.push(padded);
    this.#size += padded.length;
  }
}
