/** Reports of findings made by hand, as a user sees them. Line numbers of sources are not part of it. */
import test from 'ava';
import { explain } from '../../../src/explore/finding/explain.ts';
import { type FindingReport, reportOf } from '../../../src/explore/finding/report.ts';
import { reportJson, reportText } from '../../../src/explore/finding/report-text.ts';
import { shrink } from '../../../src/explore/finding/shrink.ts';
import { createSlot } from '../../../src/explore/scenario/bundled/create-slot.ts';
import { KNOWN_SCENARIOS } from '../../../src/explore/scenario/known.ts';
import { type Scenario, withQuirks } from '../../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../../src/explore/scenario/stage.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { REF_CREATE_SLOT_GAP } from '../../../src/shared/quirks.ts';
import { badChoice, lostUpdate, twoLocks } from '../../support/hand-made.ts';

function reported(scenario: Scenario, quirks: readonly number[] = []): FindingReport {
  const whole = withQuirks(scenario, quirks);
  const stage = stageOf(whole);
  for (let seed = 1; ; seed++) {
    const { findings, schedule } = stage.outcome(new RandomWalk(), seed)!;
    if (findings.length === 0) continue;
    const { key } = findings[0]!;
    const small = shrink(whole, schedule, key)!;
    return reportOf({
      scenario: small.scenario,
      schedule: small.schedule,
      key,
      quirks,
      without: small.dropped.map((place) => scenario.parts!.names[place]!),
      minimal: small.minimal,
      token: 'FL1.token',
      repeat: 'faultline replay FL1.token',
    })!;
  }
}

/** Without what changes with every edit: numbers of lines, and how wide the column before them is. */
const settled = (text: string) => text.replaceAll(/\.ts:\d+/g, '.ts:N').replaceAll(/ +$/gm, '');

test('a deadlock', (t) => {
  t.is(
    settled(reportText(reported(twoLocks))),
    `finding deadlock I10: something waits for itself
  left waits for kvmi_lock: right holds kvmi_lock since step 2; right waits for slots_lock: left holds slots_lock since step 1
  scenario two-locks: two actors, two locks, two orders
  seen after 8 steps with 1 preemption; none with less shows it
  left: asleep since step 8, waits for kvmi_lock (right holds kvmi_lock since step 2); holds slots_lock since step 1
  right: asleep since step 5, waits for slots_lock (left holds slots_lock since step 1); holds kvmi_lock since step 2

step  left                   │ right
   1  lock slots_lock        │                          hand-made.ts:N bothLocks
                             │ ▼ takes over
   2                         │ lock kvmi_lock           hand-made.ts:N bothLocks
   3                         │ lock slots_lock, sleeps  hand-made.ts:N bothLocks
   6  lock kvmi_lock, sleeps │                          hand-made.ts:N bothLocks
   8  ✗ left waits for kvmi_lock: right holds kvmi_lock since step 2; right waits for slots_lock: left holds slots_lock since step 1

who holds and waits
  left   holds slots_lock for write, since step 1 (hand-made.ts:N)
  left   waits for kvmi_lock for write (hand-made.ts:N)
  right  holds kvmi_lock for write, since step 2 (hand-made.ts:N)
  right  waits for slots_lock for write (hand-made.ts:N)

where to look
  test/support/hand-made.ts:N bothLocks  left: lock slots_lock — if others run after this
  test/support/hand-made.ts:N bothLocks  left: lock kvmi_lock — and before this, it breaks
  test/support/hand-made.ts:N bothLocks  left waits here for kvmi_lock
  test/support/hand-made.ts:N bothLocks  right waits here for slots_lock

nearest schedule that passes
  right takes over 1 step later, when left stands before: unlock kvmi_lock
  then the order of these is the other way round; here:
    right: lock kvmi_lock (hand-made.ts:N)  before  left: lock kvmi_lock (hand-made.ts:N)

repeat: faultline replay FL1.token
`,
  );
});

test('a lost update: what the cell held, what is left out, what would have passed', (t) => {
  t.is(
    settled(reportText(reported(lostUpdate))),
    `finding scenario lost-update
  the counter is 1, not 2
  scenario lost-update: two increments, by load and store
  without watcher 0, watcher 1, watcher 2: it does not need them
  seen after 4 steps with 1 preemption; none with less shows it

step  first                │ second
   1  read POLICY_SEQ = 0  │                          hand-made.ts:N addOne
                           │ ▼ takes over
   2                       │ read POLICY_SEQ = 0      hand-made.ts:N addOne
   3                       │ write POLICY_SEQ: 0 → 1  hand-made.ts:N addOne
   4  write POLICY_SEQ = 1 │                          hand-made.ts:N addOne
   4  ✗ the counter is 1, not 2

where to look
  test/support/hand-made.ts:N addOne  first: read POLICY_SEQ = 0 — if others run after this
  test/support/hand-made.ts:N addOne  first: write POLICY_SEQ = 1 — and before this, it breaks

nearest schedule that passes
  second takes over 1 step later, when first has ended
  then the order of these is the other way round; here:
    second: read POLICY_SEQ = 0 (hand-made.ts:N)  before  first: write POLICY_SEQ = 1 (hand-made.ts:N)
    second: write POLICY_SEQ: 0 → 1 (hand-made.ts:N)  before  first: write POLICY_SEQ = 1 (hand-made.ts:N)

repeat: faultline replay FL1.token
`,
  );
});

