/**
 * How many schedules a second the explorer gets through, for each second of processor time on one core: others may use
 * the machine meanwhile. The controlled engine is measured by the clock, for its threads wait for each other.
 *
 * What all this costs the parallel engine is no row: its threads run files from which the points have been taken
 * (scripts/erase.ts), so that off there is nothing left that could cost.
 */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { ControlledTarget } from '../../src/explore/controlled/controlled-target.ts';
import type { Schedule } from '../../src/explore/engine/schedule.ts';
import { Stage } from '../../src/explore/explorer.ts';
import { shrink } from '../../src/explore/finding/shrink.ts';
import { type FlushProtocolOptions, flushProtocol } from '../../src/explore/program/flush-protocol.ts';
import { ProgramTarget } from '../../src/explore/program/program.ts';
import { createSlot } from '../../src/explore/scenario/bundled/create-slot.ts';
import { type Scenario, withQuirks } from '../../src/explore/scenario/scenario.ts';
import { stageOf } from '../../src/explore/scenario/stage.ts';
import { Dpor } from '../../src/explore/strategy/dpor.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';
import { REF_CREATE_SLOT_GAP } from '../../src/shared/quirks.ts';
import type { Measured, Variant } from './explore-runner.ts';
import { interleaved, type Row, row, type Suite } from './suite.ts';

const POINTS_PROMISED = 50;

/** One variant in a thread of its own: what one has met would make the code of the others slower. */
class Runner {
  readonly #thread: Worker;

  constructor(variant: Variant) {
    this.#thread = new Worker(new URL(`./explore-runner${import.meta.url.slice(-3)}`, import.meta.url), {
      workerData: variant,
    });
  }

  async run(schedules: number): Promise<Measured> {
    this.#thread.postMessage(schedules);
    const [measured] = (await once(this.#thread, 'message')) as [Measured];
    return measured;
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}

/** A schedule that shows RC-01, as it was found. */
function gap(): { scenario: Scenario; schedule: Schedule; key: string } {
  const scenario = withQuirks(createSlot, [REF_CREATE_SLOT_GAP]);
  const stage = stageOf(scenario);
  for (let seed = 0; ; seed++) {
    const { findings, schedule } = stage.outcome(new RandomWalk(), seed)!;
    if (findings.length > 0) return { scenario, schedule, key: findings[0]!.key };
  }
}

/** ms of processor time. */
function shrinkTime({ scenario, schedule, key }: ReturnType<typeof gap>): number {
  const began = process.cpuUsage();
  if (shrink(scenario, schedule, key) === null) throw new Error(`${scenario.name} is not the same each time`);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1000;
}

/** s of processor time until every trace of the protocol has been executed, locks taken for what they promise. */
function proofTime(options: FlushProtocolOptions): number {
  const stage = new Stage(new ProgramTarget(flushProtocol(options)));
  const dpor = new Dpor({ trustLocks: true });
  const began = process.cpuUsage();
  for (let execution = stage.execute(dpor, 0); execution !== null; execution = stage.execute(dpor, 0)) {
    if (execution.findings.length > 0) throw new Error(execution.findings[0]!.message);
  }
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1e6;
}

/** Schedules a second of `flush` on real threads, by the clock. */
async function controlled(schedules: number): Promise<number> {
  const file = new URL(
    `../../src/explore/scenario/bundled/flush${import.meta.url.slice(-3)}`,
    import.meta.url,
  );
  const target = await ControlledTarget.open({ module: file.href, export: 'flush' });
  try {
    const stage = new Stage(target);
    const walk = new RandomWalk();
    for (let seed = 0; seed < schedules / 4; seed++) stage.execute(walk, seed);
    const began = performance.now();
    for (let seed = 0; seed < schedules; seed++) stage.execute(walk, seed);
    return (schedules * 1000) / (performance.now() - began);
  } finally {
    await target.close();
  }
}

export const explore: Suite = {
  name: 'explore',
  about:
    'random schedules of three vCPU faults against a memslot deletion; with the parallel engine off there is nothing to measure',
  async run({ quick }) {
    const schedules = quick ? 500 : 4000;
    const runners = {
      bare: new Runner({ scenario: 'flush', oracles: 'off', lockdep: false }),
      cheap: new Runner({ scenario: 'flush', oracles: 'cheap', lockdep: false }),
      full: new Runner({ scenario: 'flush', oracles: 'full', lockdep: true }),
      guest: new Runner({ scenario: 'guest-flush', oracles: 'off', lockdep: false }),
      protocol: new Runner({ scenario: 'flush-protocol', oracles: 'off', lockdep: false }),
      paths: new Runner({ scenario: 'paths', oracles: 'off', lockdep: false }),
    };
    const names = Object.keys(runners) as (keyof typeof runners)[];
    const points = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
      keyof typeof runners,
      number[]
    >;
    // Programs take a tenth of the time.
    const share = (name: string): number => schedules * (name === 'protocol' || name === 'paths' ? 10 : 1);
    // Compiled before they are compared.
    for (const name of names) await runners[name].run(3 * share(name));
    const measure = (name: keyof typeof runners) => async () => {
      const { schedulesPerSecond, pointsPerSecond } = await runners[name].run(share(name));
      points[name].push(pointsPerSecond);
      return schedulesPerSecond;
    };
    const found = gap();
    for (let i = 0; i < 5; i++) shrinkTime(found);
    const taken = await interleaved(quick ? 3 : 9, {
      bare: measure('bare'),
      cheap: measure('cheap'),
      full: measure('full'),
      guest: measure('guest'),
      protocol: measure('protocol'),
      paths: measure('paths'),
      proof: async () => proofTime({ vcpuCount: 3 }),
      proofOfMany: async () => (quick ? Number.NaN : proofTime({ vcpuCount: 4, faultCount: 2 })),
      shrink: async () => shrinkTime(found),
      controlled: () => controlled(quick ? 50 : 400),
    });
    for (const name of names) await runners[name].close();
    // What is promised is promised for schedules of some 50 points: those of the machine have more.
    const rate = (what: string, name: keyof typeof runners, goal: number | null): Row[] => [
      row(what, '/s', taken[name], goal === null ? undefined : { is: 'at least', value: goal }),
      row(
        `${what}, points`,
        '/s',
        points[name].slice(1),
        goal === null ? undefined : { is: 'at least', value: goal * POINTS_PROMISED },
      ),
    ];
    return [
      ...rate('bare', 'bare', 150_000),
      ...rate('cheap oracles', 'cheap', null),
      ...rate('all oracles, lockdep', 'full', 100_000),
      ...rate('guest code, bare', 'guest', 20_000),
      ...rate('flush protocol without a machine', 'protocol', null),
      row('points alone', '/s', points.paths.slice(1)),
      row('proof of the flush protocol', 's', taken.proof, { is: 'at most', value: 1 }),
      ...(quick
        ? []
        : [row('proof with 4 vCPUs, 2 faults each', 's', taken.proofOfMany, { is: 'at most', value: 600 })]),
      row('shrinking RC-01', 'ms', taken.shrink, { is: 'at most', value: 50 }),
      row('controlled engine', '/s', taken.controlled),
    ];
  },
};
