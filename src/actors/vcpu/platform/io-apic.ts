/**
 * The I/O APIC: 24 pins, each with an entry that says which vector goes where.
 *
 * @source 82093AA I/O Advanced Programmable Interrupt Controller (IOAPIC) datasheet, "Register Description"
 */
import { BOARD } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import {
  APIC_BYTES,
  DELIVER_FIXED,
  DELIVER_LOWEST,
  IOAPIC_GPA,
  IOAPIC_PINS,
  IOAPIC_VERSION_VALUE,
  REDIRECTION_DESTINATION_SHIFT,
  REDIRECTION_LEVEL,
  REDIRECTION_LOGICAL,
  REDIRECTION_MASKED,
  REDIRECTION_REMOTE_IRR,
  REDIRECTION_STATUS,
} from '../../../shared/x86/apic.ts';
import type { MmioDevice } from './device.ts';
import type { InterruptMessage } from './interrupts.ts';
import { Words } from './records.ts';

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;
const READ_ONLY = REDIRECTION_STATUS | REDIRECTION_REMOTE_IRR;
const REDIRECTION_DEFINED = 0xff00_0000_0001_ffffn;
const LOW_32 = 0xffff_ffffn;

export class IoApic implements MmioDevice {
  readonly gpa = IOAPIC_GPA;
  readonly bytes = APIC_BYTES;
  readonly #words: Words<keyof typeof BOARD.at>;
  readonly #send: (message: InterruptMessage) => void;

  /** @param send  a message on the way to the local APICs */
  constructor(mem: Mem, layout: MachineLayout, send: (message: InterruptMessage) => void) {
    this.#words = new Words(mem, BOARD, layout.board);
    this.#send = send;
  }

  reset(): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++)
      this.#words.set64('IOAPIC_REDIRECTION', REDIRECTION_MASKED, pin);
  }

  /** @param pin 0 … 23 */
  setLine(pin: number, high: boolean): void {
    const bit = 1 << pin;
    const lines = this.#words.get('IOAPIC_LINES');
    if (((lines & bit) !== 0) === high) return;
    this.#words.set('IOAPIC_LINES', high ? lines | bit : lines & ~bit);
    if (high) this.#request(pin, true);
  }

  /** A local APIC is done with a level-triggered vector. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.#words.get64('IOAPIC_REDIRECTION', pin);
      if (Number(entry & 0xffn) !== vector || (entry & REDIRECTION_LEVEL) === 0n) continue;
      this.#words.set64('IOAPIC_REDIRECTION', entry & ~REDIRECTION_REMOTE_IRR, pin);
      this.#request(pin, false);
    }
  }

  read(offset: number, size: number): bigint {
    let value = 0;
    if (offset === IOREGSEL) value = this.#words.get('IOAPIC_SELECT');
    else if (offset === IOWIN) value = this.#readRegister(this.#words.get('IOAPIC_SELECT'));
    return BigInt.asUintN(8 * size, BigInt(value >>> 0));
  }

  write(offset: number, _size: number, wide: bigint): void {
    const value = Number(wide & LOW_32);
    if (offset === IOREGSEL) this.#words.set('IOAPIC_SELECT', value & 0xff);
    else if (offset === IOWIN) this.#writeRegister(this.#words.get('IOAPIC_SELECT'), value);
    else if (offset === EOI) this.endOfInterrupt(value & 0xff);
  }

  #readRegister(register: number): number {
    if (register === 0 || register === 2) return this.#words.get('IOAPIC_ID');
    if (register === 1) return IOAPIC_VERSION_VALUE;
    const pin = (register - 0x10) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return 0;
    const entry = this.#words.get64('IOAPIC_REDIRECTION', pin);
    return Number((register & 1) === 0 ? entry & LOW_32 : entry >> 32n);
  }

  #writeRegister(register: number, value: number): void {
    if (register === 0) this.#words.set('IOAPIC_ID', value & 0x0f00_0000);
    const pin = (register - 0x10) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    const old = this.#words.get64('IOAPIC_REDIRECTION', pin);
    const half = BigInt(value >>> 0);
    let entry = (register & 1) === 0 ? (old & ~LOW_32) | half : (old & LOW_32) | (half << 32n);
    entry = (entry & REDIRECTION_DEFINED & ~READ_ONLY) | (old & READ_ONLY);
    // Nobody will send an EOI for what became an edge.
    if ((entry & REDIRECTION_LEVEL) === 0n) entry &= ~REDIRECTION_REMOTE_IRR;
    this.#words.set64('IOAPIC_REDIRECTION', entry, pin);
    this.#request(pin, false);
  }

  /** Sends the interrupt of a pin that is high: an edge when it rose, a level when nobody serves it yet. */
  #request(pin: number, rose: boolean): void {
    const entry = this.#words.get64('IOAPIC_REDIRECTION', pin);
    if ((this.#words.get('IOAPIC_LINES') & (1 << pin)) === 0 || (entry & REDIRECTION_MASKED) !== 0n) return;
    const mode = Number((entry >> 8n) & 7n);
    const level = (entry & REDIRECTION_LEVEL) !== 0n && (mode === DELIVER_FIXED || mode === DELIVER_LOWEST);
    if (level ? (entry & REDIRECTION_REMOTE_IRR) !== 0n : !rose) return;
    if (level) this.#words.set64('IOAPIC_REDIRECTION', entry | REDIRECTION_REMOTE_IRR, pin);
    this.#send({
      mode,
      vector: Number(entry & 0xffn),
      level,
      logical: (entry & REDIRECTION_LOGICAL) !== 0n,
      destination: Number(entry >> REDIRECTION_DESTINATION_SHIFT),
      wide: false,
    });
  }
}
