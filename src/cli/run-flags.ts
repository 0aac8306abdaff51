/** The flags of `faultline run`, and what they ask for. */
import type { KvmiOptions } from '../machine/kvmi-options.ts';
import type { MachineOptions } from '../machine/options.ts';
import { RAM_BYTES_DEFAULT } from '../machine/options.ts';
import { formatSize, parseDuration, parseSize } from '../shared/units.ts';
import { countOf, seed64 } from './flag-values.ts';
import { type Flag, type ParsedFlags, parseFlags, usage } from './flags.ts';
import { parseSerial, type SerialPlace } from './serial-line.ts';

const STORM_SECONDS = 5;

export const RUN_FLAGS: readonly Flag[] = [
  { name: 'smp', value: 'N', help: 'vCPUs, 1 to 16 (2)' },
  {
    name: 'mem',
    value: 'SIZE',
    also: ['m'],
    help: `guest RAM: 4096, 64M, 1G (${formatSize(RAM_BYTES_DEFAULT)}); -m 64 means 64M, as in QEMU`,
  },
  {
    name: 'kernel',
    value: 'IMAGE',
    help: 'run this static ELF64 file, or boot this Linux kernel (bzImage); without it, the bundled storm',
  },
  { name: 'initrd', value: 'FILE', help: "Linux' initial RAM disk" },
  { name: 'append', value: 'TEXT', help: "Linux' command line: console=ttyS0" },
  { name: 'board', help: 'give an ELF or flat image a PC too: APICs, timers, serial port, ACPI' },
  {
    name: 'serial',
    value: 'WHERE',
    help: 'the serial port of a PC: stdio, none, file:PATH, unix:PATH, listen:PATH (stdio)',
  },
  {
    name: 'clock',
    value: 'KIND',
    help: 'time of a PC: real, or virtual: a nanosecond per instruction, so that runs repeat (real)',
  },
  { name: 'flat', help: 'the image is plain code, loaded at 0x100000' },
  {
    name: 'seconds',
    value: 'S',
    help: `stop after that long: 5, 500ms, 2m (${STORM_SECONDS} for the storm)`,
  },
  { name: 'max-instructions', value: 'N', help: 'stop each vCPU when it has carried out so many' },
  { name: 'no-jit', help: 'interpret all guest code: slower, with the same results' },
  { name: 'jit-stats', help: 'say what was compiled, and how long the vCPUs stood still for it' },
  { name: 'seed', value: 'N', help: 'for all that is left to chance but the races: 1, 0x5eed (1)' },
  { name: 'tool', value: 'MODULE', help: 'introspection tool: a JavaScript module' },
  {
    name: 'kvmi',
    value: 'WHERE',
    help: 'serve a KVMI tool: unix:PATH connects to one, listen:PATH waits for one; the guest starts with it',
  },
  { name: 'wire', value: 'FORM', help: 'form of KVMI: 12, 7 (libkvmi, LibVMI), auto: as the tool does (12)' },
  { name: 'kvmi-nowait', help: 'start the guest before a tool has come' },
  { name: 'kvmi-key', value: 'SECRET', help: 'what the tool must know (nothing)' },
  { name: 'kvmi-command', value: 'NAMES', help: 'commands it may use, separated by commas (all)' },
  { name: 'kvmi-event', value: 'NAMES', help: 'events it may have, separated by commas (all)' },
  {
    name: 'pcap',
    value: 'FILE',
    help: 'write what the KVMI tool and the machine say to each other, for Wireshark (see wireshark/kvmi.lua)',
  },
  { name: 'reply-timeout', value: 'D', help: 'limit for each of its answers: 500ms, 2s (none)' },
  { name: 'stop-on-tool-failure', help: 'end the run when the tool fails; else it goes on un-introspected' },
  { name: 'strict', help: 'a lost connection means RETRY, not CONTINUE' },
  { name: 'reference', help: 'with the weaknesses of the reference design; expect findings' },
  { name: 'lockdep', help: 'check the lock rules at each acquisition' },
  { name: 'check-every', value: 'D', help: 'stop the world and check all invariants (250ms for the storm)' },
  {
    name: 'trace',
    value: 'FILE',
    help: 'write a trace for ui.perfetto.dev, or JSON lines if it ends in .jsonl',
  },
  { name: 'json', help: 'one JSON object a line' },
  { name: 'quiet', help: 'no status line' },
  { name: 'help', also: ['h'], help: 'this text' },
  // QEMU users write these; they ask for what is so anyway.
  { name: 'nographic' },
  { name: 'no-reboot' },
  { name: 'display', value: 'none' },
  { name: 'device', value: 'isa-debug-exit,iobase=0xf4,iosize=0x04' },
];

export interface RunRequest {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly jitStats: boolean;
  /** Null: the storm. */
  readonly kernel: string | null;
  /** For a Linux kernel. */
  readonly initrd: string | null;
  readonly append: string | null;
  readonly serial: SerialPlace;
  /** Where the tool on the wire is, if the guest waits for it. */
  readonly waitsForTool: string | null;
  readonly machine: Omit<MachineOptions, 'image' | 'program'>;
}

