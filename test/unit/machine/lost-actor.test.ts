/** What the dead leave behind: counts are given back, a lock stops the machine and is named. No threads. */
import test from 'ava';
import { hook } from '../../../src/actors/introspector/hook.ts';
import { allocateMemory, initializeVm } from '../../../src/actors/mmu/create-vm.ts';
import { kvmiGet } from '../../../src/actors/mmu/kvmi-ref.ts';
import { identify } from '../../../src/actors/thread.ts';
import { bury, buryControl, buryIntrospector, buryVcpu } from '../../../src/machine/lost-actor.ts';
import { VCPU_LOST, VCPU_WAITING } from '../../../src/shared/layout/vcpu.ts';
import { mutexLock } from '../../../src/shared/sync/mutex.ts';
import { drive, type Path } from '../../../src/shared/sync/point.ts';
import { readLock, writeLock } from '../../../src/shared/sync/rw-lock.ts';
import { spinLock } from '../../../src/shared/sync/spinlock.ts';
import { srcuReadLock, synchronizeSrcu } from '../../../src/shared/sync/srcu.ts';

/** A hooked machine of two vCPUs, and the identities of its actors, all in this thread. */
function machine() {
  const config = {
    vcpuCount: 2,
    ramPages: 16,
    gfnCount: 64,
    accessLimit: 8,
    traceBytes: 0,
    actorCount: 5,
  };
  const { memory } = allocateMemory(config);
  const names = ['vcpu 0', 'vcpu 1', 'introspector', 'control', 'machine'];
  const actors = names.map((name, actor) =>
    identify({ memory, config, actor, name, lockdep: false }, () => {}),
  );
  const { vm, actor: owner } = actors[4]!;
  drive(owner, initializeVm(owner, vm, { quirks: [], strict: false, checked: true }));
  drive(owner, hook(owner, vm));
  return { vm, owner, actors: actors.map(({ actor }) => actor) };
}

/** Runs a path until it would wait: it stays there, as its dead thread would. */
function untilItWaits(path: Path<unknown>): void {
  const WAITING = 3;
  for (let step = path.next(0); !step.done && step.value % 8 !== WAITING; ) step = path.next(0);
}

test('sections of srcu are ended: grace periods are not held up by the dead', (t) => {
  const { vm, owner, actors } = machine();
  const [dead, other] = [actors[0]!, actors[1]!];
  for (const srcu of [vm.srcu, vm.srcu, vm.trackSrcu]) drive(dead, srcuReadLock(dead, srcu));
  const side = drive(other, srcuReadLock(other, vm.srcu));
  t.is(bury(owner, vm, 0), null);
  drive(owner, synchronizeSrcu(owner, vm.trackSrcu));
  // The living reader is still waited for: only the dead one's sections are gone.
  const synchronizing = synchronizeSrcu(owner, vm.srcu);
  untilItWaits(synchronizing);
  t.is(vm.mem.load(vm.srcu.addr + 4 + side * 4), 3, 'one reader, and a drain that waits for it');
});

test('references of the dead are given back, and the last one signals', (t) => {
  const { vm, owner, actors } = machine();
  const dead = actors[1]!;
  t.true(drive(dead, kvmiGet(dead, vm)));
  t.true(drive(dead, kvmiGet(dead, vm)));
  t.is(vm.mem.load(vm.word('KVMI_REF')), 3);
  t.is(bury(owner, vm, 1), null);
  t.is(vm.mem.load(vm.word('KVMI_REF')), 1);
  buryIntrospector(owner, vm);
  t.is(vm.mem.load(vm.word('KVMI_REF')), 0);
  // A second time, as when the introspector died while it was closing.
  buryIntrospector(owner, vm);
  t.is(vm.mem.load(vm.word('KVMI_REF')), 0);
});

test('a lock that the dead held stops the machine, and is named', (t) => {
  for (const [take, message] of [
    [(m: ReturnType<typeof machine>) => writeLock(m.actors[0]!, m.vm.mmuLock), 'it held mmu_lock for write'],
    [(m) => readLock(m.actors[0]!, m.vm.accessTreeLock), 'it held access_tree_lock'],
    [(m) => spinLock(m.actors[0]!, m.vm.jobLocks[1]!), 'it held job_lock'],
    [(m) => spinLock(m.actors[0]!, m.vm.splitLock), 'it held split_lock'],
    [(m) => mutexLock(m.actors[0]!, m.vm.slotsLock), 'it held slots_lock'],
  ] as readonly [(m: ReturnType<typeof machine>) => Path<unknown>, string][]) {
    const m = machine();
    drive(m.actors[0]!, take(m));
    t.is(bury(m.owner, m.vm, 0), message);
    t.is(bury(m.owner, m.vm, 1), null, 'it is the lock of the one who took it');
  }
});

test('a place in the queue of a fair lock, and a grace period under way, are named too', (t) => {
  const m = machine();
  drive(m.actors[1]!, writeLock(m.actors[1]!, m.vm.mmuLock));
  untilItWaits(readLock(m.actors[0]!, m.vm.mmuLock));
  t.is(bury(m.owner, m.vm, 0), 'it was queued for mmu_lock');
  const n = machine();
  drive(n.actors[1]!, srcuReadLock(n.actors[1]!, n.vm.srcu));
  untilItWaits(synchronizeSrcu(n.actors[3]!, n.vm.srcu));
  t.is(bury(n.owner, n.vm, 3), 'it was waiting for a grace period of kvm.srcu');
});

test('a dead vCPU is outside guest mode, ended, and neither parked nor waited for', (t) => {
  const { vm, owner } = machine();
  const { mem } = vm;
  const word = (name: Parameters<typeof vm.vcpuWord>[1]) => vm.vcpuWord(1, name);
  mem.store(word('STATE'), VCPU_WAITING);
  mem.store(word('WAITING'), 1);
  mem.store(word('MODE'), 1);
  mem.store(word('PARKED'), 1);
  mem.store(vm.word('PARKED'), 2);
  const bell = mem.load(vm.word('RECEIVER_BELL'));
  const outside = mem.load(word('OUTSIDE_COUNT'));
  buryVcpu(owner, vm, 1);
  t.is(mem.load(word('STATE')), VCPU_LOST);
  t.is(mem.load(word('MODE')), 0);
  t.is(mem.load(word('OUTSIDE_COUNT')), outside + 1);
  t.is(mem.load(word('WAITING')), 0);
  t.is(mem.load(word('KVMI_BLOCK')), 0);
  t.is(mem.load(vm.word('PARKED')), 1);
  t.is(mem.load(vm.word('LIVE_VCPUS')), 1);
  t.not(mem.load(vm.word('RECEIVER_BELL')), bell);
  buryVcpu(owner, vm, 1);
  t.is(mem.load(vm.word('LIVE_VCPUS')), 1, 'once');
});

test('when VM control dies during a check, the parked go on', (t) => {
  const { vm } = machine();
  vm.mem.store(vm.word('PARK'), 1);
  buryControl(vm);
  t.is(vm.mem.load(vm.word('PARK')), 0);
});
