/** From a predicted deadlock to a real one: searches a scenario for a schedule in which the circle closes. */
import { cycleLines, cycleText } from '../../shared/lockdep/cycle-text.ts';
import type { LockCycle } from '../../shared/lockdep/lock-graph.ts';
import { Actor } from '../../shared/sync/actor.ts';
import type { Finding } from '../engine/finding.ts';
import { type Schedule, scheduleOf } from '../engine/schedule.ts';
import { Stage } from '../explorer.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { type CastMember, Realise } from '../strategy/realise.ts';

/** A deadlock that was predicted and has happened. */
export interface Realised {
  readonly finding: Finding;
  readonly schedule: Schedule;
  /** Executions it took. */
  readonly executions: number;
}

/** @returns null when none of `attempts` executions came to it */
export function realiseCycle(
  scenario: Scenario,
  cycle: LockCycle,
  { attempts, seed }: { attempts: number; seed: number },
): Realised | null {
  const target = new MachineTarget(scenario);
  let cast: readonly CastMember[] = [];
  const strategy = new Realise(cycle, () => cast);
  const stage = new Stage({
    name: target.name,
    title: target.title,
    mem: target.mem,
    stepLimit: target.stepLimit,
    oracle: target.oracle,
    begin: () => {
      const participants = target.begin();
      cast = participants.map(({ name, waiter }) =>
        waiter instanceof Actor ? waiter : { name, checks: null },
      );
      return participants;
    },
  });
  // A rule that is broken on the way there is what the prediction came from.
  stage.keepGoing = true;
  for (let i = 0; i < attempts; i++) {
    let stuck = false;
    const execution = stage.execute(strategy, seed + i, [
      {
        atEnd: (_execution, isStuck) => {
          stuck = isStuck;
        },
      },
    ]);
    if (execution === null) return null;
    if (!stuck || !strategy.closed) continue;
    const details = strategy.players.map((player, edge) => {
      const { name, checks } = cast[player]!;
      const held = checks?.held.map(({ cls }) => cls.name).join(', ') ?? '';
      return `${name} holds ${held} and waits for ${cycle.edges[edge]!.to}`;
    });
    const finding: Finding = {
      oracle: 'deadlock',
      rule: 'I10',
      message: `realised deadlock: ${cycleText(cycle)}`,
      key: `I10 realised ${cycle.key}`,
      step: execution.step,
      details: [...details, ...cycleLines(cycle)],
    };
    const schedule = scheduleOf(execution.trace, execution.actorCount);
    return { finding, schedule, executions: i + 1 };
  }
  return null;
}
