/** What counts as a standstill: one wait for one lock, or a vCPU that runs and gets nowhere. Not a tool that thinks. */
import test from 'ava';
import { allocateMemory } from '../../../src/actors/mmu/create-vm.ts';
import { identify } from '../../../src/actors/thread.ts';
import { STALL_MS, Watchdog } from '../../../src/machine/watchdog.ts';
import { CPU } from '../../../src/shared/layout/cpu.ts';
import { VCPU_RUNNING, VCPU_WAITING } from '../../../src/shared/layout/vcpu.ts';
import { LOCK_MMU } from '../../../src/shared/sync/lock-class.ts';

const NAMES = ['vcpu 0', 'vcpu 1', 'introspector', 'control'];

function machine() {
  const config = {
    vcpuCount: 2,
    ramPages: 4,
    gfnCount: 64,
    accessLimit: 8,
    traceBytes: 0,
    actorCount: 5,
  };
  const { memory } = allocateMemory(config);
  const actors = NAMES.map((name, actor) =>
    identify({ memory, config, actor, name, lockdep: false }, () => {}),
  );
  return {
    vm: actors[0]!.vm,
    actors: actors.map(({ actor }) => actor),
    watchdog: new Watchdog(actors[0]!.vm, NAMES),
  };
}

test('a wait for one lock that does not end', (t) => {
  const { vm, actors, watchdog } = machine();
  actors[3]!.waitBegins(LOCK_MMU, vm.mmuLock.addr, 'write');
  t.is(watchdog.look(0), null);
  t.is(watchdog.look(STALL_MS - 1), null);
  t.regex(watchdog.look(STALL_MS) ?? '', /^control has waited for mmu_lock for 10 s: vCPU 0 created/);
});

test('one wait after the other is no standstill', (t) => {
  const { vm, actors, watchdog } = machine();
  for (let now = 0; now < 5 * STALL_MS; now += STALL_MS / 2) {
    actors[3]!.waitBegins(LOCK_MMU, vm.mmuLock.addr, 'write');
    t.is(watchdog.look(now), null);
    actors[3]!.waitEnds(LOCK_MMU, vm.mmuLock.addr, 'write');
  }
});

test('a vCPU that runs and retires nothing; a single instruction is progress', (t) => {
  const { vm, watchdog } = machine();
  vm.mem.store(vm.vcpuWord(1, 'STATE'), VCPU_RUNNING);
  t.is(watchdog.look(0), null);
  vm.mem.u64[(vm.cpu(1) + CPU.at.RETIRED) / 8] = 1n;
  t.is(watchdog.look(STALL_MS), null);
  t.regex(watchdog.look(2 * STALL_MS) ?? '', /^vCPU 1 has got nowhere for 10 s: .*vCPU 1 running$/);
});

test('a vCPU may wait for the tool for as long as the tool likes', (t) => {
  const { vm, watchdog } = machine();
  vm.mem.store(vm.vcpuWord(1, 'STATE'), VCPU_WAITING);
  t.is(watchdog.look(0), null);
  t.is(watchdog.look(100 * STALL_MS), null);
});