/** @throws SimError SIM_USAGE */
export function parseRun(words: readonly string[]): RunRequest {
  const flags = parseFlags(words, RUN_FLAGS);
  if (flags.positionals.length > 0) {
    throw usage(
      `'${flags.positionals[0]}' is no flag`,
      `an image is given as --kernel ${flags.positionals[0]}`,
    );
  }
  const kernel = flags.value('kernel') ?? null;
  contradictions(flags, kernel);
  harmless(flags, 'display', ['none']);
  harmless(flags, 'device', ['isa-debug-exit', 'isa-debug-exit,iobase=0xf4,iosize=0x04']);

  const seconds = flags.value('seconds');
  const runMs = seconds === undefined ? null : parseDuration(seconds, '--seconds');
  const replyTimeout = flags.value('reply-timeout');
  const checkEvery = flags.value('check-every');
  const limit = flags.value('max-instructions');
  const tool = flags.value('tool');
  const trace = flags.value('trace');
  const ramBytes = ramOf(flags);
  const defaultMs = kernel === null ? STORM_SECONDS * 1000 : null;
  return {
    json: flags.has('json'),
    quiet: flags.has('quiet'),
    jitStats: flags.has('jit-stats'),
    kernel,
    initrd: flags.value('initrd') ?? null,
    append: flags.value('append') ?? null,
    serial: parseSerial(flags.value('serial') ?? 'stdio'),
    waitsForTool: flags.has('kvmi-nowait') ? null : (flags.value('kvmi') ?? null),
    machine: {
      vcpuCount: vcpusOf(flags.value('smp') ?? '2'),
      ...(ramBytes === null ? {} : { ramBytes }),
      ...((runMs ?? defaultMs) === null ? {} : { runMs: (runMs ?? defaultMs)! }),
      // A storm goes on for as long as it is told to; a guest is expected to end.
      timeIsLimit: kernel !== null,
      seed: seed64(flags.value('seed') ?? '1'),
      strict: flags.has('strict'),
      reference: flags.has('reference'),
      lockdep: flags.has('lockdep'),
      jit: !flags.has('no-jit'),
      onToolFailure: flags.has('stop-on-tool-failure') ? 'stop' : 'continue',
      ...(flags.has('flat') ? { flat: true } : {}),
      ...(flags.has('board') ? { board: true } : {}),
      ...clockOf(flags.value('clock')),
      ...(limit === undefined ? {} : { instructionLimit: countOf(limit, '--max-instructions') }),
      ...(replyTimeout === undefined
        ? {}
        : { replyTimeoutMs: parseDuration(replyTimeout, '--reply-timeout') }),
      ...(checkEvery === undefined ? {} : { checkEveryMs: parseDuration(checkEvery, '--check-every') }),
      ...(tool === undefined ? {} : { tool: { module: tool } }),
      ...(trace === undefined ? {} : { trace }),
      ...kvmiOf(flags),
    },
  };
}

function clockOf(text: string | undefined): Pick<MachineOptions, 'clock'> {
  if (text === undefined) return {};
  if (text === 'real' || text === 'virtual') return { clock: text };
  throw usage(`--clock ${text}`, 'write real or virtual');
}

function kvmiOf(flags: ParsedFlags): Pick<MachineOptions, 'kvmi'> {
  const endpoint = flags.value('kvmi');
  if (endpoint === undefined) {
    for (const name of ['wire', 'kvmi-key', 'kvmi-command', 'kvmi-event', 'pcap']) {
      if (flags.value(name) === undefined) continue;
      throw usage(`--${name} without --kvmi`, 'say where the tool is');
    }
    return {};
  }
  const secret = flags.value('kvmi-key');
  const commands = flags.value('kvmi-command');
  const events = flags.value('kvmi-event');
  const wire = flags.value('wire');
  const pcap = flags.value('pcap');
  return {
    kvmi: {
      endpoint,
      ...(secret === undefined ? {} : { secret }),
      ...(commands === undefined ? {} : { commands: commands.split(',') }),
      ...(events === undefined ? {} : { events: events.split(',') }),
      // Checked where the machine is planned.
      ...(wire === undefined ? {} : { wire: wire as KvmiOptions['wire'] & {} }),
      ...(pcap === undefined ? {} : { pcap }),
    },
  };
}

function contradictions(flags: ParsedFlags, kernel: string | null): void {
  if (kernel !== null) {
    if (flags.value('tool') === undefined && flags.value('reply-timeout') !== undefined) {
      throw usage('--reply-timeout without a tool', 'say which one answers: --tool MODULE');
    }
    return;
  }
  for (const name of ['flat', 'board']) {
    if (flags.has(name)) throw usage(`--${name} without an image`, 'say which one: --kernel IMAGE');
  }
  for (const name of ['initrd', 'append', 'clock']) {
    if (flags.value(name) === undefined) continue;
    throw usage(`--${name} without a kernel`, 'say which one: --kernel FILE');
  }
  if (flags.value('tool') !== undefined) {
    throw usage('the storm brings its own tool', 'to run yours, say on which guest: --kernel IMAGE');
  }
  if (flags.value('kvmi') !== undefined) {
    throw usage('the storm brings its own tool', 'to serve yours, say on which guest: --kernel IMAGE');
  }
}

function harmless(flags: ParsedFlags, name: string, accepted: readonly string[]): void {
  const value = flags.value(name);
  if (value === undefined || accepted.includes(value)) return;
  throw usage(
    `-${name} ${value} is not supported`,
    `leave it out: what there is amounts to -${name} ${accepted[0]}`,
  );
}

/** `4`, and QEMU's `cpus=4`. */
function vcpusOf(text: string): number {
  const parts = /^(?:cpus=)?(\d{1,9})$/.exec(text);
  if (parts === null) {
    throw usage(`--smp: '${text}' is no number of vCPUs`, 'write --smp 2');
  }
  return Number(parts[1]);
}

function ramOf(flags: ParsedFlags): number | null {
  const text = flags.value('mem');
  if (text === undefined) return null;
  // QEMU counts a plain number in MiB.
  if (flags.byOtherName('mem') && /^\d{1,9}$/.test(text)) return Number(text) * 1024 ** 2;
  return parseSize(text, flags.byOtherName('mem') ? '-m' : '--mem');
}
