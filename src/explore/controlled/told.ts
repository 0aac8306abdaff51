/**
 * What a participant's thread tells of itself besides its steps, so that the engine's world hears what it would have
 * heard had the participant run there: lock events, facts, session calls, findings, console, events.
 */
import type { SessionEvent } from '../../actors/introspector/session.ts';
import type { OracleFinding } from '../../actors/mmu/vm.ts';
import type { Actor, LockTraceKind } from '../../shared/sync/actor.ts';
import type { LockFinding } from '../../shared/sync/checks.ts';
import { LOCK_CLASSES, type LockMode } from '../../shared/sync/lock-class.ts';
import type { Tracer } from '../../shared/trace/tracer.ts';
import { FactTracer } from '../oracle/fact-tracer.ts';
import { FACT_BEGIN, FACT_END, type FactPhase } from '../oracle/oracle.ts';
import type { SessionCall } from '../world/recorded-session.ts';
import type { Answer } from '../world/tool-side.ts';
import type { AccessKind } from '../world/watched-mem.ts';
import type { World } from '../world/world.ts';

/** Actors by their number in the world, classes by their id. */
export type Told =
  | readonly [
      'lock',
      actor: number,
      event: LockTraceKind,
      cls: number,
      addr: number,
      mode: LockMode,
      side: number,
    ]
  | readonly ['fact', actor: number, phase: FactPhase, kind: number, a: number, b: number, c: number]
  /** Of the memory: kind, address and bytes of one after the other. */
  | readonly ['accesses', number[]]
  | readonly ['call', id: number, actor: number, call: Omit<SessionCall, 'actor'>]
  | readonly ['effect', vcpu: number, gpa: number, access: number]
  | readonly ['finding', OracleFinding]
  | readonly ['lock finding', LockFinding]
  | readonly ['console', vcpu: number, text: string]
  | readonly ['event', SessionEvent]
  | readonly ['answer', Answer]
  | readonly ['thrown', Error];

/** What the engine's world listens to; bits. The rest is always told. */
const HEARS_LOCKS = 1;
const HEARS_FACTS = 2;
const HEARS_MEMORY = 4;

/** For the engine's world, once its observers have begun. */
export function hears(world: World): number {
  const locks = world.actors.some(({ trace }) => trace !== null);
  const facts = world.actors.some(({ tracer }) => tracer !== null);
  const memory = world.memoryWatcher !== null;
  return (locks ? HEARS_LOCKS : 0) | (facts ? HEARS_FACTS : 0) | (memory ? HEARS_MEMORY : 0);
}

/** Makes `world` tell everything to `tell`. For the thread's world, when its participants have been made. */
export function tellAll(world: World, heard: number, tell: (told: Told) => void): void {
  const { vm } = world;
  const calls = new Map<SessionCall, number>();
  for (const [number, actor] of world.actors.entries()) {
    if ((heard & HEARS_LOCKS) !== 0) {
      actor.trace = (event, cls, addr, mode, side) => tell(['lock', number, event, cls.id, addr, mode, side]);
    }
    if ((heard & HEARS_FACTS) !== 0) {
      actor.tracer = new FactTracer(world, (...fact) => tell(['fact', number, ...fact]));
    }
  }
  // The memory stays from execution to execution, and so does who watches it.
  if ((heard & HEARS_MEMORY) !== 0 && world.memoryWatcher === null) {
    world.watchMemory((kind, addr, bytes) => tell(['accesses', [kind, addr, bytes]]));
  }
  vm.onFinding = (finding) => tell(['finding', finding]);
  vm.onEffect = (vcpu, gpa, access) => tell(['effect', vcpu, gpa, access]);
  world.onCall = (call) => {
    if (!calls.has(call)) calls.set(call, calls.size);
    const { actor, ...rest } = call;
    tell(['call', calls.get(call)!, world.actors.indexOf(actor), rest]);
  };
}

function state(tracer: Tracer, phase: FactPhase, fact: readonly [number, number, number, number]): void {
  if (phase === FACT_BEGIN) tracer.begin(...fact);
  else if (phase === FACT_END) tracer.end(...fact);
  else tracer.instant(...fact);
}

/** The engine's side: passes on what was told, as if it had happened in `world`. One for an execution. */
export class Hearing {
  readonly #world: World;
  readonly #calls = new Map<string, SessionCall>();

  constructor(world: World) {
    this.#world = world;
  }

  /** @param from  the participant that tells: session calls are numbered by each */
  hear(from: number, told: Told): void {
    const { vm, actors, findings, lockFindings, consoles, tool } = this.#world;
    switch (told[0]) {
      case 'lock': {
        const [, actor, event, cls, addr, mode, side] = told;
        actors[actor]?.trace?.(event, LOCK_CLASSES[cls]!, addr, mode, side);
        return;
      }
      case 'fact': {
        const [, actor, phase, ...fact] = told;
        const tracer = actors[actor]?.tracer;
        if (tracer) state(tracer, phase, fact);
        return;
      }
      case 'accesses': {
        const { memoryWatcher } = this.#world;
        const [, list] = told;
        for (let i = 0; i < list.length; i += 3) {
          memoryWatcher?.(list[i] as AccessKind, list[i + 1]!, list[i + 2]!);
        }
        return;
      }
      case 'call':
        this.#hearCall(`${from}.${told[1]}`, actors[told[2]]!, told[3]);
        return;
      case 'effect':
        vm.onEffect?.(told[1], told[2], told[3]);
        return;
      case 'finding':
        findings.push(told[1]);
        return;
      case 'lock finding':
        lockFindings.push(told[1]);
        return;
      case 'console':
        consoles[told[1]] += told[2];
        return;
      case 'event':
        tool.events.push(told[1]);
        return;
      case 'answer':
        tool.answers.push(told[1]);
        return;
      case 'thrown':
        throw told[1];
    }
  }

  #hearCall(id: string, actor: Actor, call: Omit<SessionCall, 'actor'>): void {
    const known = this.#calls.get(id);
    if (known === undefined) {
      const begun: SessionCall = { ...call, actor };
      this.#calls.set(id, begun);
      this.#world.onCall?.(begun);
      return;
    }
    known.result = call.result;
    this.#world.onCall?.(known);
  }
}
