/** The rules where the machine's own code waits, publishes and looks up: each broken once by a caller that holds, or lacks, a lock. */
import test from 'ava';
import { kvmiGet, kvmiPut } from '../../../src/actors/mmu/kvmi-ref.ts';
import { handlePageFault } from '../../../src/actors/mmu/page-fault.ts';
import { whileParked } from '../../../src/actors/mmu/quiesce.ts';
import { requestAll, requestWord } from '../../../src/actors/mmu/requests.ts';
import { serveRequests, sleepHalted } from '../../../src/actors/vcpu/entry.ts';
import { World } from '../../../src/explore/world/world.ts';
import { ACCESS_R } from '../../../src/shared/layout/cpu.ts';
import { IN_GUEST, REQ_PARK, REQ_TLB_FLUSH } from '../../../src/shared/layout/vcpu.ts';
import { DONE_KVMI, WAIT_ACK } from '../../../src/shared/sync/lock-class.ts';
import { drive, type Path, POINT_KINDS, WAITING } from '../../../src/shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../src/shared/sync/rw-lock.ts';

/** Goes on until the path would sleep, or ends. */
function untilItWaits(path: Path<unknown>): void {
  for (let step = path.next(0); !step.done; step = path.next(0)) {
    if (step.value % POINT_KINDS === WAITING) return;
  }
}

function small() {
  const world = new World({ vcpuCount: 2 });
  world.slot({});
  world.hook();
  const rules = () => world.lockFindings.map(({ rule }) => rule);
  return { world, vm: world.vm, control: world.control, vcpu: world.vcpus[0]!, rules };
}

test('L2: a check of the whole machine is not asked for under mmu_lock', (t) => {
  const { world, vm, control, rules } = small();
  untilItWaits(whileParked(control, vm, function* () {}));
  t.deepEqual(rules(), []);
  world.alone(writeLock(control, vm.mmuLock));
  untilItWaits(whileParked(control, vm, function* () {}));
  t.deepEqual(rules(), ['L2']);
});

test('L2: a vCPU does not park, nor halt, under mmu_lock', (t) => {
  for (const stands of [sleepHalted, serveRequests]) {
    const { vm, control, vcpu, rules } = small();
    drive(vcpu.actor, vcpu.enterSrcu());
    drive(vcpu.actor, writeLock(vcpu.actor, vm.mmuLock));
    vm.mem.store(requestWord(vm, 0), 0);
    if (stands === serveRequests) {
      vm.mem.store(vm.word('PARK'), 1);
      drive(control, requestAll(control, vm, { bits: REQ_PARK, wait: false }));
    }
    untilItWaits(stands(vcpu));
    t.deepEqual(rules(), ['L2'], stands.name);
  }
});

test('L2: a waited request is allowed under mmu_lock, but not from guest mode', (t) => {
  const { vm, control, rules } = small();
  vm.mem.store(vm.vcpuWord(1, 'MODE'), IN_GUEST);
  drive(control, writeLock(control, vm.mmuLock));
  untilItWaits(requestAll(control, vm, { bits: REQ_TLB_FLUSH, wait: true }));
  t.is(control.checks?.wanted?.cls, WAIT_ACK);
  t.deepEqual(rules(), []);
});

test('L6: the last put of a reference only signals, under any lock', (t) => {
  const { vm, control, vcpu, rules } = small();
  t.true(drive(vcpu.actor, kvmiGet(vcpu.actor, vm)));
  t.true(vcpu.actor.checks?.holds(DONE_KVMI));
  drive(vcpu.actor, writeLock(vcpu.actor, vm.mmuLock));
  // The receiver's own reference goes, so that this one is the last.
  vm.mem.add(vm.word('KVMI_REF'), -1);
  drive(vcpu.actor, kvmiPut(vcpu.actor, vm));
  drive(vcpu.actor, writeUnlock(vcpu.actor, vm.mmuLock));
  t.deepEqual(rules(), []);
  t.is(control.checks?.held.length, 0);
});

test('L8: a fault looks up its slot inside kvm.srcu', (t) => {
  const { vcpu, rules } = small();
  vcpu.vm.mem.store(vcpu.word('ROOT'), 0);
  untilItWaits(handlePageFault(vcpu, 1, ACCESS_R));
  t.deepEqual(rules(), ['L8']);
});
