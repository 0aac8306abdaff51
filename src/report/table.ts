/** A run's report as text for people. */
import { formatError } from '../shared/errors.ts';
import { formatCount, formatNs, hex } from '../shared/units.ts';
import { invariantName } from './invariant-names.ts';
import type { Finding, RunReport } from './run-report.ts';

// LIMIT: findings printed in full. The first ones are what the later ones follow from.
const FINDINGS_SHOWN = 10;

export interface ReportOptions {
  /** With what the vCPUs have compiled. */
  readonly jitStats?: boolean;
}

/** Everything but the verdict, which is the last line of the output. */
export function reportText(report: RunReport, { jitStats = false }: ReportOptions = {}): string {
  return [
    ...vcpuLines(report),
    '',
    ...eventLines(report),
    '',
    `faults   ${pairs(report.faults)}`,
    `flushes  ${flushText(report)}`,
    `slots    ${pairs(report.slots)}`,
    '',
    ...lockLines(report),
    '',
    `checked  ${checkText(report)}`,
    ...(report.stateHash === null ? [] : [`state    ${report.stateHash}`]),
    ...opcodeLines(report),
    ...(jitStats ? ['', ...compiledLines(report)] : []),
    ...(report.trace === null ? [] : [traceText(report)]),
    ...findingLines(report.findings),
    ...(report.error === null ? [] : ['', formatError(report.error)]),
    '',
  ].join('\n');
}

function vcpuLines({ vcpus, seconds, seed }: RunReport): string[] {
  const rate = (instructions: number) =>
    seconds > 0 ? `${(instructions / seconds / 1e6).toFixed(2)} M/s` : '';
  const rows = vcpus.map((vcpu) => [
    `vCPU ${vcpu.index}`,
    vcpu.exitCode === null ? vcpu.state : `${vcpu.state} (${vcpu.exitCode})`,
    formatCount(vcpu.instructions),
    rate(vcpu.instructions),
    formatCount(vcpu.exceptions),
  ]);
  return [
    `ran ${seconds.toFixed(2)} s, seed ${hex(seed)}`,
    '',
    ...table([['', 'state', 'instructions', '', 'exceptions'], ...rows], 2),
  ];
}

function eventLines({ events, pauses }: RunReport): string[] {
  const names = { R: 'read', W: 'write', X: 'execute' } as const;
  const rows = events.map((e) => [
    names[e.access],
    ...[e.sent, e.continued, e.retried, e.crashed, e.unanswered].map(formatCount),
  ]);
  const lines = table([['events', 'sent', 'continue', 'retry', 'crash', 'unanswered'], ...rows], 1);
  return pauses === 0 ? lines : [...lines, `pauses   ${formatCount(pauses)}`];
}

function flushText({ flushes }: RunReport): string {
  return (
    `${formatCount(flushes.requests)} requests, ${formatCount(flushes.acknowledged)} acknowledgements, ` +
    `longest wait ${formatNs(flushes.waitNsMax)}`
  );
}

function lockLines({ locks }: RunReport): string[] {
  const rows = locks.map((lock) => [
    lock.name,
    formatCount(lock.acquisitions),
    formatCount(lock.waits),
    formatNs(lock.waitNsMax),
    formatNs(lock.holdNsMax),
  ]);
  return table([['locks', 'acquisitions', 'waits', 'longest wait', 'longest hold'], ...rows], 1);
}

function checkText({ checks }: RunReport): string {
  const ids = Object.entries(checks.facts).sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)));
  const skipped = checks.skipped === 0 ? '' : `, ${checks.skipped} skipped`;
  return `${checks.rounds} times${skipped}: ${ids.map(([id, count]) => `${id} ${formatCount(count)}`).join('  ')}`;
}

function compiledLines({ compiled }: RunReport): string[] {
  if (compiled.length === 0) return ['compiled nothing: everything was interpreted'];
  const rows = compiled.map((vcpu) => [
    `vCPU ${vcpu.vcpu}`,
    ...[vcpu.regions, vcpu.kept, vcpu.insns, vcpu.bytes, vcpu.keptBytes].map(formatCount),
    `${vcpu.ms.toFixed(1)} ms`,
    `${vcpu.msMax.toFixed(1)} ms`,
    formatCount(vcpu.longPauses),
  ]);
  const head = [
    'compiled',
    'regions',
    'kept',
    'instructions',
    'bytes',
    'kept',
    'took',
    'longest',
    'over 10 ms',
  ];
  return table([head, ...rows], 1);
}

function opcodeLines({ undefinedOpcodes, unknownPlaces }: RunReport): string[] {
  return [...namesLine('unknown', undefinedOpcodes), ...namesLine('absent', unknownPlaces)];
}

/** The most frequent first. */
function namesLine(title: string, counts: Readonly<Record<string, number>>): string[] {
  const names = Object.entries(counts).sort(([, a], [, b]) => b - a);
  if (names.length === 0) return [];
  return [`${title.padEnd(8)} ${names.map(([name, count]) => `${name} ${formatCount(count)}`).join('  ')}`];
}

function traceText({ trace }: RunReport): string {
  const { path, records, lost } = trace!;
  return `trace    ${path}: ${formatCount(records)} records${lost === 0 ? '' : `, ${formatCount(lost)} lost`}`;
}

function findingLines(findings: readonly Finding[]): string[] {
  const lines = findings.slice(0, FINDINGS_SHOWN).flatMap(({ id, detail, times }) => {
    const name = invariantName(id);
    const often = times === 1 ? '' : ` (${formatCount(times)} times)`;
    return ['', `finding ${id}${name === '' ? '' : `: ${name}`}${often}`, ...indent(detail)];
  });
  const more = findings.length - FINDINGS_SHOWN;
  return more > 0 ? [...lines, '', `and ${formatCount(more)} more`] : lines;
}

function indent(text: string): string[] {
  return text.split('\n').map((line) => `  ${line}`);
}

function pairs(record: Readonly<Record<string, number>>): string {
  return Object.entries(record)
    .map(([name, value]) => `${name} ${formatCount(value)}`)
    .join('  ');
}

/** Columns as wide as what is in them: the first `left` ones flush left, numbers flush right. */
export function table(rows: readonly (readonly string[])[], left: number): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column < left ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}
