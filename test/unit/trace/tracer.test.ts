/** What an actor's tracer records of locks and nested slices. */
import test from 'ava';
import {
  DEPTH_LIMIT,
  LANE_MAIN,
  LANE_OPEN_EVENT,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
} from '../../../src/shared/layout/trace.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LOCK_JOB, LOCK_MMU, LOCK_SLOTS, SRCU_KVM } from '../../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path, POINT_KINDS, WAITING } from '../../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';
import {
  lockCode,
  TRACE_FAULT,
  TRACE_HOLD,
  TRACE_JOB,
  TRACE_KINDS,
  TRACE_SET_ACCESS,
  TRACE_WAIT,
} from '../../../src/shared/trace/kinds.ts';
import type { TraceRecord } from '../../../src/shared/trace/reader.ts';
import { together } from '../../support/together.ts';
import { type TestRing, testRing } from './trial.ts';

/** begin/end, name, lane and depth of each record: `+mmu_lock write@0`. */
function summary(records: readonly TraceRecord[]): string[] {
  return records.map((r) => {
    const kind = TRACE_KINDS[r.kind]!;
    const sign = r.phase === PHASE_BEGIN ? '+' : r.phase === PHASE_END ? '-' : '!';
    const lane = r.lane === LANE_MAIN ? '' : ` lane ${r.lane}`;
    return `${sign}${kind.names[r.a] ?? kind.name}@${r.depth}${lane}`;
  });
}

interface TracedActor {
  readonly actor: Actor;
  readonly ring: TestRing;
}

function tracedActor(mem: Mem, id: number): TracedActor {
  const ring = testRing(256);
  const actor = new Actor({ id, name: `actor ${id}`, mem, spinLimit: 0 });
  actor.tracer = ring.tracer;
  actor.trace = ring.tracer.locks;
  return { actor, ring };
}

function someMemory(): Mem {
  return new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
}

test('a lock taken at once is a hold and no wait', (t) => {
  const mem = someMemory();
  const { actor, ring } = tracedActor(mem, 1);
  const lock = new RwLock(64, LOCK_MMU);
  drive(actor, writeLock(actor, lock));
  drive(actor, writeUnlock(actor, lock));
  drive(actor, readLock(actor, lock));
  drive(actor, readUnlock(actor, lock));
  const records = ring.take();
  t.deepEqual(summary(records), [
    '+mmu_lock write@0',
    '-mmu_lock write@0',
    '+mmu_lock read@0',
    '-mmu_lock read@0',
  ]);
  t.true(records.every((r) => r.kind === TRACE_HOLD));
  t.is(records[0]!.b, 64, 'which lock it was');
});

test('a lock that is busy is waited for, then held', (t) => {
  const mem = someMemory();
  const lock = new Mutex(64, LOCK_SLOTS);
  const first = tracedActor(mem, 1);
  const second = tracedActor(mem, 2);
  function* useIt({ actor }: TracedActor): Path<void> {
    yield* mutexLock(actor, lock);
    yield* mutexUnlock(actor, lock);
  }
  drive(first.actor, mutexLock(first.actor, lock));
  // The second goes as far as it can: to its futex wait.
  const path = useIt(second);
  for (let step = path.next(0); ; step = path.next(0)) {
    if (step.done === true) throw new Error('the lock was free');
    if (step.value % POINT_KINDS === WAITING) break;
  }
  const runners = [
    { name: 'first', waiter: first.actor, path: mutexUnlock(first.actor, lock) },
    { name: 'second', waiter: second.actor, path },
  ];
  together(runners, { mem, seed: 1 });
  t.deepEqual(summary(second.ring.take()), [
    '+wait slots_lock@0',
    '-wait slots_lock@0',
    '+slots_lock@0',
    '-slots_lock@0',
  ]);
  t.deepEqual(summary(first.ring.take()), ['+slots_lock@0', '-slots_lock@0']);
});

