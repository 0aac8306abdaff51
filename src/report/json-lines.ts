/** A run as JSON lines: what began, what was found, what came out, the verdict last. Addresses and seeds are strings. */
import type { OracleFinding } from '../actors/mmu/vm.ts';
import { hex } from '../shared/units.ts';
import type { RunReport } from './run-report.ts';

export function startLine(start: {
  readonly version: string;
  readonly seed: bigint;
  readonly options: Readonly<Record<string, unknown>>;
}): string {
  return jsonLine({ event: 'start', ...start, seed: hex(start.seed) });
}

export function findingLine({ id, detail }: OracleFinding): string {
  return jsonLine({ event: 'finding', id, detail });
}

export function consoleLine(vcpu: number, text: string): string {
  return jsonLine({ event: 'console', vcpu, text });
}

export function serialLine(text: string): string {
  return jsonLine({ event: 'serial', text });
}

export function resultLine(report: RunReport): string {
  const { error, findings: _findings, verdict: _verdict, exitCode: _exitCode, seed, ...rest } = report;
  return jsonLine({
    event: 'result',
    seed: hex(seed),
    error: error === null ? null : { code: error.code, message: error.message, hint: error.hint },
    ...rest,
  });
}

export function verdictLine({ verdict, exitCode, findings }: RunReport, repeat: string | null): string {
  return jsonLine({
    event: 'verdict',
    exitCode,
    verdict,
    findings: findings.length,
    ...(repeat === null ? {} : { repeat }),
  });
}

/** One line of output. Numbers of 64 bits become strings like `0x5eed`. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? hex(part) : part))}\n`;
}
