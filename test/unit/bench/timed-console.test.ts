import test from 'ava';
import { TimedConsole } from '../../../scripts/bench/timed-console.ts';

const CHECKSUM = '0123456789abcdef';

test('time goes from the line "begin" to the checksum, whatever pieces the text comes in', (t) => {
  const console = new TimedConsole();
  console.put('SeaBIOS\nbeg', 0);
  console.put('in\n', 100);
  console.put('012345678', 350);
  console.put('9abcdef\nmore\n', 600);
  t.deepEqual(console.result(), { seconds: 0.5, checksum: CHECKSUM, laps: [] });
});

test('each lap goes from the line before it', (t) => {
  const console = new TimedConsole();
  console.put('begin\n', 1000);
  console.put('lap hit 40\nlap ', 1500);
  console.put('miss 7\n', 1750);
  console.put(`${CHECKSUM}\n`, 2000);
  t.deepEqual(console.result(), {
    seconds: 1,
    checksum: CHECKSUM,
    laps: [
      { name: 'hit', count: 40, seconds: 0.5 },
      { name: 'miss', count: 7, seconds: 0.25 },
    ],
  });
});

test('a clock of its own is believed rather than the arrival of lines', (t) => {
  const console = new TimedConsole();
  console.put(`begin\n${CHECKSUM}\ntook 1500000 ns\n`, 100);
  t.is(console.result().seconds, 0.0015);
});

test('a guest that did not begin, or did not end, has no time', (t) => {
  for (const text of ['', `${CHECKSUM}\n`, 'begin\n', `${CHECKSUM}\nbegin\n`, 'begin\nexception 06\n']) {
    const console = new TimedConsole();
    console.put(text);
    t.throws(() => console.result(), { message: /no benchmark's console/ }, text);
  }
});
