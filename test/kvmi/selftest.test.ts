/**
 * The kernel's KVMI selftest over a real unix socket, case by case and with its numbers: sizes of every message, error
 * numbers, what the guest ends up with. Where a case needs the host to run a vCPU by hand, ours runs all the time.
 *
 * @source tools/testing/selftests/kvm/x86_64/kvmi_test.c as of v12
 */
import test from 'ava';
import type { CommandError } from '../../src/index.ts';
import {
  at64,
  EBUSY,
  EINVAL,
  ENOENT,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  GUEST,
  join8,
  replyTo,
  rig,
  TEST_GPA,
  u8,
  u16,
  u32,
  u64,
  vcpuHdr,
  zeros,
} from './rig.ts';

const CONTINUE = 0;
const RETRY = 1;
const VCPU_0 = vcpuHdr(0);

test.serial('0 hook_introspection: what the device model may allow and take away', async (t) => {
  const { machine, refused, command } = await rig(t, { started: false });
  const error = async (body: Promise<unknown>) => (await t.throwsAsync<CommandError & Error>(body)).errnoName;
  t.is(await error(machine.control.hook()), 'EEXIST');
  for (const id of [2, 4, 6]) t.is(await error(machine.control.allow('command', id, false)), 'EPERM');
  for (const id of [-2, 30]) t.is(await error(machine.control.allow('command', id, true)), 'EINVAL');
  for (const id of [-2, 20]) t.is(await error(machine.control.allow('event', id, true)), 'EINVAL');
  await machine.control.allow('command', -1, false);
  await command(2, 16);
  await refused(8, EPERM);
  await refused(3, EPERM, VCPU_0);
  await machine.control.allow('command', -1, true);
  await command(8, 16);
});

test.serial('1 test_cmd_invalid', async (t) => {
  const { refused } = await rig(t, { started: false });
  await refused(0xffff, ENOSYS);
  await refused(0, ENOSYS);
  await refused(22, ENOSYS);
  await refused(31, ENOSYS, zeros(16));
});

test.serial('2 test_cmd_get_version', async (t) => {
  const { command } = await rig(t, { started: false });
  const reply = await command(2, 16);
  t.deepEqual(reply, join8(u32(1), u32(8184), u8(1), zeros(7)));
});

test.serial('3 test_cmd_vm_check_command', async (t) => {
  const { machine, command, refused } = await rig(t, { started: false });
  const check = (id: number) => join8(u16(id), zeros(6));
  await command(4, 0, check(8));
  await refused(4, ENOENT, check(0xffff));
  await refused(4, ENOENT, check(1));
  await refused(4, EINVAL, join8(u16(8), u16(1), u32(0)));
  await machine.control.allow('command', 8, false);
  await refused(4, EPERM, check(8));
  await machine.control.allow('command', 8, true);
  await command(4, 0, check(8));
});

test.serial('4 test_cmd_vm_check_event', async (t) => {
  const { machine, command, refused } = await rig(t, { started: false });
  const check = (id: number) => join8(u16(id), zeros(6));
  await refused(6, ENOENT, check(0xffff));
  await refused(6, ENOENT, check(2));
  await command(6, 0, check(0));
  await machine.control.allow('event', 0, false);
  await refused(6, EPERM, check(0));
});

test.serial('5 test_cmd_vm_get_info', async (t) => {
  const { command } = await rig(t, { started: false });
  t.deepEqual(await command(8, 16), join8(u32(1), zeros(12)));
});

test.serial('6 test_event_unhook', async (t) => {
  const { machine, client, command } = await rig(t, { started: false });
  const before = await t.throwsAsync<CommandError & Error>(machine.introspector.preUnhook());
  t.is(before.errnoName, 'ENOENT');
  await command(10, 0, u16(0), u8(1), zeros(5));
  await machine.introspector.preUnhook();
  const message = (await client.connection.nextEvent())!;
  t.is(message.id, 0);
  t.is(message.seq, 1);
  t.deepEqual(message.payload, zeros(8));
  await command(10, 0, u16(0), u8(0), zeros(5));
});

