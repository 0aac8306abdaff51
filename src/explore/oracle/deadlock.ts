/**
 * Deadlock (I10): a cycle in the wait-for graph, whether or not others still run; or nobody can move.
 *
 * Looked for whenever an actor falls asleep, for that is what closes a cycle. When nobody can move and there is no
 * cycle, somebody sleeps who need not (a lost wake-up), or waits for what nobody is left to do.
 */
import { WAITING } from '../../shared/sync/point.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import type { Oracle } from './oracle.ts';
import type { WaitGraph } from './wait-for.ts';

export class DeadlockOracle implements Oracle {
  readonly looksAt = [WAITING];
  readonly #graph: WaitGraph;

  constructor(graph: WaitGraph) {
    this.#graph = graph;
  }

  after(execution: Execution, actor: number): void {
    if (execution.sleepsOn(actor) < 0) return;
    const cycle = this.#graph.cycleFrom(execution, actor);
    if (cycle !== null) this.#reportCycle(execution, cycle);
  }

  atEnd(execution: Execution, stuck: boolean): void {
    if (!stuck || execution.findings.length > 0) return;
    const sleepers: number[] = [];
    for (let actor = 0; actor < execution.actorCount; actor++) {
      if (execution.sleepsOn(actor) >= 0) sleepers.push(actor);
    }
    for (const actor of sleepers) {
      const missed = this.#graph.waitOf(execution, actor)?.missed ?? null;
      if (missed === null) continue;
      const { name } = execution.participants[actor]!;
      const { what } = this.#graph.waitOf(execution, actor)!;
      const asleep = missed.endsWith('is free') ? 'asleep on a free lock' : 'lost wake-up';
      execution.report({
        oracle: 'deadlock',
        rule: 'I10',
        message: `${asleep}: ${name} sleeps for ${what}, but ${missed}`,
        key: generic(`deadlock ${asleep}: ${what}`),
        details: this.#everybody(execution),
      });
      return;
    }
    const waits = sleepers
      .filter((actor) => execution.participants[actor]!.background !== true)
      .map((actor) => {
        const { what } = this.#graph.waitOf(execution, actor)!;
        return `${execution.participants[actor]!.name} for ${what}`;
      });
    const kinds = [...new Set(waits.map((wait) => generic(wait.slice(wait.indexOf(' for ')))))].sort();
    execution.report({
      oracle: 'deadlock',
      rule: 'I10',
      message: `nobody can move, and nobody is left to wake ${waits.join(', ')}`,
      key: `deadlock without a waker:${kinds.join(',')}`,
      details: this.#everybody(execution),
    });
  }

  #reportCycle(execution: Execution, cycle: readonly number[]): void {
    const parts = cycle.map((actor, i) => {
      const to = cycle[(i + 1) % cycle.length]!;
      const wait = this.#graph.waitOf(execution, actor)!;
      const { because } = wait.edges.find((edge) => edge.to === to)!;
      const next = execution.participants[to]!.name;
      return {
        what: wait.what,
        text: `${execution.participants[actor]!.name} waits for ${wait.what}: ${next} ${because}`,
      };
    });
    // The same cycle, wherever it was entered.
    const kinds = parts.map(({ what }) => generic(what));
    const turns = kinds.map((_, i) => [...kinds.slice(i), ...kinds.slice(0, i)].join(' → '));
    execution.report({
      oracle: 'deadlock',
      rule: 'I10',
      message: parts.map(({ text }) => text).join('; '),
      key: `deadlock ${turns.sort()[0]}`,
      details: this.#everybody(execution),
    });
  }

  #everybody(execution: Execution): string[] {
    return execution.participants.map((_, actor) => this.#graph.describe(execution, actor));
  }
}
