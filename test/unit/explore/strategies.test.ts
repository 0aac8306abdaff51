import test from 'ava';
import { Replay, scheduleOf } from '../../../src/explore/engine/schedule.ts';
import type { Strategy } from '../../../src/explore/engine/strategy.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { type Program, ProgramTarget } from '../../../src/explore/program/program.ts';
import { flush } from '../../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { bluetooth, tokenRing } from '../../../src/explore/sct/order.ts';
import { boundedBuffer, safeStack } from '../../../src/explore/sct/queues.ts';
import { Coverage } from '../../../src/explore/seen/coverage.ts';
import { Auto } from '../../../src/explore/strategy/auto.ts';
import { BoundedSearch } from '../../../src/explore/strategy/bounded-search.ts';
import { Dpor } from '../../../src/explore/strategy/dpor.ts';
import { Pct, pctBound, schedulesFor } from '../../../src/explore/strategy/pct.ts';
import { STRATEGY_NAMES, strategyByName } from '../../../src/explore/strategy/registry.ts';
import { Prng } from '../../../src/shared/prng.ts';
import type { Actor } from '../../../src/shared/sync/actor.ts';
import {
  choosing,
  type Path,
  reading,
  relaxing,
  updating,
  waiting,
  writing,
} from '../../../src/shared/sync/point.ts';
import { OPERATIONS, randomPlan } from '../../support/random-plan.ts';

const NAMES = [...STRATEGY_NAMES, 'pct1', 'pct5', 'ipb2', 'idb1'];

/** Everything that can come up: locks, sleeps, timeouts, choices, polls. */
const PROGRAMS: readonly Program[] = [
  tokenRing,
  boundedBuffer,
  safeStack,
  ...Array.from({ length: 6 }, (_, i) =>
    randomPlan(new Prng(BigInt(i + 1)), { operations: OPERATIONS, actors: 3, steps: 8, cells: 2 }),
  ),
];

for (const name of NAMES) {
  test(`${name} gives the same executions for the same seeds`, (t) => {
    for (const program of PROGRAMS) {
      const [first, second] = [1, 2].map(() => {
        const stage = new Stage(new ProgramTarget(program));
        const strategy = strategyByName(name);
        return Array.from({ length: 40 }, (_, seed) => stage.outcome(strategy, seed)?.traceHash);
      });
      t.deepEqual(first, second, program.title);
    }
  });

  test(`what ${name} does replays`, (t) => {
    for (const program of PROGRAMS) {
      const stage = new Stage(new ProgramTarget(program));
      const replayed = new Stage(new ProgramTarget(program));
      const strategy = strategyByName(name);
      for (let seed = 0; seed < 40; seed++) {
        const execution = stage.execute(strategy, seed);
        if (execution === null) break;
        // One that was given up in its midst would be replayed beyond that.
        if (execution.pruned) continue;
        const replay = new Replay(scheduleOf(execution.trace, execution.actorCount));
        const again = replayed.execute(replay, 0)!;
        t.is(again.trace.hash(), execution.trace.hash(), program.title);
        t.deepEqual([replay.missed, replay.unused], [0, 0]);
      }
    }
  });
}

for (const name of NAMES) {
  test(`${name} explores a machine, and a scenario without a bug has no findings`, (t) => {
    const stage = new Stage(new MachineTarget(flush));
    const strategy = strategyByName(name);
    for (let seed = 0; seed < 12; seed++) {
      const outcome = stage.outcome(strategy, seed);
      if (outcome === null) break;
      t.deepEqual(outcome.findings, []);
    }
  });
}

// ── what PCT promises ───────────────────────────────────────────────────────────────────────────────────────

const TURN = 0;
const IDLE_STEPS = 3;

/** Two who have to take turns so many times, each of which has one try at each of its turns: `turns` − 1 constraints. */
function inTurn(turns: number): Program {
  const player = (first: number, own: number) =>
    function* ({ mem }: Actor): Path<void> {
      for (let n = first; n < turns; n += 2) {
        yield updating(TURN);
        if (mem.cas(TURN, n, n + 1) !== n) return;
        for (let i = 0; i < IDLE_STEPS; i++) {
          yield reading(own);
          mem.load(own);
        }
      }
    };
  return {
    name: 'in-turn',
    title: `two take turns ${turns} times`,
    bytes: 192,
    parts: { ping: player(0, 64), pong: player(1, 128) },
    atEnd: (mem) => (mem.load(TURN) === turns ? ['all turns were taken'] : []),
  };
}

