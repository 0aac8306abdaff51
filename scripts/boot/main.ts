/**
 * Boots Debian's cloud kernel to a shell, types into it, and has it switch the machine off: `npm run boot`.
 *
 *   --smp 1,2,4        a boot for each (1)
 *   --mem 256M         RAM
 *   --clock KIND       real or virtual (virtual for one vCPU, real for more)
 *   --kernel FILE      not Debian's
 *   --busybox FILE     a static one, not Debian's
 *   --minutes N        limit for each boot (30)
 *   --short            only until the kernel has taken its console over: no interrupts, no user space, no shell. What CI
 *                      can afford
 *   --log              show what the guest says
 *
 * Each milestone is a line that the guest writes. A boot has succeeded when all of them came, in order, and the guest has
 * switched the machine off; with --short, when they came. The exit code says whether all did.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Machine } from '../../src/machine.ts';
import type { RunReport } from '../../src/report/run-report.ts';
import { parseSize } from '../../src/shared/units.ts';
import { debianBusybox, debianKernel } from './debian-files.ts';
import { INIT_RUNS, initramfs, SHELL_PROMPT } from './initramfs.ts';

interface Milestone {
  readonly name: string;
  readonly text: string;
  /** Typed when it has come. */
  readonly types?: string;
}

const COMMAND_LINE = 'earlyprintk=serial,ttyS0,115200 console=ttyS0 panic=-1';
const SHORT: readonly Milestone[] = [
  { name: 'kernel entered', text: 'Linux version' },
  { name: 'memory up', text: 'Memory: ' },
  { name: 'console taken over', text: 'printk: console [ttyS0] enabled' },
];
/** sha256 of "sum 42\n": nothing of it is echoed by the terminal. */
const DIGEST = '4e6f6c9203a4cb6a7c3f75e603325177ea6540051982a6ce093265d918383889';

function wholeBoot(vcpuCount: number): readonly Milestone[] {
  const brought = `smp: Brought up 1 node, ${vcpuCount} CPU`;
  return [
    ...SHORT,
    { name: 'processors up', text: brought },
    { name: 'serial driver', text: 'ttyS0 at I/O 0x3f8' },
    { name: 'user space', text: 'Run /init as init process' },
    { name: 'init runs', text: INIT_RUNS },
    { name: 'processors seen', text: `${vcpuCount} of ${vcpuCount} processors` },
    { name: 'shell prompt', text: SHELL_PROMPT, types: 'echo sum $((6 * 7)) | sha256sum\n' },
    { name: 'shell computes', text: DIGEST, types: 'cat /proc/interrupts; free; poweroff -f\n' },
    { name: 'power down', text: 'reboot: Power down' },
  ];
}

interface Boot {
  readonly vcpuCount: number;
  readonly ramBytes: number;
  readonly clock: 'real' | 'virtual';
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly minutes: number;
  readonly short: boolean;
  readonly log: boolean;
}

async function boot(options: Boot): Promise<boolean> {
  const { vcpuCount, ramBytes, clock, kernel, initrd, short, log } = options;
  const awaited = [...(short ? SHORT : wholeBoot(vcpuCount))];
  say(`boot with ${vcpuCount} vCPU${vcpuCount > 1 ? 's' : ''}, ${clock} time`);
  const machine = await Machine.create({
    vcpuCount,
    ramBytes,
    clock,
    introspected: false,
    runMs: options.minutes * 60_000,
    timeIsLimit: true,
    linux: { kernel, initrd, commandLine: COMMAND_LINE },
  });
  const started = performance.now();
  const decoder = new TextDecoder();
  let pending = '';
  machine.on('serial', ({ bytes }) => {
    const text = decoder.decode(bytes, { stream: true });
    if (log) process.stdout.write(text);
    pending += text;
    for (let next = awaited[0]; next !== undefined; next = awaited[0]) {
      const at = pending.indexOf(next.text);
      if (at < 0) break;
      pending = pending.slice(at + next.text.length);
      awaited.shift();
      say(`  ${seconds(started)}  ${millions(machine.status().instructions)}  ${next.name}`);
      if (next.types !== undefined) machine.sendSerial(new TextEncoder().encode(next.types));
      if (awaited.length === 0 && short) void machine.stop();
    }
  });
  await machine.start();
  const report = await machine.ended;
  return judge(report, awaited, { short, started });
}

function judge(
  report: RunReport,
  missing: readonly Milestone[],
  { short, started }: { short: boolean; started: number },
): boolean {
  const ended = short ? report.ending === 'stopped' : report.ending === 'exited';
  const good = missing.length === 0 && ended && report.findings.length === 0;
  const rss = Math.round(process.memoryUsage.rss() / 1024 ** 2);
  say(`  ${seconds(started)}  ${millions(report.instructions)}  ${report.ending}; ${rss} MiB resident`);
  const names = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, times]) => `${name} ×${times}`)
      .join(', ');
  if (Object.keys(report.undefinedOpcodes).length > 0) say(`  unknown: ${names(report.undefinedOpcodes)}`);
  if (Object.keys(report.unknownPlaces).length > 0) say(`  absent:  ${names(report.unknownPlaces)}`);
  if (good) return true;
  for (const { id, detail } of report.findings) say(`  ${id}: ${detail}`);
  if (report.error !== null) say(`  ${report.error.code}: ${report.error.message}`);
  if (missing[0] !== undefined) say(`  never came: ${missing[0].name} ("${missing[0].text}")`);
  say(report.console.slice(-2000));
  return false;
}

function seconds(started: number): string {
  return `${((performance.now() - started) / 1000).toFixed(1).padStart(7)} s`;
}

function millions(instructions: number): string {
  return `${Math.round(instructions / 1e6)
    .toString()
    .padStart(6)} M instructions`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const { values } = parseArgs({
  options: {
    smp: { type: 'string', default: '1' },
    mem: { type: 'string', default: '256M' },
    clock: { type: 'string' },
    kernel: { type: 'string' },
    busybox: { type: 'string' },
    minutes: { type: 'string', default: '30' },
    short: { type: 'boolean', default: false },
    log: { type: 'boolean', default: false },
  },
});
const kernel = readFileSync(values.kernel ?? debianKernel());
const initrd = initramfs(readFileSync(values.busybox ?? debianBusybox()));
let failed = 0;
for (const vcpuCount of values.smp.split(',').map(Number)) {
  const clock = values.clock ?? (vcpuCount === 1 ? 'virtual' : 'real');
  if (clock !== 'real' && clock !== 'virtual') throw new Error(`--clock ${clock}: write real or virtual`);
  const good = await boot({
    vcpuCount,
    ramBytes: parseSize(values.mem, '--mem'),
    clock,
    kernel,
    initrd,
    minutes: Number(values.minutes),
    short: values.short,
    log: values.log,
  });
  if (!good) failed += 1;
}
say(failed === 0 ? 'booted' : `${failed} boot${failed > 1 ? 's' : ''} failed`);
process.exitCode = failed === 0 ? 0 : 1;
