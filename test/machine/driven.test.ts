/** Threads that drive generators, as after tsc alone, do what those that run erased paths do. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { pathsAreErased } from '../../src/machine/worker-file.ts';
import { boot, nextFact, PAGE } from '../support/boot.ts';

const CLI = fileURLToPath(new URL(`../../src/cli${import.meta.url.slice(-3)}`, import.meta.url));

// Before the first machine of this process: it asks once.
process.env['FAULTLINE_DRIVEN'] = '1';

test.serial('an event is raised, answered and reported', async (t) => {
  t.false(pathsAreErased());
  const machine = await boot(t, {
    accesses: [[{ kind: 'write', gpa: 5 * PAGE, size: 8, value: 1n }], [{ kind: 'read', gpa: 0, size: 8 }]],
    tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault: 'continue' },
    lockdep: true,
  });
  const reply = nextFact(machine, 'reply');
  await machine.start();
  t.like(await reply, { vcpu: 0, answer: 'continue' });
  const report = await machine.ended;
  t.deepEqual(report.findings, []);
  t.is(report.exitCode, 0);
});

test.serial('a storm holds everything', async (t) => {
  const { lines } = await run(['--smp', '2', '--lockdep', '--seconds', '1', '--seed', '5'], '1');
  t.like(lines.at(-1), { event: 'verdict', exitCode: 0 });
});

for (const guest of ['hello', 'memory', 'selftest-isa']) {
  test.serial(`${guest}: driven and erased end in the same state`, async (t) => {
    const words = ['-kernel', `test/guests/images/${guest}.elf`, '--smp', '1', '-m', '4'];
    const [driven, erased] = [await run(words, '1'), await run(words, '')];
    t.regex(driven.hash, /^[0-9a-f]{16}$/);
    t.is(driven.hash, erased.hash);
  });
}

/** The command line as a process, with FAULTLINE_DRIVEN as given. */
async function run(words: readonly string[], driven: string) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [CLI, 'run', '--json', '--quiet', ...words],
    {
      env: { ...process.env, FAULTLINE_DRIVEN: driven },
    },
  );
  const lines = stdout.trimEnd().split('\n');
  const objects: Record<string, unknown>[] = lines.map((line) => JSON.parse(line));
  const result = objects.find(({ event }) => event === 'result');
  return { lines: objects, hash: String(result?.['stateHash']) };
}
