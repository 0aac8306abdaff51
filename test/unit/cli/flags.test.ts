/** Words of a command line into flags: both spellings, and what is wrong said by name. */
import test, { type ExecutionContext } from 'ava';
import { type Flag, parseFlags } from '../../../src/cli/flags.ts';
import { SimError } from '../../../src/shared/errors.ts';

const FLAGS: readonly Flag[] = [
  { name: 'smp', value: 'N', help: 'vCPUs' },
  { name: 'mem', value: 'SIZE', also: ['m'], help: 'RAM' },
  { name: 'json', help: 'JSON' },
  { name: 'nographic' },
];

test('our spelling, with a space or an equals sign', (t) => {
  const flags = parseFlags(['--smp', '4', '--mem=64M', '--json'], FLAGS);
  t.is(flags.value('smp'), '4');
  t.is(flags.value('mem'), '64M');
  t.true(flags.has('json'));
  t.false(flags.has('nographic'));
  t.is(flags.value('json'), undefined);
  t.deepEqual(flags.positionals, []);
});

test("QEMU's spelling: one dash, and its own names", (t) => {
  const flags = parseFlags(['-smp', '4', '-m', '64', '-nographic', '-json'], FLAGS);
  t.is(flags.value('smp'), '4');
  t.is(flags.value('mem'), '64');
  t.true(flags.has('nographic'));
  t.true(flags.has('json'));
  t.true(flags.byOtherName('mem'));
  t.false(flags.byOtherName('smp'));
});

test('what is no flag is left for the command, and everything after -- is', (t) => {
  t.deepEqual(parseFlags(['image', '--json', '--', '--smp'], FLAGS).positionals, ['image', '--smp']);
  t.deepEqual(parseFlags(['-'], FLAGS).positionals, ['-']);
});

test('a value may begin with a dash, if it is no flag', (t) => {
  t.is(parseFlags(['--mem', '-5'], FLAGS).value('mem'), '-5');
});

test('the same flag twice is fine with the same value only', (t) => {
  t.is(parseFlags(['--smp', '2', '-smp', '2'], FLAGS).value('smp'), '2');
  refused(t, ['--smp', '2', '--smp=4'], '--smp is given twice: 2 and 4', 'give it once');
});

test('what is wrong is said by name, with what would be right', (t) => {
  refused(t, ['--spm', '2'], 'there is no flag --spm', 'did you mean --smp?');
  refused(t, ['-jsno'], 'there is no flag -jsno', 'did you mean --json?');
  refused(t, ['--quux=7'], 'there is no flag --quux', 'faultline run --help lists them all');
  refused(t, ['-z'], 'there is no flag -z', 'faultline run --help lists them all');
  refused(t, ['--smp'], '--smp needs a value', 'write --smp N');
  refused(t, ['--smp='], '--smp needs a value', 'write --smp N');
  refused(t, ['--smp', '--json'], '--smp needs a value', 'write --smp N');
  refused(t, ['--json=yes'], "--json takes no value, and 'yes' was given", 'write just --json');
  refused(t, ['-gdb', 'tcp::1234'], '-gdb is not supported', 'there is no debugger port yet');
});

function refused(t: ExecutionContext, words: string[], message: string, hint: string) {
  const error = t.throws(() => parseFlags(words, FLAGS), { instanceOf: SimError, message });
  t.is(error!.code, 'SIM_USAGE');
  t.is(error!.hint, hint);
}
