/**
 * A scenario: a small machine, who does what in it, and what has to hold. The same each time it is begun: all that
 * varies is the order in which its actors take their steps, and the answers to their `choosing` points.
 */
import type { Participant } from '../engine/execution.ts';
import type { World, WorldOptions } from '../world/world.ts';

export interface Scenario {
  /** For the command line and for tokens: lower case, digits and hyphens. */
  readonly name: string;
  /** One line. */
  readonly title: string;
  readonly machine: WorldOptions;
  /** Once, before the first schedule: slots, hook, restrictions. Runs alone. */
  setUp(world: World): void;
  /**
   * Who takes part, in the order that gives them their numbers. Called for each schedule, on the restored world; the
   * same participants each time.
   */
  participants(world: World): readonly Participant[];
  /** What is wrong in the end, a sentence each, beside what the oracles see. */
  atEnd?(world: World): readonly string[];
  /** Steps after which an execution counts as endless. Default {@link STEP_LIMIT}. */
  readonly stepLimit?: number;
}

export const STEP_LIMIT = 20_000;
