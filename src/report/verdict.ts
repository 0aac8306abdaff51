/** How a run is judged: its exit code, and one line that says why. */
import { EXIT, type ExitCode, exitCodeOf, type SimError } from '../shared/errors.ts';
import type { Ending, Finding, VcpuReport } from './run-report.ts';

export interface Outcome {
  readonly ending: Ending;
  readonly error: SimError | null;
  readonly findings: readonly Finding[];
  readonly vcpus: readonly VcpuReport[];
}

/**
 * A lost thread is worse than a finding, because it may have caused it; a finding is worse than any other error.
 * A guest that says it failed, by its exit code, is a failed expectation: 1, like a failing test.
 */
export function judge({ ending, error, findings, vcpus }: Outcome): { exitCode: ExitCode; verdict: string } {
  const code = error === null ? EXIT.OK : exitCodeOf(error);
  if (error !== null && code === EXIT.BUG)
    return { exitCode: code, verdict: `${error.code}: ${error.message}` };
  if (findings.length > 0) {
    const ids = [...new Set(findings.map(({ id }) => id))].sort();
    return { exitCode: EXIT.FINDING, verdict: `${counted(findings.length, 'finding')}: ${ids.join(', ')}` };
  }
  if (error !== null) return { exitCode: code, verdict: `${error.code}: ${error.message}` };
  const failed = vcpus.filter(({ exitCode }) => exitCode !== null && exitCode !== 0);
  if (failed.length > 0) {
    const each = failed.map(({ index, exitCode }) => `vCPU ${index} exited with code ${exitCode}`);
    return { exitCode: EXIT.FINDING, verdict: `the guest says it failed: ${each.join(', ')}` };
  }
  return { exitCode: EXIT.OK, verdict: `${HOW[ending]}, all invariants held` };
}

const HOW: Readonly<Record<Ending, string>> = {
  exited: 'every vCPU exited with code 0',
  halted: 'every vCPU that did not exit halted',
  crashed: 'crashed',
  stopped: 'stopped',
  time: 'ran its time',
  limit: 'reached its limit',
  failed: 'failed',
  stalled: 'stalled',
};

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
