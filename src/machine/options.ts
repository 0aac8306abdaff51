/** What a machine is made of, as its owner says it; checked, and with everything filled in that was left out. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Allowed, KvmiPlan, ToolSource } from '../actors/introspector/introspector.api.ts';
import type { ScriptSource } from '../actors/mmu/control.api.ts';
import type { SlotRequest } from '../actors/mmu/memslots.ts';
import type { OracleFinding } from '../actors/mmu/vm.ts';
import type { PlatformOptions, ProgramSource } from '../actors/vcpu/vcpu.api.ts';
import { SimError } from '../shared/errors.ts';
import { type LayoutConfig, machineLayout, PAGE_BYTES, VCPU_LIMIT } from '../shared/layout/machine.ts';
import { SLOT_LOG_DIRTY, SLOT_READONLY } from '../shared/layout/memslot.ts';
import { ADDRESS_SPACES } from '../shared/layout/vm.ts';
import { DURATION_LIMIT_MS, formatSize } from '../shared/units.ts';
import { type KvmiOptions, planAllowed, planKvmi, unhookMsOf } from './kvmi-options.ts';

/** A stretch of guest physical memory: KVM_SET_USER_MEMORY_REGION, in bytes. All of it in whole pages of 4096. */
export interface MemoryRegion {
  /** Number of the memslot: 0 … 60, in each address space. */
  readonly slot: number;
  /** 0 (the default): normal; 1: system management mode. */
  readonly addressSpace?: number;
  readonly gpa: number;
  /** 0 deletes the slot. */
  readonly bytes: number;
  /** Where it begins in the machine's RAM; what userspace_addr is to KVM. `gpa` when absent. */
  readonly ramOffset?: number;
  readonly readonly?: boolean;
  readonly logDirty?: boolean;
}

/** What an oracle looks at when every vCPU has ended. */
export interface GuestEnd {
  readonly ram: Uint8Array;
  readonly vcpuCount: number;
  /** Per vCPU: did it end by itself, at a place of its own choice? */
  readonly exited: readonly boolean[];
}

/** What a boot loader would be told. Paths, or the files' bytes. */
export interface LinuxBoot {
  readonly kernel: string | Uint8Array;
  readonly initrd?: string | Uint8Array;
  readonly commandLine?: string;
}

export interface MachineOptions {
  /** 1 … 16. */
  readonly vcpuCount: number;
  /** Guest RAM. Default 64 MiB. */
  readonly ramBytes?: number;
  /** Guest physical address space: memory regions end below it. Default: twice the RAM. */
  readonly gpaBytes?: number;
  /** Memory at the start. Default: slot 0, all of the RAM from gpa 0 on. */
  readonly memory?: readonly MemoryRegion[];
  /** The program: a path, or the file's bytes. A static ELF64 file, or plain code with `flat`. */
  readonly image?: string | Uint8Array;
  readonly flat?: boolean;
  /** A Linux kernel (bzImage) in place of an image; the machine is a PC then. */
  readonly linux?: LinuxBoot;
  /** A PC: APICs, timers, a serial port, ACPI. Default: false, but true with `linux`. */
  readonly board?: boolean;
  /**
   * Course of time on a PC. 'real' (the default): the host's. 'virtual': a nanosecond per instruction, idle time passed
   * over, so that a run repeats; for one vCPU.
   */
  readonly clock?: 'real' | 'virtual';
  /** Written into RAM after the image; `offset` is into RAM, bytes. */
  readonly contents?: readonly { readonly offset: number; readonly data: Uint8Array }[];
  /**
   * Offset into RAM of a 32-bit word that the guest looks at: 1 asks it to exit. Without it a vCPU that is to stop
   * stops between any two instructions.
   */
  readonly stopWord?: number;
  /** Looks at what the guest left behind, once every vCPU has ended. */
  readonly oracle?: (end: GuestEnd) => readonly OracleFinding[];
  /** Lists of accesses in place of guest code. */
  readonly program?: ProgramSource;
  /** Is the machine introspected from the start? Default true. */
  readonly introspected?: boolean;
  /** A tool that answers events in the introspector's own thread: URL or path of its module, and what to give it. */
  readonly tool?: { readonly module: string | URL; readonly options?: unknown };
  /** A tool on the wire, in place of one in process: the machine is hooked when one has come. */
  readonly kvmi?: KvmiOptions;
  /** What VM control does while the machine runs. */
  readonly script?: { readonly module: string | URL; readonly options?: unknown };
  /** Limit for each answer of the tool, ms. Default: none. */
  readonly replyTimeoutMs?: number;
  /** A tool that failed: the machine goes on without introspection (default), or stops. */
  readonly onToolFailure?: 'continue' | 'stop';
  /** Reproduce the weaknesses of the reference design. Default false. */
  readonly reference?: boolean;
  /** A lost connection means RETRY, not CONTINUE, to who waits for an answer. Default false. */
  readonly strict?: boolean;
  /** Check the lock rules at each acquisition. Default false. */
  readonly lockdep?: boolean;
  /** Park the machine and check all its invariants this often, ms. Default: only when it has ended. */
  readonly checkEveryMs?: number;
  /** Stop in an orderly way after this time, ms. Default: run until the guest ends. */
  readonly runMs?: number;
  /** The guest should have ended before `runMs`: SIM_LIMIT if it has not. Default false. */
  readonly timeIsLimit?: boolean;
  /** Stop each vCPU when it has carried out so many instructions (SIM_LIMIT). */
  readonly instructionLimit?: number;
  /** Compile hot guest code. Default true; without, all of it is interpreted, with the same results. */
  readonly jit?: boolean;
  /** Everything that is left to chance, except how threads race. Unsigned 64 bits; default 1. */
  readonly seed?: bigint;
  /** File to write a trace of all actors to: Perfetto's format, or JSON lines if it ends in .jsonl. */
  readonly trace?: string;
}

