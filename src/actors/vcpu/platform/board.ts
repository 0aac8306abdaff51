/**
 * The board's devices and the way to them: by port and by guest physical address. State is in shared memory, so every
 * vCPU's thread has its own objects for the same devices; board_lock makes one access at a time of all of theirs.
 *
 *   port          device                     address       device
 *   ────────────  ─────────────────────────  ────────────  ──────────
 *   0x20, 0xa0    8259s; 0x4d0 ELCR          0xfec00000    I/O APIC
 *   0x40, 0x61    8254
 *   0x64, 0x92    reset
 *   0x70          clock and CMOS
 *   0x80          nothing, written to wait
 *   0x3f8         16550
 *   0x600, 0xcf9  ACPI, reset
 */
import { BOARD, POWER_ON } from '../../../shared/layout/board.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, writing } from '../../../shared/sync/point.ts';
import { spinLock, spinUnlock } from '../../../shared/sync/spinlock.ts';
import type { Vm } from '../../mmu/vm.ts';
import type { BoardServices, MmioDevice, PortDevice, TimedDevice } from './device.ts';
import { alert, type InterruptMessage, post, targetsOf } from './interrupts.ts';
import { IoApic } from './io-apic.ts';
import { Pics } from './pic.ts';
import { Pit } from './pit.ts';
import { Power } from './power.ts';
import { Words } from './records.ts';
import { Rtc } from './rtc.ts';
import { Uart } from './uart.ts';

/** The board's timers, serial input and 8259s are this vCPU's business. */
export const BOOT_VCPU = 0;
/** Line 0 of the 8259s is pin 2 of the I/O APIC; its pin 0 has the 8259s' output, which is not wired here. */
const TIMER_PIN = 2;
const CASCADE_LINE = 2;
const DELAY_PORT = 0x80;

export interface BoardOptions {
  readonly vm: Vm;
  readonly actor: Actor;
  /** Whose thread this is. */
  readonly vcpu: number;
  now(): number;
  /** Time of day at time 0, ms since 1970. */
  readonly epochMs: number;
  /** Takes what the serial port sends. */
  serial(byte: number): void;
}

export class Board {
  readonly uart: Uart;
  readonly #options: BoardOptions;
  readonly #words: Words<keyof typeof BOARD.at>;
  readonly #pics: Pics;
  readonly #ioApic: IoApic;
  readonly #power: Power;
  readonly #timed: readonly TimedDevice[];
  readonly #byPort = new Map<number, PortDevice>();
  readonly #mmio: readonly MmioDevice[];
  readonly #resettable: readonly { reset(): void }[];
  /** What the devices have said during an access: it goes on its way when board_lock is free. */
  readonly #messages: InterruptMessage[] = [];
  #alertBoot = false;