/** How many of so many executions had a finding. */
function finds(strategy: Pct, program: Program, executions: number): number {
  const stage = new Stage(new ProgramTarget(program));
  let found = 0;
  for (let seed = 0; seed < executions; seed++) {
    if (stage.execute(strategy, seed)!.findings.length > 0) found += 1;
  }
  return found;
}

for (const depth of [1, 2, 3, 4]) {
  test(`pct${depth} finds a bug of depth ${depth} as often as it promises`, (t) => {
    const pct = new Pct(depth);
    const executions = 400 * 8 ** (depth - 1);
    const found = finds(pct, inTurn(depth + 1), executions);
    const promised = pct.bound * executions;
    t.true(found >= promised * 0.8, `${found} of ${executions}, promised are ${promised}`);
  });
}

test('pct cannot find what is deeper than its depth', (t) => {
  t.is(finds(new Pct(1), inTurn(3), 2000), 0);
  t.is(finds(new Pct(2), inTurn(4), 2000), 0);
});

test("pct's bound is that of the paper, for what has been seen", (t) => {
  const stage = new Stage(new ProgramTarget(inTurn(2)));
  const pct = new Pct(3);
  t.is(pct.bound, 0);
  for (let seed = 0; seed < 50; seed++) stage.execute(pct, seed);
  t.is(pct.bound, 1 / (2 * stage.longest ** 2));
  t.is(pctBound({ actors: 4, steps: 50, depth: 2 }), 1 / 200);
  t.is(schedulesFor(0.5, 0.99), 7);
  t.is(schedulesFor(1 / 200, 0.99), 919);
});

// ── who polls, and who sleeps for a time ────────────────────────────────────────────────────────────────────────

const FLAG = 0;
const OTHER = 64;

function* poll({ mem }: Actor, addr: number): Path<void> {
  for (;;) {
    yield reading(addr);
    if (mem.load(addr) !== 0) return;
    yield relaxing(addr);
  }
}

/** Two poll for what a third does only after its sleep has timed out, and each other. */
const polls: Program = {
  name: 'polls',
  title: 'two poll, and time has to pass',
  bytes: 256,
  stepLimit: 2000,
  parts: {
    *first(actor) {
      yield* poll(actor, FLAG);
      yield writing(OTHER);
      actor.mem.store(OTHER, 1);
    },
    *second(actor) {
      yield* poll(actor, OTHER);
    },
    *late(actor) {
      actor.timeoutMs = 5;
      actor.expect = 0;
      yield waiting(128);
      yield writing(FLAG);
      actor.mem.store(FLAG, 1);
    },
  },
};

for (const name of NAMES) {
  test(`${name} does not take a poll for a livelock`, (t) => {
    const stage = new Stage(new ProgramTarget(polls));
    const strategy = strategyByName(name);
    for (let seed = 0; seed < 300; seed++) {
      const outcome = stage.outcome(strategy, seed);
      if (outcome === null) break;
      t.deepEqual(outcome.findings, []);
    }
  });
}

test('a poll that nobody ends is a livelock to all of them', (t) => {
  const forEver: Program = { ...polls, parts: { first: (actor) => poll(actor, FLAG) } };
  for (const name of NAMES) {
    const outcome = new Stage(new ProgramTarget(forEver)).outcome(strategyByName(name), 1);
    t.is(outcome?.findings[0]?.oracle, 'livelock', name);
  }
});

test('all answers to a choice are given by all that choose', (t) => {
  const choices: Program = {
    name: 'choices',
    title: 'one of three, twice',
    bytes: 64,
    parts: {
      *only({ mem }) {
        const first = yield choosing(3);
        mem.store(0, first * 3 + (yield choosing(3)));
      },
    },
  };
  for (const name of NAMES.filter((each) => each !== 'rr')) {
    const target = new ProgramTarget(choices);
    const stage = new Stage(target);
    const strategy = strategyByName(name);
    const seen = new Set<number>();
    for (let seed = 0; seed < 400; seed++) {
      if (stage.execute(strategy, seed) === null) break;
      seen.add(target.mem.load(0));
    }
    t.is(seen.size, 9, name);
  }
});

// ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

function runOut(strategy: Strategy, program: Program): number {
  const stage = new Stage(new ProgramTarget(program));
  let executions = 0;
  while (executions < 50_000 && stage.execute(strategy, executions) !== null) executions += 1;
  return executions;
}

