/** What every actor's thread begins with: the shared memory, its own identity, and a line to the main thread. */
import type { MessagePort } from 'node:worker_threads';
import type { SimError, SimErrorCode } from '../shared/errors.ts';
import type { MachineFacts } from '../shared/hub.ts';
import { type LayoutConfig, machineLayout } from '../shared/layout/machine.ts';
import type { SeenEdge } from '../shared/lockdep/lock-graph.ts';
import { LockValidator } from '../shared/lockdep/validator.ts';
import { Mem } from '../shared/mem.ts';
import { Actor } from '../shared/sync/actor.ts';
import { LockChecks, type LockFinding } from '../shared/sync/checks.ts';
import { adopt } from '../shared/sync/point.ts';
import { STATS_BYTES } from '../shared/sync/stats.ts';
import { TRACE_FINDING } from '../shared/trace/kinds.ts';
import { Tracer } from '../shared/trace/tracer.ts';
import { type OracleFinding, Vm } from './mmu/vm.ts';
import type { JitCounters } from './vcpu/jit/jit.api.ts';

/** Sent to a worker when it starts: plain data and the shared memory. */
export interface ThreadTask {
  readonly memory: WebAssembly.Memory;
  readonly config: LayoutConfig;
  /** Index of the actor among all of the machine, from 0: vCPUs first, then introspector, control, machine. */
  readonly actor: number;
  readonly name: string;
  /** Check the lock rules, and learn the order graph. */
  readonly lockdep: boolean;
  /** Facts, findings and failures go to the main thread through it, as {@link ThreadMessage}s. */
  readonly facts: MessagePort;
}

/** A `SimError` as it crosses threads. */
export interface ErrorNote {
  readonly code: SimErrorCode;
  readonly message: string;
  readonly hint: string;
  /** What the cause said of itself, or null. */
  readonly cause: string | null;
}

export type ThreadMessage =
  /** First of all: its modules are loaded. */
  | { readonly is: 'loaded' }
  | { readonly is: 'fact'; readonly name: keyof MachineFacts; readonly fact: unknown }
  | { readonly is: 'finding'; readonly finding: OracleFinding }
  /** A new edge of this thread's order graph. */
  | { readonly is: 'lockEdge'; readonly edge: SeenEdge }
  /** Undefined opcodes that a vCPU has met, by name. */
  | { readonly is: 'opcodes'; readonly counts: Readonly<Record<string, number>> }
  /** Ports and MSRs that are not there, and that a vCPU was asked for. */
  | { readonly is: 'unknown'; readonly counts: Readonly<Record<string, number>> }
  /** What a vCPU has compiled, when it ends. */
  | { readonly is: 'compiled'; readonly counters: JitCounters }
  /** The run goes on, but not as it was meant to. */
  | { readonly is: 'failure'; readonly error: ErrorNote };

export interface Identity {
  readonly vm: Vm;
  readonly actor: Actor;
}

export interface Thread extends Identity {
  announce<Name extends keyof MachineFacts>(name: Name, fact: MachineFacts[Name]): void;
  opcodes(counts: Readonly<Record<string, number>>): void;
  unknown(counts: Readonly<Record<string, number>>): void;
  compiled(counters: JitCounters): void;
  fail(error: SimError): void;
}

// LIMIT: findings that one actor reports. More of the same would only bury the first.
const FINDING_LIMIT = 20;

/** The same memory and layout, seen as actor number `task.actor`. */
export function identify(
  task: Omit<ThreadTask, 'facts'>,
  onFinding: (finding: OracleFinding) => void,
  onLockEdge: (edge: SeenEdge) => void = () => {},
): Identity {
  const layout = machineLayout(task.config);
  const vm = new Vm(new Mem(task.memory), layout);
  let findings = 0;
  vm.onFinding = (finding) => {
    findings += 1;
    if (findings > FINDING_LIMIT) return;
    onFinding(finding);
    actor.tracer?.instant(TRACE_FINDING, invariantNumber(finding.id));
  };
  const checks = task.lockdep
    ? new LockChecks({
        actor: task.name,
        validator: new LockValidator({ onEdge: onLockEdge }),
        onFinding: (finding) => {
          // Whoever has the edges of all threads finds the circles of this one among them.
          if (finding.rule !== 'CYCLE') vm.onFinding(lockFinding(finding));
        },
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
  return { vm, actor };
}

/** Begins a worker's work. */
export function startThread(task: ThreadTask): Thread {
  const send = (message: ThreadMessage) => task.facts.postMessage(message);
  send({ is: 'loaded' });
  const identity = identify(
    task,
    (finding) => send({ is: 'finding', finding }),
    // At once: a thread that waits for ever has said before what it waits for.
    (edge) => send({ is: 'lockEdge', edge }),
  );
  adopt(identity.actor);
  return {
    ...identity,
    announce: (name, fact) => send({ is: 'fact', name, fact }),
    opcodes: (counts) => send({ is: 'opcodes', counts }),
    unknown: (counts) => send({ is: 'unknown', counts }),
    compiled: (counters) => send({ is: 'compiled', counters }),
    fail: ({ code, message, hint, cause }) =>
      send({
        is: 'failure',
        error: { code, message, hint, cause: cause === undefined ? null : causeText(cause) },
      }),
  };
}

function lockFinding({ rule, actor, message, held, stack, details }: LockFinding): OracleFinding {
  const lines = [`held: ${held.join('; ') || 'nothing'}`, ...stack.split('\n'), ...details];
  return { id: `I11/${rule}`, detail: [`${actor}: ${message}`, ...lines].join('\n  ') };
}

function causeText(cause: unknown): string {
  if (cause instanceof Error) return cause.stack ?? `${cause.name}: ${cause.message}`;
  return typeof cause === 'object' && cause !== null ? 'a thrown object' : String(cause);
}

/** 11 for 'I11/L1'; 0 for a finding that is about no invariant. */
function invariantNumber(id: string): number {
  return Number(/^I(\d+)/.exec(id)?.[1] ?? 0);
}
