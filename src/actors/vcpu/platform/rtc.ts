/**
 * The MC146818 clock with its CMOS RAM: the time of day, the periodic interrupt and the alarm (line 8). Time is always in
 * 24 hours; what the guest writes as the time is kept as a difference to the wall clock.
 *
 * @source Motorola MC146818 datasheet, "Registers"; the century byte: ACPI specification, "FADT", CENTURY
 */
import { BOARD } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import type { BoardServices, PortDevice, TimedDevice } from './device.ts';
import { Words } from './records.ts';

const INDEX_PORT = 0x70;
const IRQ = 8;
const NS = 1_000_000_000;

const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const WEEKDAY = 6;
const DAY = 7;
const MONTH = 8;
const YEAR = 9;
const REGISTER_A = 10;
const REGISTER_B = 11;
const REGISTER_C = 12;
const REGISTER_D = 13;
export const CMOS_CENTURY = 0x32;

const A_IN_PROGRESS = 0x80;
const A_RESET = 0x26;
const B_SET = 0x80;
const B_PERIODIC = 0x40;
const B_ALARM = 0x20;
const B_UPDATE = 0x10;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;
const C_INTERRUPT = 0x80;
const D_VALID = 0x80;
/** An update takes so long; the time must not be read meanwhile. */
const UPDATE_NS = 244_000;
/** The alarm looks at no more than a day. */
const ANY = 0xc0;

const CLOCK = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CMOS_CENTURY];

export class Rtc implements PortDevice, TimedDevice {
  readonly ports = [[INDEX_PORT, 2]] as const;
  readonly #words: Words<keyof typeof BOARD.at>;
  readonly #mem: Mem;
  readonly #services: BoardServices;
  /** Milliseconds since 1970 at time 0 of the machine's clock. */
  readonly #epochMs: number;

  constructor(mem: Mem, layout: MachineLayout, services: BoardServices, epochMs: number) {
    this.#words = new Words(mem, BOARD, layout.board);
    this.#mem = mem;
    this.#services = services;
    this.#epochMs = epochMs;
  }

  reset(): void {
    this.#set(REGISTER_A, A_RESET);
    this.#set(REGISTER_B, B_24_HOURS);
    this.#set(REGISTER_D, D_VALID);
  }

  get due(): number {
    return this.#words.time('RTC_NEXT') || Number.POSITIVE_INFINITY;
  }

