/** `faultline run --kvmi`, as a process. */
import test from 'ava';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';
import { faultline, start } from '../support/cli.ts';
import { socketPlace } from './rig.ts';

const GUEST = ['--kernel', 'test/guests/images/kvmi-selftest.elf', '--smp', '1', '--mem', '48M'];

test.serial(
  'the guest starts with the tool, which ends it; the secret is nowhere in the output',
  async (t) => {
    const path = socketPlace(t);
    const words = [...GUEST, '--quiet', '--json', '--kvmi', `unix:${path}`, '--kvmi-key', 's3cret'];
    const run = faultline(t, 'run', ...words, '--kvmi-command', 'GET_INFO,READ_PHYSICAL,WRITE_PHYSICAL');
    // It tries again until somebody listens.
    const listener = await KvmiListener.at(path, { secret: 's3cret' });
    t.teardown(() => listener.close());
    const tool = await listener.next();
    t.is((await tool.getInfo()).vcpu_count, 1);
    await t.throwsAsync(tool.pauseVcpu(0), { message: 'KVMI_VM_PAUSE_VCPU: EPERM' });
    await tool.writePhysical(0x1ff000n, Uint8Array.of(0xff, 0, 0, 0));
    const { code, out, err } = await run;
    t.is(code, 0);
    t.regex(err, /kvmi: connected/);
    t.false(`${out}${err}`.includes('s3cret'));
  },
);

test.serial('a tool that speaks the other wire is named on stderr, with what to do about it', async (t) => {
  const path = socketPlace(t);
  const listener = await KvmiListener.at(path);
  t.teardown(() => listener.close());
  const run = faultline(t, 'run', ...GUEST, '--quiet', '--kvmi', `unix:${path}`);
  const tool = await listener.next();
  await tool.getVersion();
  // GET_GUEST_INFO of wire-7.
  t.is((await tool.connection.request(5)).error, -22);
  await tool.writePhysical(0x1ff000n, Uint8Array.of(0xff, 0, 0, 0));
  const { code, err } = await run;
  t.is(code, 0);
  t.regex(err, /kvmi: it speaks wire-7 .*take --wire 7/);
});

test.serial('Ctrl-C lets the tool leave first', async (t) => {
  const path = socketPlace(t);
  const listener = await KvmiListener.at(path);
  t.teardown(() => listener.close());
  const { child, ended } = start(t, 'run', ...GUEST, '--quiet', '--kvmi', `unix:${path}`);
  const tool = await listener.next();
  await tool.controlUnhookEvent(true);
  await tool.setPageAccess([{ gpa: 0x2000000n, access: 1 }]);
  child.kill('SIGINT');
  t.is((await tool.nextEvent())?.kind, 'unhook');
  await tool.setPageAccess([{ gpa: 0x2000000n, access: 7 }]);
  await tool.close();
  const { code, err } = await ended;
  t.is(code, 130);
  t.regex(err, /kvmi: the machine is to end: the tool is asked to leave\nkvmi: session over/);
});

test.serial('what makes no sense is refused before anything starts', async (t) => {
  for (const [words, message] of [
    [[...GUEST, '--kvmi', 'tcp:1234'], /no place for an introspection tool/],
    [[...GUEST, '--kvmi', `unix:/${'x'.repeat(120)}`], /has 121 bytes/],
    [[...GUEST, '--kvmi-key', 'x'], /--kvmi-key without --kvmi/],
    [[...GUEST, '--wire', '7'], /--wire without --kvmi/],
    [[...GUEST, '--kvmi', 'unix:/x', '--wire', '8'], /no KVMI wire '8'/],
    [
      [...GUEST, '--kvmi', 'unix:/x', '--wire', '7', '--kvmi-command', 'VM_GET_INFO'],
      /no KVMI command 'VM_GET_INFO'/,
    ],
    [[...GUEST, '--kvmi', 'unix:/x', '--kvmi-event', 'PF,PFF'], /no KVMI event 'PFF'/],
    [[...GUEST, '--kvmi', 'unix:/x', '--tool', 'x.mjs'], /beside one in process/],
    [[...GUEST, '--kvmi', 'listen:/no/such/folder/x'], /cannot listen at/],
    [['--kvmi', 'unix:/x'], /the storm brings its own tool/],
  ] as const) {
    const { code, err } = await faultline(t, 'run', ...words);
    t.is(code, 2, words.join(' '));
    t.regex(err, message);
  }
});
