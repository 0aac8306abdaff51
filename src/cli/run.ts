/** `faultline run`: from flags to a machine, and from its report to output and exit code. */

import type { KvmiOptions } from '../machine/kvmi-options.ts';
import type { MachineOptions } from '../machine/options.ts';
import { Machine } from '../machine.ts';
import { consoleLine, findingLine, resultLine, startLine, verdictLine } from '../report/json-lines.ts';
import type { RunReport } from '../report/run-report.ts';
import { StatusLine, statusText } from '../report/status-line.ts';
import { reportText } from '../report/table.ts';
import { EXIT } from '../shared/errors.ts';
import { hex } from '../shared/units.ts';
import { stormOptions } from '../storm/storm.ts';
import { interruptible } from './interrupt.ts';
import { quoted } from './quoted.ts';
import { parseRun, type RunRequest } from './run-flags.ts';
import { version } from './version.ts';

/** @returns the exit code @throws SimError what keeps the run from starting */
export async function run(words: readonly string[]): Promise<number> {
  const request = parseRun(words);
  const options = machineOptions(request);
  const { json, quiet } = request;
  const out = (text: string) => process.stdout.write(text);
  if (json) {
    const { kvmi, ...machine } = request.machine;
    const shown = {
      ...machine,
      kernel: request.kernel,
      ...(kvmi === undefined ? {} : { kvmi: withoutSecret(kvmi) }),
    };
    out(startLine({ version: version(), seed: options.seed ?? 1n, options: shown }));
  }
  const machine = await Machine.create(options);
  const signal = interruptible(() => void machine.stop());
  let status: StatusLine | null = null;
  machine.on('finding', ({ id, title }) => {
    if (json) out(findingLine({ id, detail: title }));
  });
  machine.on('console', ({ vcpu, text }) => {
    status?.clear();
    out(json ? consoleLine(vcpu, text) : text);
  });
  machine.on('tool', ({ text }) => {
    status?.clear();
    process.stderr.write(`kvmi: ${text}\n`);
  });
  if (request.waitsForTool !== null) {
    if (!quiet)
      process.stderr.write(`kvmi: the guest starts when a tool has come: ${request.waitsForTool}\n`);
    await Promise.race([machine.introspector.connected(), machine.ended]);
  }
  if (signal.code === null) await machine.start();
  if (!quiet) status = new StatusLine(process.stderr, () => statusText(machine.status()));
  const report = await machine.ended;
  status?.end();
  const stoppedBy = signal.release();
  out(json ? resultLine(report) : reportText(report));
  const repeat = stoppedBy === null && report.exitCode !== EXIT.OK ? repeatCommand(words, report) : null;
  if (json) out(verdictLine(report, repeat));
  else out(`${repeat === null ? '' : `repeat: ${repeat}\n`}${report.verdict}\n`);
  return stoppedBy ?? report.exitCode;
}

function machineOptions({ kernel, machine }: RunRequest): MachineOptions {
  return kernel === null ? stormOptions(machine) : { ...machine, image: kernel };
}

function withoutSecret({ secret: _, ...shown }: KvmiOptions): KvmiOptions {
  return shown;
}

/** The same words, with the seed said outright, and no secret. */
function repeatCommand(words: readonly string[], report: RunReport): string {
  const seeded = words.some((word) => /^--?seed(=|$)/.test(word));
  const shown = words.map((word, i) => {
    if (/^--?kvmi-key=/.test(word)) return word.replace(/=.*/s, '=SECRET');
    return /^--?kvmi-key$/.test(words[i - 1] ?? '') ? 'SECRET' : word;
  });
  const all = seeded ? shown : [...shown, '--seed', hex(report.seed)];
  return ['faultline', 'run', ...all.map(quoted)].join(' ');
}
