/** Bytes from a guest into text, a line at a time. */
import test from 'ava';
import { ConsoleLines } from '../../../src/actors/vcpu/console.ts';

function lines(...bytes: number[]): { sent: string[]; console: ConsoleLines } {
  const sent: string[] = [];
  const console = new ConsoleLines((text) => sent.push(text));
  for (const byte of bytes) console.put(byte);
  return { sent, console };
}

test('a line is sent when it ends, the rest when asked', (t) => {
  const { sent, console } = lines(...Buffer.from('one\ntwo\nthr'));
  t.deepEqual(sent, ['one\n', 'two\n']);
  console.flush();
  console.flush();
  t.deepEqual(sent, ['one\n', 'two\n', 'thr']);
});

test('a line without an end is sent in parts, and no character is cut in two', (t) => {
  const { sent, console } = lines(...Buffer.from('ä'.repeat(300)));
  console.flush();
  t.is(sent.length, 2);
  t.is(sent.join(''), 'ä'.repeat(300));
  const odd = lines(...Buffer.from(`x${'ä'.repeat(256)}`));
  t.is(odd.sent.join(''), `x${'ä'.repeat(255)}`);
  odd.console.flush();
  t.is(odd.sent.join(''), `x${'ä'.repeat(256)}`);
});

test('bytes that are no text do not stop it', (t) => {
  t.deepEqual(lines(0xff, 0x41, 0x0a).sent, ['\ufffdA\n']);
});
