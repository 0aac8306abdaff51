/**
 * What a set of executions has covered, in two grains, counted after each from its trace:
 *
 * - *classes*: executions that differ only in the order of independent steps (strategy/dependence.ts) are one. The hash
 *   of an execution is the sum of the hashes of its steps, and that of a step is made of what the step is and of the
 *   hashes of the steps it directly depends on: the same for every order of the same trace.
 * - *hand-offs*: the n-th access of one actor to a cell finds what the m-th of another has written. There are few of
 *   them, so they say earlier than the classes when nothing new comes.
 */

import { WAIT_TIMED_OUT } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import { FELL_ASLEEP, type Trace } from '../engine/trace.ts';
import { cellOf, EVERYTHING, effectsOf, QUEUES, READS, WRITES } from '../strategy/dependence.ts';
import { CellTable } from './cell-table.ts';
import { CountedSet } from './counted-set.ts';

/** Accesses of an actor to a cell beyond this one are not told apart. */
const ORDINAL_BITS = 4;
const ORDINAL_MAX = 2 ** ORDINAL_BITS - 1;

/** Two hashes for each cell: of its value's last write, of the sum of the reads since, of its queue's last change. */
const HASHES = 6;
const WRITE = 0;
const READ = 2;
const QUEUE = 4;
/** Where each actor's hashes begin: at any number but 0, of which `mix` would make 0. */
const SALT = 0x6a09e667;

/** Places in a row of the table by cell and actor. */
const ORDINALS = 32;

export class Coverage {
  readonly classes = new CountedSet();
  readonly handOffs = new CountedSet();
  /** Of the execution noted last: was its class new, how many of its hand-offs. */
  newClass = false;
  newHandOffs = 0;
  /** Its class. */
  low = 0;
  high = 0;
  readonly #cells = new CellTable();
  #execution = 0;
  /** Actors seen so far. */
  #actors = 0;
  /** By cell: the execution that its other columns are about. */
  #noted = new Int32Array(0);
  #hashes = new Int32Array(0);
  /** Who wrote it last + 1, and with which of its accesses. */
  #writer = new Int32Array(0);
  /** By cell and actor: accesses so far. */
  #ordinals = new Uint8Array(0);
  /** By actor: hashes of its last step, and whether that fell asleep. */
  readonly #chain = new Int32Array(2 * ACTOR_LIMIT);
  readonly #asleep = new Uint8Array(ACTOR_LIMIT);

