/**
 * I/O ports: two that every machine has, and those of the board where there is one (platform/board.ts).
 *
 *   port   device                 read    write
 *   ─────  ─────────────────────  ──────  ─────────────────────────────────────────────────────────────
 *   0xe9   console                0xe9    the low byte is text
 *   0xf4   exit                   ones    the low byte is the exit code; the vCPU that wrote it is done
 *   other  the board's, if any    its     its
 *          nothing                ones    lost
 */
import { VCPU_EXITED } from '../../shared/layout/vcpu.ts';
import { PORT_CONSOLE, PORT_EXIT } from '../../shared/ports.ts';
import type { Path } from '../../shared/sync/point.ts';
import type { Vcpu } from './vcpu.ts';

export interface PortBus {
  /** @param size 1, 2 or 4 bytes; returns as many, unsigned */
  inPort(port: number, size: number): Path<number>;
  /** @param value unsigned, `size` bytes; true when the vCPU has ended by it */
  outPort(port: number, size: number, value: number): Path<boolean>;
}

/** The ports of one vCPU: it has its own console stream and its own exit. */
export class MachinePorts implements PortBus {
  readonly #vcpu: Vcpu;
  readonly #console: (byte: number) => void;

  constructor(vcpu: Vcpu, console: (byte: number) => void) {
    this.#vcpu = vcpu;
    this.#console = console;
  }

  *inPort(port: number, size: number): Path<number> {
    const { platform } = this.#vcpu;
    if (port === PORT_CONSOLE && size === 1) return PORT_CONSOLE;
    if (platform?.board.hasPort(port) === true) return yield* platform.board.inPort(port, size);
    if (port !== PORT_EXIT) this.#unknown('in', port);
    return 2 ** (8 * size) - 1;
  }

  *outPort(port: number, size: number, value: number): Path<boolean> {
    const { mem, platform } = this.#vcpu;
    switch (port) {
      case PORT_CONSOLE:
        this.#console(value & 0xff);
        return false;
      case PORT_EXIT:
        mem.store(this.#vcpu.word('EXIT_CODE'), value & 0xff);
        mem.store(this.#vcpu.word('STATE'), VCPU_EXITED);
        return true;
      default:
        if (platform?.board.hasPort(port) === true) {
          yield* platform.board.outPort(port, size, value);
          return !platform.board.isOn && (yield* platform.powerDown());
        }
        this.#unknown('out', port);
        return false;
    }
  }

  #unknown(direction: 'in' | 'out', port: number): void {
    this.#vcpu.count('UNKNOWN_PORTS');
    this.#vcpu.noteUnknown(`${direction} 0x${port.toString(16)}`);
  }
}
