/**
 * The kernel and the busybox of a test boot, from Debian's packages: downloaded once, unpacked into .build/boot, nothing
 * installed. Elsewhere than on Debian 12 they are given by --kernel and --busybox.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = '.build/boot';
const KERNEL_PACKAGE = 'linux-image-cloud-amd64';
const BUSYBOX_PACKAGE = 'busybox-static';

/** @returns path of vmlinuz @throws Error that says what to do instead */
export function debianKernel(): string {
  const unpacked = join(FOLDER, 'kernel');
  if (!existsSync(join(unpacked, 'boot'))) {
    const depends = apt('apt-cache', ['depends', '--no-recommends', '--no-suggests', KERNEL_PACKAGE]);
    const image = /Depends: (linux-image-\S+-cloud-amd64)/.exec(depends)?.[1];
    if (image === undefined) throw missing(`${KERNEL_PACKAGE} depends on no image`);
    unpack(image, unpacked);
  }
  const file = readdirSync(join(unpacked, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (file === undefined) throw missing(`no vmlinuz in ${unpacked}/boot: remove the folder and try again`);
  return join(unpacked, 'boot', file);
}

/** @returns path of a static busybox */
export function debianBusybox(): string {
  const unpacked = join(FOLDER, 'busybox');
  const file = join(unpacked, 'bin/busybox');
  if (!existsSync(file)) unpack(BUSYBOX_PACKAGE, unpacked);
  return file;
}

function unpack(name: string, folder: string): void {
  const downloads = join(FOLDER, 'packages');
  mkdirSync(downloads, { recursive: true });
  apt('apt-get', ['download', name], downloads);
  const file = readdirSync(downloads).find((entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'));
  if (file === undefined) throw missing(`apt-get has downloaded no ${name}`);
  apt('dpkg-deb', ['-x', join(downloads, file), folder]);
}

function apt(command: string, args: readonly string[], cwd?: string): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
    });
  } catch (cause) {
    throw missing(`${command} ${args.join(' ')} failed`, cause);
  }
}

function missing(what: string, cause?: unknown): Error {
  const advice = 'give the files yourself: npm run boot -- --kernel VMLINUZ --busybox BUSYBOX';
  return new Error(`${what}; ${advice}`, { cause });
}
