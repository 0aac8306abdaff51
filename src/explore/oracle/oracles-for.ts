/** Which oracles a world is watched by. */
import type { World } from '../world/world.ts';
import { AccessOracle } from './accesses.ts';
import { AgreementOracle } from './agreement.ts';
import { BalanceOracle } from './balance.ts';
import { DeadlockOracle } from './deadlock.ts';
import { EventLedger } from './event-ledger.ts';
import { HeldLocks } from './held-locks.ts';
import { LinearizabilityOracle } from './linearizability.ts';
import type { Oracle } from './oracle.ts';
import { PolicyLedger } from './policy-ledger.ts';
import { ProgressOracle } from './progress.ts';
import { RaceOracle } from './races.ts';
import { WaitGraph } from './wait-for.ts';

/**
 * `off`: nothing but what the engine and the machine themselves report. `cheap`: deadlock, progress, events, accesses,
 * balance.  `full`: also what is looked at after every change of sptes and tracking.
 */
export type OracleLevel = 'off' | 'cheap' | 'full';

/** All oracles of a level, for one world: they are put together by a bundle (bundle.ts). */
export function oraclesFor(world: World, level: OracleLevel = 'full'): Oracle[] {
  if (level === 'off') return [];
  const held = new HeldLocks();
  const events = new EventLedger(world);
  const policy = new PolicyLedger(world);
  const graph = new WaitGraph(world, held, events);
  const oracles: Oracle[] = [
    held,
    events,
    policy,
    new DeadlockOracle(graph),
    new ProgressOracle(world, graph),
    new BalanceOracle(world, held),
    new AccessOracle(world, policy),
  ];
  // The race detector last: it looks at what the step itself does, not at what others look at.
  if (level === 'full') {
    oracles.push(new AgreementOracle(world, policy), new LinearizabilityOracle(world), new RaceOracle(world));
  }
  return oracles;
}
