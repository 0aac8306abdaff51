/**
 * The patch that adds KVMI_VCPU_EVENT_PF, sentence by sentence, on guest code.
 *
 *   sentence of the patch                                   test
 *   ──────────────────────────────────────────────────────  ─────────────────────────────────────────────────────
 *   "sent when a hypervisor page fault occurs due to a      a failed permission check is an event; a page that may
 *   failed permission check"                                be touched is none
 *   "the introspection has been enabled for this event"     only vCPUs whose event is on notify
 *   "generated for a page in which the introspection tool   a failed permission check is an event; a page that may
 *   has shown interest"                                     be touched is none
 *   "only for violations involving access bits that we've   only bits that the tool has cleared notify it
 *   specifically cleared"
 *   "guest virtual address (gva) if available or ~0"        gva, gpa, one access bit, and nothing else in the struct
 *   "guest physical address and the access flags"           gva, gpa, one access bit, and nothing else in the struct
 *   "on read access the address is the location being       the address is that of the byte read, written, executed
 *   read, on write being written, on execute being
 *   executed (gva == rip)"
 *   "if the fault has set more than one access bit, the     one instruction, several events
 *   tool may receive more than one event"
 *   "another cause is access crossing the page boundary"    one instruction, several events; emulator-order.test.ts
 *   "the order depends on the emulator"                     emulator-order.test.ts
 *   "CONTINUE will continue the page fault handling"        CONTINUE does the access and keeps the restriction
 *   "RETRY is used to retry the current instruction ..."    RETRY starts the instruction again
 *   "... because it changed the instruction pointer ..."    RETRY after SET_REGISTERS goes where RIP says now
 *   "... or the page restrictions"                          RETRY after the page was allowed runs on unwatched
 *   "Actions: CONTINUE, CRASH, RETRY"                       CRASH stops every vCPU; an unknown action ends the session
 *   kvmi_arch_hook, kvmi_arch_unhook                        hook registers the tracker, unhook takes it away
 *   __kvmi_unhook waits, then kvmi_arch_unhook              unhook waits for a vCPU that waits for a reply
 *   kvmi_get: "if (!kvmi) return true"                      unhook waits for a vCPU that waits for a reply
 *   kvmi_track_create_slot, kvmi_add_memslot                a slot that appears is tracked as the policy says
 *   kvmi_track_flush_slot, kvmi_remove_memslot              a slot that goes leaves its policy behind
 *   kvmi_msg_send_vcpu_pf: "if (err) return CONTINUE"       an event that cannot be sent means CONTINUE
 *   page track: results AND-ed, no notifier skipped         several notifiers: all are asked, one "no" is enough
 *   selftest: test_event_pf                                 selftest.test.ts
 *
 * gva is never ~0 here. The kernel has no address where an exit did not report one (the walk of a guest page table, a
 * synthesised callback); our callbacks all come from the emulator, which has just computed the address, and page walks
 * have no callbacks. random-programs.test.ts holds every event of its runs to that.
 */
import test from 'ava';
import { unhook } from '../../src/actors/introspector/hook.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_CRASH as CRASH,
  KVMI_VCPU_EVENT_PF,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { PF_EVENT_BYTES } from '../../src/actors/introspector/kvmi/messages.ts';