  /** Counts an execution by its trace. */
  note(trace: Trace): void {
    this.#execution += 1;
    this.newHandOffs = 0;
    for (let i = 0; i < this.#chain.length; i++) this.#chain[i] = mix(SALT + i);
    this.#asleep.fill(0);
    this.#hash(trace);
    this.newClass = this.classes.add(this.low, this.high);
  }

  #hash({ length, actor, point, answer }: Trace): void {
    const chain = this.#chain;
    const asleep = this.#asleep;
    let sumLow = 0;
    let sumHigh = 0;
    // Of the last step that touched everything, and of all steps so far that touched anything.
    let worldLow = 0;
    let worldHigh = 0;
    let touchedLow = 0;
    let touchedHigh = 0;
    for (let i = 0; i < length; i++) {
      const who = actor[i]!;
      if (who >= this.#actors) this.#actors = who + 1;
      const where = point[i]!;
      const what = answer[i]!;
      const slept = asleep[who] === 1;
      asleep[who] = what === FELL_ASLEEP ? 1 : 0;
      const effects = effectsOf(where, slept, what === WAIT_TIMED_OUT);
      const cell = cellOf(where);
      // Sums with different factors of what the step is and what it depends on, mixed once.
      let low = chain[who * 2]! + Math.imul(cell, 0x9e3779b1) + what;
      let high = chain[who * 2 + 1]! + Math.imul(where | 0, 0xc2b2ae35) + what;
      if (effects === EVERYTHING) {
        low = mix(low + Math.imul(touchedLow, 0x27d4eb2f));
        high = mix(high + Math.imul(touchedHigh, 0x165667b1));
        worldLow = low;
        worldHigh = high;
      } else if (effects !== 0) {
        const at = this.#slotOf(cell) * HASHES;
        const hashes = this.#hashes;
        low += Math.imul(worldLow, 0x2c1b3c6d);
        high += Math.imul(worldHigh, 0x297a2d39);
        const queues = (effects & QUEUES) !== 0;
        if (queues) {
          low += Math.imul(hashes[at + QUEUE]!, 0x85ebca6b);
          high += Math.imul(hashes[at + QUEUE + 1]!, 0x27d4eb2f);
        }
        if ((effects & WRITES) !== 0) {
          low = mix(low + Math.imul(hashes[at + WRITE]! + Math.imul(hashes[at + READ]!, 5), 0xcc9e2d51));
          high = mix(
            high + Math.imul(hashes[at + WRITE + 1]! + Math.imul(hashes[at + READ + 1]!, 9), 0x1b873593),
          );
          hashes[at + WRITE] = low;
          hashes[at + WRITE + 1] = high;
          hashes[at + READ] = 0;
          hashes[at + READ + 1] = 0;
          this.#handOff(at / HASHES, cell, who, true);
        } else if ((effects & READS) !== 0) {
          low = mix(low + Math.imul(hashes[at + WRITE]!, 0xcc9e2d51));
          high = mix(high + Math.imul(hashes[at + WRITE + 1]!, 0x1b873593));
          hashes[at + READ] = (hashes[at + READ]! + low) | 0;
          hashes[at + READ + 1] = (hashes[at + READ + 1]! + high) | 0;
          this.#handOff(at / HASHES, cell, who, false);
        } else {
          low = mix(low);
          high = mix(high);
        }
        if (queues) {
          hashes[at + QUEUE] = low;
          hashes[at + QUEUE + 1] = high;
        }
      } else {
        low = mix(low);
        high = mix(high);
      }
      chain[who * 2] = low;
      chain[who * 2 + 1] = high;
      sumLow = (sumLow + low) | 0;
      sumHigh = (sumHigh + high) | 0;
      if (effects !== 0) {
        touchedLow = (touchedLow + low) | 0;
        touchedHigh = (touchedHigh + high) | 0;
      }
    }
    this.low = sumLow;
    this.high = sumHigh;
  }

  /** An access of `who` to a cell, which finds what somebody else has written. */
  #handOff(slot: number, cell: number, who: number, writes: boolean): void {
    const ordinals = this.#ordinals;
    const place = slot * ORDINALS + who;
    let ordinal = ordinals[place]!;
    if (ordinal < ORDINAL_MAX) ordinals[place] = ordinal += 1;
    const me = ((who << ORDINAL_BITS) | ordinal) + 1;
    const writer = this.#writer[slot]!;
    if (writer !== 0 && (writer - 1) >> ORDINAL_BITS !== who) {
      const pair = Math.imul(writer, 0x10001) ^ me;
      if (this.handOffs.add(mix(cell + Math.imul(pair, 0x9e3779b1)), pair)) this.newHandOffs += 1;
    }
    if (writes) this.#writer[slot] = me;
  }

  /** The number of a cell, whose columns are about the present execution. */
  #slotOf(cell: number): number {
    const slot = this.#cells.numberOf(cell);
    if (slot >= this.#noted.length) this.#grow();
    if (this.#noted[slot] !== this.#execution) {
      this.#noted[slot] = this.#execution;
      this.#writer[slot] = 0;
      // A few stores each, for which a call of `fill` is too much.
      const hashes = this.#hashes;
      const ordinals = this.#ordinals;
      for (let i = slot * HASHES; i < slot * HASHES + HASHES; i++) hashes[i] = 0;
      for (let i = slot * ORDINALS; i < slot * ORDINALS + this.#actors; i++) ordinals[i] = 0;
    }
    return slot;
  }

  #grow(): void {
    const size = Math.max(64, this.#noted.length * 2);
    const noted = new Int32Array(size);
    const hashes = new Int32Array(size * HASHES);
    const writer = new Int32Array(size);
    const ordinals = new Uint8Array(size * ORDINALS);
    noted.set(this.#noted);
    hashes.set(this.#hashes);
    writer.set(this.#writer);
    ordinals.set(this.#ordinals);
    this.#noted = noted;
    this.#hashes = hashes;
    this.#writer = writer;
    this.#ordinals = ordinals;
  }
}

/** Spreads a sum of a few int32 over 32 bits. @source Appleby, MurmurHash3: fmix32 */
function mix(sum: number): number {
  let x = sum | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
