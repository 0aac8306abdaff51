/** Every rule through real locks: what breaks it is reported, what comes close is not. */
import test from 'ava';
import { LockValidator } from '../../../src/shared/lockdep/validator.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { LockChecks, type LockFinding } from '../../../src/shared/sync/checks.ts';
import { Completion, complete, waitForCompletion } from '../../../src/shared/sync/completion.ts';
import * as classes from '../../../src/shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexTryLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path } from '../../../src/shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/shared/sync/spinlock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';
import { WaitQueue, waitEvent, wakeUp } from '../../../src/shared/sync/wait-queue.ts';

let next = 0;
const place = () => next++ * classes.LOCK_BYTES;
const lock = {
  kvm: new Mutex(place(), classes.LOCK_KVM),
  vcpu: new Mutex(place(), classes.LOCK_VCPU),
  otherVcpu: new Mutex(place(), classes.LOCK_VCPU),
  kvmi: new Mutex(place(), classes.LOCK_KVMI),
  slots: new Mutex(place(), classes.LOCK_SLOTS),
  arch: new Mutex(place(), classes.LOCK_SLOTS_ARCH),
  mmu: new RwLock(place(), classes.LOCK_MMU),
  tree: new RwLock(place(), classes.LOCK_ACCESS_TREE),
  invalidate: new SpinLock(place(), classes.LOCK_MN_INVALIDATE),
  split: new SpinLock(place(), classes.LOCK_SPLIT),
  job: new SpinLock(place(), classes.LOCK_JOB),
  connection: new Mutex(place(), classes.LOCK_CONNECTION),
  srcu: new Srcu(place(), classes.SRCU_KVM),
  otherSrcu: new Srcu(place(), classes.SRCU_KVM),
  trackSrcu: new Srcu(place(), classes.SRCU_TRACK),
  done: new Completion(place(), classes.DONE_KVMI),
  queue: new WaitQueue(place(), 'the doorbell'),
};

/** An actor alone with all the locks, and what its checks have found. */
class Subject {
  readonly findings: LockFinding[] = [];
  readonly checks: LockChecks;
  readonly actor: Actor;

  /** `validated`: learns where each lock is taken. */
  constructor(validated = false) {
    const mem = new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
    this.checks = new LockChecks({
      actor: 'vcpu 3',
      onFinding: (f) => this.findings.push(f),
      validator: validated ? new LockValidator({ order: null }) : null,
    });
    this.actor = new Actor({ id: 4, name: 'vcpu 3', mem, checks: this.checks });
  }

  get rules(): string[] {
    return this.findings.map((finding) => finding.rule);
  }

  /** Does all of these, each to its end. */
  does(...paths: ((actor: Actor) => Path<unknown>)[]): this {
    for (const path of paths) drive(this.actor, path(this.actor));
    return this;
  }

  /** Waits for something that is no lock, and gets it. */
  awaits(cls: classes.LockClass): this {
    this.checks.awaiting(cls);
    this.checks.awaited();
    return this;
  }

  /** Begins this and stops before its first operation: what would block for ever has been reported by then. */
  begins(path: (actor: Actor) => Path<unknown>): this {
    path(this.actor).next(0);
    return this;
  }
}

const takes = (mutex: Mutex) => (actor: Actor) => mutexLock(actor, mutex);
const drops = (mutex: Mutex) => (actor: Actor) => mutexUnlock(actor, mutex);
const spins = (spin: SpinLock) => (actor: Actor) => spinLock(actor, spin);
const unspins = (spin: SpinLock) => (actor: Actor) => spinUnlock(actor, spin);
const reads = (rw: RwLock) => (actor: Actor) => readLock(actor, rw);
const unreads = (rw: RwLock) => (actor: Actor) => readUnlock(actor, rw);
const writes = (rw: RwLock) => (actor: Actor) => writeLock(actor, rw);
const unwrites = (rw: RwLock) => (actor: Actor) => writeUnlock(actor, rw);
const enters = (srcu: Srcu) => (actor: Actor) => srcuReadLock(actor, srcu);
const leaves =
  (srcu: Srcu, side = 0) =>
  (actor: Actor) =>
    srcuReadUnlock(actor, srcu, side);
