/**
 * Strategies that claim to have seen everything, against every schedule of random small programs.
 *
 * Repeat one failure: `SEED=… PLANS=1 npx ava dist/test/unit/explore/exhaustive.test.js`; more: `PLANS=5000`.
 */
import test, { type ExecutionContext } from 'ava';
import { preemptions } from '../../../src/explore/engine/schedule.ts';
import type { Strategy } from '../../../src/explore/engine/strategy.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { type FlushProtocolOptions, flushProtocol } from '../../../src/explore/program/flush-protocol.ts';
import { type Program, ProgramTarget } from '../../../src/explore/program/program.ts';
import { Coverage } from '../../../src/explore/seen/coverage.ts';
import { BoundedSearch } from '../../../src/explore/strategy/bounded-search.ts';
import { Dpor } from '../../../src/explore/strategy/dpor.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { EveryOrder } from '../../support/every-order.ts';
import { dataOf, lockedPlan } from '../../support/locked-plan.ts';
import { imageOf, OPERATIONS, type Operation, randomPlan } from '../../support/random-plan.ts';

const FIRST_SEED = Number(process.env['SEED'] ?? 1);
const PLANS = Number(process.env['PLANS'] ?? 60);
/** Schedules of a plan; plans with more are passed over. */
const LIMIT = 3000;

interface Seen {
  /** Different ends: memory, findings. */
  readonly ends: Set<string>;
  readonly classes: Set<string>;
  readonly executions: number;
  readonly pruned: number;
  /** By preemptions: classes that so many, or fewer, lead to. */
  readonly classesWithin: Set<string>[];
}

/** @returns null if there is more than `limit` */
function seenBy(strategy: Strategy, program: Program, limit = LIMIT): Seen | null {
  const target = new ProgramTarget(program);
  const stage = new Stage(target);
  const coverage = new Coverage();
  const seen = { ends: new Set<string>(), classes: new Set<string>(), executions: 0, pruned: 0 };
  const classesWithin: Set<string>[] = [new Set(), new Set(), new Set()];
  for (;;) {
    const execution = stage.execute(strategy, 0);
    if (execution === null) return { ...seen, classesWithin };
    if (seen.executions + seen.pruned === limit) return null;
    if (execution.pruned) {
      seen.pruned += 1;
      continue;
    }
    seen.executions += 1;
    coverage.note(execution.trace);
    const end = `${imageOf(target.mem, program)} ${execution.findings.map(({ key }) => key).join()}`;
    const cls = `${coverage.low} ${coverage.high}`;
    seen.ends.add(end);
    seen.classes.add(cls);
    const cost = preemptions(execution.trace);
    for (let bound = cost; bound < classesWithin.length; bound++) classesWithin[bound]!.add(cls);
  }
}

const sorted = (set: Iterable<string>) => [...set].sort();

function compare(t: ExecutionContext, seed: number, operations: readonly Operation[]): boolean {
  const prng = new Prng(BigInt(seed));
  const actors = 2 + prng.below(2);
  const program = randomPlan(prng, { operations, actors, steps: actors === 2 ? 6 : 4, cells: 2 });
  const every = seenBy(new EveryOrder(), program);
  if (every === null) return false;
  const label = `SEED=${seed} ${program.title}`;

  const dpor = new Dpor();
  const reduced = seenBy(dpor, program);
  t.deepEqual(sorted(reduced?.ends ?? []), sorted(every.ends), `dpor ${label}`);
  t.deepEqual(sorted(reduced?.classes ?? []), sorted(every.classes), `dpor ${label}`);
  t.is(reduced?.executions, every.classes.size, `dpor executes each class once: ${label}`);
  t.is(reduced?.pruned, dpor.blocked, label);
  t.true(dpor.isComplete, label);

  const dfs = seenBy(new BoundedSearch('none'), program);
  t.is(dfs?.executions, every.executions, `dfs ${label}`);
  t.deepEqual(sorted(dfs?.ends ?? []), sorted(every.ends), `dfs ${label}`);
  return true;
}

const GROUPS: Readonly<Record<string, readonly Operation[]>> = {
  'reads, writes and updates': ['read', 'write', 'add', 'cas'],
  'waits and notifies': ['write', 'add', 'wait', 'notify one', 'notify all'],
  'waits with timeouts': ['write', 'timed wait', 'wait', 'notify one', 'notify all'],
  everything: OPERATIONS,
};

