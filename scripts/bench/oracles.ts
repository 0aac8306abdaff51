/** What each oracle adds to a step of an explored schedule, one by one and together. */
import { Stage } from '../../src/explore/explorer.ts';
import { ORACLE_LEVELS, type OracleLevel } from '../../src/explore/oracle/oracles-for.ts';
import { flush } from '../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';
import { interleaved, type Row, row, type Suite } from './suite.ts';

const NS_PER_US = 1000;

export const oracles: Suite = {
  name: 'oracles',
  about:
    'processor time of a step of three vCPU faults against a memslot flush, with none, each and all oracles',
  async run({ quick }) {
    const [schedules, rounds] = quick ? [50, 3] : [300, 9];
    const levels: Record<string, OracleLevel> = { none: 'off', cheap: 'cheap', full: 'full' };
    for (const name of ORACLE_LEVELS.full) levels[name] = [name];
    const variants = Object.fromEntries(
      Object.entries(levels).map(([name, level]) => {
        const stage = new Stage(new MachineTarget(flush, { oracles: level }));
        return [name, async () => nsPerStep(stage, schedules)];
      }),
    );
    const taken = await interleaved(rounds, variants);
    const rows: Row[] = [];
    for (const [name, values] of Object.entries(taken)) rows.push(row(name, 'ns', values));
    return rows;
  },
};

/** Of the process, not of the clock: others may be using the machine. */
function nsPerStep(stage: Stage, schedules: number): number {
  const strategy = new RandomWalk();
  let steps = 0;
  const before = process.cpuUsage();
  for (let seed = 1; seed <= schedules; seed++) steps += stage.outcome(strategy, seed)!.steps;
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * NS_PER_US) / steps;
}