/** Every choice made. */
export interface MachinePlan {
  readonly config: LayoutConfig;
  readonly ramBytes: number;
  readonly memory: readonly SlotRequest[];
  readonly image: string | Uint8Array | null;
  readonly flat: boolean;
  readonly linux: LinuxBoot | null;
  /** Null: the machine is bare. */
  readonly platform: PlatformOptions | null;
  readonly contents: NonNullable<MachineOptions['contents']>;
  readonly stopWord: number | null;
  readonly oracle: MachineOptions['oracle'] | null;
  readonly program: ProgramSource | null;
  readonly introspected: boolean;
  readonly tool: ToolSource | null;
  readonly kvmi: KvmiPlan | null;
  /** How long the end of the machine waits for a tool on the wire, ms; null without one. */
  readonly unhookMs: number | null;
  readonly allowed: Allowed;
  readonly script: ScriptSource | null;
  readonly replyTimeoutMs: number;
  readonly onToolFailure: 'continue' | 'stop';
  readonly reference: boolean;
  readonly strict: boolean;
  readonly lockdep: boolean;
  readonly checkEveryMs: number;
  readonly runMs: number;
  readonly timeIsLimit: boolean;
  readonly instructionLimit: number;
  readonly jit: boolean;
  readonly seed: bigint;
  readonly trace: string | null;
}

const MIB = 1024 ** 2;
export const RAM_BYTES_DEFAULT = 64 * MIB;
export const LINUX_RAM_BYTES_DEFAULT = 256 * MIB;
export const RAM_BYTES_MIN = MIB;
/** Host addresses are 31-bit numbers in the emulator core, and the tables need room below 2 GiB as well. */
export const RAM_BYTES_MAX = 1024 * MIB;
const MEMORY_BYTES_MAX = 2 ** 31;
/** Pages that can be restricted at one time. */
const ACCESS_LIMIT_MAX = 65_536;
/** Actors besides the vCPUs: introspector, VM control, the machine itself. */
export const OTHER_ACTORS = 3;

