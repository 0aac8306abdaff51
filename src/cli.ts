#!/usr/bin/env node
/** The command line: flags → options → storm → report → exit code. */
import { parseArgs } from 'node:util';
import { runStorm, type StormReport } from './machine.ts';
import { EXIT, SimError } from './shared/errors.ts';

const HELP = `faultline storm [--smp N] [--seconds S] [--seed N] [--json] [--lockdep] [--reference] [--strict]

Several vCPU threads read, write and execute restricted pages while memslots vanish and return
and the introspector answers. Exit code 0: every invariant held; 1: a finding; 2: bad usage.`;

async function main(argv: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      smp: { type: 'string', default: '2' },
      seconds: { type: 'string', default: '3' },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      lockdep: { type: 'boolean', default: false },
      reference: { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const [command = 'storm', ...rest] = positionals.filter((word, index) => index > 0 || word !== 'storm');
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return EXIT.OK;
  }
  if (command !== 'storm' || rest.length > 0) {
    throw new SimError('SIM_USAGE', `unknown command '${[command, ...rest].join(' ')}'`, {
      hint: 'there is: storm',
    });
  }
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(values.seed)) {
    throw new SimError('SIM_USAGE', `seed '${values.seed}' is no number`, { hint: 'write 123 or 0x7b' });
  }
  const seed = BigInt(values.seed);
  const report = await runStorm({
    vcpuCount: Number(values.smp),
    seconds: Number(values.seconds),
    seed,
    reference: values.reference,
    strict: values.strict,
    lockdep: values.lockdep,
    onStatus: (s) => {
      const line = `${s.seconds.toFixed(1)} s  ${s.accesses} accesses  ${s.events} events  ${s.slotChanges} slot changes  ${s.flushes} flushes`;
      process.stderr.write(process.stderr.isTTY ? `\r${line}\x1b[K` : `${line}\n`);
    },
  });
  if (process.stderr.isTTY) process.stderr.write('\n');
  const text = (_key: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value);
  process.stdout.write(values.json ? `${JSON.stringify(report, text)}\n` : table(report));
  if (report.findings.length === 0) return EXIT.OK;
  if (!values.json)
    process.stdout.write(`repeat: faultline storm ${argv.filter((word) => word !== 'storm').join(' ')}\n`);
  return EXIT.FINDING;
}

function table(report: StormReport): string {
  const lines = [`storm of ${report.seconds.toFixed(1)} s, seed ${report.seed}`];
  for (const vcpu of report.vcpus)
    lines.push(`  vCPU ${vcpu.index}  ${vcpu.state}  ${vcpu.accesses} accesses`);
  lines.push('events   sent  continue  retry  fail-open');
  for (const a of report.answers) {
    lines.push(`  ${a.access}  ${a.sent}  ${a.continued}  ${a.retried}  ${a.failedOpen}`);
  }
  const pairs = (record: Readonly<Record<string, unknown>>) =>
    Object.entries(record)
      .map(([name, value]) => `${name} ${value}`)
      .join('  ');
  lines.push(`faults   ${pairs(report.faults)}`);
  lines.push(`slots    ${pairs(report.slots)}`);
  lines.push(
    `flushes  ${report.flushes} requests, ${report.acknowledgements} acknowledged, longest wait ${report.flushWaitUsMax} us`,
  );
  lines.push('locks    acquisitions  waits  longest wait us  longest hold us');
  for (const lock of report.locks) {
    const us = (ns: number) => (ns / 1000).toFixed(0);
    lines.push(
      `  ${lock.name.padEnd(18)} ${lock.acquisitions}  ${lock.contended}  ${us(lock.waitNsMax)}  ${us(lock.holdNsMax)}`,
    );
  }
  lines.push(`checked  ${report.checkRounds} rounds: ${pairs(report.checks)}`);
  for (const finding of report.findings) lines.push(`FINDING ${finding.id}: ${finding.detail}`);
  lines.push(report.findings.length === 0 ? 'all invariants held' : `${report.findings.length} findings`);
  return `${lines.join('\n')}\n`;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const usage = error instanceof TypeError && 'code' in error;
  if (error instanceof SimError) process.stderr.write(`${error.code}: ${error.message}\n`);
  else if (usage) process.stderr.write(`SIM_USAGE: ${error.message}\n${HELP}\n`);
  else process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = error instanceof SimError || usage ? EXIT.USAGE : EXIT.BUG;
}
