/**
 * Schedules led by hand to where a race was found or suspected, each named for what must not happen.
 */
import test from 'ava';
import { shutConnection, unhook } from '../../src/actors/introspector/hook.ts';
import { KVMI_EVENT_ACTION_CONTINUE as CONTINUE } from '../../src/actors/introspector/kvmi/constants.ts';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import { handlePageFault } from '../../src/actors/mmu/page-fault.ts';
import { zapAllRoots } from '../../src/actors/mmu/roots.ts';
import { dirtyWord } from '../../src/actors/mmu/slot-arena.ts';
import { activeSet, findSlot } from '../../src/actors/mmu/slot-sets.ts';
import type { Access } from '../../src/actors/vcpu/access-program.ts';
import type { Vcpu } from '../../src/actors/vcpu/vcpu.ts';
import { SLOT_LOG_DIRTY } from '../../src/shared/layout/memslot.ts';
import { notifying, relaxing, updating, waiting, writing } from '../../src/shared/sync/point.ts';
import { RWLOCK } from '../../src/shared/sync/rw-lock.ts';
import { Puppet } from '../support/puppet.ts';
import { SmallMachine, type SmallMachineOptions } from '../support/small-machine.ts';

const R = 1;
const W = 2;
const PAGE = 4096;
const VICTIM = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 8, ramPage: 16 };

function stage(options: SmallMachineOptions = {}): SmallMachine {
  const machine = new SmallMachine(options);
  machine.slot({ id: 0, baseGfn: 0, npages: 16, ramPage: 0 });
  machine.slot(VICTIM);
  machine.hook();
  machine.enablePf(...machine.vcpus.keys());
  return machine;
}

const write = (gpa: number, value: bigint): Access => ({ kind: 'write', gpa, size: 1, value });

test('a fault that found the slot before it became INVALID maps nothing that was denied meanwhile', (t) => {
  const machine = stage();
  const { vm, control, session } = machine;
  const mmuLock = updating(vm.mmuLock.addr + RWLOCK.at.STATE);
  // vCPU: root and first page mapped (lock, unlock twice); then about to take mmu_lock for the second page, its slot looked up.
  const vcpu = new Puppet(machine.program(0, [write(4 * PAGE, 1n), write(33 * PAGE, 9n)]));
  vcpu.until(mmuLock, 5);
  // Control: INVALID is published, the grace period waits for that vCPU.
  const deletion = new Puppet(setMemoryRegion(control, vm, { ...VICTIM, npages: 0 }));
  deletion.untilAsleep();
  // Tool: the page may not be written, and the command is over.
  machine.alone(session.setPageAccess(33 * PAGE, R, { needSlot: false }));
  const page = vm.ramPage(VICTIM.ramPage + 1);
  t.is(vm.mem.u8[page], 0);

  machine.together(
    1,
    machine.toolRunner(function* () {
      return CONTINUE;
    }),
    { name: 'vcpu 0', waiter: machine.vcpus[0]!.actor, path: vcpu.path },
    { name: 'control', waiter: control, path: deletion.path },
  );
  // The slot is gone: the store is lost, or it was asked for while the slot was there.
  t.is(vm.mem.u8[page], machine.events.length === 0 ? 0 : 9);
  t.deepEqual(machine.verdict(), []);
});