/** @throws SimError SIM_CONFIG_RANGE for a number out of range, SIM_USAGE for a combination that makes no sense */
export function planMachine(options: MachineOptions, traceBytes: number): MachinePlan {
  const { vcpuCount, linux } = options;
  const board = options.board ?? linux !== undefined;
  const { ramBytes = linux === undefined ? RAM_BYTES_DEFAULT : LINUX_RAM_BYTES_DEFAULT } = options;
  // The devices of a PC are above all RAM that there can be, and have no memory slots.
  const { gpaBytes = board ? ramBytes : 2 * ramBytes } = options;
  range('vCPUs', vcpuCount, 1, VCPU_LIMIT);
  size('RAM', ramBytes, options.program === undefined ? RAM_BYTES_MIN : PAGE_BYTES, RAM_BYTES_MAX);
  size('guest physical address space', gpaBytes, PAGE_BYTES, 4 * RAM_BYTES_MAX);
  const { runMs = Number.POSITIVE_INFINITY, replyTimeoutMs = Number.POSITIVE_INFINITY } = options;
  duration('a run', runMs);
  duration('a reply timeout', replyTimeoutMs);
  duration('time between checks', options.checkEveryMs ?? Number.POSITIVE_INFINITY);
  const { instructionLimit = Number.POSITIVE_INFINITY, seed = 1n } = options;
  if (!(instructionLimit >= 1)) {
    throw out(`a limit of ${instructionLimit} instructions`, 'give 1 or more');
  }
  if (seed !== BigInt.asUintN(64, seed)) throw out(`seed ${seed}`, 'give an unsigned 64-bit number');
  const introspected = options.introspected ?? true;
  contradictions(options, introspected);

  const gfnCount = gpaBytes / PAGE_BYTES;
  const config: LayoutConfig = {
    vcpuCount,
    ramPages: ramBytes / PAGE_BYTES,
    gfnCount,
    accessLimit: Math.min(gfnCount, ACCESS_LIMIT_MAX),
    traceBytes,
    actorCount: vcpuCount + OTHER_ACTORS,
    board,
  };
  const { bytes } = machineLayout(config);
  if (bytes >= MEMORY_BYTES_MAX) {
    throw out(
      `a machine of ${formatSize(ramBytes)} RAM and ${formatSize(gpaBytes)} of guest addresses`,
      'its tables do not fit into 2 GiB with it: give it less of either',
    );
  }
  const { script } = options;
  const memory = (options.memory ?? [{ slot: 0, gpa: 0, bytes: Math.min(ramBytes, gpaBytes) }]).map(
    slotRequest,
  );
  return {
    config,
    ramBytes,
    memory,
    image: options.image ?? null,
    flat: options.flat ?? false,
    linux: linux ?? null,
    platform: board ? planPlatform(options) : null,
    contents: (options.contents ?? []).map((part) => inside(part, ramBytes)),
    stopWord: options.stopWord ?? null,
    oracle: options.oracle ?? null,
    program: options.program ?? null,
    introspected,
    tool: options.tool === undefined ? null : source(options.tool),
    kvmi: options.kvmi === undefined ? null : planKvmi(options.kvmi, maxGpa(memory)),
    unhookMs: options.kvmi === undefined ? null : unhookMsOf(options.kvmi),
    allowed: planAllowed(options.kvmi),
    script: script === undefined ? null : { ...source(script), seed },
    replyTimeoutMs,
    onToolFailure: options.onToolFailure ?? 'continue',
    reference: options.reference ?? false,
    strict: options.strict ?? false,
    lockdep: options.lockdep ?? false,
    checkEveryMs: options.checkEveryMs ?? Number.POSITIVE_INFINITY,
    runMs,
    timeIsLimit: options.timeIsLimit ?? false,
    instructionLimit,
    jit: options.jit ?? true,
    seed,
    trace: options.trace ?? null,
  };
}

/** @source the epoch of virtual time: any would do, as long as it is always the same */
function planPlatform({ clock = 'real' }: MachineOptions): PlatformOptions {
  if (clock === 'virtual') return { clock: { kind: 'virtual' }, epochMs: Date.UTC(2026, 0, 1) };
  return { clock: { kind: 'real', base: process.hrtime.bigint() }, epochMs: Date.now() };
}

/** A region as the kernel's classification takes it. What is not a whole page becomes a fraction, which it refuses. */
export function slotRequest(region: MemoryRegion): SlotRequest {
  const { slot, addressSpace = 0, gpa, bytes, ramOffset = gpa } = region;
  return {
    id: slot,
    asId: addressSpace,
    flags: (region.readonly === true ? SLOT_READONLY : 0) | (region.logDirty === true ? SLOT_LOG_DIRTY : 0),
    baseGfn: gpa / PAGE_BYTES,
    npages: bytes / PAGE_BYTES,
    ramPage: ramOffset / PAGE_BYTES,
  };
}

/** First byte after the highest memory. */
function maxGpa(memory: readonly SlotRequest[]): number {
  return Math.max(0, ...memory.map(({ baseGfn, npages }) => (baseGfn + npages) * PAGE_BYTES));
}