const synchronizes = (srcu: Srcu) => (actor: Actor) => synchronizeSrcu(actor, srcu);
const awaits = (actor: Actor) => waitForCompletion(actor, lock.done);
const completes = (actor: Actor) => complete(actor, lock.done);
const sleeps = (actor: Actor) => waitEvent(actor, lock.queue, () => true);
const wakes = (actor: Actor) => wakeUp(actor, lock.queue);

// L1

test('L1: locks taken in the order of their ranks', (t) => {
  const subject = new Subject().does(
    takes(lock.kvm),
    takes(lock.vcpu),
    enters(lock.srcu),
    takes(lock.kvmi),
    takes(lock.arch),
    writes(lock.mmu),
    enters(lock.trackSrcu),
    reads(lock.tree),
    spins(lock.split),
    spins(lock.job),
  );
  t.deepEqual(subject.findings, []);
  // Released in any order.
  subject.does(unwrites(lock.mmu), drops(lock.kvm), unspins(lock.job), unreads(lock.tree), leaves(lock.srcu));
  subject.does(
    drops(lock.arch),
    unspins(lock.split),
    drops(lock.kvmi),
    leaves(lock.trackSrcu),
    drops(lock.vcpu),
  );
  t.deepEqual(subject.findings, []);
  t.deepEqual(subject.checks.held, []);
});

for (const [name, first, second] of [
  ['access_tree_lock before mmu_lock', reads(lock.tree), writes(lock.mmu)],
  ['access_tree_lock for write before mmu_lock for read', writes(lock.tree), reads(lock.mmu)],
  ['slots_lock before kvm.lock', takes(lock.slots), takes(lock.kvm)],
  ['job_lock before mn_invalidate_lock', spins(lock.job), spins(lock.invalidate)],
  ['kvmi_lock and slots_lock, of one rank', takes(lock.kvmi), takes(lock.slots)],
  ['mn_invalidate_lock and access_tree_lock, of one rank', spins(lock.invalidate), reads(lock.tree)],
  ['two vCPUs’ mutexes', takes(lock.vcpu), takes(lock.otherVcpu)],
] as const) {
  test(`L1 broken: ${name}`, (t) => {
    t.deepEqual(new Subject().does(first, second).rules, ['L1']);
  });
}

test('L1: once released, a lock forbids nothing', (t) => {
  const subject = new Subject().does(
    spins(lock.job),
    unspins(lock.job),
    writes(lock.mmu),
    unwrites(lock.mmu),
  );
  t.deepEqual(subject.does(takes(lock.slots), drops(lock.slots), takes(lock.kvmi)).rules, []);
});

test('L1: a try cannot deadlock, so it may come in any order; what is taken under it may not', (t) => {
  const subject = new Subject().does(takes(lock.arch), (actor) => mutexTryLock(actor, lock.kvm));
  t.deepEqual(subject.rules, []);
  t.deepEqual(subject.does(drops(lock.arch), takes(lock.vcpu)).rules, []);
  t.deepEqual(subject.does((actor) => mutexTryLock(actor, lock.arch), takes(lock.slots)).rules, ['L1']);
});

test('L1: a try that fails holds nothing', (t) => {
  const subject = new Subject();
  const other = new Actor({ id: 9, name: 'other', mem: subject.actor.mem });
  drive(other, mutexLock(other, lock.arch));
  subject.does((actor) => mutexTryLock(actor, lock.arch), takes(lock.slots));
  t.deepEqual(subject.rules, []);
  t.is(subject.checks.held.length, 1);
});

// L2

