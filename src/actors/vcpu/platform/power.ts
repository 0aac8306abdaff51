/**
 * Power management as ACPI has it (the fixed registers at 0x600), and the ports that reset a PC.
 *
 * @source ACPI specification, "PM1 Event Grouping", "PM1 Control Grouping", "Power Management Timer (PM_TMR)", "Reset
 *         Register"; Intel 82371AB (PIIX4) datasheet, "RC—Reset Control Register"
 */
import { BOARD, POWER_OFF, POWER_ON, POWER_RESET } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import {
  PM_CONTROL_PORT,
  PM_EVENT_PORT,
  PM_TIMER_HZ,
  PM_TIMER_PORT,
  RESET_PORT,
  SLEEP_TYPE_S5,
} from '../../../shared/x86/acpi-ports.ts';
import type { BoardServices, PortDevice } from './device.ts';
import { Words } from './records.ts';

const KEYBOARD_COMMAND_PORT = 0x64;
const FAST_A20_PORT = 0x92;
const KEYBOARD_RESET = 0xfe;
const SCI_ENABLE = 1;
const SLEEP_ENABLE = 1 << 13;
const SLEEP_TYPE_SHIFT = 10;
const RESET_CPU = 4;
const A20_ON = 2;
const PM_STATUS_BITS = 0xcf21;

export class Power implements PortDevice {
  readonly wide = true;
  readonly ports = [
    [PM_EVENT_PORT, 12],
    [RESET_PORT, 1],
    [KEYBOARD_COMMAND_PORT, 1],
    [FAST_A20_PORT, 1],
  ] as const;
  readonly #words: Words<keyof typeof BOARD.at>;
  readonly #mem: Mem;
  readonly #services: BoardServices;

  constructor(mem: Mem, layout: MachineLayout, services: BoardServices) {
    this.#words = new Words(mem, BOARD, layout.board);
    this.#mem = mem;
    this.#services = services;
  }

  /** POWER_*: what the guest has done with the machine. */
  get state(): number {
    return this.#mem.load(this.#words.at('POWER'));
  }

  read(port: number, size: number): number {
    if (port === KEYBOARD_COMMAND_PORT) return 0xff;
    if (port === FAST_A20_PORT) return A20_ON;
    if (port === RESET_PORT) return 0;
    if (port >= PM_TIMER_PORT) {
      const ticks = Math.floor((this.#services.now() * PM_TIMER_HZ) / 1e9) % 2 ** 24;
      return Math.floor(ticks / 2 ** (8 * (port - PM_TIMER_PORT))) % 2 ** (8 * size);
    }
    const block =
      BigInt(this.#words.get('PM_STATUS') & 0xffff) |
      (BigInt(this.#words.get('PM_ENABLE') & 0xffff) << 16n) |
      (BigInt((this.#words.get('PM_CONTROL') | SCI_ENABLE) & 0xffff) << 32n);
    return Number(BigInt.asUintN(8 * size, block >> BigInt(8 * (port - PM_EVENT_PORT))));
  }

  write(port: number, size: number, value: number): void {
    if (port === KEYBOARD_COMMAND_PORT && (value & 0xff) === KEYBOARD_RESET) this.#become(POWER_RESET);
    else if (port === RESET_PORT && (value & RESET_CPU) !== 0) this.#become(POWER_RESET);
    else if (port === FAST_A20_PORT && (value & 1) !== 0) this.#become(POWER_RESET);
    else if (port === PM_EVENT_PORT) {
      this.#words.set('PM_STATUS', this.#words.get('PM_STATUS') & ~(value & PM_STATUS_BITS));
      if (size === 4) this.#words.set('PM_ENABLE', value >>> 16);
    } else if (port === PM_EVENT_PORT + 2) this.#words.set('PM_ENABLE', value & 0xffff);
    else if (port === PM_CONTROL_PORT) this.#control(value & 0xffff);
  }

  #control(value: number): void {
    this.#words.set('PM_CONTROL', value & ~SLEEP_ENABLE);
    const sleeps = (value & SLEEP_ENABLE) !== 0;
    if (sleeps && ((value >> SLEEP_TYPE_SHIFT) & 7) === SLEEP_TYPE_S5) this.#become(POWER_OFF);
  }

  #become(state: number): void {
    this.#mem.cas(this.#words.at('POWER'), POWER_ON, state);
  }
}
