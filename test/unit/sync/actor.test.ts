/** What locks tell the actor that takes them, and when. */
import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LockChecks } from '../../../src/shared/sync/checks.ts';
import { Completion, complete, waitForCompletion } from '../../../src/shared/sync/completion.ts';
import {
  DONE_KVMI,
  LOCK_BYTES,
  LOCK_JOB,
  LOCK_MMU,
  LOCK_SLOTS,
  SRCU_KVM,
} from '../../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexTryLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path, POINT_KINDS, WAIT_WOKEN, WAITING } from '../../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';

const spin = new SpinLock(0 * LOCK_BYTES, LOCK_JOB);
const rw = new RwLock(1 * LOCK_BYTES, LOCK_MMU);
const mutex = new Mutex(2 * LOCK_BYTES, LOCK_SLOTS);
const srcu = new Srcu(3 * LOCK_BYTES, SRCU_KVM);
const done = new Completion(4 * LOCK_BYTES, DONE_KVMI);

/** A traced actor and one that is not, on one memory. */
function setUp() {
  const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  const actor = new Actor({ id: 1, name: 'traced', mem, spinLimit: 0 });
  const other = new Actor({ id: 2, name: 'other', mem, spinLimit: 0 });
  const log: string[] = [];
  actor.trace = (kind, cls, addr, mode) => log.push(`${kind} ${cls.name} 0x${addr.toString(16)} ${mode}`);
  return { mem, actor, other, log };
}

function toSleep(path: Path<unknown>): void {
  let step = path.next(0);
  while ((step.value as number) % POINT_KINDS !== WAITING) step = path.next(0);
}

function wakeAndFinish(path: Path<unknown>): void {
  let step = path.next(WAIT_WOKEN);
  while (step.done !== true) step = path.next(0);
}

test('a free lock: acquire, acquired, release', (t) => {
  const { actor, log } = setUp();
  for (const [what, lock, unlock] of [
    ['job_lock 0x0 write', () => spinLock(actor, spin), () => spinUnlock(actor, spin)],
    ['mmu_lock 0x40 read', () => readLock(actor, rw), () => readUnlock(actor, rw)],
    ['mmu_lock 0x40 write', () => writeLock(actor, rw), () => writeUnlock(actor, rw)],
    ['slots_lock 0x80 write', () => mutexLock(actor, mutex), () => mutexUnlock(actor, mutex)],
    ['kvm.srcu 0xc0 read', () => srcuReadLock(actor, srcu), () => srcuReadUnlock(actor, srcu, 0)],
  ] as const) {
    drive(actor, lock() as Path<unknown>);
    drive(actor, unlock());
    t.deepEqual(log.splice(0), [`acquire ${what}`, `acquired ${what}`, `release ${what}`]);
  }
});

for (const [what, hold, drop, lock] of [
  ['job_lock 0x0 write', (a) => spinLock(a, spin), (a) => spinUnlock(a, spin), (a) => spinLock(a, spin)],
  [
    'slots_lock 0x80 write',
    (a) => mutexLock(a, mutex),
    (a) => mutexUnlock(a, mutex),
    (a) => mutexLock(a, mutex),
  ],
  ['mmu_lock 0x40 read', (a) => writeLock(a, rw), (a) => writeUnlock(a, rw), (a) => readLock(a, rw)],
  ['mmu_lock 0x40 write', (a) => readLock(a, rw), (a) => readUnlock(a, rw), (a) => writeLock(a, rw)],
] as [string, ...((actor: Actor) => Path<void>)[]][]) {
  test(`a busy lock: acquire, wait, wake, acquired: ${what}`, (t) => {
    const { actor, other, log } = setUp();
    drive(other, hold!(other));
    const path = lock!(actor);
    toSleep(path);
    t.deepEqual(log.splice(0), [`acquire ${what}`, `wait ${what}`]);
    drive(other, drop!(other));
    wakeAndFinish(path);
    t.deepEqual(log, [`wake ${what}`, `acquired ${what}`]);
  });
}

test('a try: acquired when it succeeds, nothing when it fails', (t) => {
  const { actor, other, log } = setUp();
  drive(other, mutexLock(other, mutex));
  drive(actor, mutexTryLock(actor, mutex));
  t.deepEqual(log, []);
  drive(other, mutexUnlock(other, mutex));
  drive(actor, mutexTryLock(actor, mutex));
  t.deepEqual(log, ['acquired slots_lock 0x80 write']);
});

test('a grace period and a completion: wait, wake, even when nobody had to be waited for', (t) => {
  const { actor, other, log } = setUp();
  drive(actor, synchronizeSrcu(actor, srcu));
  drive(other, complete(other, done));
  drive(actor, waitForCompletion(actor, done));
  t.deepEqual(log, [
    'wait kvm.srcu 0xc0 write',
    'wake kvm.srcu 0xc0 write',
    'wait kvmi_complete 0x100 write',
    'wake kvmi_complete 0x100 write',
  ]);
});

test('acquire comes before the first operation, acquired after the last, release before it is visible', (t) => {
  const { mem, actor } = setUp();
  const words: [string, number][] = [];
  actor.trace = (kind) => words.push([kind, mem.load(spin.addr)]);
  const path = spinLock(actor, spin);
  path.next(0);
  t.deepEqual(words.splice(0), [['acquire', 0]]);
  path.next(0);
  t.deepEqual(words.splice(0), [['acquired', actor.id * 2]]);
  const release = spinUnlock(actor, spin);
  release.next(0);
  t.deepEqual(words, [['release', actor.id * 2]]);
});

test('the rules hear of a lock before the trace does, so that an inversion is told even if it deadlocks', (t) => {
  const { mem, log } = setUp();
  const actor = new Actor({
    id: 1,
    name: 'checked',
    mem,
    checks: new LockChecks({ actor: 'checked', onFinding: (finding) => log.push(finding.rule) }),
  });
  actor.trace = (kind) => log.push(kind);
  drive(actor, spinLock(actor, spin));
  log.length = 0;
  spinLock(actor, spin).next(0);
  t.deepEqual(log, ['L5', 'acquire']);
});

test('the trace can be switched on and off at any time', (t) => {
  const { mem, log } = setUp();
  const actor = new Actor({ id: 3, name: 'late', mem });
  t.is(actor.checks, null);
  t.is(actor.trace, null);
  drive(actor, spinLock(actor, spin));
  actor.trace = (kind) => log.push(kind);
  drive(actor, spinUnlock(actor, spin));
  actor.trace = null;
  drive(actor, spinLock(actor, spin));
  t.deepEqual(log, ['release']);
});
