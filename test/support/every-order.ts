/** Every schedule, one after the other, without any reduction: what strategies that leave some out are checked against. */
import { lowest, type Strategy, type View } from '../../src/explore/engine/strategy.ts';

export class EveryOrder implements Strategy {
  readonly name = 'every-order';
  /** What was picked, and what else can be. */
  readonly #way: { picked: number; left: number[] }[] = [];
  #depth = 0;
  #begun = false;

  begin(): boolean {
    if (this.#begun) {
      while (this.#way.length > 0 && this.#way.at(-1)!.left.length === 0) this.#way.pop();
      if (this.#way.length === 0) return false;
      const last = this.#way.at(-1)!;
      last.picked = last.left.shift()!;
    }
    this.#begun = true;
    this.#depth = 0;
    return true;
  }

  pick({ runnable, timed }: View): number {
    const all: number[] = [];
    for (let rest = runnable | timed; rest !== 0; rest &= rest - 1) all.push(lowest(rest));
    return this.#next(all);
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#next(Array.from({ length: ways }, (_, way) => way));
  }

  #next([first, ...left]: number[]): number {
    const at = this.#depth++;
    if (at === this.#way.length) this.#way.push({ picked: first!, left });
    return this.#way[at]!.picked;
  }
}
