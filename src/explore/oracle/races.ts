/**
 * Data races: two accesses to one cell, at least one of them a write, not both marked, and nothing that orders them.
 *
 * Happens-before by vector clocks, with an epoch per cell, actor and kind of access, as in FastTrack. What orders:
 *
 *   a marked access that reads what another marked access wrote (locks, srcu, completions, requests, references,
 *   rings and publications all come down to that), and a wake-up.
 *
 * What is marked says marks.ts. Guest memory is not looked at.
 *
 * A race is reported with the step and the point of both sides. For both stacks the schedule is executed once more with
 * `stacks` on.
 *
 * @source Flanagan and Freund, "FastTrack: Efficient and Precise Dynamic Race Detection" (PLDI 2009); the kernel's
 *         Documentation/dev-tools/kcsan.rst for what is a data race
 */
import { ROOT_LIMIT } from '../../shared/layout/spte.ts';
import { cellName } from '../../shared/state/cell-name.ts';
import { addressOf, CHOOSING, kindOf, NOTIFYING, RELAXING, STEPPING } from '../../shared/sync/point.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import { lowest } from '../engine/strategy.ts';
import { type AccessKind, LOAD, PEEK, POKE, STORE, UPDATE } from '../world/watched-mem.ts';
import type { World } from '../world/world.ts';
import { ATOMIC, classOf, MARKED, NORMAL, PRIVATE, SYNC } from './marks.ts';
import type { Oracle } from './oracle.ts';
import { pointName } from './point-name.ts';

// Kinds of access in a record. Bit 0: a write; bit 1: marked.
const PLAIN_READ = 0;
const PLAIN_WRITE = 1;
const MARKED_READ = 2;
const MARKED_WRITE = 3;
const KINDS = 4;
const KIND_NAMES = ['plain read', 'plain write', 'marked read', 'marked write'] as const;

export interface RaceOptions {
  /** Note the stack of every access: slow, for one execution that is to be explained. */
  readonly stacks?: boolean;
}

export class RaceOracle implements Oracle {
  readonly #world: World;
  readonly #stacksOn: boolean;
  readonly #ram: number;
  readonly #arena: { readonly from: number; readonly to: number };
  readonly #sptes: { readonly from: number; readonly to: number };
  /** Per granule of two bytes: its class, 0 until it is asked for. */
  readonly #classes: Uint8Array;
  /** Per granule: `#base` + its record in this execution; less than `#base` if it has none. */
  readonly #recordOf: Int32Array;
  #base = 1;
  #records = 0;
  /** Per record, actor and kind: the clock of the last such access, and the step. */
  #clock = new Int32Array(1024);
  #step = new Int32Array(1024);
  /** Per record: a mask of the actors that have touched it. */
  #touchedBy = new Int32Array(64);
  /** Per record: was it released to, and with which vector clock. */
  #isReleased = new Uint8Array(64);
  #released = new Int32Array(256);
  /** Per actor: its vector clock. */
  #now = new Int32Array(0);
  #count = 0;
  readonly #stacks = new Map<number, string>();
  #execution: Execution | null = null;
  /** Whose step it is, −1 between steps; the cell it has announced. */
  #actor = -1;
  #announced = -1;