test.serial('7 test_cmd_vm_control_events', async (t) => {
  const { machine, command, refused } = await rig(t, { started: false });
  const control = (id: number, enable: number) => join8(u16(id), u8(enable), zeros(5));
  await command(10, 0, control(0, 1));
  await command(10, 0, control(0, 0));
  await refused(10, EINVAL, control(0, 2));
  await refused(10, EINVAL, control(0xffff, 1));
  await refused(10, EINVAL, control(1, 1));
  await machine.control.allow('event', 0, false);
  await refused(10, EPERM, control(0, 1));
});

test.serial('8 test_memory_access', async (t) => {
  const { command, refused } = await rig(t, { started: false, gpaBytes: 96 * 1024 ** 2 });
  const where = (gpa: number, size: number) => join8(u64(gpa), u16(size), zeros(6));
  const page = new Uint8Array(4096).fill(1);
  await command(14, 0, where(TEST_GPA, 4096), page);
  t.deepEqual(await command(12, 4096, where(TEST_GPA, 4096)), page);
  await refused(12, EINVAL, where(TEST_GPA, 0));
  await refused(14, EINVAL, where(TEST_GPA, 0));
  await refused(12, EINVAL, where(TEST_GPA + 1, 4096));
  await refused(12, EINVAL, where(TEST_GPA, 4097));
  const noRam = 48 * 1024 ** 2;
  await refused(12, ENOENT, where(noRam, 1));
  await refused(14, ENOENT, where(noRam, 1), u8(0));
  await refused(12, ENOENT, join8(u64(-4096), u16(1), zeros(6)));
  await refused(14, ENOENT, join8(u64(-4096), u16(1), zeros(6)), u8(0));
});

test.serial('9 test_cmd_vcpu_get_info', async (t) => {
  const { command, refused } = await rig(t);
  await command(3, 8, VCPU_0);
  await refused(3, EINVAL, vcpuHdr(99));
  await refused(3, EINVAL, join8(u16(0), u16(1), u32(0)));
  // A payload that is too short counts as if zeros followed.
  await command(3, 8);
});

test.serial('10 test_pause', async (t) => {
  const { machine, client, command, refused, event } = await rig(t, { started: false });
  const pause = (vcpu: number, wait: number) => join8(u16(vcpu), u8(wait), zeros(5));
  // Nobody runs the vCPU yet.
  for (const round of [1, 2]) {
    await command(16, 0, pause(0, 1));
    const paused = await event('pause', 552);
    t.is(paused.seq, round);
    client.connection.send(1, paused.seq, replyTo(paused, CONTINUE));
  }
  await machine.start();
  await command(16, 0, pause(0, 1));
  const paused = await event('pause', 552);
  t.is(paused.vcpu, 0);
  t.is(paused.mode, 8);
  client.connection.send(1, paused.seq, replyTo(paused, CONTINUE));
  await refused(16, EINVAL, pause(0, 2));
  await refused(16, EINVAL, pause(1, 0));
  await machine.control.allow('event', 1, false);
  await refused(16, EPERM, pause(0, 0));
});

test.serial('11 test_cmd_vcpu_control_events', async (t) => {
  const { machine, command, refused } = await rig(t);
  const control = (id: number, enable: number) => join8(VCPU_0, u16(id), u8(enable), zeros(5));
  await command(5, 0, control(1, 1));
  await command(5, 0, control(1, 0));
  await refused(5, EINVAL, control(1, 2));
  await refused(5, EINVAL, control(0xffff, 1));
  await refused(5, EINVAL, control(0, 1));
  await machine.control.allow('event', 1, false);
  await refused(5, EPERM, control(1, 1));
});

