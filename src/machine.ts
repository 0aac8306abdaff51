/**
 * Composition root: allocates the shared memory, starts one thread for each actor, watches them, and gathers what
 * they found. The only file that imports piscina.
 */
import { Piscina } from 'piscina';
import { hook, unhook } from './actors/introspector/hook.ts';
import type { ControlResult } from './actors/mmu/control.worker.ts';
import { allocateMemory, initializeVm } from './actors/mmu/create-vm.ts';
import { checkInvariants } from './actors/mmu/invariants.ts';
import { setMemoryRegion } from './actors/mmu/memslots.ts';
import { kick, makeRequest } from './actors/mmu/requests.ts';
import type { OracleFinding, Vm } from './actors/mmu/vm.ts';
import { startThread, type ThreadResult, type ThreadTask } from './actors/thread.ts';
import { SimError } from './shared/errors.ts';
import { CPU } from './shared/layout/cpu.ts';
import { type LayoutConfig, VCPU_LIMIT } from './shared/layout/machine.ts';
import { OUTSIDE_GUEST, REQ_STOP, type VCPU, VCPU_LOST, VCPU_STATE_NAMES } from './shared/layout/vcpu.ts';
import { STOP_NOW, STOP_ORDERLY } from './shared/layout/vm.ts';
import { Prng } from './shared/prng.ts';
import { REFERENCE_QUIRKS } from './shared/quirks.ts';
import { LOCK_CLASSES } from './shared/sync/lock-class.ts';
import { drive } from './shared/sync/point.ts';
import { STATS, STATS_BYTES, statsAddress } from './shared/sync/stats.ts';
import { STABLE_SLOT, STORM_GFNS, STORM_RAM_PAGES, VICTIM_SLOT } from './storm.ts';

export interface StormOptions {
  readonly vcpuCount: number;
  readonly seconds: number;
  readonly seed: bigint;
  readonly reference: boolean;
  readonly strict: boolean;
  readonly lockdep: boolean;
  /** Called about five times a second while the storm runs. */
  readonly onStatus?: (status: StormStatus) => void;
}

export interface StormStatus {
  readonly seconds: number;
  readonly accesses: bigint;
  readonly events: bigint;
  readonly slotChanges: number;
  readonly flushes: number;
}

type Counter = keyof typeof VCPU.at;

export interface LockReport {
  readonly name: string;
  readonly acquisitions: number;
  readonly contended: number;
  readonly waitNsMax: number;
  readonly holdNsMax: number;
}

export interface StormReport extends StormStatus {
  readonly seed: bigint;
  readonly vcpus: readonly { readonly index: number; readonly state: string; readonly accesses: bigint }[];
  /** Sums over the vCPUs. */
  readonly faults: Readonly<Record<'fast' | 'slow' | 'spurious' | 'retry' | 'mmio' | 'emulated', bigint>>;
  /** Per access kind R, W, X. */
  readonly answers: readonly {
    readonly access: 'R' | 'W' | 'X';
    readonly sent: bigint;
    readonly continued: bigint;
    readonly retried: bigint;
    readonly failedOpen: bigint;
  }[];
  readonly slots: Readonly<Record<'creates' | 'deletes' | 'moves' | 'flags' | 'failures', number>>;
  readonly acknowledgements: number;
  readonly flushWaitUsMax: number;
  readonly locks: readonly LockReport[];
  readonly checkRounds: number;
  readonly checks: Readonly<Record<string, number>>;
  readonly findings: readonly OracleFinding[];
}

const STATUS_EVERY_MS = 200;
/** No access, event or slot change for this long: something waits for itself. */
const STALL_MS = 10_000;
/** How long an actor may take to end once it was told to. */
const END_GRACE_MS = 5_000;

const worker = (path: string) =>
  new URL(`./actors/${path}${import.meta.url.slice(-3)}`, import.meta.url).href;

/**
 * Runs the bundled storm on real threads.
 *
 * @throws SimError SIM_CONFIG_RANGE for options the machine cannot be built with
 */