  advance(now: number): void {
    const next = this.#words.time('RTC_NEXT');
    if (next === 0 || now < next) return;
    let flags = this.#get(REGISTER_C);
    if (this.#periodNs > 0) flags |= B_PERIODIC;
    if (this.#secondAt(now) !== this.#secondAt(this.#words.time('RTC_SEEN'))) {
      flags |= B_UPDATE;
      if (this.#alarmRings(now)) flags |= B_ALARM;
    }
    this.#words.setTime('RTC_SEEN', now);
    this.#set(REGISTER_C, flags & ~C_INTERRUPT);
    this.#schedule(now);
    this.#update();
  }

  read(port: number): number {
    if (port === INDEX_PORT) return 0xff;
    const index = this.#words.get('CMOS_INDEX');
    const now = this.#services.now();
    if (index === REGISTER_A) return this.#get(REGISTER_A) | (this.#updating(now) ? A_IN_PROGRESS : 0);
    if (index === REGISTER_C) {
      const flags = this.#get(REGISTER_C);
      this.#set(REGISTER_C, 0);
      this.#services.setLine(IRQ, false);
      return flags;
    }
    if (CLOCK.includes(index)) this.#copyTime(now);
    return this.#get(index);
  }

  write(port: number, _size: number, wide: number): void {
    const value = wide & 0xff;
    if (port === INDEX_PORT) {
      // Bit 7 masks NMIs, of which there are none from the board.
      this.#words.set('CMOS_INDEX', value & 0x7f);
      return;
    }
    const index = this.#words.get('CMOS_INDEX');
    const now = this.#services.now();
    if (index === REGISTER_C || index === REGISTER_D) return;
    if (CLOCK.includes(index)) {
      this.#copyTime(now);
      this.#set(index, value);
      if ((this.#get(REGISTER_B) & B_SET) === 0) this.#adoptTime(now);
      return;
    }
    if (index === REGISTER_B) {
      // While it is being set the bytes stand still: they are what the guest sees and changes.
      if ((value & B_SET) !== 0) this.#copyTime(now);
      else if ((this.#get(REGISTER_B) & B_SET) !== 0) {
        this.#set(REGISTER_B, value);
        this.#adoptTime(now);
      }
    }
    this.#set(index, index === REGISTER_A ? value & ~A_IN_PROGRESS : value);
    if (index === REGISTER_A || index === REGISTER_B) {
      this.#words.setTime('RTC_SEEN', now);
      this.#schedule(now);
      this.#update();
    }
  }

  #get(index: number): number {
    return this.#mem.u8[this.#words.at('CMOS') + index]!;
  }
  #set(index: number, value: number): void {
    this.#mem.touch(this.#words.at('CMOS') + index, 1);
    this.#mem.u8[this.#words.at('CMOS') + index] = value;
  }

  /** Time of day, ms since 1970. */
  #timeAt(now: number): number {
    return this.#epochMs + now / 1e6 + this.#words.time('RTC_SHIFT_MS');
  }
  #secondAt(now: number): number {
    return Math.floor(this.#timeAt(now) / 1000);
  }
  #updating(now: number): boolean {
    return (this.#get(REGISTER_B) & B_SET) === 0 && this.#timeAt(now) % 1000 > 1000 - UPDATE_NS / 1e6;
  }

  /** Nanoseconds between two periodic interrupts; 0 without. */
  get #periodNs(): number {
    const rate = this.#get(REGISTER_A) & 0x0f;
    if ((this.#get(REGISTER_B) & B_PERIODIC) === 0 || rate === 0) return 0;
    return (NS / 32_768) * 2 ** ((rate < 3 ? rate + 7 : rate) - 1);
  }

  #schedule(now: number): void {
    const period = this.#periodNs;
    const everySecond = (this.#get(REGISTER_B) & (B_ALARM | B_UPDATE)) !== 0;
    const second = now + (1000 - (this.#timeAt(now) % 1000)) * 1e6;
    const next = Math.min(
      period > 0 ? (Math.floor(now / period) + 1) * period : Number.POSITIVE_INFINITY,
      everySecond ? second : Number.POSITIVE_INFINITY,
    );
    this.#words.setTime('RTC_NEXT', next === Number.POSITIVE_INFINITY ? 0 : next);
  }

  #update(): void {
    const flags = this.#get(REGISTER_C);
    const asks = (flags & this.#get(REGISTER_B) & (B_PERIODIC | B_ALARM | B_UPDATE)) !== 0;
    if (asks) this.#set(REGISTER_C, flags | C_INTERRUPT);
    this.#services.setLine(IRQ, asks);
  }

  #alarmRings(now: number): boolean {
    this.#copyTime(now);
    return [
      [SECONDS, SECONDS_ALARM],
      [MINUTES, MINUTES_ALARM],
      [HOURS, HOURS_ALARM],
    ].every(([time, alarm]) => (this.#get(alarm!) & ANY) === ANY || this.#get(alarm!) === this.#get(time!));
  }

  /** The wall clock into the bytes of the clock, unless they are being set. */
  #copyTime(now: number): void {
    if ((this.#get(REGISTER_B) & B_SET) !== 0) return;
    const date = new Date(this.#timeAt(now));
    const put = (index: number, value: number) => this.#set(index, this.#encode(value));
    put(SECONDS, date.getUTCSeconds());
    put(MINUTES, date.getUTCMinutes());
    put(HOURS, date.getUTCHours());
    put(WEEKDAY, date.getUTCDay() + 1);
    put(DAY, date.getUTCDate());
    put(MONTH, date.getUTCMonth() + 1);
    put(YEAR, date.getUTCFullYear() % 100);
    put(CMOS_CENTURY, Math.floor(date.getUTCFullYear() / 100));
  }

  /** What the bytes say is the time now. */
  #adoptTime(now: number): void {
    const at = (index: number) => this.#decode(this.#get(index));
    const year = at(CMOS_CENTURY) * 100 + at(YEAR);
    const set = Date.UTC(year, at(MONTH) - 1, at(DAY), at(HOURS), at(MINUTES), at(SECONDS));
    this.#words.setTime('RTC_SHIFT_MS', set - this.#epochMs - now / 1e6);
  }

  #encode(value: number): number {
    return (this.#get(REGISTER_B) & B_BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }
  #decode(byte: number): number {
    return (this.#get(REGISTER_B) & B_BINARY) !== 0 ? byte : (byte >> 4) * 10 + (byte & 15);
  }
}
