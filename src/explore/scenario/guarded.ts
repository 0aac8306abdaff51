/** A scenario that somebody else wrote, watched while it is used: what it does wrong is said in its terms. */
import { SimError } from '../../shared/errors.ts';
import type { Participant } from '../engine/execution.ts';
import { type Broken, type Scenario, wrapped } from './scenario.ts';

/** What of a scenario is running. */
export type ScenarioPhase = 'setUp' | 'participants' | 'steps' | 'atEnd';

/**
 * The same scenario, whose mistakes are SimErrors: code of its own that throws, participants that are none, or not the
 * same each time.
 *
 * @param onPhase  told before each part of it runs
 */
export function guarded(scenario: Scenario, onPhase: (phase: ScenarioPhase) => void = () => {}): Scenario {
  return wrapped(scenario, (inner) => methodsOf(inner, onPhase));
}

function methodsOf(
  scenario: Scenario,
  onPhase: (phase: ScenarioPhase) => void,
): Pick<Scenario, 'setUp' | 'participants' | 'atEnd'> {
  const { name } = scenario;
  let names: string | null = null;
  const within = <T>(phase: ScenarioPhase, run: () => T): T => {
    onPhase(phase);
    try {
      return run();
    } catch (cause) {
      if (cause instanceof SimError) throw cause;
      throw broken(name, `throws in ${phase}`, 'what is wrong is in the cause', cause);
    }
  };
  return {
    setUp: (world) => {
      const result: unknown = within('setUp', () => scenario.setUp(world));
      if (isPromise(result))
        throw broken(name, 'has an async setUp', 'nothing in a scenario can wait for promises');
    },
    participants: (world) => {
      const list = within('participants', () => scenario.participants(world));
      checkParticipants(name, list);
      const now = list.map((participant) => participant.name).join(', ');
      if (names !== null && names !== now) {
        const hint = 'keep no state outside the world: make everything anew in participants()';
        throw broken(name, `has other participants each time: ${names}; then ${now}`, hint);
      }
      names = now;
      onPhase('steps');
      return list;
    },
    atEnd: (world) => {
      const list = within('atEnd', () => scenario.atEnd?.(world) ?? []);
      onPhase('steps');
      if (!Array.isArray(list) || !list.every(isSentence))
        throw broken(name, 'has an atEnd that gives no list of sentences', 'return [] when nothing is wrong');
      return list;
    },
  };
}

function checkParticipants(scenario: string, list: readonly Participant[]): void {
  if (!Array.isArray(list) || list.length === 0) {
    throw broken(scenario, 'has no participants', 'participants(world) returns a list of at least one');
  }
  for (const [i, participant] of (list as readonly Partial<Participant>[]).entries()) {
    const { name = `number ${i}`, path, waiter } = participant;
    const isPath =
      typeof path === 'object' && typeof path.next === 'function' && !(Symbol.asyncIterator in path);
    if (!isPath || typeof waiter !== 'object') {
      const hint =
        'a participant is { name, waiter, path }: an actor of the world, and a generator that it runs';
      throw broken(scenario, `has a participant that is none: ${name}`, hint);
    }
  }
}

/** What an atEnd may say: a sentence, or one with its rule. */
function isSentence(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return typeof value === 'string';
  const { rule, message } = value as Partial<Broken>;
  return typeof rule === 'string' && typeof message === 'string';
}

function isPromise(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value;
}

function broken(scenario: string, what: string, hint: string, cause?: unknown): SimError {
  return new SimError(
    'SIM_SCENARIO',
    `scenario '${scenario}' ${what}`,
    cause === undefined ? { hint } : { hint, cause },
  );
}
