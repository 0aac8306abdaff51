/** How often each actor touches each cell, on the average of the executions that were counted. */
import { kindOf, READING, UPDATING, WRITING } from '../../shared/sync/point.ts';
import { ACTOR_LIMIT } from '../engine/execution.ts';
import type { View } from '../engine/strategy.ts';
import { cellOf } from './dependence.ts';
import type { Dice } from './dice.ts';

interface Cell {
  /** As `cellOf` numbers it. */
  readonly cell: number;
  /** Accesses in all executions counted, by actor. */
  readonly counts: Float64Array;
  written: boolean;
}

export class AccessProfile {
  readonly #cells = new Map<number, Cell>();
  #executions = 0;
  /** Cells that several actors touch and somebody writes, in order of their discovery, and the sums of their counts. */
  #shared: Cell[] = [];
  #sums: number[] = [];

  get isEmpty(): boolean {
    return this.#shared.length === 0;
  }

  /** Counts a whole execution. */
  count({ trace }: View): void {
    this.#executions += 1;
    for (let i = 0; i < trace.length; i++) {
      const point = trace.point[i]!;
      if (!isAccess(point)) continue;
      const number = cellOf(point);
      let cell = this.#cells.get(number);
      if (cell === undefined) {
        cell = { cell: number, counts: new Float64Array(ACTOR_LIMIT), written: false };
        this.#cells.set(number, cell);
      }
      cell.counts[trace.actor[i]!]! += 1;
      if (kindOf(point) !== READING) cell.written = true;
    }
    this.#shared = [...this.#cells.values()].filter(
      ({ counts, written }) => written && counts.filter((count) => count > 0).length > 1,
    );
    let sum = 0;
    this.#sums = this.#shared.map(({ counts }) => (sum += counts.reduce((all, count) => all + count, 0)));
  }

  /** A shared cell, in proportion to how often it is touched. Not of an empty profile. */
  draw(dice: Dice): number {
    const drawn = dice.unit() * this.#sums.at(-1)!;
    let low = 0;
    for (let high = this.#sums.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.#sums[middle]! > drawn) high = middle;
      else low = middle + 1;
    }
    return this.#shared[low]!.cell;
  }

  /** Accesses of each actor to `cell` in one execution, written to `counts`. */
  expect(cell: number, counts: Float64Array): void {
    const seen = this.#cells.get(cell)!.counts;
    for (let actor = 0; actor < counts.length; actor++) counts[actor] = seen[actor]! / this.#executions;
  }
}

/** Is a step at this point an access that takes part in the order of accesses to its cell? */
export function isAccess(point: number): boolean {
  const kind = kindOf(point);
  return kind === READING || kind === WRITING || kind === UPDATING;
}
