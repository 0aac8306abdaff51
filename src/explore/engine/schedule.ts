/**
 * A schedule written down: where it deviates from the default policy (strategy.ts, `defaultPick`), and what its choices
 * were answered when that was not 0.
 *
 * Places are per actor ("when actor 2 has taken 17 steps and has just run"), so leaving one deviation out does not move
 * the others, and most small changes of the code leave them where they were.
 */
import { CHOOSING, kindOf, RELAXING } from '../../shared/sync/point.ts';
import { defaultPick, type Strategy, type View } from './strategy.ts';
import type { Trace } from './trace.ts';

export interface Deviation {
  /** Who took the step before; −1 for the start. */
  readonly actor: number;
  /** Steps that actor has taken. */
  readonly taken: number;
  /** Who goes next instead; for a choice the way taken. */
  readonly to: number;
  /** A choice of `actor` at its step number `taken` (from 0), not a switch. */
  readonly choice: boolean;
}

export type Schedule = readonly Deviation[];

/** What was different about an execution. Following it gives the same execution again. */
export function scheduleOf(trace: Trace, actorCount: number): Deviation[] {
  const taken = new Int32Array(actorCount);
  const schedule: Deviation[] = [];
  let last = -1;
  let relaxed = false;
  for (let i = 0; i < trace.length; i++) {
    const actor = trace.actor[i]!;
    const kind = kindOf(trace.point[i]!);
    if (actor !== defaultPick(trace.runnable[i]!, trace.timed[i]!, last, relaxed)) {
      schedule.push({ actor: last, taken: last < 0 ? 0 : taken[last]!, to: actor, choice: false });
    }
    if (kind === CHOOSING && trace.answer[i] !== 0) {
      schedule.push({ actor, taken: taken[actor]!, to: trace.answer[i]!, choice: true });
    }
    taken[actor]! += 1;
    last = actor;
    relaxed = kind === RELAXING;
  }
  return schedule;
}

/** Number of deviations that take the turn from somebody who could have gone on. */
export function preemptions(trace: Trace): number {
  let count = 0;
  for (let i = 1; i < trace.length; i++) {
    const before = trace.actor[i - 1]!;
    if (trace.actor[i] !== before && (trace.runnable[i]! & (1 << before)) !== 0) count += 1;
  }
  return count;
}

const placeOf = (actor: number, taken: number, choice: boolean): number =>
  ((actor + 1) * 2 + (choice ? 1 : 0)) * 2 ** 32 + taken;

/** A deviation that could not be followed, and the steps taken by then. */
export interface Miss {
  readonly step: number;
  readonly deviation: Deviation;
}

/** Follows a schedule. Where it cannot, it goes on by the default policy and says so. */
export class Replay implements Strategy {
  readonly name = 'replay';
  readonly #to: ReadonlyMap<number, number>;
  #missed = 0;
  #used = 0;
  #firstMiss: Miss | null = null;

  constructor(schedule: Schedule) {
    this.#to = new Map(schedule.map((d) => [placeOf(d.actor, d.taken, d.choice), d.to]));
  }

  /** Deviations that named an actor that could not move then, or a way that did not exist. */
  get missed(): number {
    return this.#missed;
  }

  /** The first of them. */
  get firstMiss(): Miss | null {
    return this.#firstMiss;
  }

  /** Deviations whose place was never reached. */
  get unused(): number {
    return this.#to.size - this.#used - this.#missed;
  }

  begin(): boolean {
    this.#missed = 0;
    this.#used = 0;
    this.#firstMiss = null;
    return true;
  }

  pick(view: View): number {
    const { last, fallback } = view;
    const taken = last < 0 ? 0 : view.taken[last]!;
    const to = this.#to.get(placeOf(last, taken, false));
    if (to === undefined) return fallback;
    if (((view.runnable | view.timed) & (1 << to)) === 0) {
      this.#miss(view.step, { actor: last, taken, to, choice: false });
      return fallback;
    }
    this.#used += 1;
    return to;
  }

  choose(view: View, actor: number, ways: number): number {
    // The step is counted before it is asked for.
    const taken = view.taken[actor]! - 1;
    const way = this.#to.get(placeOf(actor, taken, true));
    if (way === undefined) return 0;
    if (way >= ways) {
      this.#miss(view.step, { actor, taken, to: way, choice: true });
      return 0;
    }
    this.#used += 1;
    return way;
  }

  #miss(step: number, deviation: Deviation): void {
    this.#missed += 1;
    this.#firstMiss ??= { step, deviation };
  }
}
