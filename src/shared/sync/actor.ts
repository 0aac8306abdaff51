/**
 * Who is running: the identity a path carries through every lock it takes.
 *
 * One per thread in the parallel engine, one per coroutine in an explored run. Locks report to it before and after
 * what they do; it hands the report to the checker, the statistics and the trace, whichever are switched on.
 */
import type { Mem } from '../mem.ts';
import type { Tracer } from '../trace/tracer.ts';
import type { LockChecks } from './checks.ts';
import { DONE_KVMI, type LockClass, type LockMode } from './lock-class.ts';
import type { Waiter } from './point.ts';
import { LockStats } from './stats.ts';

export type LockTraceKind = 'acquire' | 'acquired' | 'release' | 'wait' | 'wake';
/** `side` is that of an SRCU section, otherwise 0. */
export type LockTrace = (
  kind: LockTraceKind,
  cls: LockClass,
  addr: number,
  mode: LockMode,
  side: number,
) => void;

export interface ActorOptions {
  /** From 1: it is stored in lock words, where 0 means nobody. Below 2^29. */
  readonly id: number;
  readonly name: string;
  readonly mem: Mem;
  readonly checks?: LockChecks | null;
  /** Address of this actor's statistics block, `STATS_BYTES` long, 8-aligned; 0 to keep none. */
  readonly stats?: number;
  /** Time for the statistics and for timeouts, ns. */
  readonly clock?: () => number;
  /** Looks at a busy spinning lock before sleeping on it. 0 when explored: a spin is only a longer schedule. */
  readonly spinLimit?: number;
  /** The quirk words of its machine (shared/quirks.ts): lock code looks here, for it knows no machine. */
  readonly quirks?: Int32Array | null;
}

export class Actor implements Waiter {
  readonly id: number;
  readonly name: string;
  readonly mem: Mem;
  readonly clock: () => number;
  readonly spinLimit: number;
  expect = 0;
  timeoutMs = Number.POSITIVE_INFINITY;
  checks: LockChecks | null;
  trace: LockTrace | null = null;
  /** Records what this actor does; null without a trace. Setting it does not set `trace`. */
  tracer: Tracer | null = null;
  readonly #quirks: Int32Array | null;
  readonly #stats: LockStats | null;

  constructor(opts: ActorOptions) {
    const { id, name, mem, checks = null, stats = 0, clock = () => 0, spinLimit = 50, quirks = null } = opts;
    this.id = id;
    this.name = name;
    this.mem = mem;
    this.clock = clock;
    this.spinLimit = spinLimit;
    this.checks = checks;
    this.#quirks = quirks;
    this.#stats = stats === 0 ? null : new LockStats(mem, stats, clock);
  }

  /** Is this deviation of the lock code switched on? */
  quirk(id: number): boolean {
    return this.#quirks !== null && (this.#quirks[id >>> 5]! & (1 << (id & 31))) !== 0;
  }

  /** Before the first attempt, so that an inversion is reported even if it deadlocks. */
  acquiring(cls: LockClass, addr: number, mode: LockMode): void {
    if (this.checks !== null) this.checks.acquiring(cls, addr, mode);
    if (this.trace !== null) this.trace('acquire', cls, addr, mode, 0);
  }

  /** The lock was busy. */
  waitBegins(cls: LockClass, addr: number, mode: LockMode): void {
    if (this.#stats !== null) this.#stats.waitBegins(cls);
    if (this.trace !== null) this.trace('wait', cls, addr, mode, 0);
  }

  waitEnds(cls: LockClass, addr: number, mode: LockMode): void {
    if (this.#stats !== null) this.#stats.waitEnds(cls);
    if (this.trace !== null) this.trace('wake', cls, addr, mode, 0);
  }

  /** `side` tells SRCU sections apart: the index that must be handed back. */
  acquired(cls: LockClass, addr: number, mode: LockMode, side = 0): void {
    if (this.checks !== null) this.checks.acquired(cls, addr, mode, side);
    if (this.#stats !== null) this.#stats.acquired(cls, side);
    if (this.trace !== null) this.trace('acquired', cls, addr, mode, side);
  }

  /** Got (`by` = 1) or is about to give back (−1) a KVMI reference, which is no lock but counts for the rules. */
  referenced(by: 1 | -1): void {
    if (this.checks !== null) {
      if (by > 0) this.checks.owes(DONE_KVMI);
      else this.checks.settles(DONE_KVMI);
    }
    if (this.#stats !== null) this.#stats.hold(DONE_KVMI, by);
  }

  /** Is about to wait for something that is no lock (kind 'event'), until {@link awaited}. */
  awaiting(cls: LockClass): void {
    if (this.checks !== null) this.checks.awaiting(cls);
    if (this.#stats !== null) this.#stats.waitBegins(cls);
  }

  awaited(cls: LockClass): void {
    if (this.#stats !== null) this.#stats.waitEnds(cls);
    if (this.checks !== null) this.checks.awaited();
  }

  /** Before the release becomes visible. */
  releasing(cls: LockClass, addr: number, mode: LockMode, side = 0): void {
    if (this.checks !== null) this.checks.releasing(cls, addr, mode, side);
    if (this.#stats !== null) this.#stats.releasing(cls, side);
    if (this.trace !== null) this.trace('release', cls, addr, mode, side);
  }
}
