/**
 * The determinism self-check: a schedule executed twice is the same execution twice, step by step, and leaves the same
 * state. If not, something the scenario does is not decided by its schedule: time, randomness, what an earlier execution
 * has left behind.
 */
import { StateHasher } from '../../shared/state/hash.ts';
import type { Execution, Participant } from '../engine/execution.ts';
import type { Finding } from '../engine/finding.ts';
import { type Deviation, Replay } from '../engine/schedule.ts';
import type { Stage } from '../explorer.ts';
import type { World } from '../world/world.ts';
import { pointName } from './point-name.ts';

/** One execution as far as it has to be the same again. */
export interface Footprint {
  readonly steps: number;
  readonly actors: Uint8Array;
  readonly points: Float64Array;
  readonly answers: Int8Array;
  readonly state: string;
  /** Hash of each region, to say what differs. */
  readonly regions: Readonly<Record<string, string>>;
}

/**
 * Of the execution that has just ended: its trace is reused by the next one.
 *
 * @param hasher  of the world's memory, for who takes many
 */
export function footprint(
  world: World,
  execution: Execution,
  hasher = new StateHasher(world.vm.mem, world.vm.layout),
): Footprint {
  const { trace } = execution;
  const { total, regions } = hasher.hash();
  return {
    steps: trace.length,
    actors: trace.actor.slice(0, trace.length),
    points: trace.point.slice(0, trace.length),
    answers: trace.answer.slice(0, trace.length),
    state: total,
    regions,
  };
}

/** Where two executions of one schedule part. */
export type Difference =
  /** `first` and `second`: who took this step, and which; or that it has ended. */
  | { readonly rule: 'trace'; readonly step: number; readonly first: string; readonly second: string }
  /** The same steps led to states that differ in these regions. */
  | { readonly rule: 'state'; readonly step: number; readonly regions: readonly string[] };

/** @param world  to name points by; any with the same layout */
export function differenceOf(
  world: World,
  participants: readonly Pick<Participant, 'name'>[],
  first: Footprint,
  second: Footprint,
): Difference | null {
  const step = firstDifference(first, second);
  if (step >= 0) {
    const what = (side: Footprint): string => {
      if (step >= side.steps) return 'it has ended';
      return `${participants[side.actors[step]!]!.name}, ${pointName(world.vm, side.points[step]!)}`;
    };
    return { rule: 'trace', step, first: what(first), second: what(second) };
  }
  if (first.state === second.state) return null;
  const regions = Object.keys(first.regions).filter((name) => first.regions[name] !== second.regions[name]);
  return { rule: 'state', step: first.steps, regions };
}

/**
 * Executes `schedule` once more and compares.
 *
 * @param stage  the one it was executed on, or another of the same scenario, which has nothing left behind of it
 * @param world  of that stage
 * @param first  what the first execution left
 * @returns      null when both are the same
 */
export function checkRepeats(
  stage: Stage,
  world: World,
  schedule: readonly Deviation[],
  seed: number,
  first: Footprint,
): Finding | null {
  const execution = stage.execute(new Replay(schedule), seed);
  if (execution === null) return null;
  const difference = differenceOf(world, execution.participants, first, footprint(world, execution));
  if (difference === null) return null;
  const { rule, step } = difference;
  if (rule === 'trace') {
    return {
      oracle: 'nondeterminism',
      rule,
      message: `the same schedule gave another execution: step ${step} was ${difference.first}; then ${difference.second}`,
      key: 'nondeterminism of the trace',
      step,
    };
  }
  const regions = difference.regions.join(', ');
  return {
    oracle: 'nondeterminism',
    rule,
    message: `the same steps led to another state: ${regions} differ`,
    key: `nondeterminism of the state: ${regions}`,
    step,
  };
}

function firstDifference(a: Footprint, b: Footprint): number {
  const steps = Math.min(a.steps, b.steps);
  for (let i = 0; i < steps; i++) {
    if (a.actors[i] !== b.actors[i] || a.points[i] !== b.points[i] || a.answers[i] !== b.answers[i]) return i;
  }
  return a.steps === b.steps ? -1 : steps;
}