test('a choice that breaks it, and code that throws', (t) => {
  const text = reportText(reported(badChoice));
  t.regex(text, /^finding thrown Error\n {2}chooser: took the wrong way\n/);
  t.regex(text, /^ {2}at hand-made\.ts:\d+\n\nstep/m, 'the stack of the scenario, none of the explorer');
  t.regex(text, /where to look\n {2}test\/support\/hand-made\.ts:\d+ +thrown: chooser: took the wrong way/);
  t.regex(text, /choose way 2 of 3/);
  t.regex(text, /nearest schedule that passes\n {2}chooser takes way 0, not way 2\n/);
});

test('a lock rule: the stack that broke it, in lines of the sources, without the explorer below it', (t) => {
  const report = reported(KNOWN_SCENARIOS.find(({ name }) => name === 'rc-14')!);
  const text = reportText(report);
  t.regex(text, /^finding lock L4\n/);
  t.regex(text, /\n {2}at vcpu-side\.ts:\d+ sendVcpuEvent\n {2}at vcpu-side\.ts:\d+ pfEvent\n/);
  t.notRegex(text, /explain\.|execution\.|\.js:/);
  t.is(report.look[0]?.at.function, 'sendVcpuEvent');
  t.regex(text, /who holds and waits\n {2}vcpu 0 +holds access_tree_lock for read, since step \d+/);
});

test('a data race: both sides, each with its stack, and both are where to look first', (t) => {
  const report = reported(KNOWN_SCENARIOS.find(({ name }) => name === 'rc-16')!);
  t.is(report.finding.oracle, 'race');
  const stacks = report.finding.details!.join('\n').split(/^(?=\w+ (?:read|write) by )/m);
  t.is(stacks.length, 2, report.finding.details!.join('\n'));
  t.regex(stacks.join(''), /^\w+ \w+ by vcpu 0 at step \d+.*\nat access-tree\.ts:\d+ lookup/m);
  t.regex(stacks.join(''), /^\w+ \w+ by tool at step \d+.*\nat access-tree\.ts:\d+ (?:insert|remove)Entry/m);
  const [first, second] = report.look;
  t.deepEqual(
    [first!.why, second!.why],
    stacks.map((stack) => stack.split('\n')[0]!),
  );
  t.regex(`${first!.at.file} ${second!.at.file}`, /access-tree\.ts .*access-tree\.ts/);
});

test('RC-01: the two lines between which nobody may come are the scan and the activation', (t) => {
  const report = reported(createSlot, [REF_CREATE_SLOT_GAP]);
  t.is(report.finding.rule, 'I3');
  t.is(report.preemptions, 1);
  t.deepEqual(report.quirks, ['createSlotGap']);
  t.deepEqual(
    report.look.map(({ at }) => at.function),
    ['addMemslot', 'swapActive'],
  );
  const text = reportText(report);
  t.regex(text, /update ACCESS of gfn 0x21/);
  t.regex(text, /write ACTIVE_SET\[0\]: 1 → 0 +│ +memslots\.ts:\d+ swapActive/);
  t.regex(text, /read-lock access_tree_lock +│ +gfn-access\.ts:\d+ addMemslot/);
  for (const line of text.split('\n')) t.true(line.length <= 160, line);
});

test('as JSON: the same, and nothing that JSON cannot say', (t) => {
  const json = reportJson(reported(lostUpdate));
  t.deepEqual(JSON.parse(JSON.stringify(json)), json);
  t.like(json, {
    oracle: 'scenario',
    rule: 'lost-update',
    message: 'the counter is 1, not 2',
    step: 4,
    preemptions: 1,
    minimal: 'all',
    actors: ['first', 'second'],
    token: 'FL1.token',
  });
  const [first] = json['rows'] as { at: string }[];
  t.like(first, { from: 1, to: 1, actor: 'first', text: 'read POLICY_SEQ = 0', preempts: false });
  t.regex(first!.at, /^test\/support\/hand-made\.ts:\d+ addOne$/);
});

test('explaining executes what the plain execution does, step for step', (t) => {
  for (const scenario of [createSlot, lostUpdate, twoLocks]) {
    const { schedule, traceHash, steps } = stageOf(scenario).outcome(new RandomWalk(), 7)!;
    const explained = explain(scenario, schedule);
    t.is(explained.traceHash, traceHash);
    t.is(explained.steps.length, steps);
    t.deepEqual(
      explained.steps.map(({ index }) => index),
      Array.from({ length: steps }, (_, i) => i),
    );
    // Every step has a line of its own in the sources.
    for (const step of explained.steps) t.regex(step.stack[0]?.file ?? '', /\.ts$/);
  }
});
