/**
 * Wire-7 over a real unix socket: ids, sizes and error numbers of the kernel branch kvmi-v7 and of libkvmi's header, and
 * what it has that wire-12 has not. Requests are written byte by byte.
 *
 * @source kernel branch kvmi-v7: virt/kvm/introspection/kvmi_msg.c, arch/x86/kvm/kvmi.c; libkvmi master
 */
import test from 'ava';
import type { AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import { KvmiClient } from '../../src/kvmi-client/index.ts';
import { until } from '../support/boot.ts';
import { CODE_GPA, inject } from './injected-code.ts';
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
  type RigOptions,
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

const ENOMEM = 12;
const CONTINUE = 0;
const RETRY = 1;
const VCPU_0 = vcpuHdr(0);
const PAGE = BigInt(TEST_GPA);
const RAM = 48 * 1024 ** 2;

const rig7 = (t: Parameters<typeof rig>[0], options: RigOptions = {}) => rig(t, { ...options, wire: 7 });
const pageAccess = (access: number, gpa = TEST_GPA, view = 0) =>
  join8(u16(view), u16(1), zeros(4), u64(gpa), u8(access), zeros(7));
const control = (id: number, enable: number) => join8(u16(id), u8(enable), zeros(5));
const cmdResponse = (enable: number, now: number, flags = 0) =>
  join8(u8(enable), u8(now), u8(flags), zeros(5));
const frame = (id: number, seq: number, ...payload: readonly Uint8Array[]) => {
  const bytes = join8(...payload);
  return join8(u16(id), u16(bytes.length), u32(seq), bytes);
};

// ── VM commands ─────────────────────────────────────────────────────────────────────────────────────────────

test.serial('version, checks and what there is', async (t) => {
  const { machine, command, refused } = await rig7(t, { started: false, vcpuCount: 2 });
  t.deepEqual(await command(2, 16), join8(u32(1), u32(0), zeros(4), u8(1), zeros(3)));
  for (const id of [12, 20, 22, 25, 30, 31, 39, 41, 42, 60, 64, 0xffff]) await refused(id, ENOSYS, zeros(16));
  const check = (id: number) => join8(u16(id), zeros(6));
  await command(3, 0, check(5));
  await refused(3, EINVAL, check(64));
  await refused(3, EINVAL, u16(5), u16(1), u32(0));
  await refused(3, EPERM, check(12));
  await command(4, 0, check(13));
  await refused(4, EINVAL, check(14));
  await refused(4, EINVAL, u16(6), u16(1), u32(0));
  await machine.control.allow('command', 29, false);
  await refused(3, EPERM, check(29));
  await refused(29, EPERM);
  await machine.control.allow('event', 6, false);
  await refused(4, EPERM, check(6));
  await machine.control.allow('command', -1, true);
  t.deepEqual(await command(5, 16), join8(u32(2), zeros(12)));
  t.deepEqual(await command(29, 8), u64(RAM / 4096));
  // The ids of the device model's calls are those of the wire, too.
  for (const id of [2, 3, 4])
    await t.throwsAsync(machine.control.allow('command', id, false), { message: /EPERM/ });
  await machine.control.allow('command', 63, false);
  await t.throwsAsync(machine.control.allow('command', 64, true), { message: /EINVAL/ });
  await t.throwsAsync(machine.control.allow('event', 14, true), { message: /EINVAL/ });
});

test.serial('physical memory: sizes are 64 bits wide', async (t) => {
  const { client, listener, command, refused } = await rig7(t, { started: false });
  const where = (gpa: number | bigint, size: number | bigint) => join8(u64(gpa), u64(size));
  const page = new Uint8Array(4096).fill(7);
  await command(18, 0, where(TEST_GPA, 4096), page);
  t.deepEqual(await command(17, 4096, where(TEST_GPA, 4096)), page);
  for (const size of [0, 4097, 0x1_0000_0001n, -1]) await refused(17, EINVAL, where(TEST_GPA, size));
  await refused(17, EINVAL, where(TEST_GPA + 1, 4096));
  await refused(17, ENOENT, where(RAM, 1));
  await refused(18, ENOENT, where(RAM, 1), u8(0));
  // As the kernel adds, 16 more than this is 15.
  await refused(18, EINVAL, where(TEST_GPA, -1));
  client.connection.sendBytes(frame(18, 1, where(TEST_GPA, 2), u8(0)));
  await client.connection.closed;
  t.is((await (await listener.next()).getVersion()).version, 1);
});

test.serial('page access has a view; a page that no memslot has is passed over', async (t) => {
  const { command, refused } = await rig7(t, { started: false });
  for (let access = 0; access < 8; access++) await command(21, 0, pageAccess(access, TEST_GPA + 5));
  await command(21, 0, pageAccess(1, RAM));
  await command(21, 0, zeros(8));
  await refused(21, EINVAL, pageAccess(8));
  await refused(21, EINVAL, u16(0), u16(1), zeros(4), u64(TEST_GPA), u8(1), u8(1), zeros(6));
  await refused(21, EINVAL, u16(0), u16(0), u32(1));
  await refused(21, EINVAL, u16(0), u16(2), zeros(4), zeros(31));
  await refused(21, EOPNOTSUPP, pageAccess(1, TEST_GPA, 1));
  await refused(21, EINVAL, pageAccess(1, TEST_GPA, 3));
});

test.serial('the machine asks for the end with an event of full size', async (t) => {
  const { machine, client, command, refused } = await rig7(t, { started: false });
  await t.throwsAsync(machine.introspector.preUnhook(), { message: /ENOENT/ });
  await command(8, 0, control(0, 1));
  await machine.introspector.preUnhook();
  const { id, seq, payload } = (await client.connection.nextEvent())!;
  t.deepEqual([id, seq], [1, 1]);
  t.deepEqual(payload, join8(u16(544), zeros(542)));
  // Of the VM as well: CREATE_VCPU, CMD_ERROR. Any flag but 0 is on.
  for (const event of [9, 12]) await command(8, 0, control(event, 2));
  for (const event of [1, 13, 14, 0xffff]) await refused(8, EINVAL, control(event, 1));
  await refused(8, EINVAL, u16(0), u8(1), u8(1), zeros(4));
  await machine.control.allow('event', 0, false);
  await refused(8, EPERM, control(0, 1));
});

test.serial('one view, no #VE, no sub-page permissions', async (t) => {
  const { client, command, refused } = await rig7(t);
  const view = (number: number) => join8(u16(number), zeros(6));
  t.deepEqual(await command(34, 8, VCPU_0), view(0));
  await command(32, 0, VCPU_0, view(0));
  await refused(32, EOPNOTSUPP, VCPU_0, view(1));
  await refused(32, EINVAL, VCPU_0, view(3));
  await refused(32, EINVAL, VCPU_0, u16(0), u16(1), zeros(4));
  await command(36, 0, VCPU_0, u16(0), u8(1), zeros(5));
  await refused(36, EOPNOTSUPP, VCPU_0, u16(2), u8(1), zeros(5));
  await refused(36, EINVAL, VCPU_0, u16(0), u8(1), u8(1), zeros(4));
  await refused(43, EOPNOTSUPP);
  await refused(44, EINVAL, view(0));
  await refused(28, EINVAL, VCPU_0, u64(TEST_GPA), zeros(8));
  await command(33, 0, VCPU_0);
  await refused(24, EOPNOTSUPP, u8(1), zeros(7));
  await refused(24, EINVAL, u8(1), u8(1), zeros(6));
  await refused(26, EOPNOTSUPP, u16(0), u16(1), zeros(4), zeros(16));
  await refused(26, EINVAL, u16(0), u16(1), zeros(4), zeros(15));
  t.is(await client.getEptView(0), 0);
});

// ── vCPU commands ───────────────────────────────────────────────────────────────────────────────────────────

test.serial('registers, CPUID, extended state', async (t) => {
  const { client, command, refused, event } = await rig7(t);
  t.is((await command(6, 8, VCPU_0)).length, 8);
  const get = (...msrs: number[]) => join8(VCPU_0, u16(msrs.length), zeros(6), ...msrs.map(u32));
  const reply = await command(13, 472, get());
  t.is(reply[0], 8, 'mode');
  // One that there is not ends the list: it and those behind it read as 0, and nobody is told.
  const msrs = await command(13, 472 + 48, get(0xc0000080, 0xdeadbeef, 0xc0000080));
  t.is(at64(msrs, 480) & 0x500n, 0x500n);
  t.deepEqual([at64(msrs, 496), at64(msrs, 512)], [0n, 0n]);
  await refused(13, EINVAL, VCPU_0, u16(1), zeros(6));
  await refused(13, ENOMEM, get(...new Array(482).fill(0xc0000080)));
  await refused(13, EINVAL, VCPU_0, u16(0), u16(1), u32(0));
  await refused(14, EOPNOTSUPP, VCPU_0, reply.subarray(8, 152));
  await client.pauseVcpu(0);
  const paused = await event('pause', 544);
  await command(14, 0, VCPU_0, (await command(13, 472, get())).subarray(8, 152));
  client.connection.send(0, paused.seq, replyTo(paused, CONTINUE));

  t.is(Buffer.from((await command(15, 16, VCPU_0, zeros(8))).subarray(4, 8)).toString(), 'Genu');
  await refused(15, ENOENT, VCPU_0, u32(0x8000ffff), u32(0));
  const area = await command(16, 4096, VCPU_0);
  await command(38, 0, VCPU_0, area);
  await command(38, 0, VCPU_0, area.subarray(0, 576));
  await refused(38, EINVAL, VCPU_0, area, u8(0));
  t.deepEqual(await command(37, 8, VCPU_0, zeros(8)), u64(1));
  await refused(37, EINVAL, VCPU_0, u8(1), zeros(7));
  t.deepEqual(await command(23, 8, VCPU_0, u64(TEST_GPA)), u64(6));
  t.deepEqual(await command(35, 8, VCPU_0, u64(TEST_GPA + 5)), u64(TEST_GPA + 5));
  t.deepEqual(await command(35, 8, VCPU_0, u64(-1)), u64(-1));
});

test.serial('control registers and MSRs', async (t) => {
  const { client, command, refused, event, guest, mailbox } = await rig7(t);
  const cr = (number: number, enable: number) => join8(VCPU_0, u8(enable), zeros(3), u32(number));
  await command(9, 0, VCPU_0, control(1, 1));
  await command(10, 0, cr(4, 1));
  const write = await guest(GUEST.cr);
  const asked = await event('cr', 568);
  t.is(asked.data.new_value, asked.data.old_value | 4n);
  client.connection.send(0, asked.seq, replyTo(asked, CONTINUE, u64(asked.data.old_value)));
  await write.done();
  t.is(await mailbox(24), await mailbox(16), 'the write was blocked');
  await command(10, 0, cr(4, 0));
  for (const number of [1, 2, 5, 99]) await refused(10, EINVAL, cr(number, 1));
  await refused(10, EINVAL, VCPU_0, u8(1), u8(1), u16(0), u32(4));

  const msr = (number: number, enable: number) => join8(VCPU_0, u8(enable), zeros(3), u32(number));
  await command(9, 0, VCPU_0, control(2, 1));
  await command(11, 0, msr(0x140, 1));
  const wrmsr = await guest(GUEST.msr);
  const wants = await event('msr', 568);
  t.deepEqual([wants.data.msr, wants.data.new_value], [0x140, wants.data.old_value | 1n]);
  client.reply(wants, 'continue');
  await wrmsr.done();
  t.is(await mailbox(24), (await mailbox(16)) | 1n);
  for (const number of [0x1fff, 0x2000, 0xc0000000, 0xc0001fff]) await refused(11, EINVAL, msr(number, 1));
  for (const number of [0x1ffe, 0xc0000001, 0xc0001ffe]) await command(11, 0, msr(number, 2));
});

test.serial('events of a vCPU are switched by it alone', async (t) => {
  const { machine, command, refused } = await rig7(t);
  for (const id of [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]) {
    await command(9, 0, VCPU_0, control(id, 255));
    await command(9, 0, VCPU_0, control(id, 0));
  }
  for (const id of [0, 9, 14, 17, 0xffff]) await refused(9, EINVAL, VCPU_0, control(id, 1));
  await refused(9, EINVAL, VCPU_0, u16(1), u8(1), u8(1), zeros(4));
  await machine.control.allow('event', 6, false);
  await refused(9, EPERM, VCPU_0, control(6, 1));
});

test.serial('breakpoints, descriptors, hypercalls, exceptions', async (t) => {
  const { client, command, refused, event, guest, mailbox } = await rig7(t);
  for (const id of [4, 5, 8]) await command(9, 0, VCPU_0, control(id, 1));
  const bp = await guest(GUEST.bp);
  const hit = await event('breakpoint', 560);
  t.deepEqual([hit.id, hit.data.insn_len, hit.data.gpa], [4, 1, hit.registers.rip]);
  client.connection.send(0, hit.seq, replyTo(hit, CONTINUE));
  await bp.done();
  const call = await guest(GUEST.hypercall);
  client.reply(await event('hypercall', 544), 'continue');
  await call.done();
  t.is(await mailbox(24), 0n);
  const tables = await guest(GUEST.descriptor);
  for (const write of [0, 1]) {
    const asked = await event('descriptor', 552);
    t.deepEqual([asked.id, asked.data.descriptor, asked.data.write], [8, 2, write]);
    client.reply(asked, 'continue');
  }
  await tables.done();
  const inject6 = join8(VCPU_0, u8(6), zeros(15));
  await command(19, 0, inject6);
  const trap = await event('trap', 560);
  t.deepEqual([trap.id, trap.data.nr], [7, 6]);
  await refused(19, EBUSY, inject6);
  await refused(19, EINVAL, VCPU_0, u8(6), u8(1), zeros(14));
  client.reply(trap, 'continue');
  while (((await mailbox(8)) & 0xffffffffn) !== 2n);
});

test.serial('single steps need the command and the event', async (t) => {
  const { client, command, refused, event, guest } = await rig7(t);
  const step = (enable: number) => join8(VCPU_0, u8(enable), zeros(7));
  await command(63, 0, step(1));
  await (await guest(GUEST.three)).done();
  t.is(client.connection.eventsWaiting, 0, 'not enabled');
  await command(9, 0, VCPU_0, control(11, 1));
  const one = await event('singlestep', 552);
  t.is(one.data.failed, 0);
  await command(63, 0, step(0));
  client.reply(one, 'continue');
  await (await guest(GUEST.three)).done();
  t.is(client.connection.eventsWaiting, 0);
  await refused(63, EINVAL, VCPU_0, u8(1), u8(1), zeros(6));
});

test.serial('XSETBV says that XCR0 has changed, and not how', async (t) => {
  const { client, command, event, guest } = await rig7(t);
  await command(9, 0, VCPU_0, control(3, 1));
  const change = await guest(GUEST.xcr);
  const told = await event('xsetbv', 544);
  t.deepEqual([told.id, told.data], [3, {}]);
  t.is(await client.getXcr(0, 0), 3n);
  client.reply(told, 'continue');
  await change.done();
});

test.serial('CPUID asks before it is carried out', async (t) => {
  const given = await rig7(t);
  const { client, command } = given;
  await command(9, 0, VCPU_0, control(13, 1));
  const CPUID = [0x0f, 0xa2];
  const plain = await inject(t, given, CPUID, { rax: 0n, rcx: 5n });
  const asked = await plain.event('cpuid');
  t.is(asked.size, 560);
  t.like(asked.data, { function: 0, index: 5, insn_length: 2 });
  t.is(asked.registers.rip, CODE_GPA);
  client.reply(asked, 'continue');
  t.is((await plain.end()).rbx, 0x756e6547n, 'Genu');
  await command(9, 0, VCPU_0, control(13, 0));
  await (await inject(t, given, CPUID, { rax: 0n })).end();
});

// ── page faults ─────────────────────────────────────────────────────────────────────────────────────────────

test.serial('a page fault, answered with 288 bytes as libkvmi does', async (t) => {
  const { client, command, event, guest } = await rig7(t);
  await command(21, 0, pageAccess(1));
  await command(9, 0, VCPU_0, control(6, 1));
  await client.writePhysical(PAGE, u8(0xf9));
  const store = await guest(GUEST.pf);
  const asked = await event('pf', 568);
  t.deepEqual([asked.id, asked.data.gpa, asked.data.gva, asked.data.access], [6, PAGE, PAGE, 2]);
  t.deepEqual(await client.readPhysical(PAGE, 1), u8(0xf9), 'not stored yet');
  await command(21, 0, pageAccess(3));
  client.connection.send(0, asked.seq, replyTo(asked, RETRY, zeros(272)));
  await store.done();
  t.deepEqual(await client.readPhysical(PAGE, 1), u8(6));
  // Or with nothing behind the action, or with a part.
  for (const extra of [0, 8, 271]) {
    await command(21, 0, pageAccess(1));
    const again = await guest(GUEST.pf);
    const fault = await event('pf', 568);
    client.connection.send(0, fault.seq, replyTo(fault, CONTINUE, zeros(extra)));
    await again.done();
  }
});

/** mov rax, [rsi]; the same 2 bytes further on. */
const TWO_READS = [0x48, 0x8b, 0x06, 0x48, 0x8b, 0x5e, 0x02];

test.serial('context data is what the instruction reads, this one and no other', async (t) => {
  const given = await rig7(t);
  const { client } = given;
  await client.writePhysical(PAGE, new Uint8Array(16).fill(0x11));
  await client.setPageAccess([{ gpa: PAGE, access: 6 }]);
  await client.controlEvents(0, 'pf', true);
  const reads = await inject(t, given, TWO_READS, { rsi: PAGE });
  const first = await reads.event('pf');
  const data = Uint8Array.from({ length: 12 }, (_, i) => i);
  client.reply(first, 'continue', { context: { gva: PAGE, data } });
  const second = await reads.event('pf');
  t.is(second.data.gva, PAGE + 2n);
  client.reply(second, 'continue');
  const { rax, rbx } = await reads.end();
  t.is(rax, 0x0706050403020100n);
  t.is(rbx, 0x1111111111111111n, 'the next instruction reads memory');

  // Not all of the read lies in it: the guest's memory is read.
  const beside = await inject(t, given, TWO_READS.slice(0, 3), { rsi: PAGE });
  client.reply(await beside.event('pf'), 'continue', { context: { gva: PAGE + 4n, data } });
  t.is((await beside.end()).rax, 0x1111111111111111n);

  // REP: one answer for all cycles that it covers. Twelve bytes, a byte each.
  const REP_LODSB = [0xf3, 0xac];
  const rep = await inject(t, given, REP_LODSB, { rsi: PAGE, rcx: 12n, rax: 0n });
  client.reply(await rep.event('pf'), 'continue', { context: { gva: PAGE, data } });
  t.is((await rep.end()).rax, 11n);
  t.is(client.connection.eventsWaiting, 0);
});

test.serial('rep_complete: the rest of a REP instruction raises no events', async (t) => {
  const given = await rig7(t);
  const { client } = given;
  await client.writePhysical(PAGE, new Uint8Array(16).fill(0x11));
  await client.setPageAccess([{ gpa: PAGE, access: 6 }]);
  await client.controlEvents(0, 'pf', true);
  const REP_LODSB = [0xf3, 0xac];
  const loud = await inject(t, given, REP_LODSB, { rsi: PAGE, rcx: 3n });
  for (let i = 0n; i < 3n; i++) {
    const event = await loud.event('pf');
    t.is(event.data.gva, PAGE + i);
    client.reply(event, 'continue');
  }
  await loud.end();
  const quiet = await inject(t, given, REP_LODSB, { rsi: PAGE, rcx: 3n });
  client.reply(await quiet.event('pf'), 'continue', { repComplete: true });
  await quiet.end();
  // The next instruction is another one.
  const next = await inject(t, given, REP_LODSB, { rsi: PAGE, rcx: 1n });
  client.reply(await next.event('pf'), 'continue');
  await next.end();
});

// ── commands without replies ────────────────────────────────────────────────────────────────────────────────

test.serial('a batch as libkvmi sends it: one write, one reply', async (t) => {
  const { client, event } = await rig7(t, { vcpuCount: 2 });
  const pause = (vcpu: number) => join8(vcpuHdr(vcpu), u8(1), zeros(7));
  client.connection.sendBytes(
    join8(
      frame(27, 100, cmdResponse(0, 1)),
      frame(7, 101, pause(0)),
      frame(7, 102, pause(1)),
      // Wrong, and nobody hears of it.
      frame(7, 103, pause(9)),
      frame(9, 104, vcpuHdr(0), control(0xffff, 1)),
      frame(27, 105, cmdResponse(1, 0)),
    ),
  );
  // now = 0: from the next command on.
  t.is((await client.getInfo()).vcpu_count, 2);
  const events = [await event('pause', 544), await event('pause', 544)];
  t.deepEqual(events.map(({ vcpu }) => vcpu).sort(), [0, 1]);
  for (const paused of events) client.reply(paused, 'continue');

  const { requests } = client;
  await client.batch([
    requests.pauseVcpu(0),
    requests.setPageAccess([{ gpa: PAGE, access: 1 }]),
    requests.pauseVcpu(1),
  ]);
  for (let i = 0; i < 2; i++) client.reply(await event('pause', 544), 'continue');
  await client.getRegisters(0);
  t.is(client.connection.eventsWaiting, 0);
});

test.serial('errors without a reply can be told by events', async (t) => {
  const { machine, client, listener } = await rig7(t);
  client.connection.sendBytes(
    join8(
      frame(27, 1000, cmdResponse(0, 1, 1)),
      frame(21, 1001, pageAccess(9)),
      frame(9, 1002, VCPU_0, control(0xffff, 1)),
      frame(21, 1003, pageAccess(7)),
    ),
  );
  const told = [(await client.nextEvent())!, (await client.nextEvent())!];
  for (const event of told) {
    t.is(event.kind, 'commandError');
    t.is(event.size, 544 + 16);
  }
  const data = told.map((event) => (event.kind === 'commandError' ? event.data : null));
  data.sort((a, b) => a!.msg_seq - b!.msg_seq);
  t.like(data[0], { err: -EINVAL, msg_seq: 1001, msg_id: 21 });
  t.like(data[1], { err: -EINVAL, msg_seq: 1002, msg_id: 9 });
  await client.controlCmdResponse(true, { now: true });
  t.is((await client.getInfo()).vcpu_count, 1);
  await client.controlCmdResponse(false);
  client.connection.send(8, 0, control(0, 1));
  await client.controlCmdResponse(true);
  t.is((await client.getInfo()).vcpu_count, 1);
  await machine.control.allow('event', 12, false);
  client.connection.sendBytes(frame(27, 1, cmdResponse(0, 1, 1)));
  await client.connection.closed;
  t.is((await (await listener.next()).getInfo()).vcpu_count, 1);
});

// ── what closes the connection, and what does not ───────────────────────────────────────────────────────────

test.serial('messages that cost the connection; the next tool is served', async (t) => {
  const { machine, client: first, listener } = await rig7(t);
  const silent = frame(27, 1, cmdResponse(0, 1));
  const cases: [string, Uint8Array][] = [
    ['longer than any message', join8(u16(5), u16(8185), zeros(4))],
    ['padding in a vCPU header', frame(6, 1, u16(0), u16(1), u32(0))],
    ['padding in the header of a reply', frame(0, 1, u16(0), zeros(2), u32(1), zeros(8))],
    ['padding in PAUSE_VCPU', frame(7, 1, VCPU_0, u8(0), u8(1), zeros(6))],
    ['padding before PAUSE_VCPU', frame(7, 1, u16(0), u16(1), zeros(4), zeros(8))],
    ['padding in CONTROL_CMD_RESPONSE', frame(27, 1, u8(1), u8(1), u8(0), u8(1), zeros(4))],
    ['data without a reply, of the receiver', join8(silent, frame(5, 2))],
    ['data without a reply, of a vCPU', join8(silent, ...[2, 3, 4, 5].map((seq) => frame(6, seq, VCPU_0)))],
    ['an id that there is not, without a reply', join8(silent, frame(30, 2))],
  ];
  let client: KvmiClient = first;
  for (const [what, bytes] of cases) {
    client.connection.sendBytes(bytes);
    await client.connection.closed;
    client = await listener.next();
    t.is((await client.getInfo()).vcpu_count, 1, what);
  }
  await machine.control.allow('event', 10, false);
  client.connection.sendBytes(frame(7, 1, VCPU_0, u8(0), zeros(7)));
  await client.connection.closed;
  client = await listener.next();
  await client.getInfo();
  await machine.control.allow('command', 29, false);
  client.connection.sendBytes(join8(silent, frame(29, 2)));
  await client.connection.closed;
});

test.serial('replies that cost the connection, and those that are nothing', async (t) => {
  const { machine, client: first, listener, command } = await rig7(t);
  // Nobody waits: nothing is wrong.
  for (let i = 0; i < 300; i++) first.connection.send(0, i, VCPU_0, zeros(8));
  await command(6, 8, VCPU_0);
  // The vCPU that a reply names does not exist.
  const refused = await first.connection.request(0, vcpuHdr(9), zeros(8));
  t.deepEqual([refused.error, refused.size], [-EINVAL, 8]);

  const paused = async (client: KvmiClient) => {
    await client.pauseVcpu(0);
    return (await client.nextEvent()) as AnyVcpuEvent;
  };
  // An action that PAUSE does not have is none: the vCPU goes on.
  const odd = await paused(first);
  first.connection.send(0, odd.seq, replyTo(odd, RETRY));
  t.is((await first.getRegisters(0)).mode, 8);
  let client = first;
  for (const [what, wrong] of [
    ['another number', (e: AnyVcpuEvent) => [e.seq + 1, replyTo(e, CONTINUE)]],
    ['too few bytes', (e: AnyVcpuEvent) => [e.seq, replyTo(e, CONTINUE).subarray(0, 15)]],
    ['more than it asks for', (e: AnyVcpuEvent) => [e.seq, replyTo(e, CONTINUE, u8(0))]],
    ['padding', (e: AnyVcpuEvent) => [e.seq, join8(VCPU_0, u8(0), u8(10), u16(1), zeros(4))]],
  ] as [string, (event: AnyVcpuEvent) => [number, Uint8Array]][]) {
    client.connection.send(0, ...wrong(await paused(client)));
    await client.connection.closed;
    client = await listener.next();
    t.is((await client.getInfo()).vcpu_count, 1, what);
    t.is(machine.stateOf(0), 'running');
  }
});

test.serial('PF replies with something wrong in what follows their action', async (t) => {
  const { client: first, listener, guest } = await rig7(t);
  let client = first;
  const extra = (at: number, ...bytes: number[]) => {
    const all = zeros(272);
    all.set(bytes, at);
    return all;
  };
  for (const [what, bytes] of [
    ['padding where single-step once was', extra(12, 1)],
    ['padding', extra(14, 0, 1)],
    ['context of more than there is room for', extra(8, 1, 1)],
    ['a byte too many', zeros(273)],
  ] as const) {
    await client.setPageAccess([{ gpa: PAGE, access: 5 }]);
    await client.controlEvents(0, 'pf', true);
    // The guest's mailbox is served by the tool that is there.
    await client.writePhysical(0x1ff000n, u32(GUEST.pf));
    const fault = (await client.nextEvent()) as AnyVcpuEvent;
    t.is(fault.kind, 'pf', what);
    client.connection.send(0, fault.seq, replyTo(fault, CONTINUE, bytes));
    await client.connection.closed;
    client = await listener.next();
    while ((await client.readPhysical(0x1ff004n, 1))[0] !== 1);
    await client.writePhysical(0x1ff000n, u32(0));
    while ((await client.readPhysical(0x1ff004n, 1))[0] !== 0);
  }
  t.truthy(guest);
});

// ── which wire it is ────────────────────────────────────────────────────────────────────────────────────────

test.serial('auto: each tool is spoken to as it speaks', async (t) => {
  const { client, listener, remarks } = await rig7(t, { kvmi: { wire: 'auto' }, started: false });
  t.deepEqual(
    await client.getVersion().then(({ version, spp, singlestep }) => [version, spp, singlestep]),
    [1, 0, 0],
  );
  t.is((await client.getInfo()).vcpu_count, 1);
  t.is(await client.getMaxGfn(), BigInt(RAM / 4096));
  await client.close();
  const twelve = await KvmiClient.open(await listener.nextSocket());
  t.is((await twelve.getInfo()).vcpu_count, 1);
  t.is((await twelve.getVersion()).singlestep, 1);
  await twelve.setPageAccess([{ gpa: PAGE, access: 1 }]);
  await twelve.close();
  const seven = await listener.next();
  // Without GET_VERSION, and with another question.
  t.is(await seven.getMaxGfn(), BigInt(RAM / 4096));
  await until(() => remarks.filter((text) => /speaks wire-(7|12)$/.test(text)).length === 3);
  t.deepEqual(
    remarks.filter((text) => text.includes('speaks')),
    ['it speaks wire-7', 'it speaks wire-12', 'it speaks wire-7'],
  );
});

test.serial('a tool of wire-12 is told apart, and allow-lists are in the words of wire-7', async (t) => {
  const { client, remarks } = await rig7(t, {
    kvmi: { commands: ['KVMI_GET_GUEST_INFO', 'control_events', 8], events: ['pf', 'KVMI_EVENT_CPUID'] },
    started: false,
  });
  await client.getVersion();
  const { error, size } = await client.connection.request(8);
  // CONTROL_VM_EVENTS, of UNHOOK, which is not allowed.
  t.deepEqual([error, size], [-EPERM, 8]);
  await until(() => remarks.some((text) => text.includes('it speaks wire-12')));
  t.is((await client.getInfo()).vcpu_count, 1);
  await client.controlEvents(0, 'cpuid', true);
  await t.throwsAsync(client.controlEvents(0, 'cr', true), { message: 'KVMI_CONTROL_EVENTS: EPERM' });
  await t.throwsAsync(client.getMaxGfn(), { message: 'KVMI_GET_MAX_GFN: EPERM' });
});
