/** The typed introspection session: events to a tool or to the main thread, answers in any order, commands. */
import test from 'ava';
import type { Answer, CommandError, PageFaultEvent } from '../../src/index.ts';
import { boot, holdEvents, nextFact, PAGE, until } from '../support/boot.ts';

const write = (gpa: number, value = 6n) => ({ kind: 'write', gpa, size: 8, value }) as const;
const read = (gpa: number) => ({ kind: 'read', gpa, size: 8 }) as const;

test.serial('a tool module answers in its own thread, at once or by a promise', async (t) => {
  for (const pageFault of ['continue', 'promise'] as const) {
    const machine = await boot(t, {
      accesses: [[write(5 * PAGE, 1n), write(5 * PAGE, 2n), read(5 * PAGE)]],
      tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault },
    });
    await machine.start();
    const report = await machine.ended;
    t.is(report.exitCode, 0);
    t.like(report.events[1], { access: 'W', sent: 2, continued: 2 });
    t.is(report.events[0]!.sent, 0, 'reading was not restricted');
  }
});

test.serial(
  'a tool module allows the page and answers RETRY: one event, and the access happens',
  async (t) => {
    const machine = await boot(t, {
      accesses: [[write(5 * PAGE), write(5 * PAGE)]],
      tool: { restrict: [{ gpa: 5 * PAGE, access: '---' }], pageFault: 'allow and retry' },
    });
    await machine.start();
    const report = await machine.ended;
    t.like(report.events[1], { sent: 1, retried: 1, continued: 0 });
    t.is(report.exitCode, 0);
  },
);

test.serial('a handler in the main thread gets the event whole, and its answer counts', async (t) => {
  const machine = await boot(t, { accesses: [[write(5 * PAGE + 8), read(5 * PAGE + 8)]] });
  const events: PageFaultEvent[] = [];
  machine.introspector.on('pageFault', async (event): Promise<Answer> => {
    events.push(event);
    t.is((await machine.introspector.readPhysical(5 * PAGE + 8, 1))[0], 0, 'nothing is stored yet');
    await machine.introspector.setPageAccess([{ gpa: event.gpa, access: 'rwx' }]);
    return 'retry';
  });
  await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: '--x' }]);
  await machine.start();
  await machine.ended;
  t.is(events.length, 1);
  t.like(events[0], { kind: 'pageFault', vcpu: 0, access: 'W' });
  t.is(Number(events[0]!.gpa), 5 * PAGE + 8);
  t.is(BigInt(events[0]!.gva), BigInt(5 * PAGE + 8));
});

test.serial('CRASH brings the whole machine down', async (t) => {
  const machine = await boot(t, {
    accesses: [[write(5 * PAGE)], [read(9 * PAGE)]],
    endless: true,
    tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault: 'crash' },
  });
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'crashed');
  t.is(report.error?.message, 'the introspection tool answered CRASH');
  t.is(report.exitCode, 3);
  t.true(report.vcpus.every(({ state }) => state === 'crashed'));
});

test.serial('while one event is open, others are delivered, and answers may come in any order', async (t) => {
  const machine = await boot(t, {
    accesses: [[write(5 * PAGE)], [write(6 * PAGE)], [write(7 * PAGE)]],
  });
  const next = holdEvents(machine, 'pageFault');
  await machine.introspector.setPageAccess([5, 6, 7].map((page) => ({ gpa: page * PAGE, access: 'r--' })));
  await machine.start();
  const held = [await next(), await next(), await next()];
  t.deepEqual(held.map(({ event }) => event.vcpu).sort(), [0, 1, 2]);
  t.is(new Set(held.map(({ event }) => event.seq)).size, 3);
  for (const { event, answer } of held.reverse()) {
    const exit = nextFact(
      machine,
      'vcpuState',
      ({ vcpu, state }) => vcpu === event.vcpu && state === 'exited',
    );
    answer('continue');
    await exit;
  }
  t.is((await machine.ended).exitCode, 0);
});

