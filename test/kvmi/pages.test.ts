/** docs/kvmi-tools.md: its commands, as they are written there, give what is written there. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { faultline } from '../support/cli.ts';
import { socketPlace } from './rig.ts';

const PAGE = readFileSync('docs/kvmi-tools.md', 'utf8');

/** The text of each block of a language. */
function blocks(language: string): string[] {
  return [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map(
    ([, text]) => text!,
  );
}

/** Words of the command that a block begins with, and its output. */
function commandOf(block: string): { words: string[]; output: string } {
  const [, command, output] = /^\$ ([^\n]*)\n(.*)$/s.exec(block)!;
  return { words: command!.split(' '), output: output! };
}

/** A process of Node in the project's directory; `listens` settles with its first output, or its end. */
function node(t: ExecutionContext, words: readonly string[]) {
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  let out = '';
  let err = '';
  const listens = new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
      resolve();
    });
    child.on('close', () => resolve());
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    err += text;
  });
  const ended = new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, out, err }));
  });
  return { listens, ended };
}

const [guard, machine, shown] = blocks('console');

function runMachine(t: ExecutionContext, path: string) {
  const { words } = commandOf(machine!);
  return faultline(t, ...words.slice(1).map((word) => word.replace('/tmp/guard.sock', path)));
}

test.serial('two terminals', async (t) => {
  const path = socketPlace(t);
  const { words, output } = commandOf(guard!.replaceAll('/tmp/guard.sock', path));
  t.is(words[0], 'node');
  const tool = node(t, words.slice(1));
  await tool.listens;
  const run = await runMachine(t, path);
  t.is(run.code, 0, run.err);
  t.is(run.lines.at(-1), machine!.trimEnd().split('\n').at(-1));
  const { code, out, err } = await tool.ended;
  t.is(err, '');
  t.is(code, 0);
  t.is(out, output);
});

test.serial('two terminals, and the first write ends the machine', async (t) => {
  const path = socketPlace(t);
  const { words } = commandOf(guard!.replaceAll('/tmp/guard.sock', path));
  const tool = node(t, [...words.slice(1), '--on-write', 'crash']);
  await tool.listens;
  const run = await runMachine(t, path);
  t.not(run.code, 0);
  t.regex(run.out, /the introspection tool answered CRASH/);
  t.regex(
    (await tool.ended).out,
    /writes syscall_table\+0x10 .*\nthe machine has gone: 1 write from 1 place,/,
  );
});

test.serial('a tool of your own', async (t) => {
  const path = socketPlace(t);
  const [program] = blocks('js');
  // It says nothing while it waits: the machine tries until it listens.
  const tool = node(t, ['--input-type=module', '--eval', program!.replace('/tmp/tool.sock', path)]);
  const run = await runMachine(t, path);
  t.is(run.code, 0, run.err);
  const { code, out, err } = await tool.ended;
  t.is(err, '');
  t.is(code, 0);
  t.is(out, shown);
});

test.serial('the guard says what is wrong with how it was called', async (t) => {
  const program = commandOf(guard!).words[1]!;
  const run = async (...words: string[]) => {
    const { code, err } = await node(t, [program, ...words]).ended;
    return `${code} ${err.split('\n')[0]}`;
  };
  const image = 'test/guests/images/rootkit.elf';
  t.regex(await run(), /^2 SIM_USAGE: where to listen/);
  t.regex(
    await run('--listen', '/tmp/x', '--kernel', image, '--watch', 'nothing'),
    /no data called 'nothing'/,
  );
  t.regex(await run('--listen', '/tmp', '--kernel', image), /^2 SIM_FILE: cannot listen at \/tmp/);
  t.regex(await run('--listen', '/tmp/x', '--kernel', 'package.json'), /^2 SIM_IMAGE_FORMAT/);
});
