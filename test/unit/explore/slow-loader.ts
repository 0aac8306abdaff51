/** A worker's module that takes a while to load, and notes when it has. */
import { appendFileSync } from 'node:fs';

Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
const note = process.env['FAULTLINE_TEST_LOADED'];
if (note !== undefined) appendFileSync(note, 'loaded\n');

export default function live(task: 'die' | 'live'): string {
  if (task === 'die') process.exit(3);
  return 'alive';
}