for (const [name, operations] of Object.entries(GROUPS)) {
  test(`dpor and dfs see all of ${name} (SEED=${FIRST_SEED})`, (t) => {
    let compared = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + PLANS; seed++) {
      if (compare(t, seed, operations)) compared += 1;
    }
    t.true(PLANS === 1 || compared > PLANS / 4, `${compared} of ${PLANS} plans are small enough`);
  });
}

/** Ends by what the locks protect: how a deadlock's sleepers wait inside of a lock is the lock's own affair. */
function lockedEnds(
  strategy: Strategy,
  program: Program,
  limit: number,
): { ends: string[]; executions: number } | null {
  const target = new ProgramTarget(program);
  const stage = new Stage(target);
  const ends = new Set<string>();
  let executions = 0;
  for (;;) {
    const execution = stage.execute(strategy, 0);
    if (execution === null) return { ends: sorted(ends), executions };
    if (executions === limit) return null;
    executions += 1;
    if (execution.pruned) continue;
    const findings = execution.findings.map(({ key }) => key.replaceAll(/ at 0x[0-9a-f]+/g, ''));
    ends.add(`${dataOf(target.mem, program)} ${findings.join()}`);
  }
}

test(`dpor that trusts locks sees all ends of programs with locks (SEED=${FIRST_SEED})`, (t) => {
  let compared = 0;
  let deadlocks = 0;
  let executions = 0;
  let all = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + PLANS; seed++) {
    const prng = new Prng(BigInt(seed));
    const program = lockedPlan(prng, 2 + prng.below(2));
    const every = lockedEnds(new EveryOrder(), program, 3 * LIMIT);
    if (every === null) continue;
    const trusting = lockedEnds(new Dpor({ trustLocks: true }), program, LIMIT);
    t.deepEqual(trusting?.ends, every.ends, `SEED=${seed} ${program.title}`);
    compared += 1;
    executions += trusting!.executions;
    all += every.executions;
    if (every.ends.some((end) => end.includes('deadlock'))) deadlocks += 1;
  }
  t.true(
    PLANS === 1 || (compared > PLANS / 4 && deadlocks > 0),
    `${compared} compared, ${deadlocks} deadlocks`,
  );
  t.true(PLANS === 1 || executions * 20 < all, `${executions} executions for ${all}`);
});

/** Everything there is of the flush protocol: how much that was, and what was found. */
function proof(strategy: Dpor, options: FlushProtocolOptions): { executions: number; findings: string[] } {
  const stage = new Stage(new ProgramTarget(flushProtocol(options)));
  const findings = new Set<string>();
  let executions = 0;
  for (
    let execution = stage.execute(strategy, 0);
    execution !== null;
    execution = stage.execute(strategy, 0)
  ) {
    executions += 1;
    for (const { message } of execution.findings) findings.add(message);
  }
  return { executions, findings: sorted(findings) };
}

test('the flush protocol is right, by all its traces; without the grace period it is not', (t) => {
  const trusting = () => new Dpor({ trustLocks: true });
  // vCPUs matter to the deletion, and only to it: each multiplies.
  const one = proof(trusting(), { vcpuCount: 1 });
  t.deepEqual(proof(trusting(), { vcpuCount: 3 }), { executions: one.executions ** 3, findings: [] });
  const two = proof(trusting(), { vcpuCount: 1, faultCount: 2 });
  t.deepEqual(proof(trusting(), { vcpuCount: 2, faultCount: 2 }), {
    executions: two.executions ** 2,
    findings: [],
  });
  // What happens inside of the locks makes no difference.
  const inside = proof(new Dpor(), { vcpuCount: 2 });
  t.deepEqual(inside.findings, []);
  t.true(inside.executions > 20 * one.executions ** 2, `${inside.executions} executions`);
  const broken = proof(trusting(), { vcpuCount: 2, grace: false });
  t.true(broken.findings.some((message) => message.includes('memory is mapped after it was freed')));
  t.true(broken.findings.some((message) => message.includes('still maps memory that was freed')));
});
