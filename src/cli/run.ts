/** `faultline run`: from flags to a machine, and from its report to output and exit code. */

import { isBzImage } from '../image/linux.ts';
import { readGuestFile } from '../image/load.ts';
import type { KvmiOptions } from '../machine/kvmi-options.ts';
import type { LinuxBoot, MachineOptions } from '../machine/options.ts';
import { Machine } from '../machine.ts';
import {
  consoleLine,
  findingLine,
  resultLine,
  serialLine,
  startLine,
  verdictLine,
} from '../report/json-lines.ts';
import type { RunReport } from '../report/run-report.ts';
import { StatusLine, statusText } from '../report/status-line.ts';
import { reportText } from '../report/table.ts';
import { EXIT, type SimError } from '../shared/errors.ts';
import { hex } from '../shared/units.ts';
import { stormOptions } from '../storm/storm.ts';
import { usage } from './flags.ts';
import { interruptible } from './interrupt.ts';
import { quoted } from './quoted.ts';
import { parseRun, type RunRequest } from './run-flags.ts';
import { openSerial } from './serial-line.ts';
import { version } from './version.ts';

/** @returns the exit code @throws SimError what keeps the run from starting */
export async function run(words: readonly string[]): Promise<number> {
  const request = parseRun(words);
  const options = machineOptions(request);
  const { json, quiet, jitStats } = request;
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
  const { serial } = request;
  let broken: SimError | null = null;
  const line =
    options.linux === undefined && options.board !== true
      ? null
      : await openSerial(serial, machine, (error) => {
          broken ??= error;
          void machine.stop();
        });
  const decoder = new TextDecoder();
  machine.on('serial', ({ bytes }) => {
    if (json) out(serialLine(decoder.decode(bytes, { stream: true })));
    if (!json || serial.kind !== 'stdio') line?.send(bytes);
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
  const interactive = line !== null && serial.kind === 'stdio';
  if (!quiet && !interactive) status = new StatusLine(process.stderr, () => statusText(machine.status()));
  const report = await machine.ended;
  status?.end();
  await line?.close();
  if (broken !== null) throw broken;
  const stoppedBy = signal.release();
  out(json ? resultLine(report) : reportText(report, { jitStats }));
  const repeat = stoppedBy === null && report.exitCode !== EXIT.OK ? repeatCommand(words, report) : null;
  if (json) out(verdictLine(report, repeat));
  else out(`${repeat === null ? '' : `repeat: ${repeat}\n`}${report.verdict}\n`);
  return stoppedBy ?? report.exitCode;
}

function machineOptions({ kernel, initrd, append, machine }: RunRequest): MachineOptions {
  if (kernel === null) return stormOptions(machine);
  const image = readGuestFile(kernel, '--kernel');
  if (isBzImage(image)) {
    const linux: LinuxBoot = {
      kernel: image,
      ...(initrd === null ? {} : { initrd }),
      ...(append === null ? {} : { commandLine: append }),
    };
    return { ...machine, linux };
  }
  for (const [name, value] of Object.entries({ initrd, append })) {
    if (value !== null) throw usage(`--${name} for an image that is no Linux kernel`, `leave it out`);
  }
  return { ...machine, image };
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