import { EEXIST, EOPNOTSUPP } from '../../src/actors/mmu/errno.ts';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import {
  provideAccessCallbacks,
  registerNotifier,
  type TrackedAccess,
  unregisterNotifier,
} from '../../src/actors/mmu/page-track.ts';
import { NOTIFIER_KVMI, NOTIFIER_TEST } from '../../src/shared/layout/access-tree.ts';
import { VCPU_CRASHED, VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { stepping } from '../../src/shared/sync/point.ts';
import { asm } from '../support/asm.ts';
import { VICTIM_SLOT } from '../support/guest-machine.ts';
import type { Tool } from '../support/small-machine.ts';
import { at, DST, PAGES, Scene, SRC, STACK, STOP } from './scene.ts';

const R = 1;
const W = 2;
const X = 4;

const always = (action: number): Tool =>
  function* () {
    return action;
  };

const exits = `\n jmp ${STOP}`;

test('a failed permission check is an event; a page that may be touched is none', (t) => {
  const machine = new Scene({
    code: `mov [rdi], al \n mov al, [rdi] \n mov [rsi], al \n mov al, [rsi] ${exits}`,
    access: { dst: R | X },
  });
  machine.runWith(always(CONTINUE));
  t.is(machine.story, 'W dst+40');
  t.deepEqual(machine.verdict(), []);
});

test('gva, gpa, one access bit, and nothing else in the struct', (t) => {
  const gva = 0x1234_5000;
  // 0x12345000 is mapped to the page of dst.
  const machine = new Scene({
    code: `mov al, [rbx + 0x123] ${exits}`,
    registers: { rbx: BigInt(gva) },
    access: { dst: 0 },
  });
  machine.setQuad(machine.splitLargePage(gva, 0x9000), BigInt(at('dst')) | 0x67n);
  machine.runWith(always(CONTINUE));
  const [event] = machine.events;
  t.is(machine.events.length, 1);
  t.is(event!.event, KVMI_VCPU_EVENT_PF);
  t.deepEqual(event!.pf, { gva: BigInt(gva + 0x123), gpa: at('dst', 0x123), access: R });
  t.is(event!.data.length, PF_EVENT_BYTES);
  t.deepEqual([...event!.data.subarray(16)], [R, 0, 0, 0, 0, 0, 0, 0], 'access, then padding');
});

test('the address is that of the byte read, written, executed', (t) => {
  const machine = new Scene({
    code: `mov eax, [rsi + 5] \n mov [rdi + 9], al \n nop ${exits}`,
    access: { src: 0, dst: 0, code: R | W },
  });
  const rips: bigint[] = [];
  machine.runWith(function* (event) {
    const { rip } = yield* machine.registers(event.vcpu);
    rips.push(rip);
    return CONTINUE;
  });
  t.is(machine.story, 'F, R src+45, F code+3, W dst+49, F code+6, F code+7');
  const executed = machine.events.flatMap(({ pf }, i) => (pf!.access === X ? [[pf!.gva, rips[i]]] : []));
  t.is(executed.length, 4);
  for (const [gva, rip] of executed) t.is(gva, rip, 'gva == rip, as GET_REGISTERS reports it');
  t.is(rips[1], BigInt(at('code')), 'a data access is reported at the instruction that makes it');
});

test('only bits that the tool has cleared notify it', (t) => {
  for (const [access, story] of [
    [R | W | X, ''],
    [R | W, 'F dst+40, F dst+43'],
    [R | X, 'W dst+200'],
    [R, 'W dst+200, F dst+40, F dst+43'],
    [X, 'R dst+100, W dst+200'],
    [W | X, 'R dst+100'],
    [W, 'R dst+100, F dst+40, F dst+43'],
    [0, 'R dst+100, W dst+200, F dst+40, F dst+43'],
  ] as const) {
    const machine = new Scene({
      code: `mov al, [rdi + 0xc0] \n mov byte [rdi + 0x1c0], 7 \n call rdi ${exits}`,
      access: { dst: access },
    });
    machine.load(asm(DST, 'add rax, rax \n ret').bytes, DST);
    machine.runWith(always(CONTINUE));
    t.is(machine.story, story, `access ${access}`);
    t.is(machine.state(0), VCPU_EXITED);
    t.is(machine.byte(at('dst', 0x200)), 7);
    t.deepEqual(machine.verdict(), [], `access ${access}`);
  }
});

test('only vCPUs whose event is on notify; others break restrictions silently, but not for others', (t) => {
  const machine = new Scene({ code: `inc dword [rdi + rdx*4] ${exits}`, vcpuCount: 3, access: { dst: 0 } });
  for (const vcpu of [0, 1, 2]) machine.setRegister(vcpu, { rdx: BigInt(vcpu) });
  machine.vm.mem.store(machine.vm.vcpuWord(1, 'EVENTS'), 0);
  const before = [0, 4, 8].map((offset) => machine.quad(DST + offset) & 0xffff_ffffn);
  machine.runWith(always(CONTINUE));
  t.deepEqual(machine.events.map((event) => event.vcpu).toSorted(), [0, 0, 2, 2]);
  for (const [i, value] of before.entries()) t.is(machine.quad(DST + 4 * i) & 0xffff_ffffn, value + 1n);
  t.true(
    machine.vcpus[1]!.mem.load64(machine.vm.vcpuWord(1, 'FAULTS_EMULATED')) > 0n,
    'silently, but it does fault',
  );
  t.deepEqual(machine.verdict(), []);
});

test('one instruction, several events: fetch, read and write of one page, and both pages of each', (t) => {
  const one = new Scene({ code: `add [rdi], eax ${exits}`, access: { dst: X } });
  one.runWith(always(CONTINUE));
  t.is(one.story, 'R dst+40, W dst+40', 'a page without R and W');

  // The instruction and its operand in one page that allows nothing.
  const self = new Scene({
    code: `add [rsi], eax ${exits}`,
    access: { code: 0 },
    registers: { rsi: BigInt(at('code', 0x800)) },
  });
  self.runWith(always(CONTINUE));
  t.is(self.story, 'F, R code+800, W code+800, F code+2');

  const crossing = new Scene({
    code: `add [rdi], rax \n jmp ${STOP}`,
    place: at('code2', -1),
    registers: { rdi: BigInt(at('dst2', -2)) },
    access: { code: 0, code2: R | W, dst: 0, dst2: 0 },
  });
  crossing.runWith(always(CONTINUE));
  t.is(crossing.story, 'F, F code2+0, R dst+ffe, R dst2+0, W dst+ffe, W dst2+0, F code2+2');
});

test('CONTINUE does the access and keeps the restriction: the next access notifies again', (t) => {
  const machine = new Scene({
    code: `mov ecx, 5 \n again: inc qword [rdi] \n loop again ${exits}`,
    access: { dst: R | X },
  });
  const before = machine.quad(DST);
  machine.runWith(always(CONTINUE));
  t.is(machine.story, Array(5).fill('W dst+40').join(', '));
  t.is(machine.quad(DST), before + 5n);
});

test('RETRY starts the instruction again: the same event comes until something changes', (t) => {
  const machine = new Scene({ code: `add [rdi], eax ${exits}`, registers: { rax: 1n }, access: { dst: R } });
  const before = machine.quad(DST);
  const seen: bigint[] = [];
  machine.runWith(function* () {
    seen.push(machine.quad(DST));
    return machine.events.length < 5 ? RETRY : CONTINUE;
  });
  t.is(machine.story, Array(5).fill('W dst+40').join(', '));
  t.deepEqual(new Set(seen), new Set([before]), 'nothing is stored while the tool says RETRY');
  t.is(machine.quad(DST), before + 1n);
});

test('RETRY after the page was allowed runs on unwatched', (t) => {
  const machine = new Scene({
    code: `mov ecx, 5 \n again: inc qword [rdi] \n loop again ${exits}`,
    access: { dst: 0, code: R },
  });
  const before = machine.quad(DST);
  machine.runWith(function* (event, session) {
    t.is(yield* session.setPageAccess(event.pf!.gpa, R | W | X), 0);
    return RETRY;
  });
  t.is(machine.story, 'F, R dst+40');
  t.is(machine.quad(DST), before + 5n);
  t.deepEqual(machine.verdict(), []);
});

test('RETRY after the page was restricted further asks for more', (t) => {
  const machine = new Scene({ code: `add [rdi], eax ${exits}`, access: { dst: R | X } });
  machine.runWith(function* (event, session) {
    if (machine.events.length > 1) return CONTINUE;
    yield* session.setPageAccess(event.pf!.gpa, 0);
    yield* session.setPageAccess(at('code'), R | W);
    return RETRY;
  });
  t.is(machine.story, 'W dst+40, F, R dst+40, W dst+40, F code+2');
});

test('RETRY after SET_REGISTERS goes where RIP says now, with what the registers say now', (t) => {
  const machine = new Scene({
    code: `mov [rdi], rax \n mov rbx, rax ${exits}`,
    registers: { rax: 1n },
    access: { dst: R },
  });
  const before = machine.quad(DST);
  machine.runWith(function* (event) {
    const { rip, rax, rdi, rsp, rflags } = yield* machine.registers(0);
    t.deepEqual([rip, rax, rdi, rsp, rflags], [BigInt(machine.start), 1n, BigInt(DST), BigInt(STACK), 2n]);
    t.is(yield* machine.setRegisters(event.vcpu, { rip: rip + 3n, rax: 77n, rflags: 0x8d7n }), 0);
    return RETRY;
  });
  t.is(machine.story, 'W dst+40');
  t.is(machine.quad(DST), before, 'the store was skipped');
  t.is(machine.register('rbx'), 77n);
  t.is(machine.vcpus[0]!.flags.rflags(), 0x8d7n);
});

test('RETRY after SET_REGISTERS with the old RIP: the instruction runs with the new operands', (t) => {
  const machine = new Scene({ code: `mov [rdi], rax ${exits}`, access: { dst: R, src: R } });
  machine.runWith(function* (event) {
    if (machine.events.length > 1) return CONTINUE;
    yield* machine.setRegisters(event.vcpu, { rdi: BigInt(SRC), rax: 0xabcn });
    return RETRY;
  });
  t.is(machine.story, 'W dst+40, W src+40');
  t.is(machine.quad(SRC), 0xabcn);
});

test('SET_REGISTERS is refused outside an event, and dropped when the reply does not come', (t) => {
  const machine = new Scene({ code: `mov [rdi], rax ${exits}`, registers: { rax: 5n }, access: { dst: R } });
  machine.runWith(function* (event) {
    t.is(yield* machine.setRegisters(event.vcpu, { rax: 6n }), 0);
    yield* machine.hangUp();
    return RETRY;
  });
  t.is(machine.quad(DST), 5n, 'CONTINUE with its own registers');

  // vCPU 1 spins until the event of vCPU 0 is over.
  const outside = new Scene({
    code: `cmp edx, 0 \n je first \n again: cmp dword [rdi], 7 \n jne again ${exits} \n first: mov dword [rdi], 7 ${exits}`,
    vcpuCount: 2,
    access: { dst: R },
  });
  outside.setRegister(1, { rdx: 1n });
  let error = 0;
  outside.runWith(
    function* () {
      error = yield* outside.setRegisters(1, { rip: 0n });
      return CONTINUE;
    },
    { slice: 64 },
  );
  t.is(error, -EOPNOTSUPP);
  t.is(outside.state(1), VCPU_EXITED);
});

test('CRASH stops every vCPU, and what it was asked about does not happen', (t) => {
  const machine = new Scene({
    code: `cmp edx, 0 \n jne spin \n mov [rdi], rax \n spin: jmp spin`,
    vcpuCount: 3,
    access: { dst: R },
  });
  const before = machine.quad(DST);
  for (const vcpu of [0, 1, 2]) machine.setRegister(vcpu, { rdx: BigInt(vcpu) });
  machine.runWith(always(CRASH), { slice: 100 });
  for (const vcpu of [0, 1, 2]) t.is(machine.state(vcpu), VCPU_CRASHED);
  t.is(machine.quad(DST), before);
  t.is(machine.vm.mem.load(machine.vm.word('DEAD')), 1);
});

test('CRASH while another vCPU waits for its reply: that access does not happen either', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const machine = new Scene({ code: `mov [rdi + rdx*8], rax ${exits}`, vcpuCount: 2, access: { dst: R } });
    machine.setRegister(1, { rdx: 1n });
    const before = machine.ram(DST, 16).slice();
    // The tool keeps the first event open, and answers the second one with CRASH.
    machine.together(
      seed,
      {
        ...machine.toolRunner(function* () {
          while (
            machine.vm.mem.load(machine.vm.vcpuWord(0, 'WAITING')) +
              machine.vm.mem.load(machine.vm.vcpuWord(1, 'WAITING')) <
            2
          )
            yield stepping();
          return CRASH;
        }),
      },
      machine.guestRunner(0),
      machine.guestRunner(1),
    );
    t.deepEqual(machine.ram(DST, 16), before, `seed ${seed}`);
    for (const vcpu of [0, 1]) t.is(machine.state(vcpu), VCPU_CRASHED, `seed ${seed}`);
  }
});

