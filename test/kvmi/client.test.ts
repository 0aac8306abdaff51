/** Our own client against machines that are none, and what `faultline/kvmi-client` gives its users. */
import { once } from 'node:events';
import { connect } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import * as client from 'faultline/kvmi-client';
import { duplexPair } from './duplex-pair.ts';
import { EPERM, join8, rig, socketPlace, u16, u32, zeros } from './rig.ts';

const { ConnectionClosed, connectTo, KvmiClient, KvmiError, KvmiListener } = client;

/** A machine's half of the handshake. */
const IDENTITY = join8(u32(104), zeros(28), new TextEncoder().encode('box'), zeros(69));
const message = (id: number, seq: number, payload: Uint8Array) =>
  join8(u16(id), u16(payload.length), u32(seq), payload);

/** A machine that says whatever the test wants. */
async function pretended(t: ExecutionContext) {
  const [ours, theirs] = duplexPair();
  t.teardown(() => ours.destroy());
  theirs.resume();
  theirs.write(IDENTITY);
  const tool = await KvmiClient.open(ours);
  return { tool, say: (bytes: Uint8Array) => theirs.write(bytes), end: () => theirs.end() };
}

test('the package gives ids of the wire, a client, a listener, and nothing of the machine', (t) => {
  const ids = /^KVMI_[A-Z0-9_]+$|^KVM_\w+_BYTES$/;
  t.deepEqual(
    Object.keys(client)
      .filter((name) => !ids.test(name))
      .sort(),
    [
      'COMMANDS',
      'COMMANDS_7',
      'ConnectionClosed',
      'EVENTS',
      'EVENTS_7',
      'KvmiClient',
      'KvmiError',
      'KvmiListener',
      'Requests',
      'UNMAPPED_GVA',
      'connectTo',
      'wire7',
    ],
  );
});

test('a machine is known by its half of the handshake, however long', async (t) => {
  for (const [half, maxGpa] of [
    [
      join8(u32(104), zeros(28), new TextEncoder().encode('box'), zeros(61), u32(0x1000), u32(1)),
      0x1_0000_1000n,
    ],
    [join8(u32(96), zeros(28), new TextEncoder().encode('box'), zeros(61)), 0n],
    [join8(u32(200), zeros(28), new TextEncoder().encode('box'), zeros(165)), 0n],
  ] as const) {
    const [ours, theirs] = duplexPair();
    theirs.write(half);
    const tool = await KvmiClient.open(ours);
    t.is(tool.machine.name, 'box');
    t.is(tool.machine.maxGpa, maxGpa);
    await tool.close();
  }
});

for (const [what, bytes] of [
  ['says that its half of the handshake is empty', u32(0)],
  ['says that its half of the handshake is endless', u32(0xffff_ffff)],
  ['goes away before it has said anything', zeros(0)],
  ['goes away in the middle of the handshake', IDENTITY.subarray(0, 50)],
] as const) {
  test(`a machine that ${what} is none`, async (t) => {
    const [ours, theirs] = duplexPair();
    theirs.write(bytes);
    theirs.end();
    await t.throwsAsync(KvmiClient.open(ours), { instanceOf: ConnectionClosed });
  });
}

for (const [what, bytes] of [
  ['an answer without an error code', message(8, 0, zeros(7))],
  ['an answer to what nobody asked', message(8, 5, zeros(8))],
  ['an answer of another command', message(10, 0, zeros(8))],
  ['a message that is too long', join8(u16(8), u16(8185), u32(0), zeros(8185))],
] as const) {
  test(`a machine that sends ${what} is left`, async (t) => {
    const { tool, say } = await pretended(t);
    const asked = tool.getInfo();
    say(bytes);
    await t.throwsAsync(asked, { instanceOf: ConnectionClosed });
    await tool.connection.closed;
    t.is(await tool.nextEvent(), null);
    await t.throwsAsync(tool.getInfo(), { instanceOf: ConnectionClosed });
  });
}

test('a machine that says no more ends everything that waits for it', async (t) => {
  const { tool, end } = await pretended(t);
  const asked = [tool.getInfo(), tool.getXcr(0, 0), tool.nextEvent()];
  end();
  const ended = await Promise.allSettled(asked);
  t.deepEqual(
    ended.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled'],
  );
});

