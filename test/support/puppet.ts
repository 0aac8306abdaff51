/**
 * Paths led by hand: for the one schedule in which something happened. What is left of them may be handed to `together`
 * or finished here.
 */
import { type Path, POINT_KINDS, WAITING } from '../../src/shared/sync/point.ts';

export class Puppet {
  readonly path: Path<unknown>;
  /** What it does next; −1 before its first step and after its last. */
  point = -1;
  done = false;

  constructor(path: Path<unknown>) {
    this.path = path;
  }

  /** One step: what the last point announced, up to the next point. */
  step(): void {
    const next = this.path.next(0);
    this.done = next.done === true;
    this.point = next.done === true ? -1 : next.value;
  }

  /**
   * Steps until it is about to do what `point` says, for the `times`-th time.
   * @throws if it ends or would fall asleep before
   */
  until(point: number, times = 1): void {
    for (let met = 0; met < times; ) {
      this.step();
      if (this.done) throw new Error('the path ended before the point it was led to');
      if (this.point === point) met++;
      else if (this.point % POINT_KINDS === WAITING)
        throw new Error(`the path would sleep at 0x${Math.floor(this.point / POINT_KINDS).toString(16)}`);
    }
  }

  /** Steps until it would fall asleep. @returns the address it sleeps at */
  untilAsleep(): number {
    do this.step();
    while (!this.done && this.point % POINT_KINDS !== WAITING);
    if (this.done) throw new Error('the path ended without sleeping');
    return Math.floor(this.point / POINT_KINDS);
  }
}
