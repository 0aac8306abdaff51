import test from 'ava';
import { suggest } from '../../../src/shared/suggest.ts';

const FLAGS = ['smp', 'mem', 'kernel', 'seconds', 'seed', 'lockdep', 'reference'];

test('a typing mistake finds what was meant: a letter more, less, other, or two swapped', (t) => {
  t.is(suggest('kernell', FLAGS), 'kernel');
  t.is(suggest('kernl', FLAGS), 'kernel');
  t.is(suggest('kermel', FLAGS), 'kernel');
  t.is(suggest('kenrel', FLAGS), 'kernel');
});

test('case does not matter', (t) => {
  t.is(suggest('LOCKDEP', FLAGS), 'lockdep');
});

test('of several the nearest is taken, of equals the first', (t) => {
  t.is(suggest('secons', ['seconds', 'second']), 'seconds');
  t.is(suggest('sea', ['seb', 'sec']), 'seb');
});

test('what is near to nothing has no suggestion: more than a third of the letters differ', (t) => {
  t.is(suggest('xyz', FLAGS), null);
  t.is(suggest('abcxyz', ['abcdef']), null);
  t.is(suggest('abcdxy', ['abcdef']), 'abcdef');
  t.is(suggest('', FLAGS), null);
  t.is(suggest('smp', []), null);
});

test('a word too long to be a mistake has none', (t) => {
  const long = 'a'.repeat(64);
  t.is(suggest(long, [long]), long);
  t.is(suggest(`${long}a`, [long]), null);
});
