/** Random small programs of sections under mutexes, reader/writer locks and SRCU, nested at random: they may deadlock. */
import type { Program } from '../../src/explore/program/program.ts';
import type { Mem } from '../../src/shared/mem.ts';
import type { Prng } from '../../src/shared/prng.ts';
import type { Actor } from '../../src/shared/sync/actor.ts';
import { LOCK_BYTES, LOCK_CONNECTION, LOCK_MMU, SRCU_KVM } from '../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexTryLock, mutexUnlock } from '../../src/shared/sync/mutex.ts';
import { type Path, reading, writing } from '../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../src/shared/sync/rw-lock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../src/shared/sync/srcu.ts';

const KINDS = ['mutex', 'try', 'read', 'write', 'srcu', 'synchronize'] as const;
type Kind = (typeof KINDS)[number];

interface Section {
  readonly kind: Kind;
  readonly which: number;
  /** Data cell it touches, and whether it writes it. */
  readonly cell: number;
  readonly writes: boolean;
  readonly inner: Section | null;
}

const LOCKS = 5;
const DATA = LOCKS * LOCK_BYTES;
const RESULTS = DATA + 2 * LOCK_BYTES;
const SRCU = new Srcu(4 * LOCK_BYTES, SRCU_KVM);

export function lockedPlan(prng: Prng, actors: number): Program {
  const section = (depth: number): Section => ({
    kind: prng.pick(KINDS),
    which: prng.below(2),
    cell: DATA + prng.below(2) * LOCK_BYTES,
    writes: prng.below(2) === 0,
    inner: depth > 0 && prng.below(3) === 0 ? section(depth - 1) : null,
  });
  const plan = Array.from({ length: actors }, () =>
    Array.from({ length: actors === 2 ? 1 + prng.below(2) : 1 }, () => section(actors === 2 ? 1 : 0)),
  );
  const text = (s: Section): string =>
    `${s.kind}${s.which}(${s.writes ? 'w' : 'r'}${s.cell}${s.inner === null ? '' : ` ${text(s.inner)}`})`;
  return {
    name: 'locked-plan',
    title: plan.map((list) => list.map(text).join(' ')).join(' | '),
    bytes: RESULTS + 4 * actors,
    parts: Object.fromEntries(
      plan.map((list, index) => [
        `actor ${index}`,
        function* (actor: Actor) {
          for (const each of list) yield* run(actor, index, each);
        },
      ]),
    ),
  };
}

function* run(actor: Actor, index: number, section: Section): Path<void> {
  const { kind, which, inner } = section;
  const mutex = new Mutex(which * LOCK_BYTES, LOCK_CONNECTION);
  const rwLock = new RwLock((2 + which) * LOCK_BYTES, LOCK_MMU);
  let side = 0;
  if (kind === 'mutex') yield* mutexLock(actor, mutex);
  else if (kind === 'read') yield* readLock(actor, rwLock);
  else if (kind === 'write') yield* writeLock(actor, rwLock);
  else if (kind === 'srcu') side = yield* srcuReadLock(actor, SRCU);
  else if (kind === 'synchronize') yield* synchronizeSrcu(actor, SRCU);
  else if (!(yield* mutexTryLock(actor, mutex))) return;
  yield* touch(actor, index, section);
  if (inner !== null) yield* run(actor, index, inner);
  if (kind === 'mutex' || kind === 'try') yield* mutexUnlock(actor, mutex);
  else if (kind === 'read') yield* readUnlock(actor, rwLock);
  else if (kind === 'write') yield* writeUnlock(actor, rwLock);
  else if (kind === 'srcu') yield* srcuReadUnlock(actor, SRCU, side);
}

function* touch({ mem }: Actor, index: number, { cell, writes }: Section): Path<void> {
  const result = RESULTS + 4 * index;
  if (writes) {
    yield writing(cell);
    mem.store(cell, index + 1);
  } else {
    yield reading(cell);
    mem.store(result, mem.load(result) * 4 + mem.load(cell) + 1);
  }
}

/** Data and what has been read; not the locks. */
export function dataOf(mem: Mem, { bytes }: Program): string {
  return [mem.load(DATA), mem.load(DATA + LOCK_BYTES), ...mem.i32.subarray(RESULTS / 4, bytes / 4)].join();
}
