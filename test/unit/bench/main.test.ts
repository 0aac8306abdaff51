import { spawnSync } from 'node:child_process';
import test from 'ava';

const bench = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  spawnSync(process.execPath, ['dist/scripts/bench/main.js', ...args], { env, encoding: 'utf8' });

test('a peer that is not installed is named, with what to install', (t) => {
  for (const [peer, remedy] of [
    ['qemu', 'apt-get install qemu-system-x86'],
    ['bochs', 'apt-get install bochs'],
    ['native', 'apt-get install gcc'],
  ] as const) {
    const { status, stdout, stderr } = bench(['--suite', 'guests', '--peers', peer, '--json'], { PATH: '' });
    t.is(status, 2);
    t.is(stdout, '');
    t.regex(stderr, new RegExp(`peer '${peer}' is not installed: .*${remedy}`));
  }
});

test('a suite and a peer that do not exist are named, with those that do', (t) => {
  for (const [option, what] of [
    ['--suite', 'suite'],
    ['--peers', 'peer'],
  ] as const) {
    const { status, stderr } = bench([option, 'bochs9']);
    t.is(status, 2);
    t.regex(stderr, new RegExp(`no ${what} 'bochs9': there are .*(guests|qemu)`));
  }
});
