/** `faultline explore`: from flags to a campaign, and from what it finds to output and exit code. */
import { writeFileSync } from 'node:fs';
import { Campaign, type CampaignResult, type CampaignStatus } from '../explore/campaign/campaign.ts';
import { CampaignState } from '../explore/campaign/state.ts';
import type { Described, FoundFinding } from '../explore/campaign/task.ts';
import { Workers } from '../explore/campaign/workers.ts';
import { KNOWN_SCENARIOS } from '../explore/scenario/known.ts';
import { Pct, pctBound, schedulesFor } from '../explore/strategy/pct.ts';
import { strategyByName } from '../explore/strategy/registry.ts';
import { jsonLine } from '../report/json-lines.ts';
import { StatusLine } from '../report/status-line.ts';
import { EXIT, type ExitCode, SimError } from '../shared/errors.ts';
import { formatCount, hex } from '../shared/units.ts';
import { type ExploreRequest, parseExplore } from './explore-flags.ts';
import { interruptible } from './interrupt.ts';
import { version } from './version.ts';

/** How often the state of a campaign is written while it runs. */
const SAVE_EVERY_MS = 2000;

/** @returns the exit code @throws SimError what keeps the campaign from starting or going on */
export async function explore(words: readonly string[]): Promise<number> {
  const request = parseExplore(words);
  const { scenario, plan, json } = request;
  const out = (text: string) => process.stdout.write(text);
  if (request.list) {
    out(listText(json));
    return EXIT.OK;
  }
  const workers = new Workers(scenario, plan.jobs);
  let campaign: Campaign | null = null;
  const signal = interruptible(() => {
    if (campaign === null) void workers.close();
    else campaign.stop();
  });
  try {
    const described = await describe(workers, () => signal.code);
    if (described === null) return signal.release()!;
    if (json) out(startLine(request, described));
    const { state, save } = stateOf(request, described);
    const report = (finding: FoundFinding): void => {
      status?.clear();
      if (finding.tokenFile !== null) writeToken(finding.tokenFile, finding.token);
      out(json ? jsonLine({ event: 'finding', ...finding.json, seed: finding.seed }) : `${finding.text}\n`);
    };
    let saved = performance.now();
    const progress = (): void => {
      if (performance.now() - saved < SAVE_EVERY_MS) return;
      saved = performance.now();
      save();
    };
    const running = new Campaign(workers, plan, state, report, progress);
    campaign = running;
    const text = statusTexts();
    const status = request.quiet ? null : new StatusLine(process.stderr, () => text(running.status()));
    let result: CampaignResult;
    try {
      result = await running.run();
    } finally {
      status?.end();
      save();
    }
    const stoppedBy = signal.release();
    const { exitCode, verdict } = judge(result, request, described);
    const repeat = result.findings.at(-1)?.repeat ?? null;
    if (json) {
      const { findings, times: _times, ...numbers } = result;
      const bound = promiseOf(result, request);
      out(
        jsonLine({
          event: 'result',
          ...numbers,
          findings: findings.length,
          ...(bound === null ? {} : { bound }),
        }),
      );
      out(
        jsonLine({
          event: 'verdict',
          exitCode: stoppedBy ?? exitCode,
          verdict,
          ...(repeat === null ? {} : { repeat }),
        }),
      );
    } else {
      out(summary(result, request));
      out(`${repeat === null ? '' : `repeat: ${repeat}\n`}${verdict}\n`);
    }
    return stoppedBy ?? exitCode;
  } finally {
    signal.release();
    await workers.close();
  }
}

/** @returns null when a signal came meanwhile */
async function describe(workers: Workers, interrupted: () => number | null): Promise<Described | null> {
  try {
    return await workers.describe();
  } catch (error) {
    if (interrupted() !== null) return null;
    throw error;
  }
}

function stateOf(
  { plan, quirks, resume }: ExploreRequest,
  { name }: Described,
): { state: CampaignState; save: () => void } {
  const { strategy, depth, seed } = plan;
  const identity = { version: version(), scenario: name, quirks, strategy, depth, seed };
  if (resume === null) return { state: new CampaignState(), save: () => {} };
  const state = CampaignState.read(resume, identity);
  return { state, save: () => state.write(resume, identity) };
}

function writeToken(path: string, token: string): void {
  try {
    writeFileSync(path, `${token}\n`);
  } catch (cause) {
    throw new SimError('SIM_FILE', `cannot write the token '${path}'`, { cause });
  }
}

