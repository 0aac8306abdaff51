/** The main thread's end of the serial line: a ring of bytes that the 16550 takes from. */
import { SERIAL_INPUT, SERIAL_INPUT_BYTES } from '../shared/layout/board.ts';
import type { MachineLayout } from '../shared/layout/machine.ts';
import type { Mem } from '../shared/mem.ts';

export class SerialInput {
  readonly #mem: Mem;
  readonly #base: number;

  constructor(mem: Mem, layout: MachineLayout) {
    this.#mem = mem;
    this.#base = layout.serialInput;
  }

  /** @returns how many bytes there was room for */
  put(bytes: Uint8Array): number {
    const at = (name: keyof typeof SERIAL_INPUT.at) => this.#base + SERIAL_INPUT.at[name];
    const tail = this.#mem.load(at('TAIL')) >>> 0;
    const room = SERIAL_INPUT_BYTES - ((tail - this.#mem.load(at('HEAD'))) >>> 0);
    const count = Math.min(room, bytes.length);
    for (let i = 0; i < count; i++) {
      this.#mem.u8[at('DATA') + ((tail + i) % SERIAL_INPUT_BYTES)] = bytes[i]!;
    }
    // ORDER: the bytes before the tail. The vCPU that sees the tail reads them.
    this.#mem.store(at('TAIL'), (tail + count) | 0);
    return count;
  }
}