export async function runStorm(options: StormOptions): Promise<StormReport> {
  const { vcpuCount, seconds, reference, strict, lockdep } = options;
  if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > VCPU_LIMIT) {
    throw new SimError('SIM_CONFIG_RANGE', `${vcpuCount} vCPUs`, { hint: `choose 1 to ${VCPU_LIMIT}` });
  }
  if (!(seconds > 0 && seconds <= 86_400)) {
    throw new SimError('SIM_CONFIG_RANGE', `a run of ${seconds} seconds`, {
      hint: 'choose more than 0, at most 86400',
    });
  }
  const config: LayoutConfig = {
    vcpuCount,
    ramPages: STORM_RAM_PAGES,
    gfnCount: STORM_GFNS,
    accessLimit: STORM_GFNS,
    traceBytes: 0,
    actorCount: vcpuCount + 3,
  };
  const { memory } = allocateMemory(config);
  const seeds = new Prng(options.seed);
  const task = (actor: number, name: string): ThreadTask => ({
    memory,
    config,
    actor,
    name,
    seed: (BigInt(seeds.u32()) << 32n) | BigInt(seeds.u32()),
    lockdep,
  });
  const { vm, actor, findings } = startThread(task(vcpuCount + 2, 'machine'));
  const quirks = reference ? REFERENCE_QUIRKS : 0;
  drive(actor, initializeVm(actor, vm, { quirks, strict, checked: true }));
  for (const slot of [STABLE_SLOT, VICTIM_SLOT]) {
    const error = drive(actor, setMemoryRegion(actor, vm, slot));
    if (error !== 0) throw new SimError('SIM_MEMSLOT', `slot ${slot.id} refused: error ${error}`);
  }
  drive(actor, hook(actor, vm));

  const threads = vcpuCount + 2;
  const pool = new Piscina({
    minThreads: threads,
    maxThreads: threads,
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    atomics: 'disabled',
  });
  const began = performance.now();
  let last = { accesses: 0n, events: 0n, slotChanges: 0, at: began };
  const introspector = guard(
    pool.run(task(vcpuCount, 'introspector'), { filename: worker('introspector/introspector.worker') }),
  );
  const vcpus = Array.from({ length: vcpuCount }, (_, index) =>
    guard(pool.run(task(index, `vcpu ${index}`), { filename: worker('vcpu/vcpu.worker') })).then((result) => {
      if (result instanceof Error) lose(vm, index, findings, result);
      return result;
    }),
  );
  const control = guard(pool.run(task(vcpuCount + 1, 'control'), { filename: worker('mmu/control.worker') }));
  const everyone = Promise.all([introspector, control, ...vcpus]);

  let over = false;
  void everyone.then(() => {
    over = true;
  });
  while (!over && performance.now() - began < seconds * 1000) {
    const left = seconds * 1000 - (performance.now() - began);
    await Promise.race([everyone, delay(Math.min(STATUS_EVERY_MS, left))]);
    const status = readStatus(vm, (performance.now() - began) / 1000);
    options.onStatus?.(status);
    const moved =
      status.accesses !== last.accesses ||
      status.events !== last.events ||
      status.slotChanges !== last.slotChanges;
    if (moved) last = { ...status, at: performance.now() };
    else if (performance.now() - last.at > STALL_MS) {
      findings.push({ id: 'I10', detail: `nothing has moved for ${STALL_MS / 1000} s: ${whereabouts(vm)}` });
      break;
    }
  }

  // VM control first, then the vCPUs, then the introspector: nobody is left waiting for one who has gone.
  vm.mem.store(vm.word('STOP'), STOP_ORDERLY);
  await Promise.race([control, delay(END_GRACE_MS)]);
  for (let index = 0; index < vcpuCount; index++) {
    drive(actor, makeRequest(vm, index, REQ_STOP));
    drive(actor, kick(vm, index));
  }
  await Promise.race([everyone, delay(END_GRACE_MS)]);
  if (!over) {
    findings.push({ id: 'I10', detail: `actors did not end when told to: ${whereabouts(vm)}` });
    vm.mem.store(vm.word('STOP'), STOP_NOW);
    for (let index = 0; index < vcpuCount; index++) drive(actor, kick(vm, index));
    vm.mem.notify(vm.word('PARK'));
    await Promise.race([everyone, delay(END_GRACE_MS)]);
  }
  const ended = over;
  if (ended) {
    for (const result of await everyone) {
      if (result instanceof Error) continue;
      findings.push(...(result as ThreadResult).findings);
    }
  }
  const controlled = ended ? await control : null;
  await pool.destroy();

  const report = readReport(vm, options, (performance.now() - began) / 1000);
  const checks: Record<string, number> = {};
  if (ended) {
    // Every thread is gone; what they left behind must be in order, before and after unhook.
    for (const step of ['running', 'unhooked']) {
      if (step === 'unhooked') drive(actor, unhook(actor, vm));
      const last = drive(
        actor,
        checkInvariants(actor, vm, () => []),
      );
      for (const finding of last.findings)
        findings.push({ ...finding, detail: `at the end (${step}): ${finding.detail}` });
      for (const [id, count] of Object.entries(last.checks)) checks[id] = (checks[id] ?? 0) + count;
    }
  }
  let checkRounds = ended ? 2 : 0;
  if (controlled !== null && !(controlled instanceof Error)) {
    const result = controlled as ControlResult;
    checkRounds += result.rounds;
    for (const [id, count] of Object.entries(result.checks)) checks[id] = (checks[id] ?? 0) + count;
  }
  return { ...report, checkRounds, checks, findings };
}

/** A worker's end as a value: its result, or the error it died of. */
function guard(run: Promise<unknown>): Promise<unknown> {
  return run.catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
}

