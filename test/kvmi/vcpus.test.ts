/** Several vCPUs and one tool: pauses, replies and commands across each other, and the end of sessions under all that. */
import test from 'ava';
import type { KvmiClient } from '../../src/kvmi-client/client.ts';
import type { AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import {
  EBUSY,
  EINVAL,
  GUEST,
  join8,
  mailboxes,
  onBothWires,
  rig,
  TEST_GPA,
  u16,
  u32,
  vcpuHdr,
  zeros,
} from './rig.ts';

const PAGE = BigInt(TEST_GPA);
const ALL = [0, 1, 2, 3];

async function events(client: KvmiClient, count: number): Promise<AnyVcpuEvent[]> {
  const held: AnyVcpuEvent[] = [];
  while (held.length < count) held.push((await client.nextEvent()) as AnyVcpuEvent);
  return held;
}

/** Every order of a few things. */
function orders<T>(things: readonly T[]): T[][] {
  if (things.length === 0) return [[]];
  return things.flatMap((first, i) =>
    orders([...things.slice(0, i), ...things.slice(i + 1)]).map((rest) => [first, ...rest]),
  );
}

onBothWires('a storm of pauses gives one event each, answered in the wrong order', async (t, wire) => {
  const { client } = await rig(t, { wire, vcpuCount: 4 });
  const EACH = 25;
  // All of them at once: nobody waits for the answers.
  const asked: Promise<void>[] = [];
  for (let i = 0; i < EACH; i++) {
    for (const vcpu of ALL) asked.push(client.pauseVcpu(vcpu, { wait: (i + vcpu) % 3 === 0 }));
  }
  const counts = [0, 0, 0, 0];
  for (let round = 0; round < EACH; round++) {
    const held = await events(client, 4);
    t.deepEqual(held.map(({ vcpu }) => vcpu).sort(), ALL);
    for (const event of held.reverse()) {
      counts[event.vcpu]! += 1;
      client.reply(event, 'continue');
    }
  }
  await Promise.all(asked);
  t.deepEqual(counts, [EACH, EACH, EACH, EACH]);
  for (const vcpu of ALL) await client.getRegisters(vcpu);
  t.is(client.connection.eventsWaiting, 0);
});

test.serial('a thousand pauses may be pending for a vCPU, and each is an event in the end', async (t) => {
  const { client, guest } = await rig(t, { vcpuCount: 2 });
  await client.pauseVcpu(1);
  const [first] = await events(client, 1);
  const PENDING = 1002;
  await Promise.all(Array.from({ length: PENDING }, () => client.pauseVcpu(1)));
  const { errno } = (await t.throwsAsync(client.pauseVcpu(1))) as Error & { errno: number };
  t.is(errno, EBUSY);
  await client.pauseVcpu(0);
  client.reply(first!, 'continue');
  const counts = [0, 0];
  for (let i = 0; i < PENDING + 1; i++) {
    const [event] = await events(client, 1);
    counts[event!.vcpu]! += 1;
    client.reply(event!, 'continue');
  }
  t.deepEqual(counts, [1, PENDING], 'the other vCPU has its own');
  await (await guest(GUEST.three, 1)).done();
  t.is(client.connection.eventsWaiting, 0);
});

test.serial('waiting for a pause ends whatever the vCPU is doing', async (t) => {
  const { machine, client, guest } = await rig(t, { vcpuCount: 4 });
  // 0 runs, 1 waits for a reply, 2 has halted, 3 has ended.
  await client.pauseVcpu(1);
  const [waits] = await events(client, 1);
  await guest(GUEST.halt, 2);
  await guest(GUEST.exit, 3);
  while (machine.stateOf(2) !== 'halted' || machine.stateOf(3) !== 'exited') await client.getInfo();
  await Promise.all([0, 1, 2].map((vcpu) => client.pauseVcpu(vcpu, { wait: true })));
  const { errno } = (await t.throwsAsync(client.pauseVcpu(3, { wait: true }))) as Error & { errno: number };
  t.is(errno, EINVAL);
  const held = await events(client, 2);
  t.deepEqual(held.map(({ vcpu }) => vcpu).sort(), [0, 2], 'a vCPU that halts hears of it, too');
  for (const event of [...held, waits!]) client.reply(event, 'continue');
  const [second] = await events(client, 1);
  t.is(second!.vcpu, 1);
  client.reply(second!, 'continue');
  for (const vcpu of [0, 1, 2]) t.is((await client.getRegisters(vcpu)).mode, 8);
});

onBothWires('vCPUs that fault at once are answered in every order', async (t, wire) => {
  const { client, guest } = await rig(t, { wire, vcpuCount: 3 });
  const vcpus = [0, 1, 2];
  await client.setPageAccess([{ gpa: PAGE, access: 1 }]);
  for (const vcpu of vcpus) await client.controlEvents(vcpu, 'pf', true);
  for (const order of orders(vcpus)) {
    const stores = await Promise.all(vcpus.map((vcpu) => guest(GUEST.pf, vcpu)));
    const held = await events(client, 3);
    t.is(new Set(held.map(({ seq }) => seq)).size, 3);
    for (const [i, vcpu] of order.entries()) {
      const event = held.find((one) => one.vcpu === vcpu)!;
      // RETRY asks again, CONTINUE lets it through; the vCPUs behind it still wait.
      if (i === 1) {
        client.reply(event, 'retry');
        const [again] = await events(client, 1);
        t.is(again!.vcpu, vcpu);
        t.is(again!.registers.rip, event.registers.rip);
        client.reply(again!, 'continue');
      } else client.reply(event, 'continue');
      await stores[vcpu]!.done();
    }
  }
});

test.serial('commands are answered in order for each vCPU, whatever the others are doing', async (t) => {
  const { machine, client, guest } = await rig(t, { vcpuCount: 4 });
  await client.pauseVcpu(1);
  const [waits] = await events(client, 1);
  await guest(GUEST.halt, 2);
  while (machine.stateOf(2) !== 'halted') await client.getInfo();
  const EACH = 150;
  const seen: number[][] = [[], [], [], []];
  const requests = (vcpu: number) =>
    [
      [19, vcpuHdr(vcpu)],
      [7, join8(vcpuHdr(vcpu), u16(100), zeros(6), ...new Array<Uint8Array>(100).fill(u32(0xc000_0080)))],
      [3, vcpuHdr(vcpu)],
      [11, join8(vcpuHdr(vcpu), u32(0x8000_ffff), u32(0))],
    ] as const;
  const all: Promise<unknown>[] = [];
  for (let i = 0; i < EACH; i++) {
    for (const vcpu of ALL) {
      const [id, bytes] = requests(vcpu)[(i + vcpu) % 4]!;
      all.push(client.connection.request(id, bytes).then(() => seen[vcpu]!.push(i)));
    }
  }
  await Promise.all(all);
  for (const vcpu of ALL) t.deepEqual(seen[vcpu], [...Array(EACH).keys()], `vCPU ${vcpu}`);
  client.reply(waits!, 'continue');
});

onBothWires('unhook while vCPUs wait, and the tool is there again at once', async (t, wire) => {
  const { machine, client, listener } = await rig(t, { wire, vcpuCount: 4 });
  let tool = client;
  for (let round = 0; round < 15; round++) {
    await tool.setPageAccess([{ gpa: PAGE, access: 1 }]);
    await Promise.all(ALL.map((vcpu) => tool.controlEvents(vcpu, 'pf', true)));
    for (const vcpu of ALL) await mailboxes(tool).guest(GUEST.pf, vcpu);
    const held = await events(tool, round % 5);
    if (round % 2 === 0) for (const event of held.slice(0, 2)) tool.reply(event, 'retry');
    if (round % 3 === 0) void Promise.allSettled(ALL.map((vcpu) => tool.pauseVcpu(vcpu, { wait: true })));
    t.true(await machine.control.unhook());
    await tool.connection.closed;
    tool = await listener.next();
    // Nothing is restricted now: whoever waited has gone on.
    for (const vcpu of ALL) await mailboxes(tool).finished(vcpu);
  }
  t.is(tool.connection.eventsWaiting, 0);
  const check = await machine.control.checkInvariants();
  t.deepEqual(check?.findings, []);
});
