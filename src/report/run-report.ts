/** What a run was: numbers read from the machine's shared memory, and how it ended. */
import type { OracleFinding, Vm } from '../actors/mmu/vm.ts';
import type { JitCounters } from '../actors/vcpu/jit/jit.api.ts';
import type { ExitCode, SimError } from '../shared/errors.ts';
import { CPU } from '../shared/layout/cpu.ts';
import { type VCPU, VCPU_EXITED, VCPU_STATE_NAMES } from '../shared/layout/vcpu.ts';
import { type LockTimes, lockTimesOf } from '../shared/sync/lock-times.ts';
import type { TraceSummary } from '../shared/trace/collector.ts';

/** Why a run ended. */
export type Ending =
  /** Every vCPU has ended by itself. */
  | 'exited'
  /** Every vCPU stands at HLT, and nothing can wake it. */
  | 'halted'
  /** Triple fault, or CRASH. */
  | 'crashed'
  /** `stop` was called. */
  | 'stopped'
  /** The time it was given is over. */
  | 'time'
  /** A limit on instructions. */
  | 'limit'
  /** An actor was lost, or the tool failed and the machine was to stop then. */
  | 'failed'
  /** Something waited for itself. */
  | 'stalled';

export interface VcpuReport {
  readonly index: number;
  /** One of VCPU_STATE_NAMES. */
  readonly state: string;
  /** What the guest wrote to the exit port; null if it did not. */
  readonly exitCode: number | null;
  readonly instructions: number;
  readonly exceptions: number;
}

/** Page-fault events of one access kind. */
export interface EventReport {
  readonly access: 'R' | 'W' | 'X';
  readonly sent: number;
  readonly continued: number;
  readonly retried: number;
  readonly crashed: number;
  /** Ended without an answer: the connection was lost. */
  readonly unanswered: number;
}

/** Counts so far, while the machine runs or after. */
export interface Counters {
  readonly instructions: number;
  readonly vcpus: readonly VcpuReport[];
  readonly events: readonly EventReport[];
  readonly pauses: number;
  /** By what became of them. */
  readonly faults: Readonly<Record<'fast' | 'slow' | 'spurious' | 'retry' | 'mmio' | 'emulated', number>>;
  readonly flushes: { readonly requests: number; readonly acknowledged: number; readonly waitNsMax: number };
  readonly slots: Readonly<Record<'created' | 'deleted' | 'moved' | 'reflagged' | 'failed', number>>;
  readonly locks: readonly LockTimes[];
}

/** An oracle that fired, however often it said the same. */
export interface Finding extends OracleFinding {
  readonly times: number;
}

export interface CheckReport {
  /** Times the whole machine was looked at. */
  readonly rounds: number;
  /** Times it could not be: a vCPU was with the tool for too long. */
  readonly skipped: number;
  /** Single facts looked at, per invariant. */
  readonly facts: Readonly<Record<string, number>>;
}

export interface RunReport extends Counters {
  readonly ending: Ending;
  /** What kept the run from being what it was meant to be, or null. */
  readonly error: SimError | null;
  /** Oracles that fired, in the order in which they did first. */
  readonly findings: readonly Finding[];
  readonly seconds: number;
  readonly seed: bigint;
  readonly checks: CheckReport;
  /** Instructions that the machine does not know, by name: the guest got #UD for them. */
  readonly undefinedOpcodes: Readonly<Record<string, number>>;
  /** Ports and MSRs that are not there and were asked for, by name: how often. */
  readonly unknownPlaces: Readonly<Record<string, number>>;
  /** What the vCPUs have compiled; empty without the JIT. */
  readonly compiled: readonly JitCounters[];
  /** What the guest wrote to its console and its serial port, vCPUs mixed as their lines came. */
  readonly console: string;
  readonly trace: TraceSummary | null;
  /** Hash over the whole state at the end; null when threads were ended by force, so that nothing is at rest. */
  readonly stateHash: string | null;
  /** What the command line ends with. */
  readonly exitCode: ExitCode;
  /** One line. */
  readonly verdict: string;
}

export function readCounters(vm: Vm): Counters {
  const word = (name: Parameters<Vm['word']>[0]) => vm.mem.load(vm.word(name));
  const vcpus = Array.from({ length: vm.vcpuCount }, (_, index) => readVcpu(vm, index));
  return {
    instructions: vcpus.reduce((total, { instructions }) => total + instructions, 0),
    vcpus,
    events: (['R', 'W', 'X'] as const).map((access, kind) => ({
      access,
      sent: sum(vm, 'EVENTS_SENT', kind),
      continued: sum(vm, 'PF_CONTINUE', kind),
      retried: sum(vm, 'PF_RETRY', kind),
      crashed: sum(vm, 'PF_CRASH', kind),
      unanswered: sum(vm, 'PF_FAIL_OPEN', kind),
    })),
    pauses: sum(vm, 'PAUSES'),
    faults: {
      fast: sum(vm, 'FAULTS_FAST'),
      slow: sum(vm, 'FAULTS_SLOW'),
      spurious: sum(vm, 'FAULTS_SPURIOUS'),
      retry: sum(vm, 'FAULTS_RETRY'),
      mmio: sum(vm, 'FAULTS_MMIO'),
      emulated: sum(vm, 'FAULTS_EMULATED'),
    },
    flushes: {
      requests: word('FLUSH_REQUESTS'),
      acknowledged: word('FLUSH_ACKS'),
      waitNsMax: word('FLUSH_WAIT_US_MAX') * 1000,
    },
    slots: {
      created: word('SLOT_CREATES'),
      deleted: word('SLOT_DELETES'),
      moved: word('SLOT_MOVES'),
      reflagged: word('SLOT_FLAGS'),
      failed: word('SLOT_FAILURES'),
    },
    locks: lockTimesOf(vm.mem, vm.layout.stats, vm.layout.config.actorCount),
  };
}

/** Instructions of all vCPUs so far: cheap enough for a look every few milliseconds. */
export function instructionsOf(vm: Vm): number {
  let total = 0;
  for (let index = 0; index < vm.vcpuCount; index++) total += retired(vm, index);
  return total;
}

function retired(vm: Vm, index: number): number {
  return Number(vm.mem.u64[(vm.cpu(index) + CPU.at.RETIRED) / 8]!);
}

function readVcpu(vm: Vm, index: number): VcpuReport {
  const state = vm.mem.load(vm.vcpuWord(index, 'STATE'));
  return {
    index,
    state: VCPU_STATE_NAMES[state] ?? `state ${state}`,
    exitCode: state === VCPU_EXITED ? vm.mem.load(vm.vcpuWord(index, 'EXIT_CODE')) : null,
    instructions: retired(vm, index),
    exceptions: Number(vm.mem.i64[vm.vcpuWord(index, 'GUEST_EXCEPTIONS') / 8]!),
  };
}

function sum(vm: Vm, name: keyof typeof VCPU.at, kind = 0): number {
  let total = 0n;
  for (let index = 0; index < vm.vcpuCount; index++)
    total += vm.mem.i64[vm.vcpuWord(index, name) / 8 + kind]!;
  return Number(total);
}