for (const [held, take] of [
  ['mmu_lock for write', writes(lock.mmu)],
  ['mmu_lock for read', reads(lock.mmu)],
  ['access_tree_lock', reads(lock.tree)],
  ['job_lock', spins(lock.job)],
] as const) {
  test(`L2 broken: waiting while holding ${held}`, (t) => {
    t.true(new Subject().does(take, takes(lock.connection)).rules.includes('L2'));
    t.deepEqual(new Subject().does(take, completes, awaits).rules, ['L2']);
    t.deepEqual(new Subject().does(take, sleeps).rules, ['L2']);
    t.deepEqual(new Subject().does(take, synchronizes(lock.srcu)).rules, ['L2']);
  });

  test(`L2: what never waits is allowed while holding ${held}`, (t) => {
    const subject = new Subject().does(take, completes, wakes, enters(lock.srcu), leaves(lock.srcu));
    t.deepEqual(subject.rules, []);
  });
}

test('L2: whoever holds only sleeping locks may wait', (t) => {
  const subject = new Subject().does(takes(lock.slots), enters(lock.trackSrcu), completes, awaits, sleeps);
  t.deepEqual(subject.does(takes(lock.connection), synchronizes(lock.otherSrcu)).rules, []);
});

test('L2: an acknowledgement may be waited for under a no-sleep lock, anything else may not', (t) => {
  const subject = new Subject().does(writes(lock.mmu));
  subject.checks.awaiting(classes.WAIT_ACK);
  subject.checks.awaited();
  t.deepEqual(subject.rules, []);
  for (const cls of [classes.WAIT_PARKED, classes.HOST_INVALIDATION, classes.DONE_KVMI]) {
    t.deepEqual(new Subject().does(writes(lock.mmu)).awaits(cls).rules, ['L2'], cls.name);
  }
});

test('L2 broken: a vCPU in guest mode, for whose acknowledgement others wait, takes a mutex', (t) => {
  const subject = new Subject();
  subject.checks.owes(classes.WAIT_ACK);
  t.deepEqual(subject.does(spins(lock.job), unspins(lock.job)).rules, []);
  t.deepEqual(subject.does(takes(lock.slots)).rules, ['L2']);
});

test('L2: the report says what would have been waited for', (t) => {
  const waits = [takes(lock.connection), sleeps, synchronizes(lock.srcu), awaits];
  const messages = waits.map(
    (wait) => new Subject().does(spins(lock.split)).begins(wait).findings[0]!.message,
  );
  const names = ['connection_lock', 'the doorbell', 'a grace period of kvm.srcu', 'kvmi_complete'];
  t.deepEqual(
    messages,
    names.map((name) => `may wait for ${name} while holding split_lock, whose holder must not sleep`),
  );
});

// L3

test('L3 broken: a grace period inside its own section', (t) => {
  for (const srcu of [lock.srcu, lock.trackSrcu]) {
    t.deepEqual(new Subject().does(enters(srcu)).begins(synchronizes(srcu)).rules, ['L3']);
  }
});

test('L3: a grace period inside a section of another domain, or after the section', (t) => {
  t.deepEqual(new Subject().does(enters(lock.srcu), synchronizes(lock.trackSrcu)).rules, []);
  t.deepEqual(new Subject().does(enters(lock.otherSrcu), synchronizes(lock.srcu)).rules, []);
  t.deepEqual(new Subject().does(enters(lock.srcu), leaves(lock.srcu), synchronizes(lock.srcu)).rules, []);
});

test('L3: sections nest, and the outer one still counts when the inner one has ended', (t) => {
  const subject = new Subject().does(enters(lock.srcu), enters(lock.srcu), leaves(lock.srcu));
  t.deepEqual(subject.rules, []);
  t.deepEqual(subject.begins(synchronizes(lock.srcu)).rules, ['L3']);
});

for (const mutex of [lock.kvm, lock.kvmi, lock.arch]) {
  test(`L3 broken: a grace period of kvm.srcu under ${mutex.cls.name}`, (t) => {
    t.deepEqual(new Subject().does(takes(mutex), synchronizes(lock.srcu)).rules, ['L3']);
    t.deepEqual(new Subject().does(takes(mutex), drops(mutex), synchronizes(lock.srcu)).rules, []);
  });
}

