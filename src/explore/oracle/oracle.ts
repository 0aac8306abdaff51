/** What an oracle is: an observer that is told, besides steps, what the machine's own code says about itself. */
import type { LockTraceKind } from '../../shared/sync/actor.ts';
import type { LockClass, LockMode } from '../../shared/sync/lock-class.ts';
import type { Execution, Observer } from '../engine/execution.ts';
import type { SessionCall } from '../world/recorded-session.ts';

/** A slice of the trace begins, ends; or something happens at one moment. */
export const FACT_BEGIN = 0;
export const FACT_END = 1;
export const FACT_INSTANT = 2;
export type FactPhase = typeof FACT_BEGIN | typeof FACT_END | typeof FACT_INSTANT;

/**
 * Facts, lock events and calls come only between the first step and the last, from the actor that takes the step.
 * `actor` is its number in the scenario's list.
 */
export interface Oracle extends Observer {
  /** The kinds of facts it wants to be told. */
  readonly kinds?: readonly number[];
  /** The kinds of points before and after which it looks. Default: all. */
  readonly looksAt?: readonly number[];
  /** What the trace would record; `kind` is a TRACE_* of shared/trace/kinds.ts, where its arguments are described. */
  fact?(
    execution: Execution,
    actor: number,
    phase: FactPhase,
    kind: number,
    a: number,
    b: number,
    c: number,
  ): void;
  /** As `LockTrace` of shared/sync/actor.ts. */
  lock?(
    execution: Execution,
    actor: number,
    event: LockTraceKind,
    cls: LockClass,
    addr: number,
    mode: LockMode,
    side: number,
  ): void;
  /** A session was called; again with a result when the call returns. */
  call?(execution: Execution, actor: number, call: SessionCall): void;
  /** An emulated access takes effect now. */
  effect?(execution: Execution, actor: number, vcpu: number, gpa: number, access: number): void;
}