test('a fast fault does not give back W under a root that was freed and is another space now', (t) => {
  const machine = stage({ vcpuCount: 2 });
  const { vm, control } = machine;
  const [first] = machine.vcpus as [Vcpu, Vcpu];
  machine.slot({ id: 0, asId: 1, baseGfn: 0, npages: 16, ramPage: 0 });
  machine.slot({ ...VICTIM, asId: 1, flags: SLOT_LOG_DIRTY });
  machine.slot({ ...VICTIM, flags: SLOT_LOG_DIRTY });
  vm.mem.store(vm.vcpuWord(1, 'AS_ID'), 1);
  const read: Access = { kind: 'read', gpa: 33 * PAGE, size: 1 };
  // vCPU 0 has the page without W, for its slot logs, and is about to look for W without mmu_lock.
  machine.alone(machine.program(0, [read]));
  machine.alone(first.enterSrcu());
  const fault = new Puppet(handlePageFault(first, 33, W));
  fault.until(writing(first.word('MODE')));
  // All roots go; the first one that is made again is that of the other space, for vCPU 1.
  machine.alone(zapAllRoots(control, vm));
  machine.alone(machine.program(1, [read]));
  t.is(vm.mem.load(vm.vcpuWord(1, 'ROOT')), vm.mem.load(vm.vcpuWord(0, 'ROOT')), 'as the race needs it');
  while (!fault.done) fault.step();
  machine.alone(first.leaveSrcu());
  machine.alone(machine.program(1, [write(33 * PAGE, 9n)]));
  t.is(vm.mem.u8[vm.ramPage(VICTIM.ramPage + 1)], 9);
  const other = findSlot(vm, activeSet(vm, 1), 33)!;
  t.is(vm.mem.load(dirtyWord(vm, other.arch, 1)) & 2, 2, 'the store is in the log of its slot (I14)');
});

for (const [what, places] of [
  ['onto itself', [33]],
  ['away and back', [64, VICTIM.baseGfn]],
] as const) {
  test(`a slot moved ${what} between the end of a session and unhook owes no track counts`, (t) => {
    const machine = stage();
    const { vm, control, session } = machine;
    machine.access(34, R);
    machine.alone(session.close());
    for (const baseGfn of places) machine.alone(setMemoryRegion(control, vm, { ...VICTIM, baseGfn }));
    machine.alone(unhook(control, vm));
    t.deepEqual(machine.verdict(), []);
  });
}

test('a MOVE that fails between the end of a session and unhook gives all track counts back', (t) => {
  const machine = stage();
  const { vm, control, session } = machine;
  machine.access(34, R);
  machine.alone(session.close());
  vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
  t.true(machine.alone(setMemoryRegion(control, vm, { ...VICTIM, baseGfn: 33 })) < 0);
  machine.alone(unhook(control, vm));
  t.deepEqual(machine.verdict(), []);
});

test('a store that begins where no slot is sleeps while the slot of its end is INVALID', (t) => {
  const machine = stage();
  const { vm, control } = machine;
  const deletion = new Puppet(setMemoryRegion(control, vm, { ...VICTIM, npages: 0 }));
  deletion.until(notifying(vm.word('SLOT_PUBLICATIONS')));
  const vcpu = new Puppet(machine.program(0, [{ kind: 'write', gpa: 32 * PAGE - 4, size: 8, value: 1n }]));
  // Its fault is that of the first page, again and again: only the emulator meets the INVALID slot.
  const asleep = waiting(vm.word('SLOT_PUBLICATIONS'));
  for (let steps = 0; steps < 500 && vcpu.point !== asleep; steps++) vcpu.step();
  t.is(vcpu.point, asleep);

  machine.together(
    1,
    { name: 'vcpu 0', waiter: machine.vcpus[0]!.actor, path: vcpu.path },
    { name: 'control', waiter: control, path: deletion.path },
  );
  t.deepEqual(machine.verdict(), []);
});

test('a strict vCPU that gets no answer lets others move before it asks again', (t) => {
  const machine = stage({ strict: true });
  const { vm, session, receiver } = machine;
  machine.access(33, R);
  machine.alone(shutConnection(vm));
  const vcpu = new Puppet(machine.program(0, [write(33 * PAGE, 9n)]));
  vcpu.until(relaxing(vm.word('KVMI_SHUT')), 3);
  t.is(vm.mem.u8[vm.ramPage(VICTIM.ramPage + 1)], 0);

  machine.together(
    1,
    { name: 'vcpu 0', waiter: machine.vcpus[0]!.actor, path: vcpu.path },
    { name: 'receiver', waiter: receiver, path: session.close() },
  );
  t.is(vm.mem.u8[vm.ramPage(VICTIM.ramPage + 1)], 9, 'released, nobody is asked any more');
  t.deepEqual(machine.verdict(), []);
});
