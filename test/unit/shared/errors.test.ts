import test from 'ava';
import {
  EXIT,
  exitCodeOf,
  formatError,
  isSimErrorCode,
  SIM_ERROR_CODES,
  SimError,
} from '../../../src/shared/errors.ts';
import { InvariantError } from '../../../src/shared/invariant.ts';

test('a SimError carries code, message, hint and cause', (t) => {
  const cause = new Error('ENOENT');
  const error = new SimError('SIM_FILE', 'cannot read a.elf', { hint: 'look at the path', cause });
  t.true(error instanceof Error);
  t.like(error, {
    name: 'SimError',
    code: 'SIM_FILE',
    message: 'cannot read a.elf',
    hint: 'look at the path',
    cause,
  });
});

test('without a hint the hint is empty; without a cause there is none, but undefined can be one', (t) => {
  const plain = new SimError('SIM_USAGE', 'no');
  t.is(plain.hint, '');
  t.false('cause' in plain);
  t.true('cause' in new SimError('SIM_USAGE', 'no', { cause: undefined }));
});

test('codes are recognised, and nothing else is', (t) => {
  for (const code of SIM_ERROR_CODES) {
    t.true(isSimErrorCode(code));
    t.regex(code, /^SIM_[A-Z_]+$/);
  }
  for (const other of ['SIM_NONE', 'toString', '', 5, undefined, null]) t.false(isSimErrorCode(other));
});

test('each code ends the command line with the exit code of its kind', (t) => {
  const exitOf = (code: (typeof SIM_ERROR_CODES)[number]) => exitCodeOf(new SimError(code, ''));
  t.is(exitOf('SIM_USAGE'), EXIT.USAGE);
  t.is(exitOf('SIM_CONFIG_RANGE'), EXIT.USAGE);
  t.is(exitOf('SIM_GUEST_CRASH'), EXIT.GUEST_CRASH);
  t.is(exitOf('SIM_REPLY_TIMEOUT'), EXIT.LIMIT);
  t.is(exitOf('SIM_DIVERGED'), EXIT.DIVERGED);
  t.is(exitOf('SIM_VCPU_LOST'), EXIT.BUG);
});

test('no error ends the command line as success or as a finding', (t) => {
  for (const code of SIM_ERROR_CODES) {
    t.false(([EXIT.OK, EXIT.FINDING] as number[]).includes(exitCodeOf(new SimError(code, ''))), code);
  }
});

test('anything that is no SimError is our bug', (t) => {
  for (const error of [new Error('x'), new InvariantError('x'), 'text', undefined])
    t.is(exitCodeOf(error), EXIT.BUG);
});

test('an error is printed with its hint and the chain of its causes', (t) => {
  const cause = new TypeError('bad magic', { cause: 'byte 0' });
  const error = new SimError('SIM_IMAGE_FORMAT', 'a.elf is no ELF file', {
    hint: 'use a static ELF64',
    cause,
  });
  t.is(
    formatError(error),
    [
      'SIM_IMAGE_FORMAT: a.elf is no ELF file',
      '  hint: use a static ELF64',
      '  cause: TypeError: bad magic',
      '  cause: byte 0',
    ].join('\n'),
  );
});

test('a bug is printed with its stack, a thrown value as what it is', (t) => {
  t.regex(formatError(new RangeError('oops')), /^bug: RangeError: oops\n +at .*errors\.test/);
  t.is(formatError('text'), 'bug: thrown value text');
  t.is(formatError(undefined), 'bug: thrown value undefined');
});

test('a circle of causes is printed once around', (t) => {
  const a = new Error('a');
  const b = new SimError('SIM_FILE', 'b', { cause: a });
  a.cause = b;
  t.is(formatError(b), 'SIM_FILE: b\n  cause: Error: a');
});
