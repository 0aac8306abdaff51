/**
 * SURW: selectively uniform random walk. For each execution one shared cell is drawn, in proportion to how often it is
 * touched; all orders of the accesses to that cell are to be equally likely, whatever else happens.
 *
 * For that, who makes the next access to the cell is drawn in advance, in proportion to the accesses each actor has
 * left. Whoever else comes to such an access is held back until the intended one has made its own; all other steps are
 * taken by random priorities. The counts come from earlier executions: the first ones are random walks.
 *
 * Where the paper counts exactly by a spawn tree, here a count is a mean, and an actor that is not done when its count
 * is used up has one access left. When the intended actor cannot move and everybody else is held back, another is drawn.
 *
 * @source Zhao, Wolff, Mathur and Roychoudhury, "Selectively Uniform Concurrency Testing", ASPLOS 2025
 */
import { kindOf, RELAXING } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import {
  lowest,
  nthOf,
  population,
  type RunEnd,
  type RunInfo,
  type Strategy,
  type View,
} from '../engine/strategy.ts';
import { AccessProfile, isAccess } from './access-profile.ts';
import { Answers } from './answers.ts';
import { cellOf } from './dependence.ts';
import { Dice } from './dice.ts';
import { highest } from './priorities.ts';
import { candidates } from './turn.ts';

/** All executions are counted up to this number, then one in so many. */
const COUNTED_FIRST = 4;
const COUNTED_EVERY = 64;

export class Surw implements Strategy {
  readonly name = 'surw';
  readonly #dice = new Dice();
  readonly #answers = new Answers(this.#dice);
  readonly #profile = new AccessProfile();
  readonly #priority = new Int32Array(ACTOR_LIMIT);
  /** Accesses to the cell that each actor has left. */
  readonly #left = new Float64Array(ACTOR_LIMIT);
  #executions = 0;
  #cell = -1;
  #intended = -1;
  /** Actors held back before an access to the cell. */
  #held = 0;

  begin({ seed, actorCount }: RunInfo): boolean {
    const dice = this.#dice;
    dice.seed(seed);
    this.#answers.begin();
    this.#intended = -1;
    this.#held = 0;
    this.#cell = -1;
    if (!this.#profile.isEmpty) {
      this.#cell = this.#profile.draw(dice);
      this.#profile.expect(this.#cell, this.#left);
    }
    for (let actor = 0; actor < actorCount; actor++) this.#priority[actor] = dice.bits();
    return true;
  }

  pick(view: View): number {
    const from = candidates(view, this.#dice);
    if (this.#cell < 0) return nthOf(from, this.#dice.below(population(from)));
    for (;;) {
      let open = from & ~this.#held;
      if (open === 0) {
        this.#held = 0;
        this.#intended = -1;
        open = from;
      }
      const actor = highest(open, this.#priority);
      const point = view.at[actor]!;
      if (isAccess(point) && cellOf(point) === this.#cell) {
        if (this.#intended < 0 || view.at[this.#intended]! < 0) {
          this.#intend(view, from);
          this.#held = 0;
        }
        if (actor !== this.#intended) {
          this.#held |= 1 << actor;
          continue;
        }
        this.#left[actor]! -= 1;
        this.#intended = -1;
        this.#held = 0;
      } else if (kindOf(point) === RELAXING) {
        // It may wait for somebody who is held back.
        this.#intended = -1;
        this.#held = 0;
      }
      this.#priority[actor] = this.#dice.bits();
      return actor;
    }
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#answers.way(ways);
  }

  end(view: View, { findings }: RunEnd): void {
    this.#executions += 1;
    const counted =
      this.#profile.isEmpty ||
      (findings.length === 0 &&
        (this.#executions <= COUNTED_FIRST || this.#executions % COUNTED_EVERY === 0));
    if (counted) this.#profile.count(view);
  }

  /** Draws who of `from` makes the next access to the cell. At least one stands before such an access. */
  #intend({ at }: View, from: number): void {
    const left = this.#left;
    let sum = 0;
    for (let rest = from; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      const point = at[actor]!;
      const least = isAccess(point) && cellOf(point) === this.#cell ? 1 : 0;
      if (left[actor]! < least) left[actor] = least;
      sum += left[actor]!;
    }
    let drawn = this.#dice.unit() * sum;
    for (let rest = from; rest !== 0 && drawn >= 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if (left[actor]! === 0) continue;
      this.#intended = actor;
      drawn -= left[actor]!;
    }
  }
}
