/** The command line as a process: output, exit codes, signals. */
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { support } from '../support/boot.ts';
import { faultline, start } from '../support/cli.ts';

const IMAGES = 'test/guests/images';

test.serial('a guest that ends well: its console, the table, the verdict last, exit code 0', async (t) => {
  const { code, lines, err } = await faultline(t, 'run', '-kernel', `${IMAGES}/hello.elf`, '-m', '4');
  t.is(code, 0);
  t.deepEqual(lines.slice(0, 2).sort(), ['hello from vcpu 0', 'hello from vcpu 1']);
  t.true(lines.some((line) => /^vCPU 1 +exited \(0\) +\d+ /.test(line)));
  t.is(lines.at(-1), 'every vCPU exited with code 0, all invariants held');
  t.regex(err, /^0\.0 s · \d+ instructions/, 'the status line goes to the other stream');
});

test.serial(
  'JSON lines: every line an object, start first, verdict last, large numbers as strings',
  async (t) => {
    const words = ['--kernel', `${IMAGES}/hello.elf`, '--json', '--quiet', '--seed', '0xfedcba9876543210'];
    const { code, lines, err } = await faultline(t, 'run', ...words);
    t.is(code, 0);
    t.is(err, '');
    const objects = lines.map((line) => JSON.parse(line));
    t.like(objects[0], { event: 'start', seed: '0xfedcba9876543210' });
    t.regex(objects[0].version, /^\d+\.\d+\.\d+/);
    t.deepEqual(
      objects
        .filter(({ event }) => event === 'console')
        .map(({ text }) => text)
        .sort(),
      ['hello from vcpu 0\n', 'hello from vcpu 1\n'],
    );
    t.like(objects.at(-2), { event: 'result', ending: 'exited', error: null });
    t.true(objects.at(-2).vcpus[0].instructions > 90);
    t.deepEqual(objects.at(-1), {
      event: 'verdict',
      exitCode: 0,
      verdict: 'every vCPU exited with code 0, all invariants held',
      findings: 0,
    });
  },
);

test.serial('a guest that fails: exit code 1, and how to repeat it', async (t) => {
  // exec-page exits with 2 when all is well with it: for the command line that is a failure.
  const { code, lines } = await faultline(t, 'run', '--smp', '1', '--kernel', `${IMAGES}/exec-page.elf`);
  t.is(code, 1);
  t.is(lines.at(-1), 'the guest says it failed: vCPU 0 exited with code 2');
  t.is(lines.at(-2), `repeat: faultline run --smp 1 --kernel ${IMAGES}/exec-page.elf --seed 0x1`);
});

test.serial('limits end a run with exit code 4', async (t) => {
  const kernel = ['--kernel', `${IMAGES}/pf-selftest.elf`, '--quiet', '--smp', '1'];
  const limited = await faultline(t, 'run', ...kernel, '--max-instructions', '10k');
  t.is(limited.code, 4);
  t.is(limited.lines.at(-1), 'SIM_LIMIT: vCPU 0 has carried out 10000 instructions');
  const late = await faultline(t, 'run', ...kernel, '--seconds', '100ms');
  t.is(late.code, 4);
  t.is(late.lines.at(-1), 'SIM_LIMIT: the guest has not ended after 0.1 s');
});

test.serial('a tool module is found by its path, and its failure is exit code 2', async (t) => {
  const tool = fileURLToPath(support('tool'));
  const words = ['--kernel', `${IMAGES}/hello.elf`, '--quiet', '--tool'];
  const { code, err } = await faultline(t, 'run', ...words, 'no/such/tool.js');
  t.is(code, 2);
  t.regex(err, /^SIM_TOOL_FAILED: the tool module file:.*no\/such\/tool\.js cannot be loaded\n {2}hint: /);
  // The test tool wants options, which the command line does not give: it throws.
  const threw = await faultline(t, 'run', ...words, tool);
  t.is(threw.code, 2);
});

test.serial(
  'bad usage: one line with the word, one with the remedy, nothing on stdout, exit code 2',
  async (t) => {
    for (const [words, message] of [
      [['rnu'], "SIM_USAGE: there is no command 'rnu'\n  hint: did you mean run?\n"],
      [['run', '--secnods', '5'], 'SIM_USAGE: there is no flag --secnods\n  hint: did you mean --seconds?\n'],
      [['run', '--smp', '17'], 'SIM_CONFIG_RANGE: 17 vCPUs\n  hint: give 1 to 16: -smp 2\n'],
      [
        ['run', '--mem', '1M'],
        'SIM_CONFIG_RANGE: the storm in 1M of RAM\n  hint: give it 32M to 1G, or leave --mem out\n',
      ],
    ] as const) {
      const { code, out, err } = await faultline(t, ...words);
      t.is(code, 2);
      t.is(out, '');
      t.is(err, message);
    }
    const missing = await faultline(t, 'run', '--kernel', 'no/such.elf');
    t.is(missing.code, 2);
    t.regex(missing.err, /^SIM_IMAGE_MISSING: cannot read no\/such\.elf\n/);
    const wrong = await faultline(t, 'run', '--kernel', 'package.json');
    t.is(wrong.code, 2);
    t.regex(wrong.err, /^SIM_IMAGE_FORMAT: /);
  },
);

test.serial('help and version', async (t) => {
  const overview = await faultline(t, '--help');
  t.is(overview.code, 0);
  t.regex(overview.out, /run +run a guest/);
  const run = await faultline(t, 'run', '--help');
  t.regex(run.out, /--max-instructions N/);
  t.deepEqual((await faultline(t, 'help', 'run')).out, run.out);
  const { version } = JSON.parse(await readFile('package.json', 'utf8'));
  t.is((await faultline(t, '--version')).out, `faultline ${version}\n`);
});

test.serial('Ctrl-C ends the storm in an orderly way: a report, and 128 + the signal', async (t) => {
  for (const [signal, exit] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const { child, ended } = start(t, 'storm', '--seconds', '60');
    await new Promise<void>((resolve) => {
      child.stderr!.once('data', () => resolve());
    });
    child.kill(signal);
    const { code, lines } = await ended;
    t.is(code, exit);
    t.is(lines.at(-1), 'stopped, all invariants held');
  }
});

test.serial('--trace writes a file that begins as a Perfetto trace does', async (t) => {
  const path = join(tmpdir(), `faultline-cli-${process.pid}.pftrace`);
  t.teardown(() => rm(path, { force: true }));
  const { code, out } = await faultline(t, 'run', '--seconds', '500ms', '--quiet', '--trace', path);
  t.is(code, 0);
  t.regex(out, /trace +.*: [\d ]+ records/);
  // Trace.packet, length-delimited.
  t.is((await readFile(path))[0], 0x0a);
});
