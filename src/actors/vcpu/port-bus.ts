/**
 * I/O ports. Devices have no side effects on reads, and none makes a vCPU wait.
 *
 *   port   device                 read    write
 *   ─────  ─────────────────────  ──────  ─────────────────────────────────────────────────────────────
 *   0xe9   console                0xe9    the low byte is text
 *   0xf4   exit                   ones    the low byte is the exit code; the vCPU that wrote it is done
 *   other  nothing                ones    lost
 */
import { VCPU_EXITED } from '../../shared/layout/vcpu.ts';
import { PORT_CONSOLE, PORT_EXIT } from '../../shared/ports.ts';
import type { Vcpu } from './vcpu.ts';

export interface PortBus {
  /** @param size 1, 2 or 4 bytes; returns as many, unsigned */
  read(port: number, size: number): number;
  /** @param value unsigned, `size` bytes */
  write(port: number, size: number, value: number): void;
}

/** The ports of one vCPU: it has its own console stream and its own exit. */
export class MachinePorts implements PortBus {
  readonly #vcpu: Vcpu;
  readonly #console: (byte: number) => void;

  constructor(vcpu: Vcpu, console: (byte: number) => void) {
    this.#vcpu = vcpu;
    this.#console = console;
  }

  read(port: number, size: number): number {
    if (port === PORT_CONSOLE && size === 1) return PORT_CONSOLE;
    if (port !== PORT_EXIT) this.#vcpu.count('UNKNOWN_PORTS');
    return size === 4 ? 0xffff_ffff : 2 ** (8 * size) - 1;
  }

  write(port: number, _size: number, value: number): void {
    const { mem } = this.#vcpu;
    switch (port) {
      case PORT_CONSOLE:
        this.#console(value & 0xff);
        return;
      case PORT_EXIT:
        mem.store(this.#vcpu.word('EXIT_CODE'), value & 0xff);
        mem.store(this.#vcpu.word('STATE'), VCPU_EXITED);
        return;
      default:
        this.#vcpu.count('UNKNOWN_PORTS');
    }
  }
}
