/** The engines that can execute a token. */
import { SimError } from '../../shared/errors.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { ReplayOutcome } from './replay.ts';
import type { Token } from './token.ts';

/**
 * Executes a token on threads of its own.
 *
 * @param scenario  as the token executes it (scenarioOf)
 * @param source    bundled name or module path, for the threads to load it by
 */
export type ReplayOnThreads = (scenario: Scenario, source: string, token: Token) => Promise<ReplayOutcome>;

/** @throws SimError SIM_USAGE as long as there is none */
export const replayControlled: ReplayOnThreads = async () => {
  throw new SimError('SIM_USAGE', 'this build has no controlled engine', {
    hint: 'leave --engine out: explored',
  });
};
