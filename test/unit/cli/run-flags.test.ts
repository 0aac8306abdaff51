/** What the flags of `faultline run` ask for. */
import test from 'ava';
import { parseRun } from '../../../src/cli/run-flags.ts';
import { SimError } from '../../../src/shared/errors.ts';

test('nothing said: the storm, two vCPUs, five seconds', (t) => {
  const { kernel, machine, json, quiet } = parseRun([]);
  t.is(kernel, null);
  t.false(json || quiet);
  t.like(machine, {
    vcpuCount: 2,
    runMs: 5000,
    timeIsLimit: false,
    seed: 1n,
    reference: false,
    onToolFailure: 'continue',
  });
});

test('a kernel runs until it ends, and has not ended in time when the time is over', (t) => {
  const endless = parseRun(['--kernel', 'a.elf']);
  t.is(endless.kernel, 'a.elf');
  t.is(endless.machine.runMs, undefined);
  t.true(endless.machine.timeIsLimit);
  t.true(endless.machine.jit);
  t.is(parseRun(['-kernel', 'a.elf', '--seconds', '500ms']).machine.runMs, 500);
});

test('every flag reaches the machine', (t) => {
  const { machine, json, quiet } = parseRun(
    `--smp 4 --mem 48M --kernel a.elf --flat --seconds 2m --max-instructions 3k --seed 0x5EED --tool t.js
     --reply-timeout 2s --stop-on-tool-failure --strict --reference --lockdep --check-every 100ms
     --trace x.pftrace --no-jit --json --quiet`.split(/\s+/),
  );
  t.deepEqual(machine, {
    vcpuCount: 4,
    ramBytes: 48 * 1024 ** 2,
    flat: true,
    runMs: 120_000,
    timeIsLimit: true,
    instructionLimit: 3000,
    seed: 0x5eedn,
    tool: { module: 't.js' },
    replyTimeoutMs: 2000,
    onToolFailure: 'stop',
    strict: true,
    reference: true,
    lockdep: true,
    jit: false,
    checkEveryMs: 100,
    trace: 'x.pftrace',
  });
  t.true(json && quiet);
});

test('a Linux kernel, its RAM disk and command line, the serial port and the clock', (t) => {
  const words = '--kernel vmlinuz --initrd disk --serial unix:/tmp/s --clock virtual --board'.split(' ');
  const { kernel, initrd, append, serial, machine } = parseRun([...words, '--append', 'console=ttyS0 quiet']);
  t.deepEqual(
    { kernel, initrd, append },
    { kernel: 'vmlinuz', initrd: 'disk', append: 'console=ttyS0 quiet' },
  );
  t.deepEqual(serial, { kind: 'unix', path: '/tmp/s' });
  t.like(machine, { clock: 'virtual', board: true });
  t.deepEqual(parseRun(['--kernel', 'a.elf']).serial, { kind: 'stdio' });
});

test("QEMU's words mean what they mean there", (t) => {
  const { machine, kernel } = parseRun(
    '-smp cpus=3 -m 64 -kernel a.elf -nographic -no-reboot -display none -serial stdio'
      .concat(' -device isa-debug-exit,iobase=0xf4,iosize=0x04')
      .split(' '),
  );
  t.is(kernel, 'a.elf');
  t.like(machine, { vcpuCount: 3, ramBytes: 64 * 1024 ** 2 });
  t.is(parseRun(['-m', '64M']).machine.ramBytes, 64 * 1024 ** 2);
  t.is(parseRun(['--mem', '65536']).machine.ramBytes, 65536);
});

for (const [words, message, hint] of [
  ['--smp two', "--smp: 'two' is no number of vCPUs", /--smp 2/],
  ['--smp -1', "--smp: '-1' is no number of vCPUs", /--smp 2/],
  ['--mem 64Q', "--mem: '64Q' is not a size", /64|4K/],
  ['-m 1.5G', "-m: '1.5G' is not a size", /4K/],
  ['--seconds 0', "--seconds: '0' is not a duration", /500ms/],
  ['--seconds 5h', "--seconds: '5h' is not a duration", /500ms/],
  ['--seed 0x1ffffffffffffffff', "--seed: '0x1ffffffffffffffff' is no unsigned 64-bit number", /0x7b/],
  ['--seed 99999999999999999999', "--seed: '99999999999999999999' is no unsigned 64-bit number", /0x7b/],
  ['--seed -5', "--seed: '-5' is no unsigned 64-bit number", /0x7b/],
  ['--max-instructions 0', "--max-instructions: '0' is no count", /500m/],
  ['--max-instructions 1e9', "--max-instructions: '1e9' is no count", /500m/],
  ['--flat', '--flat without an image', /--kernel/],
  ['--append quiet', '--append without a kernel', /--kernel/],
  ['--board', '--board without an image', /--kernel/],
  ['--kernel k --clock atomic', '--clock atomic', /real or virtual/],
  ['--kernel k --serial com2', '--serial com2', /stdio, none, file:PATH/],
  ['--tool t.js', 'the storm brings its own tool', /--kernel/],
  ['--kernel a.elf --reply-timeout 1s', '--reply-timeout without a tool', /--tool/],
  ['guest.elf', "'guest.elf' is no flag", /--kernel guest.elf/],
  ['-display gtk', '-display gtk is not supported', /-display none/],
  ['-device e1000', '-device e1000 is not supported', /isa-debug-exit/],
] as const) {
  test(`refused: ${words}`, (t) => {
    const error = t.throws(() => parseRun(words.split(' ')), { instanceOf: SimError, message });
    t.is(error!.code, 'SIM_USAGE');
    t.regex(error!.hint, hint);
  });
}