test('L3: what the model does: kvm.srcu under slots_lock, track_srcu under kvmi_lock', (t) => {
  t.deepEqual(new Subject().does(takes(lock.slots), synchronizes(lock.srcu)).rules, []);
  t.deepEqual(new Subject().does(takes(lock.kvmi), synchronizes(lock.trackSrcu)).rules, []);
});

test('L3 broken: slots_lock inside a section of kvm.srcu (RC-66)', (t) => {
  t.deepEqual(new Subject().does(enters(lock.srcu), takes(lock.slots)).rules, ['L3']);
  t.deepEqual(new Subject().does(enters(lock.srcu), leaves(lock.srcu), takes(lock.slots)).rules, []);
  t.deepEqual(new Subject().does(takes(lock.slots), enters(lock.srcu)).rules, []);
  t.deepEqual(new Subject().does(enters(lock.trackSrcu), takes(lock.slots)).rules, []);
});

test('L3: kvm.lock, kvmi_lock and slots_arch_lock may be taken inside a section of kvm.srcu', (t) => {
  for (const mutex of [lock.kvm, lock.kvmi, lock.arch]) {
    t.deepEqual(new Subject().does(enters(lock.srcu), takes(mutex)).rules, []);
  }
});

test('L3 broken: kvmi_lock while holding a KVMI reference', (t) => {
  const subject = new Subject();
  subject.checks.owes(classes.DONE_KVMI);
  subject.checks.owes(classes.DONE_KVMI);
  subject.checks.settles(classes.DONE_KVMI);
  t.deepEqual(subject.does(takes(lock.kvmi), drops(lock.kvmi)).rules, ['L3']);
  t.deepEqual(subject.findings[0]!.held, ['owes kvmi_complete']);
  subject.checks.settles(classes.DONE_KVMI);
  t.deepEqual(subject.does(takes(lock.kvmi), drops(lock.kvmi)).rules, ['L3']);
  subject.checks.owes(classes.DONE_KVMI);
  t.deepEqual(subject.does(takes(lock.slots), writes(lock.mmu)).rules, ['L3']);
});

// L4

for (const [name, take, drop] of [
  ['access_tree_lock', reads(lock.tree), unreads(lock.tree)],
  ['mmu_lock', writes(lock.mmu), unwrites(lock.mmu)],
  ['job_lock', spins(lock.job), unspins(lock.job)],
  ['slots_lock', takes(lock.slots), drops(lock.slots)],
] as const) {
  test(`L4 broken: waiting for the introspector while holding ${name}`, (t) => {
    const subject = new Subject().does(take);
    subject.awaits(classes.WAIT_REPLY);
    t.deepEqual(subject.rules, ['L4']);
    t.regex(subject.findings[0]!.message, new RegExp(name));
    subject.does(drop);
    subject.awaits(classes.WAIT_REPLY);
    t.deepEqual(subject.rules, ['L4']);
  });
}

test('L2 broken: waiting for the introspector while holding any other lock whose holder must not sleep', (t) => {
  for (const spin of [lock.split, lock.invalidate]) {
    const subject = new Subject().does(spins(spin));
    subject.awaits(classes.WAIT_REPLY);
    t.deepEqual(subject.rules, ['L2'], spin.cls.name);
  }
});

test('L4: waiting for the introspector with a vCPU’s mutex, both sections and a reference', (t) => {
  const subject = new Subject().does(takes(lock.vcpu), enters(lock.srcu), enters(lock.trackSrcu));
  subject.checks.owes(classes.DONE_KVMI);
  subject.awaits(classes.WAIT_REPLY);
  t.deepEqual(subject.rules, []);
});

// L5

