/**
 * The 8254 timer: three counters at 1 193 182 Hz. Channel 0 interrupts (line 0), channel 2 is read through port 0x61.
 * Counts are worked out from the time when they are asked for; nothing ticks.
 *
 * @source Intel 8254 Programmable Interval Timer datasheet, "Mode Definitions", "Read Operations"
 */
import { BOARD, PIT_CHANNEL } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import type { BoardServices, PortDevice, TimedDevice } from './device.ts';
import { Words } from './records.ts';

type Channel = Words<keyof typeof PIT_CHANNEL.at>;

const HZ = 1_193_182;
const NS = 1_000_000_000;
const IRQ = 0;
const SPEAKER_PORT = 0x61;
/** What refresh shows on port 0x61: it changes its mind every 15 µs. */
const REFRESH_NS = 15_085;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const STATUS_OUTPUT = 0x80;
const STATUS_NULL = 0x40;

export class Pit implements PortDevice, TimedDevice {
  readonly ports = [
    [0x40, 4],
    [SPEAKER_PORT, 1],
  ] as const;
  readonly #channels: readonly Channel[];
  readonly #board: Words<keyof typeof BOARD.at>;
  readonly #services: BoardServices;

  constructor(mem: Mem, layout: MachineLayout, services: BoardServices) {
    this.#channels = [0, 1, 2].map(
      (n) => new Words(mem, PIT_CHANNEL, layout.pitChannels + n * PIT_CHANNEL.bytes),
    );
    this.#board = new Words(mem, BOARD, layout.board);
    this.#services = services;
  }

  reset(): void {
    for (const [n, channel] of this.#channels.entries()) {
      channel.set('MODE', 3);
      channel.set('ACCESS', ACCESS_LOW | ACCESS_HIGH);
      channel.set('RELOAD', 0x10000);
      channel.set('GATE', n === 2 ? 0 : 1);
      for (const name of ['LATCH', 'LATCH_STATUS', 'WRITE_LOW'] as const) channel.set(name, -1);
    }
    // Its output is high until it has something to say, so that a mode is no edge.
    this.#services.setLine(IRQ, true);
  }

  get due(): number {
    return this.#board.time('PIT_NEXT') || Number.POSITIVE_INFINITY;
  }

  advance(now: number): void {
    const next = this.#board.time('PIT_NEXT');
    if (next === 0 || now < next) return;
    const channel = this.#channels[0]!;
    const periodic = isPeriodic(channel);
    if (periodic) this.#services.setLine(IRQ, false);
    this.#services.setLine(IRQ, true);
    const period = nsOf(channel.get('RELOAD'));
    // Interrupts that nobody was there for are lost, as where the request is still pending.
    this.#board.setTime('PIT_NEXT', periodic ? next + Math.ceil((now - next + 1) / period) * period : 0);
  }

  read(port: number): number {
    if (port === SPEAKER_PORT) {
      const now = this.#services.now();
      const refresh = Math.floor(now / REFRESH_NS) % 2 === 0 ? 0 : 0x10;
      return this.#board.get('SPEAKER') | refresh | (output(this.#channels[2]!, now) ? 0x20 : 0);
    }
    const channel = this.#channels[port - 0x40];
    // The control word cannot be read.
    return channel === undefined ? 0xff : readChannel(channel, this.#services.now());
  }

  write(port: number, _size: number, wide: number): void {
    const value = wide & 0xff;
    const now = this.#services.now();
    if (port === SPEAKER_PORT) this.#writeSpeaker(value, now);
    else if (port === 0x43) this.#writeControl(value, now);
    else if (writeChannel(this.#channels[port - 0x40]!, value, now) && port === 0x40) this.#schedule(now);
  }

  #writeSpeaker(value: number, now: number): void {
    this.#board.set('SPEAKER', value & 3);
    const channel = this.#channels[2]!;
    const rises = (value & 1) === 1 && channel.get('GATE') === 0;
    channel.set('GATE', value & 1);
    // Modes 1, 2, 3 and 5 begin anew when the gate rises.
    if (rises && ![0, 4].includes(channel.get('MODE'))) channel.setTime('START', now);
  }

  #writeControl(value: number, now: number): void {
    if (value >> 6 === 3) {
      for (const [n, channel] of this.#channels.entries()) {
        if ((value & (2 << n)) === 0) continue;
        if ((value & 0x20) === 0) latchCount(channel, now);
        if ((value & 0x10) === 0) latchStatus(channel, now);
      }
      return;
    }
    const channel = this.#channels[value >> 6]!;
    const access = (value >> 4) & 3;
    if (access === 0) {
      latchCount(channel, now);
      return;
    }
    const mode = (value >> 1) & 7;
    channel.set('ACCESS', access);
    channel.set('MODE', mode > 5 ? mode & 3 : mode);
    channel.set('BCD', value & 1);
    channel.set('LOADED', 0);
    channel.set('READ_HIGH', 0);
    for (const name of ['LATCH', 'LATCH_STATUS', 'WRITE_LOW'] as const) channel.set(name, -1);
    if (value >> 6 !== 0) return;
    this.#board.setTime('PIT_NEXT', 0);
    this.#services.setLine(IRQ, mode !== 0);
  }

  /** Channel 0 has a new count. */
  #schedule(now: number): void {
    const channel = this.#channels[0]!;
    if (channel.get('MODE') === 0) this.#services.setLine(IRQ, false);
    // Modes 1 and 5 wait for an edge of the gate, which is tied high.
    const counts = ![1, 5].includes(channel.get('MODE'));
    this.#board.setTime('PIT_NEXT', counts ? now + nsOf(channel.get('RELOAD')) : 0);
  }
}