test('an unknown action is a protocol error: the session ends, the access is done without it', (t) => {
  const machine = new Scene({ code: `mov [rdi], rax ${exits}`, registers: { rax: 5n }, access: { dst: R } });
  machine.runWith(always(3));
  t.true(machine.session.shut);
  t.is(machine.quad(DST), 5n);
  t.is(machine.events.length, 1);
});

test('an event that cannot be sent means CONTINUE', (t) => {
  const machine = new Scene({
    code: `mov [rdi], rax ${exits}`,
    registers: { rax: 5n },
    access: { dst: R },
  });
  // Shut, but nobody has released the vCPUs yet: as between the receiver's failure and its end.
  machine.vm.mem.store(machine.vm.word('KVMI_SHUT'), 1);
  machine.runGuests();
  t.is(machine.quad(DST), 5n);
  t.deepEqual(machine.events, []);
  t.is(failures(machine), 1);
});

test('with strict replies an event that cannot be sent means RETRY, until the vCPU is released', (t) => {
  const machine = new Scene({
    code: `mov [rdi], rax ${exits}`,
    registers: { rax: 5n },
    access: { dst: R },
    strict: true,
  });
  const { vm } = machine;
  vm.mem.store(vm.word('KVMI_SHUT'), 1);
  const before = machine.quad(DST);
  let meanwhile = 0n;
  const releasing = function* () {
    while (failures(machine) < 3) yield stepping();
    meanwhile = machine.quad(DST);
    yield* machine.hangUp();
  };
  machine.together(1, machine.guestRunner(0), machine.controlRunner(releasing()));
  t.is(meanwhile, before);
  t.is(machine.quad(DST), 5n);
});

