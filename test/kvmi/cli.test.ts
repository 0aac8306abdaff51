/** `faultline run --kvmi`, as a process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';
import { faultline } from '../support/cli.ts';

const GUEST = ['--kernel', 'test/guests/images/kvmi-selftest.elf', '--smp', '1', '--mem', '48M'];

test.serial(
  'the guest starts with the tool, which ends it; the secret is nowhere in the output',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'faultline-kvmi-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'tool.sock');
    const words = [...GUEST, '--quiet', '--json', '--kvmi', `unix:${path}`, '--kvmi-key', 's3cret'];
    const run = faultline(t, 'run', ...words, '--kvmi-command', 'GET_INFO,READ_PHYSICAL,WRITE_PHYSICAL');
    // It tries again until somebody listens.
    const listener = await KvmiListener.at(path, { secret: 's3cret' });
    t.teardown(() => listener.close());
    const tool = await listener.next();
    t.is((await tool.getInfo()).vcpu_count, 1);
    await t.throwsAsync(tool.pauseVcpu(0), { message: /KVMI_VM_PAUSE_VCPU: error 1$/ });
    await tool.writePhysical(0x1ff000n, Uint8Array.of(0xff, 0, 0, 0));
    const { code, out, err } = await run;
    t.is(code, 0);
    t.regex(err, /kvmi: connected/);
    t.false(`${out}${err}`.includes('s3cret'));
  },
);

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
