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
