/**
 * Guest images as QEMU takes them: a multiboot kernel made of a shim (test/guests/peers/qemu-shim.asm, built by
 * build-guests), its configuration, and everything that is to be copied where. The shim puts QEMU's CPUs into the
 * state of our boot protocol, so that images run there unchanged. Needs qemu-system-x86_64, no assembler.
 */
import { readFileSync } from 'node:fs';
import { writeBootTables } from '../src/image/boot.ts';
import { type LoadedImage, writeImage } from '../src/image/load.ts';

export const QEMU = 'qemu-system-x86_64';
/** Debian's package that has it. */
export const QEMU_PACKAGE = 'qemu-system-x86';
export const QEMU_RAM_BYTES = 512 * 1024 ** 2;

/** From dist/scripts to the committed image. */
const SHIM = new URL('../../test/guests/images/peers/qemu-shim.bin', import.meta.url);
/** Boot tables as they are written, and no stack: what lies between GDT and the end of the IDT. */
const TABLES = { from: 0x500, to: 0x9000 };
/** As in the shim. */
const DUMP_COUNT = 2;

export interface QemuRun {
  readonly image: LoadedImage;
  readonly vcpuCount: number;
  /** Bytes of the image to set before it starts, by gpa. */
  readonly patches?: readonly { readonly gpa: number; readonly bytes: Uint8Array }[];
  /** A word that becomes 1 after so many turns of one more CPU. */
  readonly poke?: { readonly gpa: number; readonly turns: number };
  /** Memory to be given back at the end: DUMP_COUNT areas at most. */
  readonly dumps?: readonly { readonly gpa: number; readonly bytes: number }[];
}

/**
 * QEMU's arguments for a kernel of {@link kernelFile}: the console on standard output, and an exit status of
 * 2 × code + 1 where `code` is all vCPUs' exit codes, or-ed.
 *
 * @param oneThread one host thread for all CPUs
 */
export function qemuArguments(kernel: string, run: QemuRun, { oneThread = false } = {}): string[] {
  const cpus = run.vcpuCount + (run.poke === undefined ? 0 : 1);
  return [
    ...['-kernel', kernel, '-m', `${QEMU_RAM_BYTES / 1024 ** 2}M`, '-smp', String(cpus), '-cpu', 'max'],
    ...['-accel', `tcg,thread=${oneThread ? 'single' : 'multi'}`],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-debugcon', 'stdio'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'],
  ];
}

/** The shim, its configuration, and everything to be copied. */
export function kernelFile({ image, vcpuCount, patches = [], poke, dumps = [] }: QemuRun): Uint8Array {
  const shim = readFileSync(SHIM);
  const areas = [
    { gpa: TABLES.from, bytes: TABLES.to - TABLES.from, memBytes: TABLES.to - TABLES.from },
    ...image.segments.map(({ gpa, data, memBytes }) => {
      const patchEnds = patches
        .filter((patch) => patch.gpa >= gpa && patch.gpa < gpa + memBytes)
        .map((patch) => patch.gpa + patch.bytes.byteLength - gpa);
      return { gpa, bytes: Math.max(data.byteLength, ...patchEnds), memBytes };
    }),
  ];
  const ram = new Uint8Array(Math.max(...areas.map(({ gpa, memBytes }) => gpa + memBytes)));
  writeBootTables(ram, { vcpuCount });
  writeImage(image, ram);
  for (const { gpa, bytes } of patches) ram.set(bytes, gpa);
  for (const { gpa, bytes } of areas) exitByInterrupt(ram.subarray(gpa, gpa + bytes));

  const recordsBytes = areas.length * 16;
  const file = Buffer.alloc(
    shim.byteLength + recordsBytes + areas.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  file.set(shim);
  const config = [
    image.entry,
    vcpuCount,
    vcpuCount,
    poke?.gpa ?? 0,
    poke?.turns ?? 0,
    ...Array.from({ length: DUMP_COUNT }, (_, index) => dumps[index]).flatMap((dump) => [
      dump?.gpa ?? 0,
      dump?.bytes ?? 0,
    ]),
    areas.length,
  ];
  for (const [index, word] of config.entries())
    file.writeUInt32LE(word, shim.byteLength - config.length * 4 + index * 4);
  let data = shim.byteLength + recordsBytes;
  for (const [index, { gpa, bytes, memBytes }] of areas.entries()) {
    for (const [word, value] of [gpa, data, bytes, memBytes].entries()) {
      file.writeUInt32LE(value, shim.byteLength + index * 16 + word * 4);
    }
    file.set(ram.subarray(gpa, gpa + bytes), data);
    data += bytes;
  }
  return file;
}

/** `out 0xf4, eax; ud2` becomes `int 0xf4; ud2`: isa-debug-exit would end all vCPUs with the first. */
function exitByInterrupt(code: Uint8Array): void {
  for (let at = 0; at + 4 <= code.byteLength; at++) {
    if (code[at] === 0xe7 && code[at + 1] === 0xf4 && code[at + 2] === 0x0f && code[at + 3] === 0x0b)
      code[at] = 0xcd;
  }
}
