/** `faultline replay`: from a token to the execution that it stands for. */

import type { Replayed } from '../explore/campaign/task.ts';
import { Workers } from '../explore/campaign/workers.ts';
import { decodeToken, hashOf } from '../explore/finding/token.ts';
import { KNOWN_SCENARIOS } from '../explore/scenario/known.ts';
import { jsonLine } from '../report/json-lines.ts';
import { EXIT, type ExitCode, SimError } from '../shared/errors.ts';
import { interruptible } from './interrupt.ts';
import { quoted } from './quoted.ts';
import { parseReplay, type ReplayRequest } from './replay-flags.ts';

/** @returns the exit code @throws SimError why it cannot be replayed */
export async function replay(words: readonly string[]): Promise<number> {
  const request = parseReplay(words);
  const { token, step, trace, json, engine } = request;
  const scenario = scenarioFor(request);
  const repeat = ['faultline', 'replay', request.given, ...(request.scenario === null ? [] : [scenario])]
    .map(quoted)
    .join(' ');
  const workers = new Workers(scenario, 1);
  const signal = interruptible(() => void workers.close());
  let replayed: Replayed;
  try {
    replayed = await workers.replay({ kind: 'replay', token, repeat, trace, engine });
  } catch (error) {
    const stoppedBy = signal.release();
    if (stoppedBy !== null) return stoppedBy;
    throw error;
  } finally {
    signal.release();
    await workers.close();
  }
  const { exitCode, verdict } = judge(replayed);
  const { text, stepLines, json: report } = replayed;
  const out = (line: string) => process.stdout.write(line);
  if (json) {
    if (step) for (const line of stepLines) out(jsonLine({ event: 'step', text: line.trim() }));
    if (replayed.reproduced) out(jsonLine({ event: 'finding', ...report }));
    const { reproduced, sameExecution, steps } = replayed;
    out(jsonLine({ event: 'verdict', exitCode, verdict, reproduced, sameExecution, steps }));
  } else {
    if (step) out(`${stepLines.join('\n')}\n\n`);
    out(`${text}${verdict}\n`);
  }
  return exitCode;
}

function judge({ reproduced, sameExecution, divergence, steps }: Replayed): {
  exitCode: ExitCode;
  verdict: string;
} {
  if (!reproduced) return { exitCode: EXIT.DIVERGED, verdict: `diverged ${divergence}` };
  const how = sameExecution
    ? 'step by step'
    : 'by other steps than when the token was made: the code has changed since';
  return { exitCode: EXIT.FINDING, verdict: `reproduced in ${steps} steps, ${how}` };
}

/** The scenario that the user names, or the bundled one that the token names. */
function scenarioFor({ token, scenario }: ReplayRequest): string {
  const wanted = decodeToken(token).scenario;
  if (scenario !== null) return scenario;
  const bundled = KNOWN_SCENARIOS.find(({ name }) => hashOf(name) === wanted);
  if (bundled !== undefined) return bundled.name;
  throw new SimError('SIM_TOKEN', 'the scenario of this token is none of the bundled ones', {
    hint: 'give its module: faultline replay TOKEN ./scenario.js',
  });
}
