/** Guest programs: how long they take here, and how much longer they take elsewhere. */
import { type BenchGuest, benchGuest, roundsFor } from './guests.ts';
import { faultline } from './peers/faultline.ts';
import type { Job, Peer } from './peers/peer.ts';
import { geometricMean, type Row, roundRobin, row, type Suite } from './suite.ts';

interface Program {
  readonly title: string;
  readonly guest: BenchGuest;
  readonly vcpuCount: number;
}

const ALONE = [
  ...['registers', 'mix', 'sieve', 'sha256', 'recursion', 'bytecode', 'calls', 'qsort', 'matmul', 'sse'],
  ...['strings', 'chase', 'pagetables', 'exceptions', 'smc'],
];
/** On two vCPUs: contention for a lock, for words, for nothing. */
const IN_PARALLEL = ['locks', 'xadd', 'mix'];
const PROGRAMS: readonly Program[] = [
  ...ALONE.map((name) => ({ title: name, guest: benchGuest(`bench-${name}`), vcpuCount: 1 })),
  ...IN_PARALLEL.map((name) => ({
    title: `${name}, 2 vCPUs`,
    guest: benchGuest(`bench-${name}`),
    vcpuCount: 2,
  })),
];

const GOALS: Readonly<Record<string, number>> = { qemu: 1.5, v86: 2.5, bochs: 5 };
const MEAN = 'geometric mean';
const FAULTLINE_UNIT = 'ms';

export const programs: Suite = {
  name: 'guests',
  about: 'guest programs: time here, and that of each peer over it (so that more than 1 is faster here)',
  async run({ quick, peers }) {
    const everyone = [faultline, ...peers];
    const taken = PROGRAMS.map(() => everyone.map((): number[] => []));
    const start = performance.now();
    await roundRobin({ rounds: quick ? 3 : 5, seconds: quick ? 15 : Number.POSITIVE_INFINITY }, async () => {
      for (const [index, { title, guest, vcpuCount }] of PROGRAMS.entries()) {
        const job = { guest, rounds: roundsFor(guest.name, quick ? 0.1 : 1), vcpuCount };
        const seconds = await sideBySide(title, job, everyone);
        for (const [at, value] of seconds.entries()) if (value !== null) taken[index]![at]!.push(value);
      }
      process.stderr.write(`  a round, ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
    });
    return PROGRAMS.flatMap(({ title }, index) => rowsOf(title, everyone, taken[index]!)).concat(
      peers.map((peer, at) =>
        meanRow(
          peer,
          taken.map((of) => [of[0]!, of[at + 1]!] as const),
        ),
      ),
    );
  },
  summary(rows) {
    const ratios = rows.filter(({ peer }) => peer !== undefined);
    const mean = ratios.filter(({ what }) => what === MEAN);
    const lowest = mean.map(({ peer }) => {
      const of = ratios.filter((ratio) => ratio.peer === peer && ratio.what !== MEAN);
      const { what, value } = of.reduce((least, ratio) => (ratio.value < least.value ? ratio : least));
      return [peer, { what, value }] as const;
    });
    return {
      geomean: Object.fromEntries(mean.map(({ peer, value }) => [peer, value])),
      lowest: Object.fromEntries(lowest),
    };
  },
  table(rows) {
    const peers = [...new Set(rows.flatMap(({ peer }) => peer ?? []))];
    const lines = [...new Set(rows.map(({ what }) => what))].map((what) => {
      const of = rows.filter((each) => each.what === what);
      const own = of.find(({ peer }) => peer === undefined);
      const ratios = peers.map((name) => of.find(({ peer }) => peer === name)?.value.toFixed(2) ?? '–');
      return [what, own === undefined ? '' : own.value.toFixed(0), ...ratios];
    });
    const head = ['program', `Faultline, ${FAULTLINE_UNIT}`, ...peers.map((peer) => `over ${peer}, ×`)];
    return [head, head.map((_, column) => (column === 0 ? '---' : '---:')), ...lines]
      .map((cells) => `| ${cells.join(' | ')} |`)
      .join('\n');
  },
};

/** Seconds of each, null for whoever cannot run it. @throws Error when their checksums differ */
async function sideBySide(title: string, job: Job, everyone: readonly Peer[]): Promise<(number | null)[]> {
  const seconds: (number | null)[] = [];
  let first: string | null = null;
  for (const peer of everyone) {
    if (!peer.can(job)) {
      seconds.push(null);
      continue;
    }
    const run = await peer.run(job);
    first ??= run.checksum;
    if (run.checksum !== first) {
      throw new Error(
        `${title}, ${job.rounds} rounds: ${peer.name} says ${run.checksum}, Faultline ${first}`,
      );
    }
    seconds.push(run.seconds);
  }
  return seconds;
}

function rowsOf(title: string, everyone: readonly Peer[], taken: readonly (readonly number[])[]): Row[] {
  const own = taken[0]!;
  const rows = [
    row(
      title,
      FAULTLINE_UNIT,
      own.map((seconds) => seconds * 1000),
    ),
  ];
  for (const [at, peer] of everyone.entries()) {
    const theirs = taken[at]!;
    if (at === 0 || theirs.length === 0) continue;
    rows.push({ ...row(title, '×', ratios(own, theirs)), peer: peer.name });
  }
  return rows;
}

/** Over the programs that the peer can run, in each round. */
function meanRow({ name }: Peer, pairs: readonly (readonly [readonly number[], readonly number[]])[]): Row {
  const perProgram = pairs.filter(([, theirs]) => theirs.length > 0).map((pair) => ratios(...pair));
  const means = perProgram[0]!.map((_, round) => geometricMean(perProgram.map((of) => of[round]!)));
  const value = GOALS[name];
  const goal = value === undefined ? undefined : ({ is: 'at least', value } as const);
  return { ...row(MEAN, '×', means, goal), peer: name };
}

function ratios(own: readonly number[], theirs: readonly number[]): number[] {
  return theirs.map((seconds, round) => seconds / own[round]!);
}
