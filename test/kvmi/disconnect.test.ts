/**
 * The end of a session in every state of a vCPU and of the connection: the vCPU goes on, nothing is left of the tool, and
 * the next one begins anew. How it ends goes round; SEED=1 and SEED=2 give the other two thirds.
 */
import type { Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { Machine } from '../../src/index.ts';
import { KvmiClient } from '../../src/kvmi-client/client.ts';
import type { EventKind as AnyKind, AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import type { KvmiListener } from '../../src/kvmi-client/listener.ts';
import {
  EINVAL,
  GUEST,
  join8,
  mailboxes,
  type RigOptions,
  rig,
  TEST_GPA,
  u16,
  u32,
  vcpuHdr,
  zeros,
} from './rig.ts';

/** What wire-12 has. */
type EventKind = Exclude<AnyKind, 'cpuid' | 'createVcpu'>;

const SEED = Number(process.env['SEED'] ?? 0);
/** The vCPU that is brought into a state; vCPU 0 runs all the time. */
const VCPU = 1;
const PAGE = BigInt(TEST_GPA);

interface Session {
  readonly machine: Machine;
  readonly tool: KvmiClient;
  readonly socket: Socket;
  /** What the vCPU waits for, if it does. */
  event: AnyVcpuEvent | null;
}

/** An answer that nobody waits for: it may be lost with the connection. */
const ask = (asked: Promise<unknown>) => void asked.catch(() => {});

// biome-ignore format: table
const CONNECTION: Readonly<Record<string, (session: Session) => unknown>> = {
  'nothing is under way': () => {},
  'half a header has come': ({ tool }) => tool.connection.sendBytes(Uint8Array.of(5, 0, 16)),
  'half a command has come': ({ tool }) =>
    tool.connection.sendBytes(join8(u16(9), u16(152), u32(77), vcpuHdr(VCPU), zeros(60))),
  'commands are not answered': ({ tool }) => {
    for (let i = 0; i < 100; i++) {
      ask(tool.getXsave(VCPU));
      ask(tool.getRegisters(0, [0xc000_0080]));
    }
  },
  'pauses are to come': ({ tool }) => {
    for (let i = 0; i < 3; i++) ask(tool.pauseVcpu(VCPU));
    for (const vcpu of [0, VCPU]) ask(tool.pauseVcpu(vcpu, { wait: true }));
  },
  'the tool does not read': ({ tool, socket }) => {
    for (let i = 0; i < 400; i++) ask(tool.readPhysical(0n, 4096));
    socket.pause();
  },
  'the reply is on its way': ({ tool, event }) => {
    if (event !== null) tool.reply(event, 'continue');
  },
  'registers wait for the reply': ({ tool, event }) => {
    if (event !== null) ask(tool.setRegisters(VCPU, { ...event.registers, rip: 0n }));
  },
  'the tool is asked to leave': async ({ tool, machine }) => {
    await tool.controlUnhookEvent(true);
    await machine.introspector.preUnhook();
  },
  'access is being changed': ({ tool }) => {
    for (let i = 0; i < 20; i++) ask(tool.setPageAccess([{ gpa: PAGE, access: i % 8 }]));
  },
};

const ENDS: Readonly<Record<string, (session: Session) => unknown>> = {
  'the tool goes': () => {},
  'the tool sends nonsense': async ({ tool, socket }) => {
    tool.connection.sendBytes(new Uint8Array(9000).fill(0xff));
    // Whoever does not read is not listened to.
    if (!socket.isPaused()) await tool.connection.closed;
  },
  'the machine is unhooked': ({ machine }) => machine.control.unhook(),
};
const HOW = Object.entries(ENDS);
let turn = SEED;

/** One session after the other, in each state of the connection once. */
async function everyState(
  t: ExecutionContext,
  made: { readonly machine: Machine; readonly listener: KvmiListener },
  bring: (session: Session) => Promise<void>,
  check: (tool: KvmiClient) => Promise<void>,
): Promise<void> {
  const { machine, listener } = made;
  for (const [state, makeSo] of Object.entries(CONNECTION)) {
    const [how, end] = HOW[turn++ % HOW.length]!;
    const socket = await listener.nextSocket();
    const session: Session = { machine, tool: await KvmiClient.open(socket), socket, event: null };
    await bring(session);
    await makeSo(session);
    await end(session);
    session.tool.connection.close();
    const next = await listener.next();
    await check(next);
    t.is(next.connection.eventsWaiting, 0, `SEED=${SEED}: ${state}, and ${how}`);
    await next.close();
  }
  const result = await machine.control.checkInvariants();
  t.deepEqual(result?.findings ?? [], []);
}

/** Pauses a vCPU once, and lets it go on: it hears nothing else. */
async function pausesOnce(t: ExecutionContext, tool: KvmiClient, vcpu: number): Promise<void> {
  t.is((await tool.getRegisters(vcpu)).mode, 8);
  await tool.pauseVcpu(vcpu, { wait: true });
  const event = (await tool.nextEvent()) as AnyVcpuEvent;
  t.deepEqual([event.kind, event.vcpu, event.seq], ['pause', vcpu, 1]);
  tool.reply(event, 'continue');
  await tool.getRegisters(vcpu);
}

const twoVcpus = (t: ExecutionContext, options: RigOptions = {}) => rig(t, { vcpuCount: 2, ...options });

/** How a vCPU comes to wait for a reply: what the guest does (null: nothing), and what the tool has done before. */
// biome-ignore format: table
const EVENTS: Readonly<Record<Exclude<EventKind, "cpuid" | "createVcpu">, readonly [guest: number | null, arm: (tool: KvmiClient) => Promise<unknown>]>> = {
  pause:      [null,             (tool) => tool.pauseVcpu(VCPU)],
  trap:       [null,             (tool) => tool.injectException(VCPU, { nr: 6 })],
  singlestep: [null,             (tool) => tool.controlSinglestep(VCPU, true)],
  hypercall:  [GUEST.hypercall,  async () => {}],
  breakpoint: [GUEST.bp,         async () => {}],
  cr:         [GUEST.cr,         (tool) => tool.controlCr(VCPU, 4, true)],
  msr:        [GUEST.msr,        (tool) => tool.controlMsr(VCPU, 0x140, true)],
  xsetbv:     [GUEST.xcr,        async () => {}],
  descriptor: [GUEST.descriptor, async () => {}],
  pf:         [GUEST.pf,         (tool) => tool.setPageAccess([{ gpa: PAGE, access: 1 }])],
};

for (const [kind, [action, arm]] of Object.entries(EVENTS) as [
  keyof typeof EVENTS,
  (typeof EVENTS)[keyof typeof EVENTS],
][]) {
  test.serial(`a vCPU that waits for the reply to a ${kind} event goes on`, async (t) => {
    const made = await twoVcpus(t);
    await made.client.close();
    const bring = async (session: Session) => {
      const { tool } = session;
      if (action !== null) await tool.controlEvents(VCPU, kind, true);
      await arm(tool);
      if (action !== null) await mailboxes(tool).guest(action, VCPU);
      session.event = (await tool.nextEvent()) as AnyVcpuEvent;
      t.is(session.event.kind, kind);
    };
    await everyState(t, made, bring, async (tool) => {
      if (action !== null) await mailboxes(tool).finished(VCPU);
      await pausesOnce(t, tool, VCPU);
    });
  });
}

test.serial('a vCPU that runs goes on', async (t) => {
  const made = await twoVcpus(t);
  await made.client.close();
  await everyState(
    t,
    made,
    async () => {},
    async (tool) => {
      await (await mailboxes(tool).guest(GUEST.three, VCPU)).done();
      await pausesOnce(t, tool, VCPU);
    },
  );
});

test.serial('a vCPU that nobody has started yet', async (t) => {
  const made = await twoVcpus(t, { started: false });
  await made.client.close();
  await everyState(
    t,
    made,
    async () => {},
    (tool) => pausesOnce(t, tool, VCPU),
  );
});

test.serial('a vCPU that has halted', async (t) => {
  const made = await twoVcpus(t);
  await made.guest(GUEST.halt, VCPU);
  while (made.machine.stateOf(VCPU) !== 'halted') await made.client.getInfo();
  await made.client.close();
  await everyState(
    t,
    made,
    async () => {},
    (tool) => pausesOnce(t, tool, VCPU),
  );
});

test.serial('a vCPU that has ended', async (t) => {
  const made = await twoVcpus(t);
  await made.guest(GUEST.exit, VCPU);
  while (made.machine.stateOf(VCPU) !== 'exited') await made.client.getInfo();
  await made.client.close();
  await everyState(
    t,
    made,
    async () => {},
    async (tool) => {
      const { error } = await tool.connection.request(3, vcpuHdr(VCPU));
      t.is(error, -EINVAL);
      await pausesOnce(t, tool, 0);
    },
  );
});
