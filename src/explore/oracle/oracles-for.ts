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

export type OracleName =
  | 'deadlock'
  | 'progress'
  | 'events'
  | 'accesses'
  | 'balance'
  | 'agreement'
  | 'linearizability'
  | 'races';

/** `off`: nothing but what the engine and the machine themselves report. */
export const ORACLE_LEVELS = {
  off: [],
  cheap: ['deadlock', 'progress', 'events', 'accesses', 'balance'],
  full: ['deadlock', 'progress', 'events', 'accesses', 'balance', 'agreement', 'linearizability', 'races'],
} as const satisfies Readonly<Record<string, readonly OracleName[]>>;

export type OracleLevel = keyof typeof ORACLE_LEVELS | readonly OracleName[];

/**
 * The oracles of a level for one world, with the books that they need, to be put together by a bundle (bundle.ts).
 *
 * A race detector watches the world's memory from here on.
 */
export function oraclesFor(world: World, level: OracleLevel): Oracle[] {
  const names = new Set<OracleName>(typeof level === 'string' ? ORACLE_LEVELS[level] : level);
  const needed = (...by: OracleName[]) => by.some((name) => names.has(name));
  const held = new HeldLocks();
  const events = new EventLedger(world);
  const policy = new PolicyLedger(world);
  const graph = new WaitGraph(world, held, events);
  const oracles: Oracle[] = [];
  if (needed('deadlock', 'progress', 'balance')) oracles.push(held);
  if (needed('events', 'deadlock', 'progress')) oracles.push(events);
  if (needed('accesses', 'agreement', 'linearizability')) oracles.push(policy);
  if (names.has('deadlock')) oracles.push(new DeadlockOracle(graph));
  if (names.has('progress')) oracles.push(new ProgressOracle(world, graph));
  if (names.has('balance')) oracles.push(new BalanceOracle(world, held));
  if (names.has('accesses')) oracles.push(new AccessOracle(world, policy));
  if (names.has('agreement')) oracles.push(new AgreementOracle(world, policy));
  if (names.has('linearizability')) oracles.push(new LinearizabilityOracle(world, policy));
  // Last: it looks at what the step itself does, not at what others look at.
  if (names.has('races')) oracles.push(new RaceOracle(world));
  return oracles;
}
