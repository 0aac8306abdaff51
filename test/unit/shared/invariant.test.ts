import test from 'ava';
import { InvariantError, invariant } from '../../../src/shared/invariant.ts';

test('what holds passes, what does not is an InvariantError with the message', (t) => {
  t.notThrows(() => invariant(true, 'never seen'));
  t.throws(() => invariant(false, 'reply to an event nobody raised'), {
    instanceOf: InvariantError,
    name: 'InvariantError',
    message: 'reply to an event nobody raised',
  });
});
