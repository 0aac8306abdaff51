/**
 * A scenario: a small machine, who does what in it, and what has to hold. The same each time it is begun: all that
 * varies is the order in which its actors take their steps, and the answers to their `choosing` points.
 */
import type { Quirks } from '../../shared/quirks.ts';
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
  /** What is wrong in the end, beside what the oracles see. */
  atEnd?(world: World): readonly (string | Broken)[];
  /** Steps after which an execution counts as endless. Default {@link STEP_LIMIT}. */
  readonly stepLimit?: number;
  /** What a finding may not need; shrinking tries without. */
  readonly parts?: ScenarioParts;
}

/** Parts that a scenario can do without: a participant, one of its accesses, a slot. */
export interface ScenarioParts {
  /** A few words each. Their places are what tokens name them by. */
  readonly names: readonly string[];
  /** The same scenario without the parts at these places, with the same name. Participants keep their names. */
  without(dropped: readonly number[]): Scenario;
}

/** What a scenario found wrong by its own check; a sentence alone is broken by the rule of the scenario's name. */
export interface Broken {
  /** I14, or a name of its own. */
  readonly rule: string;
  /** One sentence. */
  readonly message: string;
}

export const STEP_LIMIT = 20_000;

/**
 * The same scenario with something of it replaced, and likewise what it is without some of its parts.
 *
 * @param replace  what is replaced; called once for each of them
 */
export function wrapped(scenario: Scenario, replace: (inner: Scenario) => Partial<Scenario>): Scenario {
  const { name, title, machine, stepLimit, parts } = scenario;
  return {
    name,
    title,
    machine,
    setUp: (world) => scenario.setUp(world),
    participants: (world) => scenario.participants(world),
    atEnd: (world) => scenario.atEnd?.(world) ?? [],
    ...(stepLimit === undefined ? {} : { stepLimit }),
    ...(parts === undefined
      ? {}
      : { parts: { names: parts.names, without: (dropped) => wrapped(parts.without(dropped), replace) } }),
    ...replace(scenario),
  };
}

/** The same scenario on a machine that has these quirks too. */
export function withQuirks(scenario: Scenario, quirks: Quirks): Scenario {
  if (quirks.length === 0) return scenario;
  return wrapped(scenario, ({ machine }) => ({
    machine: { ...machine, quirks: [...new Set([...(machine.quirks ?? []), ...quirks])] },
  }));
}