test.serial('12 test_cmd_vcpu_get_registers', async (t) => {
  const { command, refused } = await rig(t);
  const get = (...msrs: number[]) => join8(VCPU_0, u16(msrs.length), zeros(6), ...msrs.map(u32));
  const reply = await command(7, 472, get());
  t.is(reply[0], 8, 'mode');
  t.is(at64(reply, 8 + 136) & 2n, 2n, 'rflags');
  t.is(at64(reply, 152 + 264) & 0x500n, 0x500n, 'efer: LME, LMA');
  const withMsr = await command(7, 472 + 16, get(0xc0000080));
  t.is(at64(withMsr, 464), 1n, 'one MSR');
  t.is(at64(withMsr, 472), 0xc0000080n);
  t.is(at64(withMsr, 480), at64(withMsr, 152 + 264));
  await refused(7, EINVAL, get(0xffffffff));
  await refused(7, EINVAL, VCPU_0, u16(1), zeros(6));
  await refused(7, EINVAL, VCPU_0, u16(0), u16(1), u32(0));
  await refused(7, EINVAL, get(...new Array(482).fill(0xc0000080)));
  await command(7, 472 + 16 * 481, get(...new Array(481).fill(0xc0000080)));
});

test.serial('13 test_cmd_vcpu_set_registers', async (t) => {
  const { client, command, refused, event, guest } = await rig(t);
  const regs = (await command(7, 472, VCPU_0, zeros(8))).subarray(8, 152);
  await refused(9, EOPNOTSUPP, VCPU_0, regs);
  await refused(9, EINVAL, VCPU_0, regs.subarray(0, 143));
  await command(16, 0, u16(0), u8(1), zeros(5));
  const paused = await event('pause', 552);
  const now = (await command(7, 472, VCPU_0, zeros(8))).subarray(8, 152);
  t.is(at64(now, 128), paused.registers.rip);
  t.is(at64(now, 8), paused.registers.rbx);
  await command(9, 0, VCPU_0, now);
  client.connection.send(1, paused.seq, replyTo(paused, CONTINUE));
  await (await guest(GUEST.three)).done();
  t.pass('the guest goes on');
});

test.serial('14 test_cmd_vcpu_get_cpuid', async (t) => {
  const { command, refused } = await rig(t);
  const leaf0 = await command(11, 16, VCPU_0, u32(0), u32(0));
  t.is(Buffer.from(leaf0.subarray(4, 8)).toString(), 'Genu');
  await refused(11, ENOENT, VCPU_0, u32(0x8000ffff), u32(0));
});

test.serial('15 test_event_hypercall', async (t) => {
  const { client, event, guest, mailbox } = await rig(t);
  await client.controlEvents(0, 'hypercall', true);
  const call = await guest(GUEST.hypercall);
  const asked = await event('hypercall', 552);
  t.is(asked.registers.rax, 34n);
  client.connection.send(1, asked.seq, replyTo(asked, CONTINUE));
  await call.done();
  t.is(await mailbox(24), 0n);
  await client.controlEvents(0, 'hypercall', false);
  await (await guest(GUEST.hypercall)).done();
  t.is(BigInt.asIntN(64, await mailbox(24)), -1000n, 'nobody hears it now');
});

test.serial('16 test_event_breakpoint', async (t) => {
  const { client, event, guest, mailbox } = await rig(t);
  await client.controlEvents(0, 'breakpoint', true);
  const skipped = await guest(GUEST.bp);
  const hit = await event('breakpoint', 568);
  t.is(hit.data.insn_len, 1);
  t.is(hit.data.gpa, hit.registers.rip);
  t.is((await client.readPhysical(hit.data.gpa, 1))[0], 0xcc);
  await client.setRegisters(0, { ...hit.registers, rip: hit.registers.rip + 1n });
  client.connection.send(1, hit.seq, replyTo(hit, RETRY));
  await skipped.done();
  t.is((await mailbox(8)) & 0xffffffffn, 0n, 'the guest took no #BP');
  const taken = await guest(GUEST.bp);
  client.reply(await event('breakpoint', 568), 'continue');
  await taken.done();
  t.is((await mailbox(8)) & 0xffffffffn, 1n, 'now it has');
  await client.controlEvents(0, 'breakpoint', false);
});

test.serial('17 test_cmd_vm_control_cleanup', async (t) => {
  const { command, refused } = await rig(t, { started: false });
  await refused(18, EINVAL, u8(2), zeros(7));
  await command(18, 0, u8(1), zeros(7));
  await command(18, 0, u8(0), zeros(7));
});