/** A vCPU thread died: nobody may wait for it any more. */
function lose(vm: Vm, index: number, findings: OracleFinding[], error: Error): void {
  const { mem } = vm;
  mem.store(vm.vcpuWord(index, 'STATE'), VCPU_LOST);
  mem.store(vm.vcpuWord(index, 'MODE'), OUTSIDE_GUEST);
  mem.add(vm.vcpuWord(index, 'OUTSIDE_COUNT'), 1);
  mem.notify(vm.vcpuWord(index, 'OUTSIDE_COUNT'));
  mem.add(vm.word('LIVE_VCPUS'), -1);
  mem.notify(vm.word('PARKED'));
  findings.push({
    id: 'SIM_VCPU_LOST',
    detail: `the thread of vCPU ${index} died: ${error.stack ?? error.message}`,
  });
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, Math.max(0, ms)).unref();
  });
}

function counter(vm: Vm, name: Counter, kind = 0): bigint {
  let sum = 0n;
  for (let index = 0; index < vm.vcpuCount; index++) sum += vm.mem.i64[vm.vcpuWord(index, name) / 8 + kind]!;
  return sum;
}

function retired(vm: Vm, index: number): bigint {
  return vm.mem.u64[(vm.cpu(index) + CPU.at.RETIRED) / 8]!;
}

function readStatus(vm: Vm, seconds: number): StormStatus {
  const word = (name: Parameters<Vm['word']>[0]) => vm.mem.load(vm.word(name));
  let accesses = 0n;
  for (let index = 0; index < vm.vcpuCount; index++) accesses += retired(vm, index);
  return {
    seconds,
    accesses,
    events: counter(vm, 'EVENTS_SENT', 0) + counter(vm, 'EVENTS_SENT', 1) + counter(vm, 'EVENTS_SENT', 2),
    slotChanges: word('SLOT_CREATES') + word('SLOT_DELETES') + word('SLOT_MOVES') + word('SLOT_FLAGS'),
    flushes: word('FLUSH_REQUESTS'),
  };
}

function readReport(
  vm: Vm,
  options: StormOptions,
  seconds: number,
): Omit<StormReport, 'checkRounds' | 'checks' | 'findings'> {
  const word = (name: Parameters<Vm['word']>[0]) => vm.mem.load(vm.word(name));
  return {
    ...readStatus(vm, seconds),
    seed: options.seed,
    vcpus: Array.from({ length: vm.vcpuCount }, (_, index) => ({
      index,
      state: VCPU_STATE_NAMES[vm.mem.load(vm.vcpuWord(index, 'STATE'))]!,
      accesses: retired(vm, index),
    })),
    faults: {
      fast: counter(vm, 'FAULTS_FAST'),
      slow: counter(vm, 'FAULTS_SLOW'),
      spurious: counter(vm, 'FAULTS_SPURIOUS'),
      retry: counter(vm, 'FAULTS_RETRY'),
      mmio: counter(vm, 'FAULTS_MMIO'),
      emulated: counter(vm, 'FAULTS_EMULATED'),
    },
    answers: (['R', 'W', 'X'] as const).map((access, kind) => ({
      access,
      sent: counter(vm, 'EVENTS_SENT', kind),
      continued: counter(vm, 'PF_CONTINUE', kind),
      retried: counter(vm, 'PF_RETRY', kind),
      failedOpen: counter(vm, 'PF_FAIL_OPEN', kind),
    })),
    slots: {
      creates: word('SLOT_CREATES'),
      deletes: word('SLOT_DELETES'),
      moves: word('SLOT_MOVES'),
      flags: word('SLOT_FLAGS'),
      failures: word('SLOT_FAILURES'),
    },
    acknowledgements: word('FLUSH_ACKS'),
    flushWaitUsMax: word('FLUSH_WAIT_US_MAX'),
    locks: lockReports(vm),
  };
}

function lockReports(vm: Vm): LockReport[] {
  const { stats, config } = vm.layout;
  return LOCK_CLASSES.map((cls) => {
    const report = { name: cls.name, acquisitions: 0, contended: 0, waitNsMax: 0, holdNsMax: 0 };
    for (let actor = 0; actor < config.actorCount; actor++) {
      const at = statsAddress(stats + actor * STATS_BYTES, cls);
      const value = (name: keyof typeof STATS.at) => vm.mem.f64[(at + STATS.at[name]) / 8]!;
      report.acquisitions += value('ACQUISITIONS');
      report.contended += value('CONTENDED');
      report.waitNsMax = Math.max(report.waitNsMax, value('WAIT_NS_MAX'));
      report.holdNsMax = Math.max(report.holdNsMax, value('HOLD_NS_MAX'));
    }
    return report;
  }).filter((report) => report.acquisitions > 0);
}

/** Who is where, for a report about a standstill. */
function whereabouts(vm: Vm): string {
  const { mem } = vm;
  const vcpus = Array.from({ length: vm.vcpuCount }, (_, index) => {
    const state = VCPU_STATE_NAMES[mem.load(vm.vcpuWord(index, 'STATE'))]!;
    const waiting = mem.load(vm.vcpuWord(index, 'WAITING'));
    return `vCPU ${index} ${state}${waiting === 1 ? `, waiting for the reply to event ${mem.load(vm.vcpuWord(index, 'REPLY_SEQ'))}` : ''}`;
  });
  return vcpus.join('; ');
}
