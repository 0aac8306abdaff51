/** From the schedule that showed a finding to what is handed out: shrunk, with its token and its report. */
import { SimError } from '../../shared/errors.ts';
import type { Quirks } from '../../shared/quirks.ts';
import type { Finding } from '../engine/finding.ts';
import type { Schedule } from '../engine/schedule.ts';
import { reportOf } from '../finding/report.ts';
import { reportJson, reportText } from '../finding/report-text.ts';
import { shrink } from '../finding/shrink.ts';
import { encodeToken, findingHash, hashOf, traceHashBits } from '../finding/token.ts';
import { isModulePath } from '../scenario/load.ts';
import type { Scenario } from '../scenario/scenario.ts';
import type { FoundFinding } from './task.ts';

// LIMIT: characters of a token on a command line. Longer ones go to a file.
const TOKEN_LIMIT = 160;

export interface Seen {
  readonly finding: Finding;
  readonly schedule: Schedule;
  /** Number and seed of the schedule within its campaign. */
  readonly number: number;
  readonly seed: number;
}

/**
 * @param scenario  with its quirks
 * @param source    what the user called it: bundled name or path
 * @throws SimError SIM_SCENARIO when following the schedule does not show it again
 */
export function found(scenario: Scenario, source: string, quirks: Quirks, seen: Seen): FoundFinding {
  const { finding, schedule, number, seed } = seen;
  const { key } = finding;
  const shrunk = shrink(scenario, schedule, key);
  if (shrunk === null) throw notRepeatable(scenario, seen);
  const token = encodeToken({
    scenario: hashOf(scenario.name),
    quirks,
    dropped: shrunk.dropped,
    schedule: shrunk.schedule,
    finding: findingHash(key),
    trace: traceHashBits(shrunk.traceHash),
  });
  const tokenFile =
    token.length > TOKEN_LIMIT ? `${scenario.name}-${shrunk.traceHash.slice(0, 8)}.token` : null;
  const words = ['faultline', 'replay', tokenFile ?? token, ...(isModulePath(source) ? [source] : [])];
  const repeat = words.join(' ');
  const report = reportOf({
    scenario: shrunk.scenario,
    schedule: shrunk.schedule,
    key,
    quirks,
    without: shrunk.dropped.map((place) => scenario.parts!.names[place]!),
    minimal: shrunk.minimal,
    token,
    repeat,
  });
  if (report === null) throw notRepeatable(scenario, seen);
  return {
    key,
    oracle: finding.oracle,
    rule: finding.rule,
    message: report.finding.message,
    schedule: number,
    seed,
    deviations: schedule.length,
    shrunk: shrunk.schedule,
    token,
    tokenFile,
    repeat,
    text: reportText(report),
    json: reportJson(report),
  };
}

function notRepeatable(scenario: Scenario, { finding, seed }: Seen): SimError {
  return new SimError(
    'SIM_SCENARIO',
    `scenario '${scenario.name}' is not the same each time: its schedule of seed ${seed} does not show again: ${finding.message}`,
    { hint: 'keep no state outside the world: make everything anew in participants()' },
  );
}