/** For messages. */
export function describeRegion(region: SlotRequest): string {
  const space = region.asId === 0 ? '' : ` of address space ${region.asId}`;
  const bytes = region.npages * PAGE_BYTES;
  return `slot ${region.id}${space}: ${formatSize(bytes)} at gpa 0x${(region.baseGfn * PAGE_BYTES).toString(16)}`;
}

function contradictions(options: MachineOptions, introspected: boolean): void {
  if (options.image !== undefined && options.program !== undefined) {
    throw new SimError('SIM_USAGE', 'both an image and an access program', { hint: 'give one of them' });
  }
  const { linux, board, clock } = options;
  if (linux !== undefined && (options.image !== undefined || options.program !== undefined)) {
    throw new SimError('SIM_USAGE', 'a Linux kernel beside another program', { hint: 'give one of them' });
  }
  if (linux !== undefined && board === false) {
    throw new SimError('SIM_USAGE', 'a Linux kernel for a machine without a board', {
      hint: 'leave out `board: false`',
    });
  }
  if (clock !== undefined && linux === undefined && board !== true) {
    throw new SimError('SIM_USAGE', `a ${clock} clock for a machine without one`, {
      hint: 'give it a board as well',
    });
  }
  if (clock === 'virtual' && options.vcpuCount > 1) {
    throw new SimError('SIM_USAGE', `virtual time for ${options.vcpuCount} vCPUs`, {
      hint: 'give one vCPU: several would each have their own time',
    });
  }
  if (options.image === undefined && options.program === undefined && linux === undefined) {
    throw new SimError('SIM_USAGE', 'nothing to run', { hint: 'give an image' });
  }
  if (!introspected && options.tool !== undefined) {
    throw new SimError('SIM_USAGE', 'a tool for a machine that is not introspected', {
      hint: 'leave out `introspected: false`',
    });
  }
  if (options.kvmi !== undefined && (options.tool !== undefined || !introspected)) {
    throw new SimError('SIM_USAGE', 'a tool on the wire beside one in process, or none at all', {
      hint: 'give `kvmi` without `tool` and without `introspected: false`',
    });
  }
  if (options.kvmi !== undefined && options.replyTimeoutMs !== undefined) {
    throw new SimError('SIM_USAGE', 'a reply timeout for a tool on the wire', {
      hint: 'leave it out: such a tool may take its time',
    });
  }
  const spaces = options.memory?.map((region) => region.addressSpace ?? 0) ?? [];
  const wrong = spaces.find((space) => !(space >= 0 && space < ADDRESS_SPACES));
  if (wrong !== undefined) throw out(`address space ${wrong}`, 'there are 0 (normal) and 1 (SMM)');
}

function inside<Part extends { readonly offset: number; readonly data: Uint8Array }>(
  part: Part,
  ramBytes: number,
): Part {
  const { offset, data } = part;
  if (Number.isInteger(offset) && offset >= 0 && offset + data.length <= ramBytes) return part;
  throw out(`${data.length} bytes of contents at offset ${offset}`, `RAM has ${formatSize(ramBytes)}`);
}

function source({ module, options }: { module: string | URL; options?: unknown }): ToolSource {
  const href = module instanceof URL ? module.href : pathToFileURL(resolve(module)).href;
  return { href, options: options ?? null };
}

function range(what: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw out(`${value} ${what}`, `choose ${least} to ${most}`);
}

function size(what: string, bytes: number, least: number, most: number): void {
  if (Number.isInteger(bytes) && bytes >= least && bytes <= most && bytes % PAGE_BYTES === 0) return;
  throw out(
    `${what} of ${Number.isInteger(bytes) && bytes >= 0 ? formatSize(bytes) : bytes}`,
    `choose ${formatSize(least)} to ${formatSize(most)}, in whole pages of 4K`,
  );
}

function duration(what: string, ms: number): void {
  if (ms > 0 && (ms <= DURATION_LIMIT_MS || ms === Number.POSITIVE_INFINITY)) return;
  throw out(`${what} of ${ms} ms`, 'choose more than 0, at most 24 days');
}

function out(what: string, hint: string): SimError {
  return new SimError('SIM_CONFIG_RANGE', what, { hint });
}
