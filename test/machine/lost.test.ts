/** Threads that die: the others go on as the kernel would leave them, or the machine stops and says why. */
import test from 'ava';
import { Machine } from '../../src/index.ts';
import { boot, nextFact, PAGE, support, until } from '../support/boot.ts';

const write = (gpa: number) => ({ kind: 'write', gpa, size: 8, value: 6n }) as const;
const RAM_BYTES = 2 * 1024 ** 2;
const VCPUS = [[write(5 * PAGE)], [write(6 * PAGE)]];

test.serial('a vCPU that is killed in guest code: memslots, checks and the other vCPU go on', async (t) => {
  // jmp $: it holds no lock wherever it is killed.
  const turning = Uint8Array.of(0xeb, 0xfe);
  const machine = await Machine.create({ vcpuCount: 2, ramBytes: RAM_BYTES, image: turning, flat: true });
  t.teardown(() => machine.stop());
  await machine.start();
  await until(() => machine.counters().vcpus.every(({ instructions }) => instructions > 0));
  const gone = nextFact(machine, 'actorExit', ({ actor }) => actor === 'vcpu 1');
  machine.kill({ vcpu: 1 });
  t.true((await gone).error instanceof Error);
  t.is(machine.stateOf(1), 'lost');
  t.is(machine.stateOf(0), 'running');
  const region = { slot: 1, gpa: RAM_BYTES, bytes: 8 * PAGE, ramOffset: 0 };
  await machine.control.setMemoryRegion(region);
  await machine.control.setMemoryRegion({ ...region, bytes: 0 });
  t.deepEqual((await machine.control.checkInvariants())?.findings, []);
  const before = machine.status().instructions;
  await until(() => machine.status().instructions > before);
  await t.throwsAsync(machine.introspector.getRegisters(1), { message: /vCPU 1 has ended/ });
  const report = await machine.stop();
  t.like(report.error, { code: 'SIM_VCPU_LOST', message: 'the thread of vCPU 1 died' });
  t.is(report.exitCode, 70);
  t.deepEqual(report.findings, []);
});

test.serial(
  'a vCPU that is killed while it waits for the tool: a late answer and later events do no harm',
  async (t) => {
    const machine = await boot(t, { accesses: VCPUS });
    const events = new Map<number, (answer: 'continue') => void>();
    const both = new Promise<void>((resolve) => {
      machine.introspector.on(
        'pageFault',
        ({ vcpu }) =>
          new Promise((answer) => {
            events.set(vcpu, answer);
            if (events.size === 2) resolve();
          }),
      );
    });
    await machine.introspector.setPageAccess([5, 6].map((page) => ({ gpa: page * PAGE, access: 'r--' })));
    await machine.start();
    await both;
    const gone = nextFact(machine, 'actorExit', ({ actor }) => actor === 'vcpu 1');
    machine.kill({ vcpu: 1 });
    await gone;
    events.get(1)!('continue');
    t.is(await machine.introspector.getPageAccess(6 * PAGE), 'r--');
    events.get(0)!('continue');
    const report = await machine.ended;
    t.is(report.error?.code, 'SIM_VCPU_LOST');
    t.is(report.vcpus[0]!.state, 'exited');
    t.deepEqual(report.findings, []);
  },
);

test.serial('all vCPUs killed: the run is over', async (t) => {
  const machine = await boot(t, { accesses: VCPUS, endless: true });
  await machine.start();
  machine.kill({ vcpu: 0 });
  machine.kill({ vcpu: 1 });
  const report = await machine.ended;
  t.is(report.ending, 'failed');
  t.is(report.error?.code, 'SIM_VCPU_LOST');
});

test.serial(
  'the introspector killed while a vCPU waits for it: everyone goes on, un-introspected',
  async (t) => {
    const machine = await boot(t, {
      accesses: [[write(5 * PAGE), write(5 * PAGE)], [write(6 * PAGE)]],
      tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault: 'never' },
    });
    await machine.start();
    await until(() => machine.stateOf(0) === 'waiting');
    machine.kill('introspector');
    const report = await machine.ended;
    t.is(report.ending, 'exited');
    t.like(report.error, { code: 'SIM_ACTOR_LOST', message: 'the thread of introspector died' });
    t.is(report.exitCode, 70);
    t.like(report.events[1], { sent: 1, unanswered: 1 });
    t.deepEqual(report.findings, []);
  },
);

test.serial('calls to a killed thread are refused, not left waiting', async (t) => {
  const machine = await boot(t, { accesses: VCPUS, endless: true });
  await machine.start();
  for (const actor of ['introspector', 'control'] as const) {
    const gone = nextFact(machine, 'actorExit', (fact) => fact.actor === actor);
    machine.kill(actor);
    await gone;
  }
  await t.throwsAsync(machine.introspector.getInfo(), { message: 'the thread of introspector has ended' });
  await t.throwsAsync(machine.control.checkInvariants(), { message: 'the thread of control has ended' });
  const before = machine.status().instructions;
  await until(() => machine.status().instructions > before);
  const report = await machine.stop();
  t.is(report.error?.code, 'SIM_ACTOR_LOST');
  t.deepEqual(report.findings, []);
});

test.serial('a thread that dies with a lock stops the machine, which names the lock', async (t) => {
  const machine = await boot(t, {
    accesses: VCPUS,
    endless: true,
    script: { module: new URL(support('lock-and-hang')) },
  });
  const holds = nextFact(machine, 'finding', ({ id }) => id === 'test');
  await machine.start();
  await holds;
  machine.kill('control');
  const report = await machine.ended;
  t.is(report.ending, 'failed');
  t.like(report.error, {
    code: 'SIM_ACTOR_LOST',
    message: 'the thread of control died: it held mmu_lock for write, so the machine cannot go on',
  });
  t.is(report.stateHash, null);
});

test.serial(
  'a vCPU whose own code throws is lost like one that is killed, with what was thrown as the cause',
  async (t) => {
    const machine = await boot(t, {
      accesses: [[{ kind: 'write', gpa: 0, size: 8, value: 'no bigint' as never }], [write(6 * PAGE)]],
    });
    await machine.start();
    const report = await machine.ended;
    t.is(report.error?.code, 'SIM_VCPU_LOST');
    t.true(report.error?.cause instanceof Error);
    t.is(report.vcpus[0]!.state, 'lost');
    t.is(report.vcpus[1]!.state, 'exited');
  },
);