/** Write events of vCPU 0 that no reply came to. */
function failures({ vm }: Scene): number {
  return Number(vm.mem.load64(vm.vcpuWord(0, 'PF_FAIL_OPEN') + 8));
}

test('a connection that is lost while a vCPU waits means CONTINUE', (t) => {
  const machine = new Scene({ code: `mov [rdi], rax ${exits}`, registers: { rax: 5n }, access: { dst: R } });
  machine.runWith(function* () {
    yield* machine.hangUp();
    return RETRY;
  });
  t.is(machine.quad(DST), 5n);
  t.is(machine.events.length, 1);
});

test('hook registers the tracker, unhook takes it away', (t) => {
  const machine = new Scene({
    code: `mov ecx, 2 \n again: mov [rdi], rcx \n loop again ${exits}`,
    access: { dst: 0, code: R },
  });
  t.is(machine.hook(), -EEXIST);
  t.not(machine.vm.mem.load(machine.vm.word('KVMI_NODE')), 0);
  machine.alone(machine.hangUp());
  t.true(machine.alone(unhook(machine.control, machine.vm)));
  t.is(machine.vm.mem.load(machine.vm.word('KVMI_NODE')), 0);
  machine.runWith(always(CRASH));
  t.deepEqual(machine.events, []);
  t.is(machine.state(0), VCPU_EXITED);
  t.deepEqual(machine.verdict(), []);
});

