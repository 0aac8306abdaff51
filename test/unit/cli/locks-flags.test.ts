import test from 'ava';
import { parseLocks } from '../../../src/cli/locks-flags.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { BUG_LOCK_ORDER_SWAP, REFERENCE_QUIRKS } from '../../../src/shared/quirks.ts';

const parse = (line: string) => parseLocks(line.split(' ').filter((word) => word !== ''));

function refused(line: string): string {
  try {
    parse(line);
  } catch (error) {
    if (error instanceof SimError && error.code === 'SIM_USAGE') return `${error.message}; ${error.hint}`;
    throw error;
  }
  return 'accepted';
}

test('without words: the tour, as text', (t) => {
  const request = parse('');
  t.is(request.format, 'text');
  if (request.what !== 'scenario') return t.fail();
  t.is(request.scenario.name, 'lock-tour');
  t.is(request.schedules, 1000);
});

test('a scenario, its schedules, its seed, its mistakes by name or number', (t) => {
  const request = parse('flush --schedules 50 --seed 0x10 --realise 0 --format json --bug RC-13');
  if (request.what !== 'scenario') return t.fail();
  t.is(request.scenario.name, 'flush');
  t.deepEqual(request.scenario.machine.quirks, [BUG_LOCK_ORDER_SWAP]);
  t.deepEqual([request.schedules, request.seed, request.attempts, request.format], [50, 16, 0, 'json']);
  const named = parse('--bug lockOrderSwap --reference');
  if (named.what !== 'scenario') return t.fail();
  const both = [...REFERENCE_QUIRKS, BUG_LOCK_ORDER_SWAP].sort((a, b) => a - b);
  t.deepEqual(named.scenario.machine.quirks, both);
});

test('a run takes what run takes, and the lock rules are on', (t) => {
  const request = parse('--run --smp 3 --seconds 2 --format dot');
  if (request.what !== 'run') return t.fail();
  t.is(request.format, 'dot');
  t.is(request.run.machine.vcpuCount, 3);
  t.is(request.run.machine.runMs, 2000);
  t.true(request.run.machine.lockdep);
});

for (const [line, expected] of [
  ['--format svg', /no format 'svg'.*text, dot, json/],
  ['flsh', /no scenario 'flsh'.*did you mean flush/],
  ['flush create-slot', /'create-slot' after 'flush'/],
  ['--schedules 0', /--schedules: '0' is no count/],
  ['--schedules many', /'many' is no count/],
  ['--realise -1', /--realise/],
  ['--seed 4294967296', /no unsigned 32-bit number/],
  ['--bug lockOrderSwop', /did you mean lockOrderSwap/],
  ['--smp 2', /--smp without --run/],
  ['flush --run', /--run beside the scenario 'flush'/],
  ['--run --schedules 5', /--schedules beside --run.*scenarios/],
  ['--run --smp two', /--smp: 'two'/],
  ['--colour', /no flag --colour/],
] as const) {
  test(`refused: locks ${line}`, (t) => {
    t.regex(refused(line), expected);
  });
}