  constructor(options: BoardOptions) {
    const { vm } = options;
    const { mem, layout } = vm;
    this.#options = options;
    this.#words = new Words(mem, BOARD, layout.board);
    const services: BoardServices = { now: options.now, setLine: (line, high) => this.#setLine(line, high) };
    this.#ioApic = new IoApic(mem, layout, (message) => this.#messages.push(message));
    this.#pics = new Pics(mem, layout, (high) => this.#setExternal(high));
    this.#power = new Power(mem, layout, services);
    this.uart = new Uart(mem, layout, services, options.serial);
    const pit = new Pit(mem, layout, services);
    const rtc = new Rtc(mem, layout, services, options.epochMs);
    this.#timed = [pit, rtc];
    this.#mmio = [this.#ioApic];
    this.#resettable = [this.#ioApic, this.#pics, pit, rtc, this.uart];
    for (const device of [this.#pics, pit, rtc, this.uart, this.#power]) {
      for (const [first, count] of device.ports) {
        for (let port = first; port < first + count; port++) this.#byPort.set(port, device);
      }
    }
  }

  /** Power up. Before any vCPU runs, in one thread. */
  reset(): void {
    for (const device of this.#resettable) device.reset();
  }

  /** POWER_*. */
  get powerState(): number {
    return this.#power.state;
  }
  get isOn(): boolean {
    return this.#power.state === POWER_ON;
  }

  hasPort(port: number): boolean {
    return this.#byPort.has(port) || port === DELAY_PORT;
  }

  /** @locking takes board_lock */
  *inPort(port: number, size: number): Path<number> {
    const device = this.#byPort.get(port);
    if (device === undefined) return 2 ** (8 * size) - 1;
    yield* this.#enter();
    let value = 0;
    if (device.wide === true || size === 1) value = device.read(port, size);
    else {
      for (let i = 0; i < size; i++) {
        value += ((this.#byPort.get(port + i)?.read(port + i, 1) ?? 0xff) & 0xff) * 2 ** (8 * i);
      }
    }
    yield* this.#leave();
    return value;
  }

  /** @locking takes board_lock */
  *outPort(port: number, size: number, value: number): Path<void> {
    const device = this.#byPort.get(port);
    if (device === undefined) return;
    yield* this.#enter();
    if (device.wide === true || size === 1) device.write(port, size, value);
    else {
      for (let i = 0; i < size; i++) {
        this.#byPort.get(port + i)?.write(port + i, 1, Math.floor(value / 2 ** (8 * i)) & 0xff);
      }
    }
    yield* this.#leave();
  }

  /** @returns null where no device is @locking takes board_lock */
  *loadDevice(gpa: number, size: number): Path<bigint | null> {
    const device = this.#deviceAt(gpa, size);
    if (device === null) return null;
    yield* this.#enter();
    const value = device.read(gpa - device.gpa, size);
    yield* this.#leave();
    return value;
  }

  /** @returns whether a device is there @locking takes board_lock */
  *storeDevice(gpa: number, size: number, value: bigint): Path<boolean> {
    const device = this.#deviceAt(gpa, size);
    if (device === null) return false;
    yield* this.#enter();
    device.write(gpa - device.gpa, size, value);
    yield* this.#leave();
    return true;
  }

  /** Sets an interrupt line from outside the devices here. @locking takes board_lock */
  *driveLine(line: number, high: boolean): Path<void> {
    yield* this.#enter();
    this.#setLine(line, high);
    yield* this.#leave();
  }

  /** A local APIC is done with a level-triggered vector. @locking takes board_lock */
  *endOfInterrupt(vector: number): Path<void> {
    yield* this.#enter();
    this.#ioApic.endOfInterrupt(vector);
    yield* this.#leave();
  }

  /** Do the 8259s ask for an interrupt? A guess: {@link acknowledge} knows. */
  get asksExternal(): boolean {
    return this.#options.vm.mem.load(this.#words.at('EXTINT')) !== 0;
  }

  /** INTA: the vector that the 8259s want to be served, or null when they do not want it any more. @locking takes board_lock */
  *acknowledge(): Path<number | null> {
    yield* this.#enter();
    const vector = this.#words.get('EXTINT') !== 0 ? this.#pics.acknowledge() : null;
    yield* this.#leave();
    return vector;
  }

  /** When a device wants to be looked at, ns; Infinity for never. */
  get due(): number {
    return this.#words.time('DUE') || Number.POSITIVE_INFINITY;
  }

  /** What time has brought: timers, and serial input. @locking takes board_lock */
  *advance(now: number): Path<void> {
    yield* this.#enter();
    for (const device of this.#timed) device.advance(now);
    this.uart.update();
    yield* this.#leave();
  }

  #deviceAt(gpa: number, size: number): MmioDevice | null {
    return this.#mmio.find((device) => gpa >= device.gpa && gpa + size <= device.gpa + device.bytes) ?? null;
  }

  *#enter(): Path<void> {
    yield* spinLock(this.#options.actor, this.#options.vm.boardLock);
  }

  /** Unlocks, then sends what the devices had to say. */
  *#leave(): Path<void> {
    const { actor, vm, vcpu } = this.#options;
    const due = Math.min(...this.#timed.map((device) => device.due));
    if (due < this.due && vcpu !== BOOT_VCPU) this.#alertBoot = true;
    const dueWord = this.#words.at('DUE');
    yield writing(dueWord);
    this.#words.setTime('DUE', due === Number.POSITIVE_INFINITY ? 0 : due);
    yield* spinUnlock(actor, vm.boardLock);
    for (let message = this.#messages.shift(); message !== undefined; message = this.#messages.shift()) {
      for (const target of targetsOf(vm, message)) yield* post(vm, target, message);
    }
    if (!this.#alertBoot) return;
    this.#alertBoot = false;
    yield* alert(vm, BOOT_VCPU);
  }

  #setLine(line: number, high: boolean): void {
    if (line < 16 && line !== CASCADE_LINE) this.#pics.setLine(line, high);
    this.#ioApic.setLine(line === 0 ? TIMER_PIN : line, high);
  }

  #setExternal(high: boolean): void {
    if (high && this.#words.get('EXTINT') === 0) this.#alertBoot = true;
    // ORDER: the word before the request that `alert` posts.
    this.#options.vm.mem.store(this.#words.at('EXTINT'), high ? 1 : 0);
  }
}