test.serial('an event that is off on a vCPU raises nothing there: restrictions break silently', async (t) => {
  const machine = await boot(t, {
    accesses: [[write(5 * PAGE, 1n)], [write(5 * PAGE + 8, 2n)]],
  });
  const vcpus: number[] = [];
  machine.introspector.on('pageFault', ({ vcpu }) => {
    vcpus.push(vcpu);
    return 'continue';
  });
  await machine.introspector.controlEvents(0, 'pageFault', false);
  await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: 'r--' }]);
  await machine.start();
  t.is((await machine.ended).exitCode, 0);
  t.deepEqual(vcpus, [1]);
});

test.serial('a page access batch is processed to its end and reports the first entry refused', async (t) => {
  const { introspector } = await boot(t, { ramBytes: 64 * PAGE, gpaBytes: 256 * PAGE });
  const error = await t.throwsAsync<CommandError & Error>(
    introspector.setPageAccess([
      { gpa: 3 * PAGE, access: 'r--' },
      { gpa: 100 * PAGE, access: 'r--' },
      { gpa: 4 * PAGE, access: 'rubbish' as never },
      { gpa: 5 * PAGE, access: '-w-' },
    ]),
  );
  t.like(error, { code: 'SIM_COMMAND', errno: 22, errnoName: 'EINVAL' });
  t.is(await introspector.getPageAccess(3 * PAGE + 17), 'r--');
  t.is(await introspector.getPageAccess(4 * PAGE), 'rwx');
  t.is(await introspector.getPageAccess(5 * PAGE), '-w-');
  // No memory there yet: refused unless it is said to be meant.
  await introspector.setPageAccess([{ gpa: 100 * PAGE, access: '--x' }], { visible: false });
  t.is(await introspector.getPageAccess(100 * PAGE), '--x');
  await t.throwsAsync(introspector.getPageAccess(256 * PAGE), { message: /EINVAL/ });
});

test.serial('pause stops a vCPU once for each call, until it is answered', async (t) => {
  const machine = await boot(t, { endless: true, accesses: [[write(5 * PAGE)], [write(6 * PAGE)]] });
  const next = holdEvents(machine, 'pause');
  await machine.start();
  await machine.introspector.pauseVcpu(1, { wait: true });
  await machine.introspector.pauseVcpu(1);
  const first = await next();
  t.like(first.event, { kind: 'pause', vcpu: 1 });
  const [moving, still] = machine.counters().vcpus.map(({ instructions }) => instructions);
  await until(() => machine.counters().vcpus[0]!.instructions > moving! + 100);
  t.is(machine.counters().vcpus[1]!.instructions, still);
  first.answer('continue');
  const second = await next();
  t.is(second.event.vcpu, 1);
  second.answer('continue');
  await until(() => machine.counters().vcpus[1]!.instructions > still!);
  const report = await machine.stop();
  t.is(report.pauses, 2);
  t.is(report.exitCode, 0);
});

test.serial('a vCPU that is not started yet answers commands and pauses', async (t) => {
  const machine = await boot(t, { guest: 'hello', ramBytes: 4 * 1024 ** 2, vcpuCount: 2 });
  const next = holdEvents(machine, 'pause');
  const registers = await machine.introspector.getRegisters(1);
  t.is(registers.rdi, 1n);
  t.is(registers.rsi, 2n);
  t.is(registers.rflags, 2n);
  await machine.introspector.pauseVcpu(1, { wait: true });
  const { event, answer } = await next();
  await machine.introspector.setRegisters(event.vcpu, { ...registers, rdi: 7n });
  answer('continue');
  await machine.start();
  const { console } = await machine.ended;
  t.deepEqual(console.split('\n').sort(), ['', 'hello from vcpu 0', 'hello from vcpu 7']);
});

test.serial(
  'registers of a running vCPU can be read, and set only while it waits for an answer',
  async (t) => {
    const machine = await boot(t, { endless: true });
    await machine.start();
    const registers = await machine.introspector.getRegisters(0);
    t.is(typeof registers.rip, 'bigint');
    await t.throwsAsync(machine.introspector.setRegisters(0, registers), { message: /EOPNOTSUPP/ });
    await t.throwsAsync(machine.introspector.setRegisters(0, { ...registers, rax: 5 as never }), {
      message: /EINVAL/,
    });
    await t.throwsAsync(machine.introspector.getRegisters(1), { message: /there is no vCPU 1/ });
  },
);

