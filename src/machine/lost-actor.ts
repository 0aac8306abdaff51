/**
 * What becomes of the machine when the thread of an actor dies: what it had is given back, or the machine cannot go on.
 *
 * A thread can die anywhere. Sections of srcu and KVMI references are mere counts: they are subtracted. A lock is a
 * promise about the data behind it, and a dead holder cannot keep it; nor can a place in a fair lock's queue be given
 * up for somebody else. Then the machine has to stop, and the lock is named.
 *
 * All of it runs in the main thread and waits for nobody.
 */
import { ringBell, shutConnection } from '../actors/introspector/hook.ts';
import { Session } from '../actors/introspector/session.ts';
import { endIntrospection } from '../actors/introspector/vcpu-side.ts';
import { endTurn, leaveGuestMode } from '../actors/mmu/requests.ts';
import type { Vm } from '../actors/mmu/vm.ts';
import { VCPU_EXITED, VCPU_LOST } from '../shared/layout/vcpu.ts';
import type { Actor } from '../shared/sync/actor.ts';
import { complete } from '../shared/sync/completion.ts';
import { holderOf } from '../shared/sync/futex.ts';
import { DONE_KVMI, LOCK_CLASSES, type LockClass, NO_RANK } from '../shared/sync/lock-class.ts';
import type { Mutex } from '../shared/sync/mutex.ts';
import { drive } from '../shared/sync/point.ts';
import { RWLOCK, type RwLock } from '../shared/sync/rw-lock.ts';
import type { SpinLock } from '../shared/sync/spinlock.ts';
import { SRCU, type Srcu } from '../shared/sync/srcu.ts';
import { STATS, STATS_BYTES, statsAddress } from '../shared/sync/stats.ts';

/**
 * Gives back what actor number `index` had.
 *
 * @param machine  the main thread's own identity
 * @returns why the machine cannot go on, or null when the others can
 */
export function bury(machine: Actor, vm: Vm, index: number): string | null {
  const blocks = heldLock(vm, index);
  releaseSections(vm, index);
  wakeEverybody(vm);
  if (blocks !== null) return blocks;
  releaseReferences(machine, vm, index);
  return null;
}

/** Nobody waits for vCPU `index` any more. */
export function buryVcpu(machine: Actor, vm: Vm, index: number): void {
  const { mem } = vm;
  const word = (name: Parameters<Vm['vcpuWord']>[1]) => vm.vcpuWord(index, name);
  if (mem.load(word('STATE')) < VCPU_EXITED) mem.store(word('STATE'), VCPU_LOST);
  mem.store(word('WAITING'), 0);
  drive(machine, leaveGuestMode(vm, index));
  drive(machine, endTurn(machine, vm, index));
  if (mem.exchange(word('PARKED'), 0) === 1) mem.add(vm.word('PARKED'), -1);
  if (endIntrospection(vm, index)) mem.add(vm.word('LIVE_VCPUS'), -1);
  mem.notify(vm.word('PARKED'));
  drive(machine, ringBell(vm));
}

/** The session of a receiver that is gone ends as a lost connection does: vCPUs that wait for it go on. */
export function buryIntrospector(machine: Actor, vm: Vm): void {
  drive(machine, shutConnection(vm));
  drive(machine, new Session(machine, vm).close());
}

/** vCPUs that stand still for a check that nobody will make go on. */
export function buryControl(vm: Vm): void {
  vm.mem.store(vm.word('PARK'), 0);
  vm.mem.notify(vm.word('PARK'));
}

/** A lock that the actor held, or a queue it stood in; null for none. */
function heldLock(vm: Vm, index: number): string | null {
  const { mem } = vm;
  const id = index + 1;
  for (const lock of ownedWords(vm)) {
    if (holderOf(mem.load(lock.addr)) === id) return `it held ${lock.cls.name}`;
  }
  for (const lock of [vm.mmuLock, vm.accessTreeLock]) {
    const state = mem.load(lock.addr + RWLOCK.at.STATE);
    if ((state & 1) !== 0 && state >>> 2 === id) return `it held ${lock.cls.name} for write`;
  }
  for (const srcu of [vm.srcu, vm.trackSrcu]) {
    if (holderOf(mem.load(srcu.addr + SRCU.at.SYNCHRONIZER)) === id) {
      return `it was waiting for a grace period of ${srcu.cls.name}`;
    }
  }
  for (const cls of LOCK_CLASSES) {
    if (cls.rank === NO_RANK) continue;
    if (held(vm, index, cls, 0) > 0) return `it held ${cls.name}`;
    if (cls.kind === 'rwlock' && mem.load(record(vm, index, cls) + STATS.at.WAITING) !== 0) {
      return `it was queued for ${cls.name}`;
    }
  }
  return null;
}

/** Mutexes and spinlocks: their words say who holds them. */
function ownedWords(vm: Vm): (Mutex | SpinLock)[] {
  return [
    vm.kvmLock,
    vm.kvmiLock,
    vm.slotsLock,
    vm.slotsArchLock,
    vm.mnInvalidateLock,
    vm.connectionLock,
    vm.splitLock,
    ...vm.vcpuMutexes,
    ...vm.jobLocks,
  ];
}

function releaseSections(vm: Vm, index: number): void {
  const { mem } = vm;
  for (const srcu of [vm.srcu, vm.trackSrcu]) {
    for (const side of [0, 1]) {
      const sections = held(vm, index, srcu.cls, side);
      if (sections <= 0) continue;
      mem.store(record(vm, index, srcu.cls) + STATS.at.HELD + side * 4, 0);
      mem.add(srcu.addr + SRCU.at.READERS + side * 4, -SRCU_READER * sections);
    }
  }
}

/** One reader in SRCU.READERS: bit 0 is the drain's. */
const SRCU_READER = 2;

function releaseReferences(machine: Actor, vm: Vm, index: number): void {
  const { mem } = vm;
  for (let left = held(vm, index, DONE_KVMI, 0); left > 0; left--) {
    if (mem.add(vm.word('KVMI_REF'), -1) === 1) drive(machine, complete(machine, vm.kvmiComplete));
  }
  mem.store(record(vm, index, DONE_KVMI) + STATS.at.HELD, 0);
}

/** A wake-up may have gone to the dead: everybody looks again. Being woken for nothing is part of every wait. */
function wakeEverybody(vm: Vm): void {
  const { mem } = vm;
  const wake = (lock: Mutex | SpinLock | RwLock | Srcu, offset = 0) => mem.notify(lock.addr + offset);
  for (const lock of ownedWords(vm)) wake(lock);
  for (const lock of [vm.mmuLock, vm.accessTreeLock]) {
    wake(lock, RWLOCK.at.STATE);
    wake(lock, RWLOCK.at.SERVING);
  }
  for (const srcu of [vm.srcu, vm.trackSrcu]) {
    wake(srcu, SRCU.at.SYNCHRONIZER);
    for (const side of [0, 1]) wake(srcu, SRCU.at.READERS + side * 4);
  }
}

function held(vm: Vm, index: number, cls: LockClass, side: number): number {
  return vm.mem.load(record(vm, index, cls) + STATS.at.HELD + side * 4);
}

function record(vm: Vm, index: number, cls: LockClass): number {
  return statsAddress(vm.layout.stats + index * STATS_BYTES, cls);
}
