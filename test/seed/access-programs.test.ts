/**
 * The sentences of pf-event.test.ts on vCPUs without an instruction set: scenarios that are about the protocol use these.
 */
import test from 'ava';
import { unhook } from '../../src/actors/introspector/hook.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_CRASH as CRASH,
  KVMI_VCPU_EVENT_PF,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { EEXIST, EINVAL } from '../../src/actors/mmu/errno.ts';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import type { Access } from '../../src/actors/vcpu/access-program.ts';
import { SmallMachine, type SmallMachineOptions, type Tool } from '../support/small-machine.ts';

const R = 1;
const W = 2;
const X = 4;
const PAGE = 4096;

function hooked(options: SmallMachineOptions = {}): SmallMachine {
  const machine = new SmallMachine(options);
  machine.slot({ id: 0, baseGfn: 0, npages: 16, ramPage: 0 });
  machine.hook();
  machine.enablePf(...machine.vcpus.keys());
  return machine;
}

const answer = (action: number): Tool =>
  function* () {
    return action;
  };

const write = (gpa: number, value = 6n, size: Access['size'] = 1): Access => ({
  kind: 'write',
  gpa,
  size,
  value,
});
const read = (gpa: number, size: Access['size'] = 1): Access => ({ kind: 'read', gpa, size });
const execute = (gpa: number, size: Access['size'] = 1): Access => ({ kind: 'execute', gpa, size });

function run(machine: SmallMachine, tool: Tool, ...programs: Access[][]): bigint[] {
  const seen: bigint[] = [];
  const vcpus = programs.map((accesses, index) => machine.vcpuRunner(index, accesses, seen));
  machine.together(7, machine.toolRunner(tool), ...vcpus);
  return seen;
}

test('an event carries gva, gpa and exactly one access bit', (t) => {
  const machine = hooked();
  machine.access(3, 0);
  run(machine, answer(CONTINUE), [read(3 * PAGE + 5), write(3 * PAGE + 9), execute(3 * PAGE + 17)]);
  t.deepEqual(
    machine.events.map((e) => e.pf),
    [
      { gva: BigInt(3 * PAGE + 5), gpa: 3 * PAGE + 5, access: R },
      { gva: BigInt(3 * PAGE + 9), gpa: 3 * PAGE + 9, access: W },
      { gva: BigInt(3 * PAGE + 17), gpa: 3 * PAGE + 17, access: X },
    ],
  );
  t.true(machine.events.every((e) => e.event === KVMI_VCPU_EVENT_PF && e.vcpu === 0));
  t.deepEqual(machine.verdict(), []);
});

test('on execute access the guest address is the instruction pointer', (t) => {
  const machine = hooked();
  machine.access(2, R | W);
  let rip = -1n;
  const tool: Tool = function* () {
    rip = machine.vcpus[0]!.get64('RIP');
    return CONTINUE;
  };
  run(machine, tool, [execute(2 * PAGE + 64, 4)]);
  t.is(rip, machine.events[0]!.pf!.gva);
});

test('only bits that the tool has cleared notify it', (t) => {
  const machine = hooked();
  machine.access(3, R | W);
  const seen = run(machine, answer(CONTINUE), [write(3 * PAGE, 0x5an), read(3 * PAGE), execute(3 * PAGE)]);
  t.deepEqual(
    machine.events.map((e) => e.pf!.access),
    [X],
  );
  t.deepEqual(seen, [0x5an]);
});

test('a page the tool has never touched raises no event', (t) => {
  const machine = hooked();
  machine.access(3, 0);
  run(machine, answer(CRASH), [write(4 * PAGE), read(4 * PAGE), execute(4 * PAGE)]);
  t.deepEqual(machine.events, []);
});

test('a vCPU whose event is off breaks restrictions silently, another one does not', (t) => {
  const machine = hooked({ vcpuCount: 2 });
  machine.vm.mem.store(machine.vm.vcpuWord(0, 'EVENTS'), 0);
  machine.access(3, R);
  run(machine, answer(CONTINUE), [write(3 * PAGE, 1n)], [write(3 * PAGE + 1, 2n)]);
  t.deepEqual(
    machine.events.map((e) => e.vcpu),
    [1],
  );
  t.is(machine.byte(3 * PAGE), 1);
  t.is(machine.byte(3 * PAGE + 1), 2);
});

