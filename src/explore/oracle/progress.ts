/**
 * Progress (I10, I16): somebody must get somewhere within a number of steps, unless the schedule keeps everybody who
 * could from moving.
 *
 * Progress is: an actor ends, a vCPU retires an instruction, a command or a memslot change is over, a pause is over.
 * A fault, a retry, an event, a kick, a poll are not: of these a livelock consists.
 */
import { CPU } from '../../shared/layout/cpu.ts';
import {
  FAULT_RESULTS,
  TRACE_FAULT,
  TRACE_HOOK,
  TRACE_MEMSLOT,
  TRACE_PAUSE,
  TRACE_PF,
  TRACE_SET_ACCESS,
  TRACE_UNHOOK,
} from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import type { World } from '../world/world.ts';
import { FACT_END, type FactPhase, type Oracle } from './oracle.ts';
import { pointName } from './point-name.ts';
import type { WaitGraph } from './wait-for.ts';

/** Steps that may go by. */
export const PROGRESS_BUDGET = 4000;
/** Steps that each one who can move must have taken meanwhile: fewer, and the schedule is to blame. */
const FAIR_STEPS = 40;
/** Steps between two looks at what vCPUs have retired. */
const LOOK_EVERY = 256;
/** Faults of one instruction that claim to have mended something, with no event between them (I16). */
const FAULTS_MAX = 200;

const MENDED = new Set(
  ['fixed-slow', 'fixed-fast', 'spurious'].map((r) => FAULT_RESULTS.indexOf(r as 'spurious')),
);
const ENDS = new Set([TRACE_SET_ACCESS, TRACE_MEMSLOT, TRACE_HOOK, TRACE_UNHOOK, TRACE_PAUSE]);

export class ProgressOracle implements Oracle {
  readonly kinds = [...ENDS, TRACE_PF, TRACE_FAULT];
  readonly #world: World;
  readonly #graph: WaitGraph;
  readonly #budget: number;
  /** Step of the last progress, and what everybody had done by then. */
  #since = 0;
  readonly #takenThen: number[] = [];
  #retired = 0n;
  #ended = 0;
  #nextLook = 0;
  /** Per actor: faults since its last instruction. */
  readonly #faults: number[] = [];

  constructor(world: World, graph: WaitGraph, budget = PROGRESS_BUDGET) {
    this.#world = world;
    this.#graph = graph;
    this.#budget = budget;
  }

  begin(execution: Execution): void {
    this.#progress(execution);
    this.#faults.length = 0;
    this.#retired = this.#retiredNow();
    this.#ended = 0;
    this.#nextLook = LOOK_EVERY;
  }

  after(execution: Execution): void {
    if (execution.step < this.#nextLook) return;
    this.#nextLook = execution.step + LOOK_EVERY;
    this.#look(execution);
    if (execution.step - this.#since < this.#budget || !this.#wasFair(execution)) return;
    this.#report(execution);
  }

  fact(execution: Execution, actor: number, phase: FactPhase, kind: number, a: number): void {
    if (phase !== FACT_END) return;
    if (ENDS.has(kind)) this.#progress(execution);
    if (kind === TRACE_PF) this.#faults[actor] = 0;
    if (kind === TRACE_FAULT && MENDED.has(a)) this.#countFault(execution, actor);
  }

  atLimit(execution: Execution): void {
    this.#look(execution);
    if (this.#wasFair(execution)) this.#report(execution);
  }

  #look(execution: Execution): void {
    const retired = this.#retiredNow();
    let ended = 0;
    for (let actor = 0; actor < execution.actorCount; actor++) if (execution.hasEnded(actor)) ended += 1;
    if (retired === this.#retired && ended === this.#ended) return;
    if (retired !== this.#retired) this.#faults.length = 0;
    this.#retired = retired;
    this.#ended = ended;
    this.#progress(execution);
  }

  #retiredNow(): bigint {
    const { vm } = this.#world;
    let sum = 0n;
    for (let index = 0; index < vm.vcpuCount; index++)
      sum += vm.mem.u64[(vm.cpu(index) + CPU.at.RETIRED) / 8]!;
    return sum;
  }

  #progress(execution: Execution): void {
    this.#since = execution.step;
    for (let actor = 0; actor < execution.actorCount; actor++)
      this.#takenThen[actor] = execution.taken[actor]!;
  }

  #wasFair(execution: Execution): boolean {
    for (let actor = 0; actor < execution.actorCount; actor++) {
      if ((execution.runnable & (1 << actor)) === 0) continue;
      if (execution.taken[actor]! - this.#takenThen[actor]! < FAIR_STEPS) return false;
    }
    return true;
  }

  #countFault(execution: Execution, actor: number): void {
    const retired = this.#retiredNow();
    if (retired !== this.#retired) {
      this.#retired = retired;
      this.#faults.length = 0;
    }
    const faults = (this.#faults[actor] ?? 0) + 1;
    this.#faults[actor] = faults;
    if (faults <= FAULTS_MAX) return;
    execution.report({
      oracle: 'livelock',
      rule: 'I16',
      message: `${execution.participants[actor]!.name} has faulted ${faults} times at one instruction, each time with success`,
      key: 'livelock of faults',
      actor,
    });
  }

  #report(execution: Execution): void {
    const open = execution.participants
      .map((participant, actor) => ({ ...participant, actor }))
      .filter(({ actor, background }) => background !== true && !execution.hasEnded(actor));
    const steps = execution.step - this.#since;
    const kinds = open.map(({ actor }) => generic(pointName(this.#world.vm, execution.at[actor]!)));
    execution.report({
      oracle: 'livelock',
      rule: 'I10',
      message: `no progress for ${steps} steps: ${open.map(({ name }) => name).join(', ')} move and get nowhere`,
      key: `livelock ${[...new Set(kinds)].sort().join(', ')}`,
      details: [
        ...execution.participants.map((_, actor) => this.#graph.describe(execution, actor)),
        ...this.#habits(execution, steps),
      ],
    });
  }

  /** What each actor did most of all. */
  #habits(execution: Execution, steps: number): string[] {
    const { trace } = execution;
    const lines: string[] = [];
    for (const [actor, { name }] of execution.participants.entries()) {
      const counts = new Map<number, number>();
      for (let i = Math.max(0, trace.length - steps); i < trace.length; i++) {
        if (trace.actor[i] === actor) counts.set(trace.point[i]!, (counts.get(trace.point[i]!) ?? 0) + 1);
      }
      const most = [...counts].sort(([, a], [, b]) => b - a).slice(0, 3);
      if (most.length === 0) continue;
      const texts = most.map(([point, count]) => `${count} × ${pointName(this.#world.vm, point)}`);
      lines.push(`${name} meanwhile: ${texts.join(', ')}`);
    }
    return lines;
  }
}
