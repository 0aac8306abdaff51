/**
 * A 16550A serial port: COM1, line 4. Sending takes no time; what is received waits in a ring that the main thread
 * fills, so that its FIFO never overruns.
 *
 * @source National Semiconductor PC16550D datasheet, "Registers"
 */
import { BOARD, SERIAL_INPUT, SERIAL_INPUT_BYTES } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import type { BoardServices, PortDevice } from './device.ts';
import { Words } from './records.ts';

const BASE = 0x3f8;
const IRQ = 4;

const DATA = 0;
const IER = 1;
/** IIR when read, FCR when written. */
const IIR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;

const IER_RECEIVE = 0x01;
const IER_TRANSMIT = 0x02;
const IIR_NONE = 0x01;
const IIR_TRANSMIT = 0x02;
const IIR_RECEIVE = 0x04;
const IIR_FIFO = 0xc0;
const LCR_DIVISOR = 0x80;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const LSR_READY = 0x01;
const LSR_EMPTY = 0x60;
/** Carrier, data set ready, clear to send. */
const MSR_CONNECTED = 0xb0;

export class Uart implements PortDevice {
  readonly ports = [[BASE, 8]] as const;
  readonly #words: Words<keyof typeof BOARD.at>;
  readonly #input: Words<keyof typeof SERIAL_INPUT.at>;
  readonly #mem: Mem;
  readonly #services: BoardServices;
  readonly #send: (byte: number) => void;

  /** @param send  the other end of the line */
  constructor(mem: Mem, layout: MachineLayout, services: BoardServices, send: (byte: number) => void) {
    this.#words = new Words(mem, BOARD, layout.board);
    this.#input = new Words(mem, SERIAL_INPUT, layout.serialInput);
    this.#mem = mem;
    this.#services = services;
    this.#send = send;
  }

  reset(): void {
    this.#words.set('UART_DIVISOR', 12);
    this.#words.set('UART_LOOPED', -1);
  }

  /** Is there input that nobody has looked at? Without board_lock: a guess that is repeated. */
  get hasInput(): boolean {
    return this.#mem.load(this.#input.at('TAIL')) !== this.#mem.load(this.#input.at('HEAD'));
  }

  /** Sets the interrupt line as things are now. */
  update(): void {
    this.#services.setLine(IRQ, this.#cause() !== IIR_NONE && (this.#words.get('UART_MCR') & MCR_OUT2) !== 0);
  }

  read(port: number): number {
    const words = this.#words;
    const divisor = (words.get('UART_LCR') & LCR_DIVISOR) !== 0;
    switch (port - BASE) {
      case DATA:
        return divisor ? words.get('UART_DIVISOR') & 0xff : this.#receive();
      case IER:
        return divisor ? words.get('UART_DIVISOR') >> 8 : words.get('UART_IER');
      case IIR: {
        const cause = this.#cause();
        if (cause === IIR_TRANSMIT) {
          words.set('UART_THR_EMPTIED', 0);
          this.update();
        }
        return cause | (words.get('UART_FIFO') !== 0 ? IIR_FIFO : 0);
      }
      case LCR:
        return words.get('UART_LCR');
      case MCR:
        return words.get('UART_MCR');
      case LSR:
        return LSR_EMPTY | (this.#readable ? LSR_READY : 0);
      case MSR:
        return this.#modemStatus();
      default:
        return words.get('UART_SCRATCH');
    }
  }

  write(port: number, _size: number, wide: number): void {
    const value = wide & 0xff;
    const words = this.#words;
    const divisor = (words.get('UART_LCR') & LCR_DIVISOR) !== 0;
    const old = words.get('UART_DIVISOR');
    switch (port - BASE) {
      case DATA:
        if (divisor) words.set('UART_DIVISOR', (old & 0xff00) | value);
        else this.#transmit(value);
        return;
      case IER: {
        if (divisor) {
          words.set('UART_DIVISOR', (old & 0xff) | (value << 8));
          return;
        }
        const enabled = value & ~words.get('UART_IER');
        words.set('UART_IER', value & 0x0f);
        // The transmitter is empty: whoever begins to listen hears it at once.
        if ((enabled & IER_TRANSMIT) !== 0) words.set('UART_THR_EMPTIED', 1);
        break;
      }
      case IIR:
        words.set('UART_FIFO', value & 1);
        if ((value & 2) !== 0) this.#dropInput();
        break;
      case LCR:
        words.set('UART_LCR', value);
        return;
      case MCR:
        words.set('UART_MCR', value & 0x1f);
        if ((value & MCR_LOOP) === 0) words.set('UART_LOOPED', -1);
        break;
      case LSR:
      case MSR:
        return;
      default:
        words.set('UART_SCRATCH', value);
        return;
    }
    this.update();
  }

  get #looping(): boolean {
    return (this.#words.get('UART_MCR') & MCR_LOOP) !== 0;
  }

  get #readable(): boolean {
    return this.#looping ? this.#words.get('UART_LOOPED') >= 0 : this.hasInput;
  }

  #cause(): number {
    const enabled = this.#words.get('UART_IER');
    if ((enabled & IER_RECEIVE) !== 0 && this.#readable) return IIR_RECEIVE;
    if ((enabled & IER_TRANSMIT) !== 0 && this.#words.get('UART_THR_EMPTIED') !== 0) return IIR_TRANSMIT;
    return IIR_NONE;
  }

  #transmit(byte: number): void {
    if (this.#looping) this.#words.set('UART_LOOPED', byte);
    else this.#send(byte);
    // Full for a moment: the line drops, and rises again.
    this.#words.set('UART_THR_EMPTIED', 0);
    this.update();
    this.#words.set('UART_THR_EMPTIED', 1);
    this.update();
  }

  #receive(): number {
    let byte = 0;
    if (this.#looping) {
      byte = Math.max(this.#words.get('UART_LOOPED'), 0);
      this.#words.set('UART_LOOPED', -1);
    } else if (this.hasInput) {
      const head = this.#input.get('HEAD') >>> 0;
      byte = this.#mem.u8[this.#input.at('DATA') + (head % SERIAL_INPUT_BYTES)]!;
      // ORDER: the byte before the head. The main thread that sees the head may overwrite it.
      this.#mem.store(this.#input.at('HEAD'), (head + 1) | 0);
    }
    // Where lines are edges, each byte is one.
    this.#services.setLine(IRQ, false);
    this.update();
    return byte;
  }

  #dropInput(): void {
    this.#words.set('UART_LOOPED', -1);
    if (!this.#looping) this.#mem.store(this.#input.at('HEAD'), this.#mem.load(this.#input.at('TAIL')));
  }

  #modemStatus(): number {
    const control = this.#words.get('UART_MCR');
    if ((control & MCR_LOOP) === 0) return MSR_CONNECTED;
    const [terminal, request, out1, out2] = [control & 1, control & 2, control & 4, control & 8];
    return (out2 << 4) | (out1 << 4) | (terminal << 5) | (request << 3);
  }
}