test('CONTINUE lets the access happen and leaves the restriction: the next access notifies again', (t) => {
  const machine = hooked();
  machine.access(3, R);
  run(machine, answer(CONTINUE), [write(3 * PAGE, 1n), write(3 * PAGE, 2n), write(3 * PAGE, 3n)]);
  t.is(machine.events.length, 3);
  t.is(machine.byte(3 * PAGE), 3);
  t.deepEqual(machine.verdict(), []);
});

test('RETRY starts the instruction again: the same event comes until something changes', (t) => {
  const machine = hooked();
  machine.access(3, R);
  let before = -1;
  const tool: Tool = function* (_event, session) {
    before = machine.byte(3 * PAGE);
    if (machine.events.length === 4) yield* session.setPageAccess(3 * PAGE, R | W);
    return RETRY;
  };
  run(machine, tool, [write(3 * PAGE, 9n)]);
  t.is(machine.events.length, 4);
  t.is(before, 0, 'nothing was stored while the tool said RETRY');
  t.is(machine.byte(3 * PAGE), 9);
});

test('an access across a page boundary notifies once for each page, low page first', (t) => {
  const machine = hooked();
  machine.access(3, R);
  machine.access(4, R);
  run(machine, answer(CONTINUE), [write(4 * PAGE - 3, 0x1122334455667788n, 8)]);
  t.deepEqual(
    machine.events.map((e) => e.pf!.gpa),
    [4 * PAGE - 3, 4 * PAGE],
  );
  t.is(machine.byte(4 * PAGE - 3), 0x88);
  t.is(machine.byte(4 * PAGE + 4), 0x11);
});

test('RETRY on the second page leaves the first piece stored, and the whole store is done again', (t) => {
  const machine = hooked();
  machine.access(3, R);
  machine.access(4, R);
  let firstPiece = -1;
  const tool: Tool = function* (event, session) {
    if (event.pf!.gpa !== 4 * PAGE || machine.events.length > 2) return CONTINUE;
    firstPiece = machine.byte(4 * PAGE - 1);
    yield* session.setPageAccess(4 * PAGE, R | W);
    return RETRY;
  };
  run(machine, tool, [write(4 * PAGE - 1, 0xbbaan, 2)]);
  t.is(firstPiece, 0xaa);
  t.deepEqual(
    machine.events.map((e) => e.pf!.gpa),
    [4 * PAGE - 1, 4 * PAGE, 4 * PAGE - 1],
  );
  t.is(machine.byte(4 * PAGE), 0xbb);
});

test('CRASH stops every vCPU, and none enters the guest again', (t) => {
  const machine = hooked({ vcpuCount: 2 });
  machine.access(3, R);
  const endless = Array.from({ length: 5000 }, (_, i) => write(5 * PAGE + (i % 256), 1n));
  run(machine, answer(CRASH), [write(3 * PAGE, 9n)], endless);
  t.is(machine.byte(3 * PAGE), 0);
  t.is(machine.vm.mem.load(machine.vm.word('DEAD')), 1);
  t.true(machine.vcpus[1]!.get64('RETIRED') < 5000n);
});

test('a connection that is lost while a vCPU waits means CONTINUE', (t) => {
  const machine = hooked();
  machine.access(3, R);
  const tool: Tool = function* (_event, session) {
    yield* session.close();
    return RETRY;
  };
  run(machine, tool, [write(3 * PAGE, 9n)]);
  t.is(machine.byte(3 * PAGE), 9);
});

test('with strict replies a lost connection means RETRY, and the access is done un-introspected after it', (t) => {
  const machine = hooked({ strict: true });
  machine.access(3, R);
  const tool: Tool = function* (_event, session) {
    yield* session.close();
    return RETRY;
  };
  run(machine, tool, [write(3 * PAGE, 9n)]);
  t.is(machine.byte(3 * PAGE), 9);
  t.is(machine.vm.mem.i64[machine.vm.vcpuWord(0, 'PF_FAIL_OPEN') / 8 + 1], 1n);
});

