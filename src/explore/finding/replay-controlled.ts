/** Executing a token on real threads, one participant each (explore/controlled). */
import { ControlledTarget } from '../controlled/controlled-target.ts';
import { Stage } from '../explorer.ts';
import { loadScenario } from '../scenario/load.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { type ReplayOutcome, replayOn, scenarioOf } from './replay.ts';
import { decodeToken, type Token } from './token.ts';

/**
 * @param source  bundled name or module path: each thread loads its scenario itself
 * @param text    the token
 */
export async function replayControlled(source: string, text: string): Promise<ReplayOutcome> {
  const target = await ControlledTarget.open({
    module: import.meta.url,
    export: scenarioOfToken.name,
    args: [source, text],
  });
  try {
    return replayOn(new Stage(target), decodeToken(text));
  } finally {
    await target.close();
  }
}

/** The scenario that a token executes. Exported for the threads: they find it by its name alone. */
export async function scenarioOfToken(source: string, text: string): Promise<Scenario> {
  const token: Token = decodeToken(text);
  return scenarioOf(token, await loadScenario(source)).scenario;
}
