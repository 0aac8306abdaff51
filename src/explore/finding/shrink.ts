/**
 * Makes a finding small: the fewest preemptions, then the fewest deviations, then the fewest steps that still show it,
 * in the scenario with the fewest parts.
 *
 * 1. Deviations are left out in halves, quarters … single ones (ddmin), each time looking at what really deviated.
 * 2. Stretches of several are left out, and all but two.
 * 3. Deviations move to other places of the same turn, if one of them needs no preemption.
 * 4. If more than one deviation is left: is there a schedule with a single deviation? All of them are tried.
 * 5. Parts of the scenario are left out, one by one; each time the schedule is translated by the names of the actors.
 *
 * A pure function of scenario and schedule: what bounds it is a number of executions, never the time.
 *
 * @source A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input"
 */
import { Replay, type Schedule } from '../engine/schedule.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { Attempts, type Hit } from './attempt.ts';

export interface Shrunk extends Hit {
  /** Without the parts that it does not need. */
  readonly scenario: Scenario;
  /** Places of these parts. */
  readonly dropped: readonly number[];
  /** Executions that it took. */
  readonly runs: number;
  /**
   * `all`: no schedule with fewer deviations shows it, all were tried. `one`: none with one of its deviations left out
   * does.
   */
  readonly minimal: 'all' | 'one';
}

// LIMIT: executions for one finding. What has been reached by then is the answer.
const RUN_LIMIT = 1500;

/**
 * @param schedule  one that shows a finding with this key
 * @returns null when it does not: the execution is not repeatable
 */
export function shrink(scenario: Scenario, schedule: Schedule, key: string): Shrunk | null {
  let attempts = new Attempts(scenario, key);
  const first = attempts.hit(schedule);
  if (first === null) return null;
  const search = new Search(attempts, first, RUN_LIMIT);
  search.run();
  let { best, minimal } = search;
  let runs = attempts.runs;
  const dropped: number[] = [];
  const { parts } = scenario;
  for (let place = 0; place < (parts?.names.length ?? 0); place++) {
    const without = [...dropped, place];
    const smaller = new Attempts(parts!.without(without), key);
    const hit = smaller.hit(translated(best.schedule, attempts.actors, smaller.actors));
    if (hit !== null) {
      const again = new Search(smaller, hit, RUN_LIMIT - runs);
      again.run();
      ({ best, minimal } = again);
      attempts = smaller;
      dropped.push(place);
    }
    runs += smaller.runs;
  }
  return { ...best, scenario: attempts.scenario, dropped, runs, minimal };
}

/** A schedule for other actors: by name, without what they have nothing to do with. */
export function translated(schedule: Schedule, from: readonly string[], to: readonly string[]): Schedule {
  const number = (actor: number) => (actor < 0 ? -1 : to.indexOf(from[actor]!));
  return schedule.flatMap((deviation) => {
    const actor = number(deviation.actor);
    const next = deviation.choice ? deviation.to : number(deviation.to);
    if (next < 0 || (actor < 0 && deviation.actor >= 0)) return [];
    return [{ ...deviation, actor, to: next }];
  });
}

/** Fewer preemptions, fewer deviations, fewer steps, in this order. */
function isBetter(a: Hit, b: Hit): boolean {
  const order = a.preemptions - b.preemptions || a.schedule.length - b.schedule.length || a.steps - b.steps;
  return order < 0;
}

class Search {
  best: Hit;
  minimal: Shrunk['minimal'] = 'one';
  readonly #attempts: Attempts;
  readonly #limit: number;

  constructor(attempts: Attempts, first: Hit, runs: number) {
    this.#attempts = attempts;
    this.best = first;
    this.#limit = attempts.runs + runs;
  }

  run(): void {
    // None at all: the answer to many a search.
    if (this.#improve([])) {
      this.minimal = 'all';
      return;
    }
    do this.#leaveOut();
    while (this.#window() || this.#few() || this.#postpone());
    if (this.best.schedule.length > 1) this.#single();
    // Not even without deviations, and that was tried first.
    if (this.best.schedule.length <= 1) this.minimal = 'all';
  }

  get #exhausted(): boolean {
    return this.#attempts.runs >= this.#limit;
  }