function judge(
  { ending, executions, findings }: CampaignResult,
  { plan }: ExploreRequest,
  { name }: Described,
): { exitCode: ExitCode; verdict: string } {
  const limit = Number.isFinite(plan.schedules)
    ? `${formatCount(executions)} of ${formatCount(plan.schedules)}`
    : formatCount(executions);
  const count = `${ending === 'done' || ending === 'exhausted' ? formatCount(executions) : limit} schedules of ${name}`;
  if (findings.length > 0) {
    const rules = [...new Set(findings.map(({ rule }) => rule))].sort().join(', ');
    const verdict = `${findings.length} finding${findings.length === 1 ? '' : 's'}: ${rules}, in ${count}`;
    return { exitCode: EXIT.FINDING, verdict };
  }
  switch (ending) {
    case 'exhausted':
      return { exitCode: EXIT.OK, verdict: `nothing found in all ${count} that ${plan.strategy} tries` };
    case 'stopped':
      return { exitCode: EXIT.OK, verdict: `stopped; nothing found in ${count}` };
    case 'time':
      return Number.isFinite(plan.schedules)
        ? { exitCode: EXIT.LIMIT, verdict: `SIM_LIMIT: time is over; nothing found in ${count}` }
        : { exitCode: EXIT.OK, verdict: `nothing found in ${count}` };
    default:
      return { exitCode: EXIT.OK, verdict: `nothing found in ${count}` };
  }
}

/** What a strategy promises of each schedule, for executions as long as these were. */
interface Bound {
  /** Ordering constraints of the bugs that it is about. */
  readonly depth: number;
  readonly probability: number;
  /** After so many schedules such a bug has shown with a probability of 0.99. */
  readonly schedules: number;
}

/** Null for strategies that promise nothing. */
function promiseOf({ actors, longest }: CampaignResult, { plan }: ExploreRequest): Bound | null {
  const strategy = strategyByName(plan.strategy, plan.depth === null ? {} : { depth: plan.depth });
  if (!(strategy instanceof Pct) || longest === 0) return null;
  const { depth } = strategy;
  const probability = pctBound({ actors, steps: longest, depth });
  return { depth, probability, schedules: schedulesFor(probability, 0.99) };
}

function boundText({ depth, probability, schedules }: Bound, { actors, longest }: CampaignResult): string {
  const rarely = formatCount(Math.round(1 / probability));
  return [
    `a bug of depth ${depth} shows in one schedule of ${rarely} or more often, with ${actors} actors and up to `,
    `${formatCount(longest)} steps: in ${formatCount(schedules)} schedules with 99 %\n`,
  ].join('');
}

/** The last lines before the verdict: what it took, where the seeds end, and what may be concluded. */
function summary(result: CampaignResult, request: ExploreRequest): string {
  const { seconds, executions, steps, features, findings, times } = result;
  const { plan } = request;
  const bound = promiseOf(result, request);
  const often = plan.keepGoing ? findings.filter(({ key }) => (times[key] ?? 0) > 1) : [];
  return [
    ...often.map(({ key, rule, message }) => `seen ${formatCount(times[key]!)} times: ${rule} ${message}\n`),
    `explored ${formatCount(executions)} schedules, ${formatCount(steps)} steps in ${seconds.toFixed(1)} s, `,
    `${plan.strategy} from seed ${hex(plan.seed)}, ${formatCount(features)} kinds of switches seen\n`,
    bound === null ? '' : boundText(bound, result),
  ].join('');
}

/** The status line's text: rates and new features are those since the line before. */
function statusTexts(): (status: CampaignStatus) => string {
  let last: CampaignStatus | null = null;
  return (now) => {
    const passed = now.seconds - (last?.seconds ?? 0);
    const rate = passed > 0 ? (now.executions - (last?.executions ?? 0)) / passed : 0;
    const fresh = now.features - (last?.features ?? 0);
    const share = now.features === 0 ? 0 : (100 * fresh) / now.features;
    last = now;
    return [
      `${now.seconds.toFixed(1)} s`,
      `${formatCount(now.executions)} schedules (${formatCount(Math.round(rate))}/s)`,
      `${formatCount(now.features)} kinds of switches (${share < 0.05 ? 'none new' : `${share.toFixed(1)} % new`})`,
      `${now.findings} finding${now.findings === 1 ? '' : 's'}`,
    ].join(' · ');
  };
}

function listText(json: boolean): string {
  if (json)
    return KNOWN_SCENARIOS.map(({ name, title }) => jsonLine({ event: 'scenario', name, title })).join('');
  const width = Math.max(...KNOWN_SCENARIOS.map(({ name }) => name.length));
  return KNOWN_SCENARIOS.map(({ name, title }) => `${name.padEnd(width)}  ${title}\n`).join('');
}

function startLine({ plan, quirks }: ExploreRequest, { name, title }: Described): string {
  const { strategy, depth, schedules, seed, timeMs, jobs, keepGoing } = plan;
  return jsonLine({
    event: 'start',
    version: version(),
    scenario: name,
    title,
    quirks,
    strategy,
    depth,
    schedules: Number.isFinite(schedules) ? schedules : null,
    seed,
    timeMs,
    jobs,
    keepGoing,
  });
}