test('unhook waits for a vCPU that waits for a reply, and that vCPU goes on as after CONTINUE', (t) => {
  for (let seed = 1; seed <= 30; seed++) {
    const machine = new Scene({
      code: `mov [rdi], rax \n mov rbx, [rdi] ${exits}`,
      registers: { rax: 5n },
      access: { dst: R, src: R },
    });
    const { vm } = machine;
    const nodesMeanwhile: number[] = [];
    let nodeAfter = -1;
    const unhooking = function* () {
      while (machine.events.length === 0) yield stepping();
      yield* unhook(machine.control, vm);
      nodeAfter = vm.mem.load(vm.word('KVMI_NODE'));
    };
    machine.together(
      seed,
      machine.toolRunner(function* () {
        // Holds the reply back until the connection is shut.
        do {
          nodesMeanwhile.push(vm.mem.load(vm.word('KVMI_NODE')));
          yield stepping();
        } while (!machine.session.shut);
        return RETRY;
      }),
      machine.guestRunner(0),
      machine.controlRunner(unhooking()),
    );
    t.false(nodesMeanwhile.includes(0), `seed ${seed}: registered as long as it is in use`);
    t.is(nodeAfter, 0, `seed ${seed}`);
    t.is(machine.register('rbx'), 5n, `seed ${seed}`);
    t.is(machine.story, 'W dst+40', `seed ${seed}`);
    t.deepEqual(machine.verdict(), [], `seed ${seed}`);
  }
});

const GONE = { ...VICTIM_SLOT, npages: 0 };

test('a slot that goes leaves its policy behind; a slot that appears is tracked as the policy says', (t) => {
  const machine = new Scene({ code: `mov [rdi], rax ${exits}`, place: 0x30_0000, access: { dst: R } });
  t.deepEqual(machine.verdict(), []);
  machine.load(asm(0x30_1000, 'out 0xf4, eax').bytes, 0x30_1000);
  t.is(machine.slot(GONE), 0);
  t.deepEqual(machine.verdict(), [], 'nothing is tracked in a slot that is gone');
  t.is(machine.access(PAGES.src, 0) < 0, true, 'a page without a slot is refused');
  machine.alone(machine.session.setPageAccess(at('src'), 0, { needSlot: false }));
  t.is(machine.slot(VICTIM_SLOT), 0);
  t.deepEqual(machine.verdict(), []);
  machine.load(asm(STOP, `mov rbx, [rsi] \n out 0xf4, eax`).bytes, STOP);
  machine.runWith(always(CONTINUE));
  t.is(machine.story, 'W dst+40, R src+40');
});

