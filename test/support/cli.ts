/** The command line as a process, for tests of its output, exit codes and signals. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';

const CLI = fileURLToPath(new URL(`../../src/cli${import.meta.url.slice(-3)}`, import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  readonly lines: readonly string[];
}

/** The command line as a process, which ends with the test. */
export function start(
  t: ExecutionContext,
  ...words: string[]
): { child: ChildProcess; ended: Promise<Ended> } {
  return watch(t, spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'pipe', 'pipe'] }));
}

/** The same, where no file may have more than so many blocks of 1024 bytes. */
export function startWithSmallFiles(
  t: ExecutionContext,
  blocks: number,
  ...words: string[]
): { child: ChildProcess; ended: Promise<Ended> } {
  const shell = ['-c', `ulimit -f ${blocks}; exec "$0" "$@"`, process.execPath, CLI, ...words];
  return watch(t, spawn('bash', shell, { stdio: ['ignore', 'pipe', 'pipe'] }));
}

function watch(t: ExecutionContext, child: ChildProcess): { child: ChildProcess; ended: Promise<Ended> } {
  t.teardown(() => child.kill('SIGKILL'));
  let out = '';
  let err = '';
  child.stdout!.setEncoding('utf8').on('data', (text) => {
    out += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    err += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code) => resolve({ code, out, err, lines: out.trimEnd().split('\n') }));
  });
  return { child, ended };
}

/** One that is waited for. */
export const faultline = (t: ExecutionContext, ...words: string[]) => start(t, ...words).ended;