test.serial('18 test_cmd_vcpu_control_cr', async (t) => {
  const { client, command, refused, event, guest, mailbox } = await rig(t);
  const control = (cr: number, enable: number) => join8(VCPU_0, u8(cr), u8(enable), zeros(6));
  await client.controlEvents(0, 'cr', true);
  await command(13, 0, control(4, 1));
  const write = await guest(GUEST.cr);
  const asked = await event('cr', 576);
  t.is(asked.data.cr, 4);
  t.is(asked.data.new_value, asked.data.old_value | 4n);
  t.is((await client.readPhysical(asked.registers.rip, 3)).join(), '15,34,224', 'mov cr4, rax');
  client.connection.send(1, asked.seq, replyTo(asked, CONTINUE, u64(asked.data.old_value)));
  await write.done();
  t.is(await mailbox(24), await mailbox(16), 'the write was blocked');
  await command(13, 0, control(4, 0));
  await (await guest(GUEST.cr)).done();
  t.is(await mailbox(24), (await mailbox(16)) | 4n, 'and is not any more');
  await refused(13, EINVAL, control(4, 2));
  await refused(13, EINVAL, control(99, 1));
  await refused(13, EINVAL, control(2, 1));
});

test.serial('19 test_cmd_vcpu_inject_exception', async (t) => {
  const { machine, client, command, refused, event, guest, mailbox } = await rig(t);
  const inject = (nr: number) => join8(VCPU_0, u8(nr), zeros(15));
  await machine.control.allow('event', 9, false);
  await refused(15, EPERM, inject(6));
  await machine.control.allow('event', 9, true);
  await command(15, 0, inject(6));
  const trap = await event('trap', 568);
  t.is(trap.data.nr, 6);
  t.is(trap.data.error_code, 0);
  await refused(15, EBUSY, inject(6));
  client.reply(trap, 'continue');
  while (((await mailbox(8)) & 0xffffffffn) !== 1n);
  // A #BP that is on its way wins over the #UD.
  await client.controlEvents(0, 'breakpoint', true);
  const hit = await guest(GUEST.bp);
  const bp = await event('breakpoint', 568);
  await command(15, 0, inject(6));
  client.reply(bp, 'continue');
  const other = await event('trap', 568);
  t.is(other.data.nr, 3);
  client.reply(other, 'continue');
  await hit.done();
  t.is((await mailbox(8)) & 0xffffffffn, 2n, 'one exception, not two');
});

test.serial('20 test_cmd_vm_get_max_gfn: v12 has no such command, the handshake says it', async (t) => {
  const { client, refused } = await rig(t, { started: false });
  t.is(client.machine.maxGpa, BigInt(48 * 1024 ** 2));
  // Its id is that of SET_PAGE_ACCESS now, and the one that has moved is nobody's.
  await refused(22, ENOSYS);
});

test.serial('21 test_event_xsetbv', async (t) => {
  const { client, command, event, guest, mailbox } = await rig(t);
  const control = (enable: number) => join8(VCPU_0, u16(11), u8(enable), zeros(5));
  await command(5, 0, control(1));
  const change = await guest(GUEST.xcr);
  const told = await event('xsetbv', 576);
  t.deepEqual(told.data, { xcr: 0, old_value: 1n, new_value: 3n });
  t.deepEqual(await client.readPhysical(told.registers.rip, 3), Uint8Array.of(0x0f, 0x01, 0xd1));
  t.deepEqual(await command(17, 8, VCPU_0, zeros(8)), u64(3), 'it has changed already');
  client.connection.send(1, told.seq, replyTo(told, CONTINUE));
  await change.done();
  t.deepEqual([await mailbox(16), await mailbox(24)], [1n, 3n]);
  await command(5, 0, control(0));
  await (await guest(GUEST.xcr)).done();
  t.is(await mailbox(24), 1n);
  t.is(client.connection.eventsWaiting, 0);
});