test('an event of a kind that is not known is an error of its reader, not of the connection', async (t) => {
  const { tool, say } = await pretended(t);
  say(message(1, 1, join8(u16(21), zeros(550))));
  await t.throwsAsync(tool.nextEvent(), { instanceOf: RangeError, message: 'there is no event 21' });
  const asked = tool.getInfo();
  say(message(8, 0, join8(zeros(8), u32(3), zeros(12))));
  t.is((await asked).vcpu_count, 3);
});

test('what a machine refuses has its errno and its name', async (t) => {
  const { tool, say } = await pretended(t);
  const asked = tool.getInfo();
  say(message(8, 0, join8(u32(-1000), u32(0))));
  const refused = await t.throwsAsync(asked, { instanceOf: KvmiError });
  t.is(refused.errno, 1000);
  t.is(refused.errnoName, 'ENOSYS');
  t.is(refused.message, 'KVMI_VM_GET_INFO: ENOSYS');
});

test('a listener that is closed sends away who has come, and whoever waits', async (t) => {
  const path = socketPlace(t);
  const listener = await KvmiListener.at(path);
  await t.throwsAsync(KvmiListener.at(path), { message: /somebody listens there/ });
  const machine = connect(path).resume();
  await once(machine, 'connect');
  listener.close();
  await once(machine, 'close');
  await t.throwsAsync(listener.next(), { instanceOf: ConnectionClosed });
  await t.throwsAsync(connectTo(path), { code: 'ENOENT' });
});

test.serial('every command of the client is one of the wire', async (t) => {
  const { client: tool, machine, event, guest } = await rig(t);
  t.is((await tool.getVersion()).max_msg_size, client.KVMI_MAX_MSG_SIZE);
  await tool.checkCommand(client.KVMI_VM_PAUSE_VCPU);
  await tool.checkEvent(client.KVMI_VCPU_EVENT_XSETBV);
  await tool.controlUnhookEvent(true);
  await tool.controlUnhookEvent(false);
  await tool.controlCleanup(true);
  await tool.writePhysical(0x2000000n, Uint8Array.of(1, 2, 3));
  t.deepEqual(await tool.readPhysical(0x2000000n, 3), Uint8Array.of(1, 2, 3));
  t.is(await tool.getTscSpeed(0), 0n);
  t.is((await tool.getCpuid(0, 1)).ecx >>> 31, 1);
  t.is(await tool.getXcr(0, 0), 1n);
  await tool.setXsave(0, await tool.getXsave(0));
  t.is(await tool.getMtrrType(0, 0n), 6);
  t.is(await tool.translateGva(0, -1n & client.UNMAPPED_GVA), client.UNMAPPED_GVA);
  for (const kind of ['cr', 'msr', 'xsetbv', 'breakpoint', 'hypercall', 'descriptor', 'pf'] as const) {
    await tool.controlEvents(0, kind, true);
    await tool.controlEvents(0, kind, false);
  }
  await tool.controlCr(0, 3, true);
  await tool.controlMsr(0, 0x140, true);
  const state = await tool.getRegisters(0, [0xc000_0080]);
  t.is(state.mode, 8);
  t.deepEqual(state.msrs, [{ index: 0xc000_0080, data: 0xd01n }]);
  await tool.controlSinglestep(0, true);
  const step = await event('singlestep', 560);
  await tool.controlSinglestep(0, false);
  await tool.setRegisters(0, step.registers);
  await t.throwsAsync(tool.setRegisters(0, { ...step.registers, rax: -1n }), { instanceOf: RangeError });
  tool.reply(step, 'continue');
  await tool.injectException(0, { nr: 6 });
  tool.reply(await event('trap', 568), 'continue');
  await machine.control.allow('command', client.KVMI_VM_PAUSE_VCPU, false);
  const refused = await t.throwsAsync(tool.pauseVcpu(0), { instanceOf: KvmiError });
  t.is(refused.errno, EPERM);
  await (await guest(7)).done();
});
