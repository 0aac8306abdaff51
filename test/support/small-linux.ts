/** A file that a boot loader takes for a Linux kernel, with a program of ours at its 64-bit entry point. */
import { asm } from './asm.ts';

export const PREF_GPA = 0x100_0000;
export const INIT_BYTES = 0x20_0000;
const SETUP_SECTORS = 4;
const ENTRY_64 = 0x200;

/** @param change  edits the header before the file is done */
export function smallLinux(source: string, change: (header: DataView) => void = () => {}): Uint8Array {
  const { bytes } = asm(PREF_GPA + ENTRY_64, source);
  const file = new Uint8Array((SETUP_SECTORS + 1) * 512 + ENTRY_64 + bytes.length);
  const view = new DataView(file.buffer);
  file.set(Buffer.from('HdrS'), 0x202);
  view.setUint8(0x1f1, SETUP_SECTORS);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x66eb, true); // the header ends at 0x268
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, BigInt(PREF_GPA), true);
  view.setUint32(0x260, INIT_BYTES, true);
  change(view);
  file.set(bytes, (SETUP_SECTORS + 1) * 512 + ENTRY_64);
  return file;
}
