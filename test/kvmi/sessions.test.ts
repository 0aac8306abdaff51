/** Sessions: what becomes of a vCPU when one ends, what ends one, and what a tool may do in one. */
import test from 'ava';
import { KvmiClient } from '../../src/kvmi-client/client.ts';
import type { AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import type { WireVersion } from '../../src/kvmi-client/index.ts';
import { until } from '../support/boot.ts';
import {
  EINVAL,
  GUEST,
  join8,
  onBothWires,
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

const PAGE = BigInt(TEST_GPA);

/** Registers and what is before them, in an event. */
const eventBytes = (wire: WireVersion) => (wire === 7 ? 544 : 552);

test.serial('a tool that does not know the secret is sent away, and may try again', async (t) => {
  const { machine, listener, remarks, client } = await rig(t, { kvmi: { secret: 'right' }, secret: 'right' });
  await client.close();
  const wrong = await KvmiClient.open(await listener.nextSocket(), { secret: 'wrong' });
  await wrong.connection.closed;
  await until(() => remarks.includes('refused: it does not know the secret'));
  const right = await listener.next();
  t.is((await right.getInfo()).vcpu_count, 1);
  t.is(machine.stateOf(0), 'running');
});

test.serial('the handshake says who the machine is and where its memory ends', async (t) => {
  const uuid = '00112233-4455-6677-8899-aabbccddeeff';
  const { client } = await rig(t, { kvmi: { name: 'box', uuid }, started: false });
  t.is(client.machine.name, 'box');
  t.is(Buffer.from(client.machine.uuid).toString('hex'), uuid.replaceAll('-', ''));
  t.is(client.machine.maxGpa, BigInt(48 * 1024 ** 2));
});

onBothWires('a tool that goes away leaves nothing: events, restrictions, pauses, steps', async (t, wire) => {
  const { machine, client, listener, event, guest } = await rig(t, { wire });
  await client.controlEvents(0, 'pf', true);
  await client.setPageAccess([{ gpa: PAGE, access: 1 }]);
  await client.controlMsr(0, 0x140, true);
  await guest(GUEST.pf);
  await event('pf', eventBytes(wire) + 24);
  await client.pauseVcpu(0);
  await client.pauseVcpu(0);
  // In the middle of a message.
  client.connection.sendBytes(Uint8Array.of(5, 0, 16));
  await client.close();
  const next = await listener.next();
  await next.getVersion();
  t.deepEqual(await next.readPhysical(PAGE, 1), u8(6), 'the store went on');
  t.is(next.connection.eventsWaiting, 0);
  const paused = next.nextEvent();
  await next.pauseVcpu(0);
  const first = await paused;
  t.is(first?.kind, 'pause');
  t.is(first?.seq, 1, 'a session counts from 1');
  next.reply(first as AnyVcpuEvent, 'continue');
  const check = await machine.control.checkInvariants();
  t.deepEqual(check?.findings ?? [], []);
});

onBothWires('twenty tools, one after the other, each in the middle of something', async (t, wire) => {
  const { client, listener } = await rig(t, { wire, vcpuCount: 2 });
  await client.close();
  for (let round = 0; round < 20; round++) {
    const tool = await listener.next();
    await tool.controlEvents(round % 2, 'pf', true);
    await tool.setPageAccess([{ gpa: PAGE, access: round % 8 }]);
    if (round % 3 === 0) await tool.pauseVcpu(0, { wait: true });
    if (round % 3 === 1) await tool.controlSinglestep(1, true);
    if (round % 4 === 0) void tool.getRegisters(1).catch(() => {});
    await tool.close();
  }
  t.pass();
});

onBothWires('CRASH ends the machine', async (t, wire) => {
  const { machine, client, event } = await rig(t, { wire });
  await client.pauseVcpu(0);
  client.reply((await event('pause', eventBytes(wire))) as AnyVcpuEvent, 'crash');
  const report = await machine.ended;
  t.is(report.ending, 'crashed');
  await client.connection.closed;
});

test.serial('a reply that is wrong closes the connection, and the vCPU goes on', async (t) => {
  const { client, listener, machine } = await rig(t);
  let tool = client;
  for (const [what, wrong] of [
    ['an action that the event does not have', (e) => [e.seq, replyTo(e, 1)]],
    ['an action that does not exist', (e) => [e.seq, replyTo(e, 3)]],
    ['another number', (e) => [e.seq + 1, replyTo(e, 0)]],
    ['too few bytes', (e) => [e.seq, replyTo(e, 0).subarray(0, 15)]],
    ['more than the event asks for', (e) => [e.seq, replyTo(e, 0, u64(0))]],
    ['something in its padding', (e) => [e.seq, join8(vcpuHdr(0), u8(0), u8(1), u16(1), zeros(4))]],
  ] as [string, (event: AnyVcpuEvent) => [number, Uint8Array]][]) {
    await tool.pauseVcpu(0);
    const paused = (await tool.nextEvent()) as AnyVcpuEvent;
    tool.connection.send(1, ...wrong(paused));
    await tool.connection.closed;
    tool = await listener.next();
    t.is((await tool.getRegisters(0)).mode, 8, what);
    t.is(machine.stateOf(0), 'running', what);
  }
});

test.serial(
  'a reply nobody waits for closes the connection, after the commands before it are answered',
  async (t) => {
    const { client, listener } = await rig(t);
    const before = client.getTscSpeed(0);
    client.connection.send(1, 1, vcpuHdr(0), zeros(8));
    t.is(await before, 0n);
    await client.connection.closed;
    t.is((await (await listener.next()).getVersion()).version, 1);
  },
);

test.serial('an event reply whose header is wrong gets an error, and the event stays open', async (t) => {
  const { client, event } = await rig(t);
  await client.pauseVcpu(0);
  const paused = (await event('pause', 552)) as AnyVcpuEvent;
  const refused = await client.connection.request(1, vcpuHdr(9), zeros(8));
  t.is(refused.error, -EINVAL);
  client.reply(paused, 'continue');
  await client.pauseVcpu(0);
  t.is((await event('pause', 552)).seq, paused.seq + 1);
});

test.serial('what is no message closes the connection, and the next tool is served', async (t) => {
  const { client, listener } = await rig(t, { started: false });
  let tool = client;
  for (const [what, bytes] of [
    ['longer than any message may be', Uint8Array.of(8, 0, 0xf9, 0x1f, 0, 0, 0, 0)],
    [
      'a write that is said to be longer than it is',
      Uint8Array.of(14, 0, 16, 0, 0, 0, 0, 0, ...zeros(8), 1, 0, ...zeros(6)),
    ],
    ['more page access entries than there are', Uint8Array.of(20, 0, 8, 0, 0, 0, 0, 0, 1, 0, ...zeros(6))],
    ['page access without its head', Uint8Array.of(20, 0, 0, 0, 0, 0, 0, 0)],
  ] as const) {
    tool.connection.sendBytes(bytes);
    await tool.connection.closed;
    tool = await listener.next();
    t.is((await tool.getVersion()).version, 1, what);
  }
});

test.serial('a batch of page access is carried out to its end, and its first error is told', async (t) => {
  const { client, guest, event } = await rig(t);
  const noRam = BigInt(48 * 1024 ** 2);
  const { errno } = (await t.throwsAsync(
    client.setPageAccess([
      { gpa: PAGE - 4096n, access: 1 },
      { gpa: noRam, access: 1 },
      { gpa: PAGE, access: 5 },
    ]),
  )) as Error & { errno: number };
  t.is(errno, EINVAL);
  await client.controlEvents(0, 'pf', true);
  const store = await guest(GUEST.pf);
  client.reply((await event('pf', 576)) as AnyVcpuEvent, 'continue');
  await store.done();
});

test.serial(
  'commands of a vCPU are answered in order while it waits for a reply, hundreds of them',
  async (t) => {
    const { client, event } = await rig(t, { vcpuCount: 2 });
    await client.pauseVcpu(1);
    const paused = (await event('pause', 552)) as AnyVcpuEvent;
    const order: number[] = [];
    const msrs = join8(vcpuHdr(1), u16(400), zeros(6), ...new Array(400).fill(u32(0xc0000080)));
    const requests = [
      [19, vcpuHdr(1)],
      [7, msrs],
      [3, vcpuHdr(1)],
    ] as const;
    const all = Array.from({ length: 600 }, (_, i) => {
      const [id, bytes] = requests[i % 3]!;
      return client.connection.request(id, bytes).then(({ error }) => order.push(error === 0 ? i : error));
    });
    // Another vCPU is not held up by that.
    await client.getTscSpeed(0);
    client.reply(paused, 'continue');
    await Promise.all(all);
    t.deepEqual(order, [...order.keys()]);
  },
);

onBothWires('a tool that does not read is not listened to, and the guest goes on', async (t, wire) => {
  const { machine, client, listener } = await rig(t, { wire });
  await client.close();
  const socket = await listener.nextSocket();
  const tool = await KvmiClient.open(socket, { wire });
  await tool.getVersion();
  socket.pause();
  const reads = Array.from({ length: 2000 }, () => tool.readPhysical(0n, 4096));
  const before = machine.status().instructions;
  await until(() => machine.status().instructions > before + 1000);
  socket.resume();
  t.is((await Promise.all(reads)).length, 2000);
});

test.serial('a tool of the other wire is told apart', async (t) => {
  const { client, remarks } = await rig(t, { started: false });
  await client.getVersion();
  const { error } = await client.connection.request(5);
  t.is(error, -EINVAL);
  await until(() => remarks.some((text) => text.includes('wire-7')));
});

test.serial('only the commands and events that are allowed', async (t) => {
  const { client } = await rig(t, {
    kvmi: { commands: ['KVMI_VM_GET_INFO', 'vcpu_control_events'], events: ['pf'] },
    started: false,
  });
  t.is((await client.getInfo()).vcpu_count, 1);
  await client.controlEvents(0, 'pf', true);
  await t.throwsAsync(client.controlEvents(0, 'cr', true), { message: 'KVMI_VCPU_CONTROL_EVENTS: EPERM' });
  await t.throwsAsync(client.getRegisters(0), { message: 'KVMI_VCPU_GET_REGISTERS: EPERM' });
  t.is((await client.getVersion()).version, 1);
});

test.serial('a short name allows all that are called so, and no more', async (t) => {
  const { client } = await rig(t, {
    kvmi: { commands: ['get_info', 'VCPU_GET_REGISTERS', 15], events: ['EVENT_TRAP', 'VM_EVENT_UNHOOK'] },
    started: false,
  });
  const allowed: number[] = [];
  for (let id = 2; id < 30; id++)
    await client.checkCommand(id).then(
      () => allowed.push(id),
      () => {},
    );
  t.deepEqual(allowed, [2, 3, 4, 6, 7, 8, 15]);
  const events: number[] = [];
  for (let id = 0; id < 20; id++)
    await client.checkEvent(id).then(
      () => events.push(id),
      () => {},
    );
  t.deepEqual(events, [0, 9]);
});

test.serial('the longest message is one', async (t) => {
  const { client, event, guest } = await rig(t);
  const most = 511;
  const pages = Array.from({ length: most }, (_, i) => ({ gpa: PAGE + BigInt(4096 * (i - 510)), access: 1 }));
  await client.setPageAccess(pages);
  await client.controlEvents(0, 'pf', true);
  await guest(GUEST.pf);
  t.is((await event('pf', 576)).data.gpa, PAGE);
});

test.serial('registers hold with the reply: the last ones, and not before', async (t) => {
  const { client, event } = await rig(t);
  await client.pauseVcpu(0);
  const paused = (await event('pause', 552)) as AnyVcpuEvent;
  const { registers } = paused;
  await client.setRegisters(0, { ...registers, r14: 1n, r15: 1n });
  await client.setRegisters(0, { ...registers, r15: 2n, rflags: 0n });
  t.deepEqual((await client.getRegisters(0)).registers, registers);
  client.reply(paused, 'continue');
  const { registers: now } = await client.getRegisters(0);
  t.deepEqual([now.r14, now.r15], [registers.r14, 2n]);
  t.is(now.rflags & 2n, 2n, 'bit 1 is always set');
});

test.serial('a reply to an MSR event without a value writes 0', async (t) => {
  const { client, event, guest, mailbox } = await rig(t);
  await client.controlEvents(0, 'msr', true);
  await client.controlMsr(0, 0x140, true);
  const write = await guest(GUEST.msr);
  const asked = await event('msr', 576);
  t.is(asked.data.new_value, 1n);
  client.connection.send(1, asked.seq, replyTo(asked, 0));
  await write.done();
  t.is(await mailbox(24), 0n);
});