test('bounded searches say whether they have seen everything', (t) => {
  const one = new BoundedSearch('preemptions', 1);
  const all = new BoundedSearch('preemptions');
  const few = runOut(one, bluetooth);
  t.true(runOut(all, bluetooth) > few);
  t.deepEqual([one.isComplete, all.isComplete], [false, true]);
  t.is(one.bound, 1);
});

test('auto is complete as soon as one of its arms is', (t) => {
  const auto = new Auto();
  const executions = runOut(auto, bluetooth);
  t.true(auto.isComplete);
  t.true(executions > 10 && executions < 5000, `${executions}`);
  t.is(
    auto.arms.reduce((sum, arm) => sum + arm.executions, 0),
    executions,
  );
  t.true(auto.arms.every((arm) => arm.executions > 0));
});

test('auto gives most of its turns to who shows new things', (t) => {
  const auto = new Auto();
  const stage = new Stage(new ProgramTarget(safeStack));
  for (let seed = 0; seed < 4000; seed++) stage.execute(auto, seed);
  const shares = auto.arms.map((arm) => arm.executions / 4000);
  t.true(Math.min(...shares) > 0.02 && Math.max(...shares) > 0.15, shares.join());
});

// ── coverage ────────────────────────────────────────────────────────────────────────────────────────────────────

test('coverage tells traces apart, and not schedules of one trace', (t) => {
  const stage = new Stage(new ProgramTarget(bluetooth));
  const dpor = new Dpor();
  const coverage = new Coverage();
  let traces = 0;
  for (;;) {
    const execution = stage.execute(dpor, 0);
    if (execution === null) break;
    if (execution.pruned) continue;
    traces += 1;
    coverage.note(execution.trace);
    t.true(coverage.newClass);
  }
  t.is(coverage.classes.size, traces);
  const all = new Stage(new ProgramTarget(bluetooth));
  const dfs = new BoundedSearch('none');
  let schedules = 0;
  for (;;) {
    const execution = all.execute(dfs, 0);
    if (execution === null) break;
    coverage.note(execution.trace);
    schedules += 1;
  }
  t.is(coverage.classes.size, traces);
  t.true(schedules > 2 * traces, `${schedules} schedules, ${traces} traces`);
});

test('coverage estimates what is unseen', (t) => {
  const stage = new Stage(new ProgramTarget(bluetooth));
  const walk = strategyByName('random');
  const coverage = new Coverage();
  t.is(coverage.classes.unseenShare, 1);
  for (let seed = 0; seed < 10; seed++) coverage.note(stage.execute(walk, seed)!.trace);
  const early = coverage.classes.unseenShare;
  for (let seed = 10; seed < 3000; seed++) coverage.note(stage.execute(walk, seed)!.trace);
  const { classes } = coverage;
  t.true(classes.unseenShare < early && classes.unseenShare < 0.01, `${early}, ${classes.unseenShare}`);
  t.true(classes.estimatedSize >= classes.size && classes.estimatedSize < classes.size * 1.5);
});

// ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────

test('strategies have the names they are asked for by', (t) => {
  for (const name of ['random', 'pct3', 'pct7', 'pos', 'ipb', 'ipb2', 'idb0', 'dpor', 'auto']) {
    t.is(strategyByName(name).name, name);
  }
  t.is(strategyByName('pct').name, 'pct3');
  t.is(strategyByName('pct', { depth: 5 }).name, 'pct5');
  t.is(strategyByName('idb', { depth: 2 }).name, 'idb2');
});

for (const [name, options, message, hint] of [
  ['dpro', {}, "there is no strategy 'dpro'", 'did you mean dpor?'],
  ['chess', {}, "there is no strategy 'chess'", `there are: ${STRATEGY_NAMES.join(', ')}`],
  ['', {}, "there is no strategy ''", `there are: ${STRATEGY_NAMES.join(', ')}`],
  ['toString', {}, "there is no strategy 'toString'", `there are: ${STRATEGY_NAMES.join(', ')}`],
  ['pct0', {}, "depth 0 of strategy 'pct'", 'an integer from 1 to 32'],
  ['pct', { depth: 2.5 }, "depth 2.5 of strategy 'pct'", 'an integer from 1 to 32'],
  ['pct3', { depth: 4 }, "strategy 'pct3' with depth 4", 'give the depth once: pct4'],
  ['pos2', {}, "strategy 'pos' has no depth, but 2 is given", 'pct, ipb, idb have one'],
] as const) {
  test(`strategy '${name}' with ${JSON.stringify(options)} is refused`, (t) => {
    t.like(
      t.throws(() => strategyByName(name, options)),
      { code: 'SIM_USAGE', message, hint },
    );
  });
}
