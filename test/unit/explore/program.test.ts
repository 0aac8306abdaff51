import test from 'ava';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { type Program, ProgramTarget } from '../../../src/explore/program/program.ts';
import { flush } from '../../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import type { Actor } from '../../../src/shared/sync/actor.ts';
import { type Path, reading, writing } from '../../../src/shared/sync/point.ts';

const COUNT = 0;

function* increment({ mem }: Actor): Path<void> {
  yield reading(COUNT);
  const seen = mem.load(COUNT);
  yield writing(COUNT);
  mem.store(COUNT, seen + 1);
}

const lostUpdate: Program = {
  name: 'lost-update',
  title: 'two increments that are not atomic',
  bytes: 64,
  setUp: (mem) => mem.store(COUNT, 40),
  parts: { first: increment, second: increment },
  atEnd: (mem) => (mem.load(COUNT) === 42 ? [] : [`the count is ${mem.load(COUNT)}`]),
};

test('a program begins afresh for each schedule, and its bug replays', (t) => {
  const stage = new Stage(new ProgramTarget(lostUpdate));
  const walk = new RandomWalk();
  let failed = 0;
  for (let seed = 0; seed < 100; seed++) {
    const { findings, schedule, traceHash } = stage.outcome(walk, seed)!;
    if (findings.length === 0) continue;
    failed += 1;
    t.like(findings[0], { oracle: 'scenario', message: 'the count is 41' });
    t.is(stage.outcome(new Replay(schedule), 0)?.traceHash, traceHash);
  }
  t.true(failed > 20 && failed < 90, `${failed} of 100`);
});

test('a scenario is explored in the same way', (t) => {
  const stage = new Stage(new MachineTarget(flush));
  const walk = new RandomWalk();
  for (let seed = 0; seed < 20; seed++) t.deepEqual(stage.outcome(walk, seed)?.findings, []);
  t.true(stage.longest > 50);
});
