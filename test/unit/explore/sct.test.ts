/**
 * Every shape of SCTBench is found by the portfolio. The whole table, strategy by strategy, is `npm run sct`.
 *
 * `SCT_FULL=1` looks for SafeStack too, which takes some hundred thousand schedules.
 */
import test from 'ava';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { ProgramTarget } from '../../../src/explore/program/program.ts';
import { SCT_SHAPES } from '../../../src/explore/sct/index.ts';
import { strategyByName } from '../../../src/explore/strategy/registry.ts';

const LIMIT = 10_000;
const SAFESTACK_LIMIT = 2_000_000;
const SAFESTACK = 'sct-safestack';

/** What is found: the oracle, and the beginning of its message. */
const BUGS: Readonly<Record<string, readonly [oracle: string, message: string]>> = {
  'sct-reorder-3': ['thrown', 'reader: a is set and b is not'],
  'sct-reorder-4': ['thrown', 'reader: a is set and b is not'],
  'sct-reorder-5': ['thrown', 'reader: a is set and b is not'],
  'sct-reorder-10': ['thrown', 'reader: a is set and b is not'],
  'sct-reorder-20': ['thrown', 'reader: a is set and b is not'],
  'sct-twostage': ['thrown', 'reader: the second cell is 0'],
  'sct-twostage-20': ['thrown', 'reader: the second cell is 0'],
  'sct-wronglock-3': ['thrown', 'checker: counted from'],
  'sct-wronglock': ['thrown', 'checker: counted from'],
  'sct-lazy01': ['thrown', 'check: the sum is 3'],
  'sct-account': ['thrown', 'check: the balance is -1'],
  'sct-deadlock01': ['deadlock', 'nobody can move; asleep for ever: forth at 0x40, back at 0x0'],
  'sct-carter01': ['deadlock', 'nobody can move'],
  'sct-bluetooth': ['thrown', 'user: the driver has stopped with a user inside'],
  'sct-stack': ['thrown', 'popper: the stack underflows'],
  'sct-token-ring': ['thrown', 'check: the ring is'],
  'sct-stringbuffer': ['thrown', 'appender: copies 5 characters of 0'],
  'sct-philosophers-3': ['deadlock', 'nobody can move'],
  'sct-philosophers-7': ['deadlock', 'nobody can move'],
  'sct-circular-buffer': ['thrown', 'consumer: turn'],
  'sct-queue': ['thrown', 'consumer: only'],
  'sct-bounded-buffer': ['deadlock', 'nobody can move'],
  'sct-cve-2017-15265': ['thrown', 'creator: initialised after it was freed'],
  'sct-work-stealing': ['thrown', ''],
};

test('there are 25 shapes, each with a bug', (t) => {
  t.is(SCT_SHAPES.length, 25);
  t.deepEqual(
    SCT_SHAPES.map(({ name }) => name),
    [...Object.keys(BUGS), SAFESTACK],
  );
});

for (const program of SCT_SHAPES) {
  const { name, title } = program;
  const isSafeStack = name === SAFESTACK;
  const run = isSafeStack && process.env['SCT_FULL'] === undefined ? test.skip : test;
  run(`${name}: ${title}`, (t) => {
    const limit = isSafeStack ? SAFESTACK_LIMIT : LIMIT;
    for (const trial of isSafeStack ? [1] : [1, 2, 3]) {
      const stage = new Stage(new ProgramTarget(program));
      const auto = strategyByName('auto');
      let outcome = null;
      for (let i = 0; i < limit && (outcome === null || outcome.findings.length === 0); i++) {
        outcome = stage.outcome(auto, (Math.imul(trial, 0x9e3779b1) + i) >>> 0);
      }
      const [finding] = outcome!.findings;
      // SafeStack's list may be broken before an element has two owners: then all poll for ever.
      const [oracle, message] = BUGS[name] ?? [finding?.oracle, ''];
      t.is(String(finding?.oracle), String(oracle));
      t.true(finding?.message.startsWith(message), finding?.message);
      const again = stage.outcome(new Replay(outcome!.schedule), 0)!;
      t.deepEqual([again.findings[0]?.key, again.traceHash], [finding?.key, outcome!.traceHash]);
    }
  });
}