test('read sections have a lane of their own; a grace period is a wait', (t) => {
  const mem = someMemory();
  const { actor, ring } = tracedActor(mem, 1);
  const srcu = new Srcu(64, SRCU_KVM);
  ring.tracer.begin(TRACE_FAULT, 5, 2);
  const side = drive(actor, srcuReadLock(actor, srcu));
  ring.tracer.end(TRACE_FAULT);
  drive(actor, srcuReadUnlock(actor, srcu, side));
  drive(actor, synchronizeSrcu(actor, srcu));
  t.deepEqual(summary(ring.take()), [
    '+page fault@0',
    `+kvm.srcu@0 lane ${LANE_SRCU}`,
    '-page fault@0',
    `-kvm.srcu@0 lane ${LANE_SRCU}`,
    '+synchronize kvm.srcu@0',
    '-synchronize kvm.srcu@0',
  ]);
});

test('slices nest: each record says how deep', (t) => {
  const { tracer, take } = testRing(16);
  tracer.begin(TRACE_SET_ACCESS, 1, 3);
  tracer.locks('acquired', LOCK_MMU, 64, 'write');
  tracer.locks('acquired', LOCK_JOB, 128, 'write');
  tracer.locks('release', LOCK_JOB, 128, 'write');
  tracer.locks('release', LOCK_MMU, 64, 'write');
  tracer.end(TRACE_SET_ACCESS);
  t.deepEqual(
    take().map((r) => [r.phase, r.depth]),
    [
      [PHASE_BEGIN, 0],
      [PHASE_BEGIN, 1],
      [PHASE_BEGIN, 2],
      [PHASE_END, 2],
      [PHASE_END, 1],
      [PHASE_END, 0],
    ],
  );
});

test('an end finds its own slice, not the innermost: two locks of one class are told apart by address', (t) => {
  const { tracer, take } = testRing(16);
  tracer.locks('acquired', LOCK_JOB, 64, 'write');
  tracer.locks('acquired', LOCK_JOB, 128, 'write');
  tracer.begin(TRACE_JOB, 0);
  tracer.locks('release', LOCK_JOB, 64, 'write');
  tracer.locks('release', LOCK_JOB, 128, 'write');
  tracer.end(TRACE_JOB);
  const ends = take().filter((r) => r.phase === PHASE_END);
  t.deepEqual(
    ends.map((r) => [r.kind, r.depth]),
    [
      [TRACE_HOLD, 0],
      [TRACE_HOLD, 0],
      [TRACE_JOB, 0],
    ],
  );
});

test('an end of something that never began leaves no record', (t) => {
  const { tracer, take } = testRing(16);
  tracer.end(TRACE_FAULT);
  tracer.locks('release', LOCK_MMU, 64, 'write');
  tracer.beginOn(LANE_OPEN_EVENT + 1, TRACE_FAULT);
  tracer.endOn(LANE_OPEN_EVENT, TRACE_FAULT);
  tracer.end(TRACE_FAULT);
  t.deepEqual(summary(take()), [`+page fault@0 lane ${LANE_OPEN_EVENT + 1}`]);
});

test('what is nested deeper than the limit leaves no record, and the rest stays right', (t) => {
  const { tracer, take } = testRing(1000);
  for (let i = 0; i < DEPTH_LIMIT + 50; i++) tracer.begin(TRACE_FAULT, i);
  for (let i = 0; i < DEPTH_LIMIT + 50; i++) tracer.end(TRACE_FAULT);
  const records = take();
  t.is(records.length, 2 * DEPTH_LIMIT);
  t.deepEqual(
    records.map((r) => r.depth),
    [
      ...Array.from({ length: DEPTH_LIMIT }, (_, i) => i),
      ...Array.from({ length: DEPTH_LIMIT }, (_, i) => DEPTH_LIMIT - 1 - i),
    ],
  );
});

test('every lock class has names for its holds and waits', (t) => {
  const holds = TRACE_KINDS[TRACE_HOLD]!.names;
  const waits = TRACE_KINDS[TRACE_WAIT]!.names;
  t.is(holds[lockCode(LOCK_MMU, true)], 'mmu_lock read');
  t.is(holds[lockCode(LOCK_MMU, false)], 'mmu_lock write');
  t.is(holds[lockCode(LOCK_SLOTS, false)], 'slots_lock');
  t.is(waits[lockCode(LOCK_MMU, true)], 'wait mmu_lock read');
  t.is(waits[lockCode(SRCU_KVM, false)], 'synchronize kvm.srcu');
});