test.serial('physical memory is read and written past any restriction, within a page of RAM', async (t) => {
  const { introspector } = await boot(t, { ramBytes: 64 * PAGE, gpaBytes: 128 * PAGE });
  await introspector.setPageAccess([{ gpa: 5 * PAGE, access: '---' }]);
  await introspector.writePhysical(5 * PAGE + 4000, Uint8Array.of(1, 2, 3));
  t.deepEqual([...(await introspector.readPhysical(5 * PAGE + 3999, 5))], [0, 1, 2, 3, 0]);
  await t.throwsAsync(introspector.readPhysical(6 * PAGE - 1, 2), { message: /ENOENT/ });
  await t.throwsAsync(introspector.readPhysical(64 * PAGE, 1), { message: /ENOENT/ });
  await t.throwsAsync(introspector.writePhysical(5 * PAGE, new Uint8Array(0)), { message: /EINVAL/ });
  t.deepEqual(await introspector.getInfo(), { vcpuCount: 1, session: 1 });
});

test.serial(
  'a tool that closes its session sets everyone free, and commands are refused from then on',
  async (t) => {
    const machine = await boot(t, {
      accesses: [[write(5 * PAGE), write(5 * PAGE)]],
      tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault: 'continue', closes: true },
    });
    await machine.start();
    const report = await machine.ended;
    t.is(report.error, null);
    t.is(report.exitCode, 0);
    t.like(report.events[1], { sent: 1, unanswered: 1 });
  },
);

test.serial('unhook forgets everything; a later hook begins another session', async (t) => {
  const machine = await boot(t, { endless: true, accesses: [[write(5 * PAGE)]] });
  const next = holdEvents(machine, 'pageFault');
  await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: 'r--' }]);
  await machine.start();
  await next();
  // The vCPU waits for the answer to this event: unhook lets it go.
  t.true(await machine.control.unhook());
  t.false(await machine.control.unhook());
  const error = await t.throwsAsync(machine.introspector.getPageAccess(5 * PAGE));
  t.like(error, { code: 'SIM_CLOSED' });
  const before = machine.status().instructions;
  await until(() => machine.status().instructions > before + 100);
  await machine.control.hook();
  t.deepEqual(await machine.introspector.getInfo(), { vcpuCount: 1, session: 2 });
  t.is(await machine.introspector.getPageAccess(5 * PAGE), 'rwx');
  await t.throwsAsync(machine.control.hook(), { message: /EEXIST/ });
  await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: 'r--' }]);
  const again = await next();
  t.is(again.event.access, 'W');
  again.answer('continue');
  const report = await machine.stop();
  t.is(report.exitCode, 0);
});

test.serial('an event has one answer: a second handler is refused', async (t) => {
  const machine = await boot(t, { tool: { pageFault: 'continue' } });
  t.throws(() => machine.introspector.on('pageFault', () => 'continue'), {
    message: /the tool module/,
  });
  const off = machine.introspector.on('pause', () => 'continue');
  t.throws(() => machine.introspector.on('pause', () => 'continue'), { message: /another handler/ });
  off();
  t.notThrows(() => machine.introspector.on('pause', () => 'continue'));
});

test.serial('commands to a vCPU that has ended are refused, not left waiting', async (t) => {
  const machine = await boot(t, {
    accesses: [[write(5 * PAGE)], [write(6 * PAGE)]],
    tool: { restrict: [{ gpa: 6 * PAGE, access: 'r--' }], pageFault: 'never' },
  });
  const exit = nextFact(machine, 'vcpuState', ({ vcpu, state }) => vcpu === 0 && state === 'exited');
  await machine.start();
  await exit;
  await t.throwsAsync(machine.introspector.getRegisters(0), { message: /ENOENT, vCPU 0 has ended/ });
  await t.throwsAsync(machine.introspector.pauseVcpu(0), { message: /has ended/ });
  const report = await machine.stop();
  t.is(report.ending, 'stopped');
});

test.serial('a machine that is not introspected runs on, and refuses commands', async (t) => {
  const machine = await boot(t, { introspected: false });
  await t.throwsAsync(machine.introspector.getInfo(), { message: /not hooked/ });
  await machine.start();
  t.is((await machine.ended).exitCode, 0);
});
