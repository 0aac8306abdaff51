/** What the lock tests share: where things stand in memory, actors as the explorer wants them, and ways to break them. */
import type { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import {
  type Path,
  POINT_KINDS,
  type Point,
  reading,
  WAITING,
  writing,
} from '../../../src/shared/sync/point.ts';
import type { Trial } from '../../support/explore-small.ts';

/** The lock under test. */
export const LOCK = 0;
/** Words of the test itself. */
export const DATA = 64;
export const BYTES = 128;

export type Body = (actor: Actor) => Path<unknown>;

/** The operations on memory that lock code is made of. */
export type Operations = Pick<Mem, 'load' | 'store' | 'add' | 'or' | 'and' | 'exchange' | 'cas' | 'notify'>;

/** Operations that do something else than they should, for one actor. What they remember is that actor's own. */
export type Mistake = (mem: Mem, actor: number) => Partial<Operations>;

/** Actors number 1, 2, … that run `bodies`, with no spinning, each making the same mistake if one is given. */
export function actors(mem: Mem, bodies: readonly Body[], mistake?: Mistake): Trial['actors'] {
  return bodies.map((body, index) => {
    const id = index + 1;
    const own = mistake === undefined ? mem : withOperations(mem, mistake(mem, id));
    const waiter = new Actor({ id, name: `actor ${index}`, mem: own, spinLimit: 0 });
    return { waiter, path: body(waiter) };
  });
}

/** `mem` with some of its operations replaced. The replacements call `mem` for what they still do right. */
export function withOperations(mem: Mem, operations: Partial<Operations>): Mem {
  return new Proxy(mem, {
    get(target, name) {
      const own = operations[name as keyof Operations];
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** The mistake that every lock with sleepers must be shown to suffer from: nobody is woken. */
export const wakesNobody: Mistake = () => ({ notify: () => 0 });

/** Wakes nobody who sleeps on the word at `cell`. */
export function wakesNobodyAt(cell: number): Mistake {
  return (mem) => ({ notify: (addr, count) => (addr === cell ? 0 : mem.notify(addr, count)) });
}

/**
 * Stores sit in a buffer until the actor's next read-modify-write, so that its loads overtake them: what x86 does to
 * a plain store, and what `Atomics.store` is there to prevent.
 */
export const storesLate: Mistake = (mem) => {
  const late = new Map<number, number>();
  const flush = <T>(result: () => T): T => {
    for (const [addr, value] of late) mem.store(addr, value);
    late.clear();
    return result();
  };
  return {
    store: (addr, value) => void late.set(addr, value),
    load: (addr) => late.get(addr) ?? mem.load(addr),
    add: (addr, delta) => flush(() => mem.add(addr, delta)),
    or: (addr, bits) => flush(() => mem.or(addr, bits)),
    and: (addr, bits) => flush(() => mem.and(addr, bits)),
    exchange: (addr, value) => flush(() => mem.exchange(addr, value)),
    cas: (addr, expected, value) => flush(() => mem.cas(addr, expected, value)),
  };
};

/** The points of a path that runs alone and never has to wait. */
export function pointsOf(path: Path<unknown>): Point[] {
  const points: Point[] = [];
  for (let step = path.next(0); step.done !== true; step = path.next(0)) points.push(step.value);
  return points;
}

/** `path`, which must never wait for anybody. @throws when it does */
export function* neverWaits<T>(path: Path<T>): Path<T> {
  let step = path.next(0);
  while (step.done !== true) {
    if (step.value % POINT_KINDS === WAITING) throw new Error('waits, and must not');
    step = path.next(yield step.value);
  }
  return step.value;
}

/** A counter increment that loses updates unless a lock keeps others out. */
export function* increment(mem: Mem, addr: number): Path<void> {
  yield reading(addr);
  const old = mem.load(addr);
  yield writing(addr);
  mem.store(addr, old + 1);
}

/**
 * The test's own note, made in the same step as the operation before it: no point, so nobody comes in between.
 * It is in memory because everything a trial remembers must be.
 */
export function note(mem: Mem, addr: number, delta = 1): number {
  mem.i32[addr >>> 2]! += delta;
  return mem.i32[addr >>> 2]!;
}

/** A word as it stands, for checks; not an operation of any actor. */
export function peek(mem: Mem, addr: number): number {
  return mem.i32[addr >>> 2]!;
}
