/**
 * POS: partial-order sampling. Every pending step has a random priority and the highest is taken; then all pending
 * steps that it races with, and the actor's next one, draw new priorities. Samples the orders of racing steps more
 * evenly than a walk that redraws everything or nothing.
 *
 * @source Yuan, Yang and Gu, "Partial Order Aware Concurrency Sampling", CAV 2018
 */
import { CHOOSING, kindOf, POINT_KINDS } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import type { RunInfo, Strategy, View } from '../engine/strategy.ts';
import { Answers } from './answers.ts';
import { RACE } from './dependence.ts';
import { Dice } from './dice.ts';
import { highest } from './priorities.ts';
import { candidates } from './turn.ts';

export class Pos implements Strategy {
  readonly name = 'pos';
  readonly #dice = new Dice();
  readonly #answers = new Answers(this.#dice);
  readonly #priority = new Int32Array(ACTOR_LIMIT);
  /** The step before. */
  #point = -1;
  #actor = -1;

  begin({ seed, actorCount }: RunInfo): boolean {
    this.#dice.seed(seed);
    this.#answers.begin();
    for (let actor = 0; actor < actorCount; actor++) this.#priority[actor] = this.#dice.bits();
    this.#point = -1;
    return true;
  }

  pick(view: View): number {
    if (this.#point >= 0) this.#redraw(view);
    const actor = highest(candidates(view, this.#dice), this.#priority);
    this.#point = view.at[actor]!;
    this.#actor = actor;
    return actor;
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#answers.way(ways);
  }

  /** After the step before: new priorities for its actor, and for whoever stands before a step that races with it. */
  #redraw({ at, actorCount }: View): void {
    const priority = this.#priority;
    const dice = this.#dice;
    const point = this.#point;
    const kind = kindOf(point);
    priority[this.#actor] = dice.bits();
    if (kind === CHOOSING) return;
    const cell = point - kind;
    for (let actor = 0; actor < actorCount; actor++) {
      const other = at[actor]! - cell;
      if (other < 0 || other >= POINT_KINDS || actor === this.#actor) continue;
      if (RACE[kind * POINT_KINDS + other] === 1) priority[actor] = dice.bits();
    }
  }
}
