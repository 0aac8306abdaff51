import test from 'ava';
import type { Schedule } from '../../../src/explore/engine/schedule.ts';
import { Attempts } from '../../../src/explore/finding/attempt.ts';
import { nearestPassing } from '../../../src/explore/finding/nearest.ts';
import { replayExplored, scenarioOf } from '../../../src/explore/finding/replay.ts';
import { shrink, translated } from '../../../src/explore/finding/shrink.ts';
import {
  decodeToken,
  encodeToken,
  findingHash,
  hashOf,
  type Token,
  traceHashBits,
} from '../../../src/explore/finding/token.ts';
import { createSlot } from '../../../src/explore/scenario/bundled/create-slot.ts';
import { type Scenario, withQuirks } from '../../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../../src/explore/scenario/stage.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import { REF_CREATE_SLOT_GAP } from '../../../src/shared/quirks.ts';
import { badChoice, lostUpdate, twoLocks } from '../../support/hand-made.ts';

const rc01 = withQuirks(createSlot, [REF_CREATE_SLOT_GAP]);

/** Schedules of random walks that show a finding. */
function failing(scenario: Scenario, count: number): { key: string; schedule: Schedule }[] {
  const stage = stageOf(scenario);
  const found: { key: string; schedule: Schedule }[] = [];
  for (let seed = 1; found.length < count && seed < 3000; seed++) {
    const outcome = stage.outcome(new RandomWalk(), seed)!;
    const [finding] = outcome.findings;
    if (finding !== undefined) found.push({ key: finding.key, schedule: outcome.schedule });
  }
  return found;
}

for (const [scenario, preemptions] of [
  [rc01, 1],
  [twoLocks, 1],
  [lostUpdate, 1],
  [badChoice, 0],
] as const) {
  test(`${scenario.name}: shrinks to the fewest preemptions, whatever it was found with`, (t) => {
    const found = failing(scenario, 6);
    t.is(found.length, 6);
    for (const { key, schedule } of found) {
      const small = shrink(scenario, schedule, key)!;
      t.is(small.preemptions, preemptions);
      t.true(small.schedule.length <= 2);
      t.is(small.minimal, 'all');
      t.is(small.finding.key, key);
      t.true(small.runs < 400, `${small.runs} runs`);
      const again = shrink(scenario, schedule, key)!;
      t.deepEqual(
        [again.schedule, again.traceHash, again.runs],
        [small.schedule, small.traceHash, small.runs],
      );
    }
  });
}

test('a token of a shrunk finding has at most 32 characters, and shows it again', (t) => {
  for (const scenario of [createSlot, lostUpdate, twoLocks]) {
    const quirks = scenario === createSlot ? [REF_CREATE_SLOT_GAP] : [];
    for (const { key, schedule } of failing(withQuirks(scenario, quirks), 5)) {
      const small = shrink(withQuirks(scenario, quirks), schedule, key)!;
      const token: Token = {
        scenario: hashOf(scenario.name),
        quirks,
        dropped: small.dropped,
        schedule: small.schedule,
        finding: findingHash(key),
        trace: traceHashBits(small.traceHash),
      };
      const text = encodeToken(token);
      t.true(text.length <= 32, text);
      const back = decodeToken(text);
      for (let times = 0; times < 3; times++) {
        const outcome = replayExplored(scenarioOf(back, scenario).scenario, back);
        t.like(outcome, { sameExecution: true, divergence: '' });
        t.is(outcome.finding?.key, key);
      }
    }
  }
});

test('parts that a finding does not need are left out, and the schedule follows', (t) => {
  const [{ key, schedule }] = failing(lostUpdate, 1) as [{ key: string; schedule: Schedule }];
  const small = shrink(lostUpdate, schedule, key)!;
  t.deepEqual(small.dropped, [0, 1, 2]);
  t.deepEqual(small.schedule, [{ actor: 0, taken: 1, to: 1, choice: false }]);
});

