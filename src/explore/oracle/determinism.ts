/**
 * The determinism self-check: a schedule executed twice is the same execution twice, step by step, and leaves the same
 * state. If not, something the scenario does is not decided by its schedule: time, randomness, what an earlier execution
 * has left behind.
 */
import { stateHash } from '../../shared/state/hash.ts';
import type { Execution } from '../engine/execution.ts';
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

/** Of the execution that has just ended: its trace is reused by the next one. */
export function footprint(world: World, execution: Execution): Footprint {
  const { trace } = execution;
  const { total, regions } = stateHash(world.vm.mem, world.vm.layout);
  return {
    steps: trace.length,
    actors: trace.actor.slice(0, trace.length),
    points: trace.point.slice(0, trace.length),
    answers: trace.answer.slice(0, trace.length),
    state: total,
    regions,
  };
}

/**
 * Executes `schedule` once more and compares.
 *
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
  const second = footprint(world, execution);
  const at = firstDifference(first, second);
  if (at >= 0) {
    const what = (side: Footprint): string => {
      if (at >= side.steps) return 'it has ended';
      const actor = execution.participants[side.actors[at]!]!.name;
      return `${actor}, ${pointName(world.vm, side.points[at]!)}`;
    };
    return {
      oracle: 'nondeterminism',
      rule: 'trace',
      message: `the same schedule gave another execution: step ${at} was ${what(first)}; then ${what(second)}`,
      key: 'nondeterminism of the trace',
      step: at,
    };
  }
  if (first.state === second.state) return null;
  const regions = Object.keys(first.regions).filter((name) => first.regions[name] !== second.regions[name]);
  return {
    oracle: 'nondeterminism',
    rule: 'state',
    message: `the same steps led to another state: ${regions.join(', ')} differ`,
    key: `nondeterminism of the state: ${regions.join(', ')}`,
    step: first.steps,
  };
}

function firstDifference(a: Footprint, b: Footprint): number {
  const steps = Math.min(a.steps, b.steps);
  for (let i = 0; i < steps; i++) {
    if (a.actors[i] !== b.actors[i] || a.points[i] !== b.points[i] || a.answers[i] !== b.answers[i]) return i;
  }
  return a.steps === b.steps ? -1 : steps;
}
