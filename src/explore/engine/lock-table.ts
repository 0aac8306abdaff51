/**
 * Who holds which lock, and who wants which, as the locks themselves report it: for strategies that take a lock for
 * what it promises and not for the steps it is made of.
 *
 * Locks that exclude: spinlocks, mutexes, reader/writer locks. A lock taken without a wait (`mutexTryLock`) is held
 * without having been wanted. Each of the two reader counts of an SRCU domain is a lock too: its readers share it, and
 * whoever waits for a grace period looks at it as soon as he could have it alone.
 */
import { Actor, type LockTraceKind } from '../../shared/sync/actor.ts';
import type { LockClass, LockMode } from '../../shared/sync/lock-class.ts';
import { addressOf, kindOf, type Point, READING, UPDATING } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT, type Participant } from './execution.ts';

/** What a step is to a lock: a mask. Neither ACQUIRES nor RELEASES: an ordinary step. */
export const ACQUIRES = 1;
const RELEASES = 2;
/** With one of the others: others may hold the lock in this mode too. */
export const SHARED = 4;

/** What an actor is about to do, by the last it has reported. */
const NOTHING = 0;
const LOCK = 1;
const UNLOCK = 2;
/** SRCU: the step that matters is the next update, of a reader count; or each look at one. */
const ENTER = 3;
const LEAVE = 4;
const SYNCHRONIZE = 5;

interface Lock {
  /** Actor that holds it alone; −1 for none. */
  writer: number;
  /** Actors that share it, and how many times each. */
  readers: number;
  readonly times: Uint8Array;
}

export class LockTable {
  readonly #locks = new Map<number, Lock>();
  readonly #intent = new Uint8Array(ACTOR_LIMIT);
  /** Of a lock or unlock: where, and SHARED or 0. */
  readonly #address = new Float64Array(ACTOR_LIMIT);
  readonly #shared = new Uint8Array(ACTOR_LIMIT);
  /** What the step that has been picked releases, and whose it is. */
  #released: Lock | null = null;
  #releasing = -1;
  /** The reader count that it raises. */
  #entered = 0;
  #tried = 0;
  #isUsed = false;

  /** What the step that was taken last has turned out to be: it has tried a lock, and got it. Otherwise 0. */
  get tried(): number {
    return this.#tried;
  }

  /** Has anybody ever used a lock? */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** For one execution, with actors of its own: nothing is held, and these report. Other listeners hear as before. */
  watch(participants: readonly Participant[]): void {
    for (const lock of this.#locks.values()) {
      lock.writer = -1;
      lock.readers = 0;
      lock.times.fill(0);
    }
    this.#intent.fill(NOTHING);
    this.#released = null;
    participants.forEach(({ waiter }, index) => {
      if (!(waiter instanceof Actor)) return;
      const before = waiter.trace;
      waiter.trace = (kind, cls, addr, mode, side) => {
        before?.(kind, cls, addr, mode, side);
        this.#note(index, kind, cls, addr, mode);
      };
    });
  }

  /** What the step of `actor` at `point` is to a lock. */
  useOf(actor: number, point: Point): number {
    switch (this.#intent[actor]) {
      case LOCK:
        return ACQUIRES | this.#shared[actor]!;
      case UNLOCK:
        return RELEASES | this.#shared[actor]!;
      case ENTER:
        return kindOf(point) === UPDATING ? ACQUIRES | SHARED : 0;
      case LEAVE:
        return RELEASES | SHARED;
      case SYNCHRONIZE:
        return kindOf(point) === READING ? ACQUIRES : 0;
      default:
        return 0;
    }
  }

  /** Whose holds exclude the acquisition that `actor` stands before, a mask: it would have to wait for them. */
  excluding(actor: number, point: Point): number {
    const use = this.useOf(actor, point);
    if ((use & ACQUIRES) === 0) return 0;
    const isLock = this.#intent[actor] === LOCK;
    const { writer, readers } = this.#lockAt(isLock ? this.#address[actor]! : addressOf(point));
    const alone = writer < 0 ? 0 : 1 << writer;
    return (use & SHARED) === 0 ? alone | readers : alone;
  }

  /** Before each step: `actor` is about to take it. */
  step(actor: number, point: Point): void {
    this.settle();
    this.#tried = 0;
    const intent = this.#intent[actor]!;
    if (intent === ENTER && kindOf(point) === UPDATING) this.#entered = addressOf(point);
    if (intent !== UNLOCK && intent !== LEAVE) return;
    this.#releasing = actor;
    this.#released = this.#lockAt(intent === UNLOCK ? this.#address[actor]! : addressOf(point));
    this.#intent[actor] = NOTHING;
  }

  /** Before a step is picked: the one before has been taken, and what it released is free. */
  settle(): void {
    const lock = this.#released;
    if (lock === null) return;
    this.#released = null;
    const actor = this.#releasing;
    if (lock.writer === actor) {
      lock.writer = -1;
    } else if (lock.times[actor]! > 0) {
      lock.times[actor]! -= 1;
      if (lock.times[actor] === 0) lock.readers &= ~(1 << actor);
    }
  }

  #note(actor: number, kind: LockTraceKind, cls: LockClass, addr: number, mode: LockMode): void {
    if (cls.kind === 'completion') return;
    const isSrcu = cls.kind === 'srcu';
    this.#isUsed = true;
    switch (kind) {
      case 'acquire':
      case 'release':
        this.#address[actor] = addr;
        this.#shared[actor] = mode === 'read' ? SHARED : 0;
        if (kind === 'acquire') this.#intent[actor] = isSrcu ? ENTER : LOCK;
        else this.#intent[actor] = isSrcu ? LEAVE : UNLOCK;
        break;
      case 'acquired':
        // Within the step that has just been taken; a release was the step before, or earlier.
        this.settle();
        if (this.#intent[actor] === NOTHING) this.#tried = ACQUIRES | (mode === 'read' ? SHARED : 0);
        this.#hold(this.#lockAt(isSrcu ? this.#entered : addr), actor, mode);
        this.#intent[actor] = NOTHING;
        break;
      case 'wait':
        if (isSrcu) this.#intent[actor] = SYNCHRONIZE;
        break;
      case 'wake':
        if (isSrcu) this.#intent[actor] = NOTHING;
        break;
    }
  }

  #hold(lock: Lock, actor: number, mode: LockMode): void {
    if (mode === 'write') {
      lock.writer = actor;
      return;
    }
    lock.readers |= 1 << actor;
    lock.times[actor]! += 1;
  }

  #lockAt(addr: number): Lock {
    let lock = this.#locks.get(addr);
    if (lock === undefined) {
      lock = { writer: -1, readers: 0, times: new Uint8Array(ACTOR_LIMIT) };
      this.#locks.set(addr, lock);
    }
    return lock;
  }
}