  constructor(world: World, options: RaceOptions = {}) {
    const { ram, archArena, archArenaBytes, sptes, config } = world.vm.layout;
    this.#world = world;
    this.#stacksOn = options.stacks ?? false;
    // RAM is the last region; all before it has small addresses.
    this.#ram = ram;
    this.#arena = { from: archArena, to: archArena + archArenaBytes };
    this.#sptes = { from: sptes, to: sptes + ROOT_LIMIT * config.gfnCount * 8 };
    this.#classes = new Uint8Array(ram >>> 1);
    this.#recordOf = new Int32Array(ram >>> 1);
    world.watchMemory((kind, addr, bytes) => {
      if (this.#actor >= 0) this.#access(kind, addr, bytes);
    });
  }

  begin(execution: Execution): void {
    const count = execution.actorCount;
    this.#execution = execution;
    this.#base += this.#records;
    this.#records = 0;
    if (this.#base > 2 ** 30) {
      this.#recordOf.fill(0);
      this.#base = 1;
    }
    if (count !== this.#count) {
      this.#count = count;
      this.#now = new Int32Array(count * count);
    }
    this.#now.fill(0);
    for (let actor = 0; actor < count; actor++) this.#now[actor * count + actor] = 1;
    if (this.#stacksOn) this.#stacks.clear();
    this.#actor = -1;
  }

  before(_execution: Execution, actor: number, point: number): void {
    const kind = kindOf(point);
    const names = kind !== STEPPING && kind !== CHOOSING && kind !== NOTIFYING && kind !== RELAXING;
    this.#announced = names ? addressOf(point) : -1;
    this.#actor = actor;
  }

  after(): void {
    this.#actor = -1;
  }

  woken(_execution: Execution, sleeper: number, waker: number): void {
    if (waker < 0) return;
    const count = this.#count;
    join(this.#now, sleeper * count, this.#now, waker * count, count);
    this.#now[waker * count + waker]! += 1;
  }

  atEnd(): void {
    this.#actor = -1;
  }

  finish(): void {
    this.#actor = -1;
  }

  #access(kind: AccessKind, addr: number, bytes: number): void {
    if (addr >= this.#ram) return;
    if (bytes > 8) {
      const inArena = addr >= this.#arena.from && addr < this.#arena.to;
      const step = inArena ? 2 : kind === STORE ? 8 : 4;
      for (let at = addr; at < addr + bytes; at += step) this.#touch(kind, at, step);
      return;
    }
    if (bytes < 8 && kind !== LOAD && kind !== PEEK && addr >= this.#sptes.from && addr < this.#sptes.to) {
      this.#reportTorn(addr);
    }
    this.#touch(kind, addr, bytes);
  }

  #touch(kind: AccessKind, addr: number, bytes: number): void {
    const granule = addr >>> 1;
    let cls = this.#classes[granule]!;
    if (cls === 0) {
      cls = classOf(this.#world.vm.layout, addr);
      this.#classes[granule] = cls;
    }
    if (cls === PRIVATE) return;
    const actor = this.#actor;
    const record = this.#recordFor(granule);
    const announced = addr === this.#announced;
    const atomic = kind !== PEEK && kind !== POKE;
    const byClass = cls === SYNC || cls === MARKED || cls === ATOMIC;
    const marked = atomic && (announced || byClass || kind === UPDATE || (bytes === 2 && kind === LOAD));
    const reads = kind === LOAD || kind === PEEK;
    const orders = atomic && (cls === SYNC || (announced && (cls === NORMAL || cls === ATOMIC)));
    if (orders && kind !== STORE && this.#isReleased[record] === 1) {
      const count = this.#count;
      join(this.#now, actor * count, this.#released, record * count, count);
    }
    this.#note(actor, record, (reads ? 0 : 1) + (marked ? 2 : 0), addr);
    if (orders && kind !== LOAD) this.#release(actor, record, kind === UPDATE);
  }

  #recordFor(granule: number): number {
    const known = this.#recordOf[granule]! - this.#base;
    if (known >= 0) return known;
    const record = this.#records++;
    this.#recordOf[granule] = this.#base + record;
    const width = this.#count * KINDS;
    if ((record + 1) * width > this.#clock.length) {
      this.#clock = longer(this.#clock, width);
      this.#step = longer(this.#step, width);
    }
    if (record === this.#isReleased.length) {
      const flags = new Uint8Array(2 * record);
      flags.set(this.#isReleased);
      this.#isReleased = flags;
      this.#touchedBy = longer(this.#touchedBy, 0);
    }
    if ((record + 1) * this.#count > this.#released.length) {
      this.#released = longer(this.#released, this.#count);
    }
    const clock = this.#clock;
    for (let at = record * width; at < (record + 1) * width; at++) clock[at] = 0;
    this.#isReleased[record] = 0;
    this.#touchedBy[record] = 0;
    return record;
  }

  /** A read-modify-write goes on with what was released before it; a store begins anew. */
  #release(actor: number, record: number, keeps: boolean): void {
    const count = this.#count;
    const now = this.#now;
    const released = this.#released;
    const own = actor * count;
    const at = record * count;
    if (keeps && this.#isReleased[record] === 1) join(released, at, now, own, count);
    else for (let i = 0; i < count; i++) released[at + i] = now[own + i]!;
    this.#isReleased[record] = 1;
    now[own + actor]! += 1;
  }

  #note(actor: number, record: number, kind: number, addr: number): void {
    const count = this.#count;
    const width = count * KINDS;
    const own = record * width + actor * KINDS + kind;
    const now = this.#now;
    const clock = this.#clock;
    const mine = actor * count;
    const seen = clock[own] === now[mine + actor];
    clock[own] = now[mine + actor]!;
    this.#step[own] = this.#execution!.step - 1;
    if (this.#stacksOn) this.#stacks.set(own, stackHere());
    // Nothing can have come in between that was not compared with this access.
    if (seen) return;
    const others = this.#touchedBy[record]! & ~(1 << actor);
    this.#touchedBy[record] = others | (1 << actor);
    const write = (kind & 1) !== 0;
    const marked = (kind & 2) !== 0;
    for (let rest = others; rest !== 0; rest &= rest - 1) {
      const other = lowest(rest);
      const at = record * width + other * KINDS;
      const then = now[mine + other]!;
      if (clock[at + PLAIN_WRITE]! > then) this.#report(addr, own, at + PLAIN_WRITE);
      if (!marked && clock[at + MARKED_WRITE]! > then) this.#report(addr, own, at + MARKED_WRITE);
      if (!write) continue;
      if (clock[at + PLAIN_READ]! > then) this.#report(addr, own, at + PLAIN_READ);
      if (!marked && clock[at + MARKED_READ]! > then) this.#report(addr, own, at + MARKED_READ);
    }
  }

  #report(addr: number, second: number, first: number): void {
    const execution = this.#execution!;
    const cell = this.#name(addr);
    const sides = [first, second].map((at) => {
      const actor = Math.floor(at / KINDS) % this.#count;
      const step = this.#step[at]!;
      const kind = KIND_NAMES[at % KINDS]!;
      const point = pointName(this.#world.vm, execution.trace.point[step]!);
      const { name } = execution.participants[actor]!;
      return { name, step, kind, point, stack: this.#stacks.get(at) };
    });
    const [before, now] = sides as [(typeof sides)[0], (typeof sides)[0]];
    const places = sides.map(({ kind, point }) => `${kind} after ${generic(point)}`).sort();
    execution.report({
      oracle: 'race',
      rule: 'race',
      message:
        `${cell}: ${now.kind} by ${now.name}, and a ${before.kind} by ${before.name} that ` +
        'nothing orders before it',
      key: `race ${generic(cell)} ${places.join(' / ')}`,
      actor: execution.last,
      details: sides.flatMap(({ name, step, kind, point, stack }) => [
        `${kind} by ${name} at step ${step + 1}, in the step that began with ${point}`,
        ...(stack === undefined ? [] : indented(stack)),
      ]),
    });
  }

  #reportTorn(addr: number): void {
    const execution = this.#execution!;
    const cell = this.#name(addr);
    const { name } = execution.participants[this.#actor]!;
    execution.report({
      oracle: 'race',
      rule: 'torn',
      message: `${cell}: half of a 64-bit entry is stored; who reads it meets half of each`,
      key: `torn ${generic(cell)}`,
      actor: this.#actor,
      ...(this.#stacksOn ? { details: [`half of it by ${name}`, ...indented(stackHere())] } : {}),
    });
  }

  #name(addr: number): string {
    const { mem, layout } = this.#world.vm;
    return cellName(layout, mem, addr);
  }
}

/** Of two vector clocks, each `count` long, the later of each time, in place of the first. */
function join(into: Int32Array, at: number, from: Int32Array, where: number, count: number): void {
  for (let i = 0; i < count; i++) if (from[where + i]! > into[at + i]!) into[at + i] = from[where + i]!;
}

/** With room for as much again, and for `more`. */
function longer(array: Int32Array, more: number): Int32Array<ArrayBuffer> {
  const fresh = new Int32Array(array.length * 2 + more);
  fresh.set(array);
  return fresh;
}

const indented = (stack: string): string[] => stack.split('\n').map((line) => `    ${line}`);

// LIMIT: frames of each side that are shown.
const FRAMES_SHOWN = 5;

/** Frames outside the oracle and the memory's own methods, innermost first. */
function stackHere(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 20;
  const lines = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = limit;
  return lines
    .map((line) => line.trim().replace(/^at /, ''))
    .filter((line) => !/explore[\\/](oracle|engine|world[\\/]\w+-mem)|<anonymous>|\.next /.test(line))
    .slice(0, FRAMES_SHOWN)
    .join('\n');
}
