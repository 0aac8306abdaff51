/** What single events of the system cost: ns here, and how much longer they take elsewhere. */
import { benchGuest, roundsFor } from './guests.ts';
import { faultline } from './peers/faultline.ts';
import { type Row, roundRobin, row, type Suite } from './suite.ts';
import type { TimedRun } from './timed-console.ts';

/** From the laps of bench-system (test/guests/bench-system.c) to ns of one event. */
const EVENTS: Readonly<Record<string, (ns: (lap: string) => number) => number>> = {
  'TLB miss': (ns) => ns('miss') - ns('hit'),
  'CR3 load and a miss': (ns) => ns('cr3'),
  'INVLPG and a miss': (ns) => ns('invlpg'),
  'page fault, mapped': (ns) => ns('fault'),
  'exception, skipped': (ns) => ns('exception'),
};

export const system: Suite = {
  name: 'system',
  about: 'what one event of the system costs: ns here, and that of each peer over it',
  async run({ quick, peers }) {
    const guest = benchGuest('bench-system');
    const job = { guest, rounds: roundsFor(guest.name, quick ? 0.1 : 1), vcpuCount: 1 };
    const everyone = [faultline, ...peers].filter((peer) => peer.can(job));
    const taken = everyone.map((): TimedRun[] => []);
    await roundRobin({ rounds: quick ? 1 : 5, seconds: Number.POSITIVE_INFINITY }, async () => {
      for (const [index, peer] of everyone.entries()) taken[index]!.push(await peer.run(job));
    });
    const checksums = new Set(taken.flat().map(({ checksum }) => checksum));
    if (checksums.size > 1) throw new Error(`${guest.name}: checksums differ: ${[...checksums].join(', ')}`);
    return Object.entries(EVENTS).flatMap(([what, event]) => {
      const [own, ...others] = taken.map((runs) => runs.map((run) => event((lap) => nsOf(run, lap))));
      const rows: Row[] = [row(what, 'ns', own!)];
      for (const [at, theirs] of others.entries()) {
        const ratios = theirs.map((ns, round) => ns / own![round]!);
        const peer = everyone[at + 1]!.name;
        rows.push({ ...row(`${what}, over ${peer}`, '×', ratios), peer });
      }
      return rows;
    });
  },
};

function nsOf({ laps }: TimedRun, name: string): number {
  const lap = laps.find((each) => each.name === name)!;
  return (lap.seconds * 1e9) / lap.count;
}