test('hook registers the tracker, a second hook is refused, unhook drops tracking after the last reference', (t) => {
  const machine = hooked();
  machine.access(3, 0);
  t.is(machine.hook(), -EEXIST);
  machine.alone(machine.session.close());
  t.true(machine.alone(unhook(machine.control, machine.vm)));
  run(machine, answer(CRASH), [write(3 * PAGE, 9n)]);
  t.is(machine.byte(3 * PAGE), 9);
  t.deepEqual(machine.events, []);
  t.deepEqual(machine.verdict(), []);
});

test('policy outlives the memslot: removal drops tracking, creation applies it again', (t) => {
  const machine = hooked();
  machine.slot({ id: 1, baseGfn: 32, npages: 8, ramPage: 16 });
  machine.access(35, R);
  t.deepEqual(machine.verdict(), []);
  t.is(machine.slot({ id: 1, baseGfn: 32, npages: 0, ramPage: 16 }), 0);
  t.deepEqual(machine.verdict(), []);
  t.is(machine.slot({ id: 1, baseGfn: 32, npages: 8, ramPage: 16 }), 0);
  t.deepEqual(machine.verdict(), []);
  run(machine, answer(CONTINUE), [write(35 * PAGE, 1n), write(36 * PAGE, 1n)]);
  t.deepEqual(
    machine.events.map((e) => e.pf!.gpa),
    [35 * PAGE],
  );
});

test('a moved slot is tracked where it is now, not where it was', (t) => {
  const machine = hooked();
  machine.slot({ id: 1, baseGfn: 32, npages: 8, ramPage: 16 });
  machine.access(33, R);
  t.is(machine.access(50, R), -EINVAL, 'the command wants a slot there');
  machine.alone(machine.session.setPageAccess(50 * PAGE, R, { needSlot: false }));
  t.is(machine.slot({ id: 1, baseGfn: 48, npages: 8, ramPage: 16 }), 0);
  t.deepEqual(machine.verdict(), []);
  run(machine, answer(CONTINUE), [write(50 * PAGE, 1n), write(33 * PAGE, 1n)]);
  t.deepEqual(
    machine.events.map((e) => e.pf!.gpa),
    [50 * PAGE],
    'gfn 33 is MMIO now: no RAM, no event',
  );
});

test('the selftest: test_event_pf, step by step', (t) => {
  const machine = hooked();
  const testGpa = 7 * PAGE + 0x123;
  const GUEST_TEST_PF = 6;
  machine.access(7, R);
  machine.vm.mem.u8[machine.vm.layout.ram + testGpa] = ~GUEST_TEST_PF & 0xff;
  const tool: Tool = function* (_event, session) {
    // While the vCPU is blocked.
    t.is(yield* session.setPageAccess(testGpa, R | W), 0);
    return RETRY;
  };
  run(machine, tool, [write(testGpa, BigInt(GUEST_TEST_PF))]);
  t.is(machine.events.length, 1);
  t.deepEqual(machine.events[0]!.pf, { gva: BigInt(testGpa), gpa: testGpa, access: W });
  t.is(machine.byte(testGpa), GUEST_TEST_PF);
  t.deepEqual(machine.verdict(), []);
});

test('a memslot can be deleted while a vCPU waits for its reply', (t) => {
  const machine = hooked();
  machine.slot({ id: 1, baseGfn: 32, npages: 8, ramPage: 16 });
  machine.access(33, R);
  let deleted = -1;
  const gone = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 0, ramPage: 16 };
  const tool: Tool = function* () {
    // On the receiver's thread, so that it is certainly during the wait.
    deleted = yield* setMemoryRegion(machine.receiver, machine.vm, gone);
    return CONTINUE;
  };
  run(machine, tool, [write(33 * PAGE, 1n)]);
  t.is(deleted, 0);
  t.deepEqual(machine.verdict(), []);
});
