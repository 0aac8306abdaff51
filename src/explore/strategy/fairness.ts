/**
 * Fairness for systematic search: a schedule that lets somebody poll for ever while others could move shows nothing
 * but itself. Whoever relaxes twice, and between the two leaves out somebody who could move all the time, has to wait
 * until that one has moved. Schedules in which everybody gets a turn are all left.
 *
 * A wait that times out twice at one cell is a poll too.
 *
 * @source Musuvathi and Qadeer, "Fair Stateless Model Checking", PLDI 2008, algorithm 1; relaxing is their yield
 */
import { kindOf, WAIT_TIMED_OUT, WAITING } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import { lowest, type View } from '../engine/strategy.ts';

const ALL = (1 << ACTOR_LIMIT) - 1;

export class Fairness {
  /** For each actor, whom it has to let go first while they can move. */
  readonly #behind = new Int32Array(ACTOR_LIMIT);
  /** Since it relaxed: who could always move, who lost that by its own steps, who has moved. */
  readonly #couldAlways = new Int32Array(ACTOR_LIMIT);
  readonly #disabled = new Int32Array(ACTOR_LIMIT);
  readonly #moved = new Int32Array(ACTOR_LIMIT);
  /** Where its last timeout was; −1 before the first. */
  readonly #timedOutAt = new Float64Array(ACTOR_LIMIT);
  #steps = 0;
  /** Does anybody wait behind anybody? Most targets never relax. */
  #any = false;
  #movable = 0;

  begin(): void {
    this.#behind.fill(0);
    this.#couldAlways.fill(0);
    this.#disabled.fill(0);
    // The first time one relaxes, it has left out nobody.
    this.#moved.fill(ALL);
    this.#timedOutAt.fill(-1);
    this.#steps = 0;
    this.#any = false;
    this.#movable = 0;
  }

  /** Who may move now, of those who can. To be asked before each step. Never empty if somebody can move. */
  movable(view: View): number {
    const { runnable, timed, step } = view;
    const can = runnable | timed;
    if (step > this.#steps) this.#note(view, can);
    this.#steps = step;
    this.#movable = can;
    if (!this.#any) return can;
    let may = can;
    for (let rest = can; rest !== 0; rest &= rest - 1) {
      const actor = lowest(rest);
      if ((this.#behind[actor]! & can) !== 0) may &= ~(1 << actor);
    }
    return may;
  }

  /** The step before, which `view.last` took. */
  #note({ last, actorCount, relaxed, trace }: View, can: number): void {
    const one = 1 << last;
    for (let actor = 0; actor < actorCount; actor++) {
      this.#behind[actor]! &= ~one;
      this.#couldAlways[actor]! &= can;
      this.#moved[actor]! |= one;
    }
    this.#disabled[last]! |= this.#movable & ~can;
    const timesOut =
      trace.answer[trace.length - 1] === WAIT_TIMED_OUT && kindOf(trace.point[trace.length - 1]!) === WAITING;
    if (!relaxed && !timesOut) return;
    const left = (this.#couldAlways[last]! | this.#disabled[last]!) & ~this.#moved[last]! & ~one;
    if (left !== 0 && (relaxed || this.#timedOutAt[last] === trace.point[trace.length - 1])) {
      this.#behind[last]! |= left;
      this.#any = true;
    }
    if (timesOut) this.#timedOutAt[last] = trace.point[trace.length - 1]!;
    this.#couldAlways[last] = can;
    this.#disabled[last] = 0;
    this.#moved[last] = 0;
  }
}
