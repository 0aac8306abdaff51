/** Numbers of commands: an answer that is left over from the session before is nobody's, whichever session this is. */
import test from 'ava';
import { Session } from '../../../src/actors/introspector/session.ts';
import { jobRing, messageRing } from '../../../src/actors/introspector/vcpu-side.ts';
import { allocateMemory } from '../../../src/actors/mmu/create-vm.ts';
import { Vm } from '../../../src/actors/mmu/vm.ts';
import { machineLayout } from '../../../src/shared/layout/machine.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { Actor } from '../../../src/shared/sync/actor.ts';
import { drive } from '../../../src/shared/sync/point.ts';

const GET_INFO = 3;
const CONFIG = { vcpuCount: 1, ramPages: 16, gfnCount: 32, accessLimit: 32, traceBytes: 0, actorCount: 4 };

for (const number of [1, 2047, 2048, 2049, 4096, 2 ** 31 - 1]) {
  test(`session ${number} takes no answer of the one before`, (t) => {
    const { memory } = allocateMemory(CONFIG);
    const vm = new Vm(new Mem(memory), machineLayout(CONFIG));
    const actor = new Actor({ id: 1, name: 'receiver', mem: vm.mem });
    const numberIn = (session: number) => {
      vm.mem.store(vm.word('KVMI_SESSION'), session);
      const it = new Session(actor, vm);
      return { it, command: drive(actor, it.command(0, GET_INFO, new Uint8Array(0))) };
    };
    const before = numberIn(number - 1);
    const now = numberIn(number);
    t.true(before.command > 0 && now.command > 0);
    const answer = (seq: number) =>
      messageRing(vm, 0).push({ kind: GET_INFO, seq, vcpu: 0, payload: new Uint8Array(16) });
    answer(before.command);
    answer(now.command);
    t.like(drive(actor, now.it.poll()), { kind: 'answer', seq: now.command });
    t.is(drive(actor, now.it.poll()), null);
    t.deepEqual([jobRing(vm, 0).shift()?.seq, jobRing(vm, 0).shift()?.seq], [before.command, now.command]);
  });
}

test('numbers of a session are positive and its own, however many there are', (t) => {
  const { memory } = allocateMemory(CONFIG);
  const vm = new Vm(new Mem(memory), machineLayout(CONFIG));
  const actor = new Actor({ id: 1, name: 'receiver', mem: vm.mem });
  vm.mem.store(vm.word('KVMI_SESSION'), 2047);
  const session = new Session(actor, vm);
  const base = 2047 * 2 ** 20;
  let wrong = 0;
  for (let i = 0; i < 2 ** 20 + 10; i++) {
    const seq = drive(actor, session.command(0, GET_INFO, new Uint8Array(0)));
    if (!(seq > base && seq < base + 2 ** 20)) wrong += 1;
    jobRing(vm, 0).shift();
    messageRing(vm, 0).push({ kind: GET_INFO, seq, vcpu: 0, payload: new Uint8Array(16) });
    if (drive(actor, session.poll()) === null) wrong += 1;
  }
  t.is(wrong, 0);
});
