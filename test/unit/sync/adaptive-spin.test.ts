/** Spinning where it pays. */
import test from 'ava';
import { AdaptiveSpin } from '../../../src/shared/sync/adaptive-spin.ts';

test('it looks at first, stops when nothing comes soon, and takes it up again when something does', (t) => {
  const spin = new AdaptiveSpin(1000);
  t.is(spin.ns, 1000);
  for (let n = 0; n < 30; n++) spin.learn(5000);
  t.is(spin.ns, 0);
  for (let n = 0; n < 30; n++) spin.learn(500);
  t.is(spin.ns, 1000);
});

test('one long wait among short ones changes nothing', (t) => {
  const spin = new AdaptiveSpin(1000);
  for (let n = 0; n < 100; n++) spin.learn(300);
  spin.learn(1e9);
  t.is(spin.ns, 1000);
});

test('explored actors never spin', (t) => {
  const spin = new AdaptiveSpin(0);
  spin.learn(0);
  t.is(spin.ns, 0);
});

/** How many times it looks at something that never comes. */
function looks(spin: AdaptiveSpin, clock: () => number): number {
  const startNs = clock();
  let count = 1;
  while (spin.again(count, startNs, clock)) count++;
  return count;
}

test('looking ends with its time, not every look asks for it, and at once where it does not pay', (t) => {
  const spin = new AdaptiveSpin(1000);
  let now = 0;
  let asked = 0;
  const clock = () => {
    asked += 1;
    now += 100;
    return now;
  };
  t.is(looks(spin, clock), 160);
  t.is(asked, 1 + 160 / 16);
  for (let n = 0; n < 30; n++) spin.learn(5000);
  t.is(looks(spin, clock), 1);
});

test('looking ends even where no time passes', (t) => {
  t.is(
    looks(new AdaptiveSpin(1000), () => 0),
    1000,
  );
});
