import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ThreadPool } from '../../../src/explore/thread-pool.ts';

const WORKER = new URL(`./slow-loader${import.meta.url.slice(-3)}`, import.meta.url);

// Node (20) aborts the process, now and then, when a worker is terminated while it loads its modules.
test.serial('a pool that is closed at once lets its threads load first', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-pool-'));
  const note = join(folder, 'loaded');
  process.env['FAULTLINE_TEST_LOADED'] = note;
  try {
    await new ThreadPool<null, void>(WORKER, 2).close();
    t.is(readFileSync(note, 'utf8'), 'loaded\nloaded\n');
  } finally {
    delete process.env['FAULTLINE_TEST_LOADED'];
    rmSync(folder, { recursive: true });
  }
});

test.serial('a thread that dies is replaced, and the pool can still be closed', async (t) => {
  const pool = new ThreadPool<'die' | 'live', string>(WORKER, 1);
  await t.throwsAsync(pool.run('die'), { message: /exited with code: 3/ });
  await pool.close();
  const other = new ThreadPool<'die' | 'live', string>(WORKER, 1);
  await t.throwsAsync(other.run('die'), { message: /exited with code: 3/ });
  t.is(await other.run('live'), 'alive');
  await other.close();
});