test.serial('22 test_cmd_vcpu_get_xcr', async (t) => {
  const { command, refused, guest } = await rig(t);
  t.deepEqual(await command(17, 8, VCPU_0, zeros(8)), u64(1));
  await (await guest(GUEST.xcr)).done();
  t.deepEqual(await command(17, 8, VCPU_0, zeros(8)), u64(3));
  await refused(17, EINVAL, VCPU_0, u8(1), zeros(7));
});

test.serial('23 test_cmd_vcpu_xsave', async (t) => {
  const { command, refused } = await rig(t);
  const area = await command(19, 4096, VCPU_0);
  await command(21, 0, VCPU_0, area);
  t.deepEqual(await command(19, 4096, VCPU_0), area);
  await refused(21, EINVAL, VCPU_0, area.subarray(1));
  const changed = (at: number, value: number) =>
    Uint8Array.from(area, (byte, i) => (i === at ? value : byte));
  t.deepEqual(area.subarray(0, 2), u16(0x37f), 'FCW');
  t.deepEqual(area.subarray(24, 32), join8(u32(0x1f80), u32(0xffff)), 'MXCSR and its mask');
  t.is(at64(area, 512), 0n, 'nothing is used yet');
  // An XMM register without its bit in XSTATE_BV is initial state; with it, it is kept.
  await command(21, 0, VCPU_0, changed(160, 0x5a));
  t.deepEqual(await command(19, 4096, VCPU_0), area);
  const used = changed(160, 0x5a);
  used[512] = 2;
  await command(21, 0, VCPU_0, used);
  t.deepEqual(await command(19, 4096, VCPU_0), used);
  for (const [at, value] of [
    [512, 4],
    [519, 0x80],
    [527, 0x80],
    [26, 1],
  ] as const) {
    await refused(21, EINVAL, VCPU_0, changed(at, value));
  }
  t.deepEqual(await command(19, 4096, VCPU_0), used, 'what was refused has changed nothing');
});

test.serial('24 test_cmd_vcpu_get_mtrr_type', async (t) => {
  const { command } = await rig(t);
  t.deepEqual(await command(23, 8, VCPU_0, u64(TEST_GPA)), u64(6));
});

test.serial('24 test_cmd_vcpu_get_mtrr_type: on a board MTRRs are off, and time has a speed', async (t) => {
  const { command } = await rig(t, { board: true, started: false });
  t.deepEqual(await command(23, 8, VCPU_0, u64(TEST_GPA)), u64(0), 'nobody has switched them on');
  t.deepEqual(
    await command(7, 472 + 16, VCPU_0, u16(1), zeros(6), u32(0x2ff)).then((reply) => at64(reply, 480)),
    0n,
  );
  t.deepEqual(await command(3, 8, VCPU_0), u64(1_000_000_000));
});

test.serial('25 test_event_descriptor', async (t) => {
  const { client, event, guest } = await rig(t);
  await client.controlEvents(0, 'descriptor', true);
  const both = await guest(GUEST.descriptor);
  for (const write of [0, 1]) {
    const asked = await event('descriptor', 560);
    t.is(asked.data.descriptor, 2, 'GDTR');
    t.is(asked.data.write, write);
    client.connection.send(1, asked.seq, replyTo(asked, CONTINUE));
  }
  await both.done();
});

test.serial('26 test_cmd_vcpu_control_msr', async (t) => {
  const { client, command, refused, event, guest, mailbox } = await rig(t);
  const control = (msr: number, enable: number) => join8(VCPU_0, u8(enable), zeros(3), u32(msr));
  await client.controlEvents(0, 'msr', true);
  await command(25, 0, control(0x140, 1));
  const write = await guest(GUEST.msr);
  const asked = await event('msr', 576);
  t.is(asked.data.msr, 0x140);
  t.is(asked.data.new_value, asked.data.old_value | 1n);
  client.connection.send(1, asked.seq, replyTo(asked, CONTINUE, u64(asked.data.old_value)));
  await write.done();
  t.is(await mailbox(24), await mailbox(16), 'the write was blocked');
  await command(25, 0, control(0x140, 0));
  await (await guest(GUEST.msr)).done();
  t.is(await mailbox(24), (await mailbox(16)) | 1n);
  await refused(25, EINVAL, control(0x140, 2));
  await refused(25, EINVAL, control(0xffffffff, 1));
  await refused(25, EINVAL, control(0x2000, 1));
  await command(25, 0, control(0x1fff, 1));
  await command(25, 0, control(0xc0001fff, 1));
});

