/** What tools do wrong: each ends in a defined continuation, and none in a machine that hangs. */
import test from 'ava';
import { Machine, type RunReport } from '../../src/index.ts';
import { boot, PAGE, support } from '../support/boot.ts';
import type { Behaviour } from '../support/tool.ts';

const write = (gpa: number) => ({ kind: 'write', gpa, size: 8, value: 6n }) as const;

/** vCPU 0 runs into the tool, vCPU 1 does not. */
async function misbehave(
  t: Parameters<typeof boot>[0],
  pageFault: NonNullable<Behaviour['pageFault']>,
  options: Parameters<typeof boot>[1] = {},
): Promise<RunReport> {
  const machine = await boot(t, {
    accesses: [
      [write(5 * PAGE), write(5 * PAGE)],
      Array.from({ length: 200 }, (_, n) => write(6 * PAGE + 8 * (n % 100))),
    ],
    tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault },
    ...options,
  });
  await machine.start();
  return machine.ended;
}

for (const [behaviour, message] of [
  ['throw', /its 'pageFault' handler threw at event 1 \(pageFault\) of vCPU 0: write at gpa 0x5000/],
  ['reject', /its 'pageFault' handler rejected/],
  ['answer nonsense', /'maybe' is no answer to event 1/],
] as const) {
  test.serial(
    `a handler that does this: ${behaviour}: the session ends, and everyone goes on without it`,
    async (t) => {
      const report = await misbehave(t, behaviour);
      t.is(report.error?.code, 'SIM_TOOL_FAILED');
      t.regex(report.error!.message, message);
      t.is(report.exitCode, 2);
      t.is(report.ending, 'exited');
      t.like(report.events[1], { sent: 1, continued: 0, unanswered: 1 });
      t.true(report.vcpus.every(({ state }) => state === 'exited'));
      t.deepEqual(report.findings, []);
    },
  );
}

test.serial('what a handler threw is the cause of the error', async (t) => {
  const report = await misbehave(t, 'throw');
  const { message } = report.error!.cause as Error;
  t.regex(message, /RangeError: the handler threw/);
});

test.serial('with --strict the access is retried, un-introspected, when the tool fails', async (t) => {
  const report = await misbehave(t, 'throw', { strict: true });
  t.is(report.ending, 'exited');
  t.like(report.events[1], { sent: 1, unanswered: 1 });
});

test.serial('the run stops at the failure when it is told to', async (t) => {
  const report = await misbehave(t, 'throw', { onToolFailure: 'stop', endless: true });
  t.is(report.ending, 'failed');
  t.is(report.error?.code, 'SIM_TOOL_FAILED');
});

test.serial('a promise that never settles ends the session at the limit', async (t) => {
  const report = await misbehave(t, 'never', { replyTimeoutMs: 500 });
  t.is(report.error?.code, 'SIM_REPLY_TIMEOUT');
  t.regex(report.error!.message, /no answer within 500 ms to event 1 \(pageFault\) of vCPU 0/);
  t.is(report.exitCode, 4);
  t.is(report.ending, 'exited');
  t.like(report.events[1], { sent: 1, unanswered: 1 });
});

test.serial('a handler that does not return costs the tool its thread at the limit', async (t) => {
  const report = await misbehave(t, 'hang', { replyTimeoutMs: 50 });
  t.is(report.error?.code, 'SIM_REPLY_TIMEOUT');
  t.regex(report.error!.message, /its thread does not respond/);
  t.is(report.ending, 'exited');
  t.deepEqual(report.findings, []);
});

test.serial(
  'without a limit, stop does not wait for a promise that never settles, nor for a thread that hangs',
  async (t) => {
    for (const [pageFault, code] of [
      ['never', null],
      ['hang', 'SIM_TOOL_FAILED'],
    ] as const) {
      const machine = await boot(t, {
        accesses: [[write(5 * PAGE)]],
        tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault },
      });
      const event = new Promise<void>((resolve) => {
        const look = () => (machine.stateOf(0) === 'waiting' ? resolve() : setImmediate(look));
        look();
      });
      await machine.start();
      await event;
      const report = await machine.stop();
      t.is(report.ending, 'stopped');
      t.is(report.error?.code ?? null, code);
      t.like(report.events[1], { sent: 1, unanswered: 1 });
      t.deepEqual(report.findings, []);
    }
  },
);

test.serial('a handler in the main thread fails the same way', async (t) => {
  for (const [handler, code, message, timeout] of [
    [
      () => {
        throw new RangeError('main');
      },
      'SIM_TOOL_FAILED',
      /rejected/,
      {},
    ],
    [() => undefined as never, 'SIM_TOOL_FAILED', /undefined is no answer/, {}],
    [() => new Promise<never>(() => {}), 'SIM_REPLY_TIMEOUT', /within 500 ms/, { replyTimeoutMs: 500 }],
  ] as const) {
    const machine = await boot(t, { accesses: [[write(5 * PAGE)]], ...timeout });
    machine.introspector.on('pageFault', handler);
    await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: 'r--' }]);
    await machine.start();
    const report = await machine.ended;
    t.is(report.error?.code, code);
    t.regex(report.error!.message, message);
    t.is(report.ending, 'exited');
  }
});

test.serial('a tool that cannot be attached keeps the machine from being made', async (t) => {
  await t.throwsAsync(boot(t, { tool: { attached: 'throw' } }), { message: /its 'attached' handler threw/ });
  await t.throwsAsync(boot(t, { tool: { attached: 'never' }, replyTimeoutMs: 50 }), {
    message: /its 'attached' handler took more than 50 ms/,
  });
  await t.throwsAsync(boot(t, { tool: { restrict: [{ gpa: -1, access: 'r--' }] } }), {
    message: /its 'attached' handler threw/,
  });
});

test.serial('a module that is no tool is refused by name', async (t) => {
  const create = (module: string | URL) =>
    Machine.create({
      vcpuCount: 1,
      program: { href: support('access-lists'), options: { accesses: [[]], endless: false } },
      tool: { module },
    });
  const missing = await t.throwsAsync(create('no-such-tool.js'), {
    message: /no-such-tool\.js cannot be loaded/,
  });
  t.like(missing, { code: 'SIM_TOOL_FAILED' });
  // Its default export is a test file's: none.
  await t.throwsAsync(create(new URL(support('boot'))), { message: /is no tool: undefined/ });
});
