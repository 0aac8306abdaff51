/**
 * A process that runs one image in v86 and prints its console: `node v86-run.js LIBRARY IMAGE ROUNDS`. The image is a
 * multiboot kernel of peer-images.ts; its start is the start of the process, its end a write to port 0xf4.
 */
import { readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const PORT_CONSOLE = 0xe9;
const PORT_EXIT = 0xf4;
/** Offset of the word in the image that is bench_rounds: crt0-i386.asm. */
const ROUNDS_AT = 32;
const MEMORY_BYTES = 128 * 1024 ** 2;

/** As much of v86's emulator as is used here. */
interface Emulator {
  add_listener(event: 'emulator-loaded', listener: () => void): void;
  run(): void;
  readonly v86: {
    readonly cpu: {
      readonly io: { register_write(port: number, device: object, write: (byte: number) => void): void };
    };
  };
}
type Library = { readonly V86: new (options: object) => Emulator };

const [library, path, rounds] = process.argv.slice(2) as [string, string, string];
const { V86 } = (await import(pathToFileURL(library).href)) as Library;
const image = Uint8Array.from(readFileSync(path));
new DataView(image.buffer).setUint32(ROUNDS_AT, Number(rounds), true);

const emulator = new V86({
  wasm_path: join(dirname(library), 'v86.wasm'),
  multiboot: { buffer: image.buffer },
  memory_size: MEMORY_BYTES,
  vga_memory_size: 1024 ** 2,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: false,
});
emulator.add_listener('emulator-loaded', () => {
  const { io } = emulator.v86.cpu;
  io.register_write(PORT_CONSOLE, {}, (byte) => {
    writeSync(1, Uint8Array.of(byte));
  });
  io.register_write(PORT_EXIT, {}, (code) => process.exit(code));
  emulator.run();
});