for (const [name, take, again] of [
  ['a spinlock', spins(lock.job), spins(lock.job)],
  ['a reader that enters again', reads(lock.mmu), reads(lock.mmu)],
  ['a reader that becomes a writer', reads(lock.mmu), writes(lock.mmu)],
  ['a writer that becomes a reader', writes(lock.mmu), reads(lock.mmu)],
  ['a writer', writes(lock.tree), writes(lock.tree)],
  ['a mutex', takes(lock.slots), takes(lock.slots)],
] as const) {
  test(`L5 broken: taken twice by one actor: ${name}`, (t) => {
    t.deepEqual(new Subject().does(take).begins(again).rules, ['L5']);
  });
}

test('L5: a lock taken again after its release, another lock of its kind, a section inside a section', (t) => {
  const subject = new Subject().does(reads(lock.mmu), unreads(lock.mmu), writes(lock.mmu), reads(lock.tree));
  t.deepEqual(subject.does(enters(lock.srcu), enters(lock.srcu)).rules, []);
});

// UNHELD

test('UNHELD: a lock released that is not held, or not in that mode', (t) => {
  t.deepEqual(new Subject().begins(unspins(lock.job)).rules, ['UNHELD']);
  t.deepEqual(new Subject().does(reads(lock.mmu)).begins(unwrites(lock.mmu)).rules, ['UNHELD']);
  t.deepEqual(new Subject().does(writes(lock.mmu)).begins(unreads(lock.mmu)).rules, ['UNHELD']);
  t.deepEqual(new Subject().does(takes(lock.slots), drops(lock.slots)).begins(drops(lock.slots)).rules, [
    'UNHELD',
  ]);
  t.deepEqual(new Subject().does(takes(lock.vcpu)).begins(drops(lock.otherVcpu)).rules, ['UNHELD']);
});

test('UNHELD: a section left by the side it is not counted in', (t) => {
  t.deepEqual(new Subject().does(enters(lock.srcu)).begins(leaves(lock.srcu, 1)).rules, ['UNHELD']);
  t.deepEqual(new Subject().begins(leaves(lock.srcu)).rules, ['UNHELD']);
});

test('UNHELD: a debt settled that was never owed', (t) => {
  const subject = new Subject();
  subject.checks.settles(classes.DONE_KVMI);
  subject.checks.owes(classes.DONE_KVMI);
  subject.checks.settles(classes.DONE_KVMI);
  t.deepEqual(subject.rules, ['UNHELD']);
  t.false(subject.checks.holds(classes.DONE_KVMI));
});

// What a finding says

test('a finding names the actor, what it held, oldest first, and where it was', (t) => {
  const subject = new Subject(true).does(enters(lock.srcu), reads(lock.tree));
  function breaksTheOrder(actor: Actor): Path<void> {
    return writeLock(actor, lock.mmu);
  }
  subject.does(breaksTheOrder);
  const [finding] = subject.findings;
  t.is(finding!.actor, 'vcpu 3');
  t.is(
    finding!.message,
    `mmu_lock (write) at 0x${lock.mmu.addr.toString(16)} taken while holding access_tree_lock, which comes later in the order`,
  );
  t.is(finding!.held.length, 2);
  t.regex(finding!.held[0]!, /^kvm\.srcu \(read\) at 0x[0-9a-f]+ taken at .*checks\.test/);
  t.regex(finding!.held[1]!, /^access_tree_lock \(read\) at 0x[0-9a-f]+ taken at .*checks\.test/);
  // The innermost frame is the caller's, not the lock code's.
  t.regex(finding!.stack.split('\n')[0]!, /checks\.test/);
  t.notRegex(finding!.stack, /src\/shared\/sync/);
});

test('debts that the actor has settled are not among what it holds', (t) => {
  const subject = new Subject();
  subject.checks.owes(classes.DONE_KVMI);
  subject.checks.settles(classes.DONE_KVMI);
  subject.does(reads(lock.tree), writes(lock.mmu));
  t.is(subject.findings[0]!.held.length, 1);
});