function nsOf(ticks: number): number {
  return (ticks * NS) / HZ;
}

function isPeriodic(channel: Channel): boolean {
  return channel.get('MODE') === 2 || channel.get('MODE') === 3;
}

function ticksSinceStart(channel: Channel, now: number): number {
  return channel.get('LOADED') === 0 ? 0 : Math.floor(((now - channel.time('START')) * HZ) / NS);
}

function count(channel: Channel, now: number): number {
  const reload = channel.get('RELOAD');
  const ticks = ticksSinceStart(channel, now);
  switch (channel.get('MODE')) {
    case 2:
      return reload - (ticks % reload);
    case 3:
      return reload - ((2 * ticks) % reload);
    default:
      return (reload - ticks) & 0xffff;
  }
}

function output(channel: Channel, now: number): boolean {
  const reload = channel.get('RELOAD');
  const ticks = ticksSinceStart(channel, now);
  switch (channel.get('MODE')) {
    case 0:
    case 1:
      return channel.get('LOADED') === 1 && ticks >= reload;
    case 2:
      return ticks % reload !== reload - 1;
    case 3:
      return ticks % reload < (reload + 1) >> 1;
    default:
      return ticks !== reload;
  }
}

function latchCount(channel: Channel, now: number): void {
  if (channel.get('LATCH') < 0) channel.set('LATCH', encode(channel, count(channel, now)));
}

function latchStatus(channel: Channel, now: number): void {
  if (channel.get('LATCH_STATUS') >= 0) return;
  const flags = (output(channel, now) ? STATUS_OUTPUT : 0) | (channel.get('LOADED') === 0 ? STATUS_NULL : 0);
  const control = (channel.get('ACCESS') << 4) | (channel.get('MODE') << 1) | channel.get('BCD');
  channel.set('LATCH_STATUS', flags | control);
}

/** As the counter shows it: four decimal digits or sixteen bits. */
function encode(channel: Channel, ticks: number): number {
  if (channel.get('BCD') === 0) return ticks & 0xffff;
  return [1, 10, 100, 1000].reduce((bcd, unit, i) => bcd | ((Math.floor(ticks / unit) % 10) << (4 * i)), 0);
}

function readChannel(channel: Channel, now: number): number {
  const status = channel.get('LATCH_STATUS');
  if (status >= 0) {
    channel.set('LATCH_STATUS', -1);
    return status;
  }
  const latched = channel.get('LATCH');
  const value = latched >= 0 ? latched : encode(channel, count(channel, now));
  const access = channel.get('ACCESS');
  const high = access === ACCESS_HIGH || (access !== ACCESS_LOW && channel.get('READ_HIGH') === 1);
  const more = access === (ACCESS_LOW | ACCESS_HIGH) && !high;
  channel.set('READ_HIGH', more ? 1 : 0);
  if (!more) channel.set('LATCH', -1);
  return high ? value >> 8 : value & 0xff;
}

/** @returns whether a whole count has been written */
function writeChannel(channel: Channel, value: number, now: number): boolean {
  const access = channel.get('ACCESS');
  let written: number;
  if (access === ACCESS_LOW) written = value;
  else if (access === ACCESS_HIGH) written = value << 8;
  else if (channel.get('WRITE_LOW') < 0) {
    channel.set('WRITE_LOW', value);
    return false;
  } else {
    written = channel.get('WRITE_LOW') | (value << 8);
    channel.set('WRITE_LOW', -1);
  }
  if (channel.get('BCD') === 0) channel.set('RELOAD', written || 0x10000);
  else {
    const decimal = [0, 1, 2, 3].reduce((sum, i) => sum + ((written >> (4 * i)) & 15) * 10 ** i, 0);
    channel.set('RELOAD', decimal || 10_000);
  }
  channel.set('LOADED', 1);
  channel.setTime('START', now);
  return true;
}
