/** Which files threads run: the erased ones of a build that is up to date, else the originals. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';

const BUILT = 'dist/src/machine/worker-file.js';

/** A build of one file, and what it says about worker files in a process of its own. */
function build(t: ExecutionContext): { root: string; asked: (env?: Record<string, string>) => string } {
  const root = mkdtempSync(join(tmpdir(), 'faultline-worker-file-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'machine'));
  copyFileSync(BUILT, join(root, 'machine/worker-file.js'));
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  writeFileSync(join(root, 'a.js'), 'one');
  const ask = `import { workerFile } from ${JSON.stringify(join(root, 'machine/worker-file.js'))}; process.stdout.write(workerFile('vcpu/vcpu.worker'));`;
  const asked = (env: Record<string, string> = {}) =>
    execFileSync(process.execPath, ['--input-type=module', '-e', ask], {
      env: { ...process.env, FAULTLINE_DRIVEN: '', ...env },
      encoding: 'utf8',
    }).slice(-'/vcpu.worker.erased.js'.length);
  return { root, asked };
}

const ERASED = '/vcpu.worker.erased.js';
const ORIGINAL = /\/vcpu\.worker\.js$/;

test('erased files are run while they were made from what is there', (t) => {
  const { root, asked } = build(t);
  t.regex(asked(), ORIGINAL, 'tsc alone: there are none');
  const sha1 = createHash('sha1').update('one').digest('hex');
  writeFileSync(join(root, 'erased.json'), JSON.stringify({ 'a.js': sha1 }));
  t.is(asked(), ERASED);
  t.regex(asked({ FAULTLINE_DRIVEN: '1' }), ORIGINAL, 'somebody asks for driven paths');
  writeFileSync(join(root, 'a.js'), 'two');
  t.regex(asked(), ORIGINAL, 'compiled again by tsc alone');
  rmSync(join(root, 'a.js'));
  t.regex(asked(), ORIGINAL, 'gone');
});

test('the build of this test run is up to date', (t) => {
  const madeFrom: Record<string, string> = JSON.parse(readFileSync('dist/src/erased.json', 'utf8'));
  t.true(Object.keys(madeFrom).length > 50);
  for (const [file, hash] of Object.entries(madeFrom)) {
    const text = readFileSync(join('dist/src', file));
    t.is(createHash('sha1').update(text).digest('hex'), hash, file);
  }
});
