/** From `faultline run` on a built tree to its first status line. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { row, type Suite } from './suite.ts';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

async function firstLine(): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, [CLI, 'run', '--seconds', '1'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const seconds = await new Promise<number>((resolve, reject) => {
    child.stderr.once('data', () => resolve((performance.now() - began) / 1000));
    child.once('error', reject);
  });
  await new Promise((resolve) => {
    child.once('exit', resolve);
  });
  return seconds;
}

export const start: Suite = {
  name: 'start',
  about: 'time to the first status line of the bundled storm, on a built tree',
  async run({ quick }) {
    const rounds: number[] = [];
    for (let round = 0; round < (quick ? 1 : 5); round++) rounds.push(await firstLine());
    return [row('first status line', 's', rounds, { is: 'at most', value: 3 })];
  },
};