  /** Takes `schedule` for the best if it is. */
  #improve(schedule: Schedule): boolean {
    const hit = this.#attempts.hit(schedule);
    if (hit === null || !isBetter(hit, this.best)) return false;
    this.best = hit;
    return true;
  }

  /** ddmin, by complements only: a subset on its own hardly ever is what is needed. */
  #leaveOut(): void {
    let pieces = 2;
    while (this.best.schedule.length > 0 && !this.#exhausted) {
      const { schedule } = this.best;
      const size = Math.ceil(schedule.length / pieces);
      let smaller = false;
      // From the end: what comes last is most often only what happened to follow.
      for (let at = Math.floor((schedule.length - 1) / size) * size; at >= 0 && !smaller; at -= size) {
        if (this.#exhausted) return;
        smaller = this.#improve([...schedule.slice(0, at), ...schedule.slice(at + size)]);
      }
      if (smaller) pieces = Math.max(pieces - 1, 2);
      else if (size === 1) return;
      else pieces = Math.min(pieces * 2, schedule.length);
    }
  }

  /** Two actors that take turns: one deviation less is another actor's turn, a stretch of them less is not. */
  #window(): boolean {
    const { schedule } = this.best;
    for (let size = 2; size < schedule.length; size++) {
      for (let at = 0; at + size <= schedule.length; at++) {
        if (this.#exhausted) return false;
        if (this.#improve(schedule.toSpliced(at, size))) return true;
      }
    }
    return false;
  }

  /** Two of many may be enough, or three, although none of the others can be left out alone. */
  #few(): boolean {
    const { schedule } = this.best;
    if (schedule.length < 4) return false;
    for (const [i, first] of schedule.entries()) {
      for (const [j, second] of schedule.slice(i + 1).entries()) {
        if (this.#exhausted) return false;
        if (this.#improve([first, second])) return true;
        if (schedule.length > TRIPLES_LIMIT) continue;
        for (const third of schedule.slice(i + j + 2)) if (this.#improve([first, second, third])) return true;
      }
    }
    return false;
  }

  /** A preemption just before its actor would have had to wait anyway is none: lets it go on for some steps. */
  #postpone(): boolean {
    for (const [i, deviation] of this.best.schedule.entries()) {
      for (let later = 1; later <= POSTPONED_STEPS; later++) {
        if (this.#exhausted) return false;
        const moved = { ...deviation, taken: deviation.taken + later };
        const before = this.best.preemptions;
        if (deviation.choice || deviation.actor < 0) break;
        const hit = this.#attempts.hit(this.best.schedule.with(i, moved));
        if (hit !== null && hit.preemptions < before) {
          this.best = hit;
          return true;
        }
      }
    }
    return false;
  }

  /** Every schedule with one deviation, a switch, from the default one. */
  #single(): void {
    const { stage } = this.#attempts;
    const execution = stage.execute(new Replay([]), 0);
    if (execution === null) return;
    const { trace, actorCount } = execution;
    const candidates: Schedule[] = [];
    const taken = new Int32Array(actorCount);
    let last = -1;
    for (let i = 0; i < trace.length; i++) {
      const movable = trace.runnable[i]! | trace.timed[i]!;
      for (let to = 0; to < actorCount; to++) {
        if ((movable & (1 << to)) === 0 || to === trace.actor[i]) continue;
        candidates.push([{ actor: last, taken: last < 0 ? 0 : taken[last]!, to, choice: false }]);
      }
      last = trace.actor[i]!;
      taken[last]! += 1;
    }
    if (candidates.length > this.#limit - this.#attempts.runs) return;
    for (const candidate of candidates) if (this.#improve(candidate)) return;
    // Two deviations, and no single switch does it; choices are the scenario's own business.
    if (this.best.schedule.length === 2) this.minimal = 'all';
  }
}

const POSTPONED_STEPS = 3;
/** Deviations up to which all triples are tried: 220 of 12. */
const TRIPLES_LIMIT = 12;