test('a finding shows deeper than stacks usually go, and leaves that limit as it was', (t) => {
  const limit = Error.stackTraceLimit;
  const subject = new Subject();
  const deep = (level: number): unknown =>
    level > 0 ? [deep(level - 1)] : subject.checks.settles(classes.DONE_KVMI);
  deep(20);
  t.true(subject.findings[0]!.stack.split('\n').filter((frame) => frame.startsWith('deep')).length > 15);
  t.is(Error.stackTraceLimit, limit);
});

test('a finding stops nobody: the actor has the lock and goes on', (t) => {
  const subject = new Subject().does(
    reads(lock.tree),
    writes(lock.mmu),
    unwrites(lock.mmu),
    unreads(lock.tree),
  );
  t.deepEqual(subject.rules, ['L1']);
  t.deepEqual(subject.checks.held, []);
});

test('without a validator nothing is said about where a lock was taken', (t) => {
  const subject = new Subject().does(reads(lock.tree), writes(lock.mmu));
  t.regex(subject.findings[0]!.held[0]!, /^access_tree_lock \(read\) at 0x[0-9a-f]+$/);
});

// L6 to L9

test('L6 broken: what may only signal takes a lock, or waits', (t) => {
  for (const path of [spins(lock.job), takes(lock.kvmi), writes(lock.mmu), synchronizes(lock.srcu), awaits]) {
    const subject = new Subject();
    subject.checks.beginSignal('the last put');
    subject.does(completes);
    t.deepEqual(subject.rules, []);
    t.true(subject.does(completes, path).rules.includes('L6'));
    subject.checks.endSignal();
    const sixes = () => subject.rules.filter((rule) => rule === 'L6').length;
    const before = sixes();
    subject.does(completes, awaits);
    t.is(sixes(), before);
  }
});

test('L7 broken: a host invalidation takes slots_lock or slots_arch_lock', (t) => {
  for (const mutex of [lock.slots, lock.arch]) {
    const subject = new Subject();
    subject.checks.owes(classes.HOST_INVALIDATION);
    t.deepEqual(subject.does(takes(mutex), drops(mutex)).rules, ['L7']);
    t.deepEqual(subject.does(spins(lock.invalidate), unspins(lock.invalidate), writes(lock.mmu)).rules, [
      'L7',
    ]);
    subject.does(unwrites(lock.mmu));
    subject.checks.settles(classes.HOST_INVALIDATION);
    t.deepEqual(subject.does(takes(mutex)).rules, ['L7']);
  }
});

test('L8, L9 broken: done without the lock that makes it right', (t) => {
  for (const rule of ['L8', 'L9'] as const) {
    const subject = new Subject().does(writes(lock.mmu));
    subject.checks.expectHeld(rule, 'an spte installed', classes.LOCK_MMU);
    subject.checks.expectHeld(rule, 'a slot used', classes.SRCU_KVM, classes.LOCK_MMU);
    t.deepEqual(subject.rules, []);
    subject.checks.expectHeld(rule, 'a slot used', classes.SRCU_KVM, classes.LOCK_SLOTS);
    subject.does(unwrites(lock.mmu));
    subject.checks.expectHeld(rule, 'an spte installed', classes.LOCK_MMU);
    t.deepEqual(
      subject.findings.map(({ message }) => message),
      ['a slot used without kvm.srcu or slots_lock', 'an spte installed without mmu_lock'],
    );
  }
});

test('what an actor has asked for and not got', (t) => {
  const subject = new Subject().begins(takes(lock.slots));
  t.is(subject.checks.wanted?.cls, classes.LOCK_SLOTS);
  subject.checks.acquired(classes.LOCK_SLOTS, lock.slots.addr, 'write', 0);
  t.is(subject.checks.wanted, null);
  // While it waits for a reply it takes and releases job_lock; it wants the reply all the time.
  subject.checks.awaiting(classes.WAIT_REPLY);
  subject.does(spins(lock.job), unspins(lock.job));
  t.is(subject.checks.wanted?.cls, classes.WAIT_REPLY);
  subject.checks.awaited();
  t.is(subject.checks.wanted, null);
});