test('a schedule for other actors: those that are left keep their places', (t) => {
  const schedule = [
    { actor: -1, taken: 0, to: 2, choice: false },
    { actor: 2, taken: 3, to: 1, choice: false },
    { actor: 1, taken: 4, to: 0, choice: false },
    { actor: 2, taken: 5, to: 1, choice: true },
  ];
  t.deepEqual(translated(schedule, ['a', 'b', 'c'], ['c', 'a']), [
    { actor: -1, taken: 0, to: 0, choice: false },
    { actor: 0, taken: 5, to: 1, choice: true },
  ]);
});

test('a schedule that does not show the finding is not shrunk', (t) => {
  t.is(shrink(rc01, [], 'I3 of something else'), null);
  t.is(shrink(createSlot, failing(rc01, 1)[0]!.schedule, failing(rc01, 1)[0]!.key), null);
});

test('the nearest passing schedule passes, and the steps around the window say where it begins and ends', (t) => {
  const [{ key, schedule }] = failing(rc01, 1) as [{ key: string; schedule: Schedule }];
  const small = shrink(rc01, schedule, key)!;
  const attempts = new Attempts(rc01, key);
  const { nearest, windows } = nearestPassing(attempts, small.schedule);
  const { from, to } = windows[0]!;
  const at = (taken: number) => attempts.hit([{ ...small.schedule[0]!, taken }]);
  for (let taken = from; taken <= to; taken++) t.truthy(at(taken), `step ${taken}`);
  t.is(at(from - 1), null);
  t.is(at(to + 1), null);
  t.is(replayOf(rc01, nearest!.schedule), 0);
  t.is(
    Math.abs(nearest!.shift!),
    Math.min(small.schedule[0]!.taken - from, to - small.schedule[0]!.taken) + 1,
  );
});

function replayOf(scenario: Scenario, schedule: Schedule): number {
  const token = { scenario: 0, quirks: [], dropped: [], schedule, finding: 0, trace: 0 };
  const outcome = replayExplored(scenario, token);
  return outcome.divergence.includes('instead') ? 1 : 0;
}

test('a replay says where it diverges', (t) => {
  const [{ key, schedule }] = failing(rc01, 1) as [{ key: string; schedule: Schedule }];
  const small = shrink(rc01, schedule, key)!;
  const token = (deviations: Schedule): Token => ({
    scenario: hashOf(createSlot.name),
    quirks: [],
    dropped: [],
    schedule: deviations,
    finding: findingHash(key),
    trace: 0,
  });
  // Without the quirk the same schedule passes: another machine.
  t.regex(
    replayExplored(createSlot, token(small.schedule)).divergence,
    /^after \d+ steps: all 1 deviations were followed/,
  );
  t.is(
    replayExplored(createSlot, token([{ actor: 0, taken: 900, to: 1, choice: false }])).divergence.replace(
      /\d+ steps/,
      'N steps',
    ),
    'after N steps: 1 of 1 deviations were not reached',
  );
  t.is(
    replayExplored(createSlot, token([{ actor: 0, taken: 3, to: 7, choice: false }])).divergence,
    'at step 4: actor 7 taking over when control has taken 3 steps is not possible',
  );
});

test('a token of another scenario is refused', (t) => {
  const token: Token = {
    scenario: hashOf('flush'),
    quirks: [],
    dropped: [],
    schedule: [],
    finding: 0,
    trace: 0,
  };
  t.throws(() => scenarioOf(token, createSlot), {
    message: "a token of another scenario than 'create-slot'",
  });
  const changed = { ...token, scenario: hashOf(lostUpdate.name), dropped: [7] };
  t.like(
    t.throws(() => scenarioOf(changed, lostUpdate)),
    {
      code: 'SIM_TOKEN',
      hint: 'it leaves out part 7, which this one does not have: the scenario has changed',
    },
  );
});