test('a slot that is moved is tracked where it is, not where it was', (t) => {
  const away = VICTIM_SLOT.baseGfn + VICTIM_SLOT.npages;
  const moved = (page: 'dst' | 'src') => BigInt((PAGES[page] - VICTIM_SLOT.baseGfn + away) * 4096);
  const machine = new Scene({
    code: 'mov [rdi], rax \n mov [rbx], rax \n mov rdx, [rdi] \n out 0xf4, eax',
    place: 0x30_0000,
    registers: { rax: 5n, rbx: moved('src') },
    access: { dst: R },
  });
  machine.alone(machine.session.setPageAccess(Number(moved('src')), R, { needSlot: false }));
  t.is(machine.slot({ ...VICTIM_SLOT, baseGfn: away }), 0);
  t.deepEqual(machine.verdict(), []);
  machine.runWith(always(CONTINUE));
  t.deepEqual(
    machine.events.map(({ pf }) => pf),
    [{ gva: moved('src'), gpa: Number(moved('src')), access: W }],
  );
  t.is(machine.register('rdx'), 0xffff_ffff_ffff_ffffn, 'where it was there is no RAM');
});

test('a slot can be deleted and made again while a vCPU waits for its reply', (t) => {
  const machine = new Scene({
    code: 'mov [rdi], rax \n mov rbx, [rdi] \n out 0xf4, eax',
    place: 0x30_0000,
    registers: { rax: 5n },
    access: { dst: R },
  });
  machine.runWith(function* () {
    const { receiver, vm } = machine;
    // On the receiver's thread, so certainly during the wait.
    t.is(yield* setMemoryRegion(receiver, vm, GONE), 0);
    t.is(yield* setMemoryRegion(receiver, vm, VICTIM_SLOT), 0);
    return CONTINUE;
  });
  t.is(machine.story, 'W dst+40');
  t.is(machine.register('rbx'), 5n);
  t.deepEqual(machine.verdict(), []);
});

test.serial('several notifiers: all are asked about every emulated access, and one "no" is enough', (t) => {
  for (const order of ['asked before KVMI', 'asked after KVMI'] as const) {
    const machine = new Scene({
      code: `add [rdi], rax ${exits}`,
      registers: { rax: 1n },
      access: { dst: 0 },
    });
    const { control, vm } = machine;
    machine.alone(registerNotifier(control, vm, NOTIFIER_TEST));
    // The youngest node is the head of the list: hooked again, KVMI's is.
    if (order === 'asked after KVMI') {
      machine.alone(unregisterNotifier(control, vm, vm.mem.load(vm.word('KVMI_NODE')) - 1));
      vm.mem.store(vm.word('KVMI_NODE'), 1 + machine.alone(registerNotifier(control, vm, NOTIFIER_KVMI)));
    }
    const asked: string[] = [];
    const place = (access: TrackedAccess) =>
      `${'RW?F'[access.access - 1]} ${access.gpa === DST ? 'dst+40' : `code+${access.gpa - at('code')}`}`;
    let refusals = 2;
    provideAccessCallbacks(NOTIFIER_TEST, {
      *before(_vcpu, access) {
        asked.push(place(access));
        return access.access !== W || refusals-- <= 0;
      },
      *stored(_vcpu, access) {
        asked.push(`stored: ${place(access)}`);
      },
    });
    t.teardown(() => provideAccessCallbacks(NOTIFIER_TEST, null));
    const before = machine.quad(DST);
    let retries = 1;
    machine.runWith(function* (event) {
      // While the other node refuses the write, the tool refuses the read once.
      return event.pf!.access === R && retries-- > 0 ? RETRY : CONTINUE;
    });
    t.is(machine.story, 'R dst+40, R dst+40, W dst+40, R dst+40, W dst+40, R dst+40, W dst+40', order);
    const once = 'F code+0, R dst+40';
    t.is(
      asked.join(', '),
      `${once}, ${once}, W dst+40, ${once}, W dst+40, ${once}, W dst+40, stored: W dst+40`,
      `${order}: also about fetches, which nobody restricts`,
    );
    t.is(machine.quad(DST), before + 1n);
    t.deepEqual(machine.verdict(), []);
  }
});
