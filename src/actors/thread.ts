/** What every actor's thread begins with: the shared memory, its own identity, and where its findings go. */
import { type LayoutConfig, machineLayout } from '../shared/layout/machine.ts';
import { Mem } from '../shared/mem.ts';
import { Actor } from '../shared/sync/actor.ts';
import { LockChecks } from '../shared/sync/checks.ts';
import { STATS_BYTES } from '../shared/sync/stats.ts';
import { TRACE_FINDING } from '../shared/trace/kinds.ts';
import { Tracer } from '../shared/trace/tracer.ts';
import { type OracleFinding, Vm } from './mmu/vm.ts';

/** Sent to a worker when it starts: plain data and the shared memory. */
export interface ThreadTask {
  readonly memory: WebAssembly.Memory;
  readonly config: LayoutConfig;
  /** Index of the actor among all of the machine, from 0: vCPUs first, then control, receiver, machine. */
  readonly actor: number;
  readonly name: string;
  readonly seed: bigint;
  /** Check the lock rules, with the place where each lock was taken. */
  readonly lockdep: boolean;
}

/** What a worker's promise resolves to. */
export interface ThreadResult {
  readonly findings: readonly OracleFinding[];
}

export interface Thread {
  readonly vm: Vm;
  readonly actor: Actor;
  readonly findings: OracleFinding[];
}

/** More of the same would only bury the first. */
const FINDING_LIMIT = 20;

export function startThread(task: ThreadTask): Thread {
  const layout = machineLayout(task.config);
  const vm = new Vm(new Mem(task.memory), layout);
  const findings: OracleFinding[] = [];
  vm.onFinding = (finding) => {
    if (findings.length < FINDING_LIMIT) findings.push(finding);
    actor.tracer?.instant(TRACE_FINDING, invariantNumber(finding.id));
  };
  const checks = task.lockdep
    ? new LockChecks({
        actor: task.name,
        traceStacks: true,
        onFinding: (f) =>
          vm.onFinding({
            id: `I11/${f.rule}`,
            detail: `${f.actor}: ${f.message}\n  held: ${f.held.join('; ') || 'nothing'}\n  ${f.stack.replaceAll('\n', '\n  ')}`,
          }),
      })
    : null;
  const actor = new Actor({
    id: task.actor + 1,
    name: task.name,
    mem: vm.mem,
    checks,
    stats: layout.stats + task.actor * STATS_BYTES,
    clock: () => Number(process.hrtime.bigint()),
  });
  const { traceBytes } = task.config;
  if (traceBytes > 0) {
    const base = layout.traces + task.actor * traceBytes;
    actor.tracer = new Tracer({ mem: vm.mem, base, bytes: traceBytes, clock: actor.clock });
    actor.trace = actor.tracer.locks;
  }
  return { vm, actor, findings };
}

/** 11 for 'I11/L1'; 0 for a finding that is about no invariant. */
function invariantNumber(id: string): number {
  return Number(/^I(\d+)/.exec(id)?.[1] ?? 0);
}
