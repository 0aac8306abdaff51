/** What a campaign has done so far: which schedules, what they found. A small JSON file keeps it between two runs. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { SimError } from '../../shared/errors.ts';
import type { Explored, FoundFinding } from './task.ts';

/** What must be the same for a campaign to be the same. */
export interface CampaignIdentity {
  /** Of the package: another one may execute other steps. */
  readonly version: string;
  readonly scenario: string;
  readonly quirks: readonly string[];
  readonly strategy: string;
  readonly depth: number | null;
  readonly seed: number;
}

const FORMAT = 'faultline-campaign-1';

interface File extends CampaignIdentity {
  readonly format: typeof FORMAT;
  readonly done: readonly (readonly [number, number])[];
  readonly executions: number;
  readonly steps: number;
  readonly findings: readonly FoundFinding[];
  readonly times: Readonly<Record<string, number>>;
}

export class CampaignState {
  /** Ranges of schedules, from … to − 1, in order and apart: whole chunks. */
  #done: [from: number, to: number][] = [];
  /** Of these. The public numbers count what was broken off too. */
  #kept = { executions: 0, steps: 0, times: {} as Readonly<Record<string, number>> };
  executions = 0;
  steps = 0;
  readonly findings: FoundFinding[] = [];
  readonly times: Record<string, number> = {};

  /** The parts of from … to − 1 that are not done. */
  missing(from: number, to: number): [from: number, to: number][] {
    const left: [number, number][] = [];
    let at = from;
    for (const [a, b] of this.#done) {
      if (b <= at || a >= to) continue;
      if (a > at) left.push([at, a]);
      at = Math.max(at, b);
    }
    if (at < to) left.push([at, to]);
    return left;
  }

  /** Takes in what became of a chunk. One that was broken off is not done: it will be explored again, from its start. */
  add({ executions, steps, times, exhausted }: Explored, from: number, to: number): void {
    this.executions += executions;
    this.steps += steps;
    addTimes(this.times, times);
    if (!exhausted && executions < to - from) return;
    const kept = { ...this.#kept.times };
    addTimes(kept, times);
    this.#kept = {
      executions: this.#kept.executions + executions,
      steps: this.#kept.steps + steps,
      times: kept,
    };
    const ranges = [...this.#done, [from, to] as [number, number]].sort(([x], [y]) => x - y);
    this.#done = [];
    for (const [x, y] of ranges) {
      const last = this.#done.at(-1);
      if (last !== undefined && x <= last[1]) last[1] = Math.max(last[1], y);
      else this.#done.push([x, y]);
    }
  }

  /** @returns false when one of its key was there, which stays, or makes room for an earlier one */
  found(finding: FoundFinding): boolean {
    const place = this.findings.findIndex(({ key }) => key === finding.key);
    if (place < 0) {
      this.findings.push(finding);
      return true;
    }
    if (finding.schedule < this.findings[place]!.schedule) this.findings[place] = finding;
    return false;
  }

  /** Replaces the file as a whole, so that it is never half written. @throws SimError SIM_FILE */
  write(path: string, identity: CampaignIdentity): void {
    const file: File = {
      format: FORMAT,
      ...identity,
      done: this.#done,
      ...this.#kept,
      findings: this.findings,
    };
    try {
      writeFileSync(`${path}.new`, `${JSON.stringify(file)}\n`);
      renameSync(`${path}.new`, path);
    } catch (cause) {
      throw new SimError('SIM_FILE', `cannot write the campaign's state '${path}'`, { cause });
    }
  }

  /**
   * What the file says, or the beginning when there is none.
   *
   * @throws SimError SIM_FILE when it is none of ours, SIM_USAGE when it is another campaign's
   */
  static read(path: string, identity: CampaignIdentity): CampaignState {
    const state = new CampaignState();
    if (!existsSync(path)) return state;
    let file: File;
    try {
      file = JSON.parse(readFileSync(path, 'utf8')) as File;
      if (file.format !== FORMAT) throw new Error(`its format is ${String(file.format)}, not ${FORMAT}`);
    } catch (cause) {
      throw new SimError('SIM_FILE', `'${path}' is no state of a campaign`, {
        hint: '--resume takes a file that it has written itself, or one that does not exist yet',
        cause,
      });
    }
    for (const key of ['version', 'scenario', 'quirks', 'strategy', 'depth', 'seed'] as const) {
      const [theirs, ours] = [String(file[key]), String(identity[key])];
      if (theirs === ours) continue;
      throw new SimError(
        'SIM_USAGE',
        `'${path}' is of another campaign: its ${key} is ${theirs}, not ${ours}`,
        {
          hint: 'give the same flags, or another file',
        },
      );
    }
    state.#done = file.done.map(([from, to]) => [from, to]);
    const { executions, steps, times } = file;
    state.#kept = { executions, steps, times };
    state.executions = executions;
    state.steps = steps;
    addTimes(state.times, times);
    state.findings.push(...file.findings);
    return state;
  }
}

function addTimes(sum: Record<string, number>, times: Readonly<Record<string, number>>): void {
  for (const [key, count] of Object.entries(times)) sum[key] = (sum[key] ?? 0) + count;
}
