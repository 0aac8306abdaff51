/**
 * All oracles of a world as one observer, and the wires to them: tracers, lock hooks, session calls.
 *
 * The machine's code knows nothing of oracles. It says what it does to its actors' tracers and lock hooks, which are
 * absent when nobody listens; here they lead to the oracles.
 */

import type { LockTrace } from '../../shared/sync/actor.ts';
import { kindOf, POINT_KINDS } from '../../shared/sync/point.ts';
import { TRACE_KINDS } from '../../shared/trace/kinds.ts';
import type { Execution, Observer } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import { FactTracer } from './fact-tracer.ts';
import type { Oracle } from './oracle.ts';
import { numberOf } from './who.ts';

/** Where the tracer and the lock hook of one actor lead. */
interface Wires {
  readonly tracer: FactTracer;
  readonly locks: LockTrace;
}

/** One observer in front of several oracles. For one world; may see any number of its executions, one after another. */
export class OracleBundle implements Observer {
  readonly oracles: readonly Oracle[];
  readonly before?: (execution: Execution, actor: number, point: number) => void;
  readonly after?: (execution: Execution, actor: number, point: number) => void;
  readonly woken?: (execution: Execution, sleeper: number, waker: number) => void;
  readonly #world: World;
  readonly #wires: Wires[] = [];
  /** By kind. */
  readonly #facts: readonly (readonly NonNullable<Oracle['fact']>[])[];
  readonly #locks: readonly NonNullable<Oracle['lock']>[];
  readonly #calls: readonly Oracle[];
  readonly #effects: readonly Oracle[];
  /** Null outside of an execution: what a check does afterwards concerns nobody. */
  #execution: Execution | null = null;

  constructor(world: World, oracles: readonly Oracle[]) {
    const having = (hook: keyof Oracle) => oracles.filter((oracle) => oracle[hook] !== undefined);
    this.oracles = oracles;
    this.#world = world;
    this.#facts = TRACE_KINDS.map(({ id }) =>
      having('fact')
        .filter(({ kinds = [] }) => kinds.includes(id))
        .map((oracle) => oracle.fact!.bind(oracle)),
    );
    this.#locks = having('lock').map((oracle) => oracle.lock!.bind(oracle));
    this.#calls = having('call');
    this.#effects = having('effect');
    const before = having('before');
    const after = having('after');
    const woken = having('woken');
    if (before.length > 0) {
      const looks = byKind(before, (oracle) => oracle.before!.bind(oracle));
      this.before = (execution, actor, point) => {
        for (const look of looks[kindOf(point)]!) look(execution, actor, point);
      };
    }
    if (after.length > 0) {
      // The last first: what began before the step as the last ends after it as the first.
      const looks = byKind(after.toReversed(), (oracle) => oracle.after!.bind(oracle));
      this.after = (execution, actor, point) => {
        for (const look of looks[kindOf(point)]!) look(execution, actor, point);
      };
    }
    if (woken.length > 0) {
      this.woken = (execution, sleeper, waker) => {
        for (const oracle of woken) oracle.woken!(execution, sleeper, waker);
      };
    }
  }

  begin(execution: Execution): void {
    const world = this.#world;
    this.#execution = execution;
    for (const [index, { waiter }] of execution.participants.entries()) {
      const actor = world.actors.find((candidate) => candidate === waiter);
      if (actor === undefined) continue;
      this.#wires[index] ??= this.#wire(index);
      const { tracer, locks } = this.#wires[index]!;
      if (this.#toldFacts && actor.tracer !== tracer) {
        tracer.next = actor.tracer;
        actor.tracer = tracer;
      }
      if (this.#locks.length > 0 && actor.trace !== locks) {
        actor.trace = actor.trace === null ? locks : both(actor.trace, locks);
      }
    }
    if (this.#calls.length > 0) {
      world.onCall = (call) => {
        const running = this.#execution;
        if (running === null) return;
        const actor = numberOf(running, call.actor);
        for (const oracle of this.#calls) oracle.call!(running, actor, call);
      };
    }
    if (this.#effects.length > 0) {
      world.vm.onEffect = (vcpu, gpa, access) => {
        const running = this.#execution;
        if (running === null) return;
        const actor = numberOf(running, world.vcpus[vcpu]!.actor);
        for (const oracle of this.#effects) oracle.effect!(running, actor, vcpu, gpa, access);
      };
    }
    for (const oracle of this.oracles) oracle.begin?.(execution);
  }

  atEnd(execution: Execution, stuck: boolean): void {
    this.#execution = null;
    for (const oracle of this.oracles) oracle.atEnd?.(execution, stuck);
  }

  atLimit(execution: Execution): void {
    this.#execution = null;
    for (const oracle of this.oracles) oracle.atLimit?.(execution);
  }

  finish(execution: Execution): void {
    this.#execution = null;
    for (const oracle of this.oracles) oracle.finish?.(execution);
  }

  get #toldFacts(): boolean {
    return this.oracles.some(({ fact }) => fact !== undefined);
  }

  #wire(index: number): Wires {
    const tracer = new FactTracer(this.#world, (phase, kind, a, b, c) => {
      const running = this.#execution;
      if (running === null) return;
      for (const fact of this.#facts[kind]!) fact(running, index, phase, kind, a, b, c);
    });
    const locks: LockTrace = (event, cls, addr, mode, side) => {
      const running = this.#execution;
      if (running === null) return;
      for (const lock of this.#locks) lock(running, index, event, cls, addr, mode, side);
    };
    return { tracer, locks };
  }
}

type Look = (execution: Execution, actor: number, point: number) => void;

/** By kind of point: the hooks of those that look at it. */
function byKind(oracles: readonly Oracle[], hookOf: (oracle: Oracle) => Look): Look[][] {
  const hooks = oracles.map((oracle) => ({ oracle, hook: hookOf(oracle) }));
  return Array.from({ length: POINT_KINDS }, (_, kind) =>
    hooks.filter(({ oracle }) => oracle.looksAt?.includes(kind) !== false).map(({ hook }) => hook),
  );
}

/** Whoever listened before is told first. */
function both(first: LockTrace, second: LockTrace): LockTrace {
  return (event, cls, addr, mode, side) => {
    first(event, cls, addr, mode, side);
    second(event, cls, addr, mode, side);
  };
}