test.serial('27 test_cmd_vm_set_page_access', async (t) => {
  const { command, refused } = await rig(t, { started: false });
  const set = (...pages: [gpa: number, access: number][]) =>
    join8(
      u16(pages.length),
      zeros(6),
      ...pages.map(([gpa, access]) => join8(u64(gpa), u8(access), zeros(7))),
    );
  await command(20, 0, set([0, 0]));
  await command(20, 0, set([0, 7]));
  await command(20, 0, set());
  for (let access = 0; access < 8; access++) await command(20, 0, set([TEST_GPA + 17, access]));
  await refused(20, EINVAL, set([TEST_GPA, 8]));
  await refused(20, EINVAL, set([48 * 1024 ** 2, 1]));
  await refused(20, EINVAL, u16(0), u16(1), u32(0));
  await refused(20, EINVAL, u16(1), zeros(6), u64(TEST_GPA), u8(1), u8(1), zeros(6));
});

test.serial('28 test_event_pf', async (t) => {
  const { client, command, event, guest } = await rig(t);
  const set = (access: number) => join8(u16(1), zeros(6), u64(TEST_GPA), u8(access), zeros(7));
  await command(20, 0, set(1));
  await command(5, 0, VCPU_0, u16(17), u8(1), zeros(5));
  await client.writePhysical(BigInt(TEST_GPA), u8(0xf9));
  const store = await guest(GUEST.pf);
  const asked = await event('pf', 576);
  t.is(asked.data.gpa, BigInt(TEST_GPA));
  t.is(asked.data.gva, BigInt(TEST_GPA));
  t.is(asked.data.access, 2);
  t.deepEqual(await client.readPhysical(BigInt(TEST_GPA), 1), u8(0xf9), 'not stored yet');
  await command(20, 0, set(3));
  client.connection.send(1, asked.seq, replyTo(asked, RETRY));
  await store.done();
  t.deepEqual(await client.readPhysical(BigInt(TEST_GPA), 1), u8(6));
  t.is(client.connection.eventsWaiting, 0, 'exactly one event');
  await command(5, 0, VCPU_0, u16(17), u8(0), zeros(5));
  await command(20, 0, set(7));
});

test.serial('29 test_cmd_vcpu_control_singlestep', async (t) => {
  const { machine, client, command, refused, event, guest } = await rig(t);
  const control = (enable: number) => join8(VCPU_0, u8(enable), zeros(7));
  await command(5, 0, VCPU_0, u16(19), u8(1), zeros(5));
  await command(27, 0, control(1));
  const step = await event('singlestep', 560);
  t.is(step.data.failed, 0);
  await refused(15, EBUSY, VCPU_0, u8(6), zeros(15));
  await command(27, 0, control(0));
  client.connection.send(1, step.seq, replyTo(step, CONTINUE));
  await (await guest(GUEST.three)).done();
  t.is(client.connection.eventsWaiting, 0, 'no further event');
  await refused(27, EINVAL, control(2));
  await machine.control.allow('event', 19, false);
  await refused(27, EPERM, control(1));
});

test.serial('30 test_cmd_translate_gva', async (t) => {
  const { command } = await rig(t);
  t.deepEqual(await command(29, 8, VCPU_0, u64(TEST_GPA + 5)), u64(TEST_GPA + 5));
  t.deepEqual(await command(29, 8, VCPU_0, u64(-1)), u64(-1));
  t.deepEqual(await command(29, 8, VCPU_0, u64(0x8000000000000000n)), u64(-1), 'not canonical');
});

test.serial('31 unhook_introspection', async (t) => {
  const { machine, client } = await rig(t);
  t.true(await machine.control.unhook());
  await client.connection.closed;
});
