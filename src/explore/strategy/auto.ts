/**
 * A portfolio: several strategies by turns, and more of those that show new things. No strategy finds everything, and
 * which one finds a given bug is not known before.
 *
 * One turn is a few executions. What a turn is worth is what it has shown that was new to all of them (hand-offs between
 * actors, trace classes, findings) for the steps it has taken; what an arm is worth is the mean of its turns, recent
 * ones more. One turn in three goes around, so that no arm is ever given up; the others go to whoever is worth most.
 * When an arm has seen everything there is, so has the portfolio.
 *
 * Time is counted in steps: the same seeds give the same schedules on every machine.
 */
import type { RunEnd, RunInfo, Strategy, View } from '../engine/strategy.ts';
import { Coverage } from '../seen/coverage.ts';
import { BoundedSearch } from './bounded-search.ts';
import { Dpor } from './dpor.ts';
import { Pct } from './pct.ts';
import { Pos } from './pos.ts';
import { RandomWalk } from './random-walk.ts';
import { Surw } from './surw.ts';
import { Urw } from './urw.ts';

/** Executions of one turn. */
const TURN = 8;
const AROUND_EVERY = 3;
/** How much of an arm's worth its last turn is. */
const RECENT = 0.2;

// What new things are worth. Every execution of a large target is of a new class, so that says little.
const HAND_OFF = 1;
const CLASS = 0.25;
const FINDING = 100;

interface Arm {
  readonly strategy: Strategy;
  worth: number;
  turns: number;
  /** Executions it has had, and the most steps one of them has taken: another arm's endless polls are not its affair. */
  executions: number;
  longest: number;
}

/** What an arm has had and has shown, for reports. */
export interface ArmReport {
  readonly name: string;
  readonly executions: number;
  readonly worth: number;
}

export class Auto implements Strategy {
  readonly name = 'auto';
  /** One of its arms does. */
  readonly watchesLocks = true;
  readonly coverage = new Coverage();
  readonly #arms: Arm[] = armed();
  readonly #findings = new Set<string>();
  /** Arms that have something left to try. */
  #open = this.#arms;
  #arm = this.#arms[0]!;
  #left = 0;
  #turns = 0;
  #around = 0;
  #gain = 0;
  #steps = 0;
  #isComplete = false;

  get isComplete(): boolean {
    return this.#isComplete;
  }

  get arms(): readonly ArmReport[] {
    return this.#arms.map(({ strategy, executions, worth }) => ({ name: strategy.name, executions, worth }));
  }

  begin(info: RunInfo): boolean {
    while (!this.#isComplete && this.#open.length > 0) {
      if (this.#left === 0) this.#nextTurn();
      const arm = this.#arm;
      if (arm.strategy.begin({ ...info, index: arm.executions, longest: arm.longest })) return true;
      const { strategy } = arm;
      this.#isComplete =
        strategy.isComplete === true && !(strategy instanceof Dpor && strategy.reliesOnLocks);
      this.#open = this.#open.filter((other) => other !== arm);
      this.#left = 0;
    }
    return false;
  }

  pick(view: View): number {
    return this.#arm.strategy.pick(view);
  }

  choose(view: View, actor: number, ways: number): number {
    return this.#arm.strategy.choose?.(view, actor, ways) ?? 0;
  }

  end(view: View, end: RunEnd): void {
    const arm = this.#arm;
    arm.strategy.end?.(view, end);
    arm.executions += 1;
    arm.longest = Math.max(arm.longest, view.step);
    this.#left -= 1;
    this.#steps += view.step;
    this.coverage.note(view.trace);
    this.#gain += this.coverage.newHandOffs * HAND_OFF + (this.coverage.newClass ? CLASS : 0);
    for (const { key } of end.findings) {
      if (this.#findings.has(key)) continue;
      this.#findings.add(key);
      this.#gain += FINDING;
    }
    if (this.#left === 0) this.#settle();
  }

  /** The turn is over: what was it worth? */
  #settle(): void {
    const arm = this.#arm;
    const worth = this.#gain / Math.max(1, this.#steps);
    arm.worth += (worth - arm.worth) * (arm.turns === 0 ? 1 : RECENT);
    arm.turns += 1;
    this.#gain = 0;
    this.#steps = 0;
  }

  #nextTurn(): void {
    const open = this.#open;
    const news = open.find(({ turns }) => turns === 0);
    this.#turns += 1;
    this.#left = TURN;
    if (news !== undefined) {
      this.#arm = news;
      return;
    }
    const best = open.reduce((a, b) => (b.worth > a.worth ? b : a));
    // When nothing is new to anybody, all are worth the same.
    if (best.worth > 0 && this.#turns % AROUND_EVERY !== 0) {
      this.#arm = best;
      return;
    }
    this.#around += 1;
    this.#arm = open[this.#around % open.length]!;
  }
}

const armed = (): Arm[] =>
  [
    new Pos(),
    new Surw(),
    new Pct(3),
    new RandomWalk(),
    new Pct(2),
    new Urw(),
    new BoundedSearch('delays'),
    new Dpor({ trustLocks: true }),
    new Pct(5),
  ].map((strategy) => ({ strategy, worth: 0, turns: 0, executions: 0, longest: 0 }));
