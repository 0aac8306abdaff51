/** How a campaign deals out its schedules, and what it makes of what comes back. Workers are played by the test. */
import test from 'ava';
import {
  Campaign,
  type CampaignPlan,
  CHUNK,
  isBySeed,
  mustBeResumable,
} from '../../../src/explore/campaign/campaign.ts';
import { CampaignControl } from '../../../src/explore/campaign/control.ts';
import { CampaignState } from '../../../src/explore/campaign/state.ts';
import type { Explored, ExploreTask, FoundFinding } from '../../../src/explore/campaign/task.ts';
import type { Workers } from '../../../src/explore/campaign/workers.ts';

const PLAN: CampaignPlan = {
  quirks: [],
  strategy: 'random',
  depth: null,
  schedules: 3500,
  seed: 1,
  timeMs: null,
  jobs: 2,
  keepGoing: false,
};

type Chunk = Pick<ExploreTask, 'from' | 'to'>;

/** Workers that find something at these schedules, if they are still wanted when their chunk comes there. */
function playing(finds: readonly number[], exhaustedAt = Number.POSITIVE_INFINITY) {
  const control = new CampaignControl(4);
  const chunks: Chunk[] = [];
  const explore = async ({ from, to, keepGoing }: Chunk & { keepGoing: boolean }): Promise<Explored> => {
    chunks.push({ from, to });
    await Promise.resolve();
    let number = from;
    const findings: FoundFinding[] = [];
    for (; number < to && control.wants(number) && number < exhaustedAt; number++) {
      if (!finds.includes(number)) continue;
      findings.push({ key: `at ${number}`, schedule: number, rule: 'I3' } as FoundFinding);
      if (!keepGoing) break;
    }
    const exhausted = number === exhaustedAt;
    const executions = number - from;
    const longest = executions === 0 ? 0 : from + 10;
    return { executions, steps: executions * 10, actors: 2, longest, exhausted, findings, times: {} };
  };
  return { workers: { control, explore } as unknown as Workers, chunks };
}

test('every schedule once, in chunks', async (t) => {
  const { workers, chunks } = playing([]);
  const result = await new Campaign(workers, PLAN, new CampaignState()).run();
  t.like(result, { ending: 'done', executions: 3500, steps: 35_000, findings: [] });
  t.deepEqual(
    chunks.map(({ from, to }) => [from, to]),
    [
      [0, CHUNK],
      [CHUNK, 2 * CHUNK],
      [2 * CHUNK, 3 * CHUNK],
      [3 * CHUNK, 3500],
    ],
  );
});

test('of several findings the lowest schedule counts, and nothing above it is begun', async (t) => {
  for (const jobs of [1, 2, 4]) {
    const { workers, chunks } = playing([2300, 1400, 1700]);
    const told: number[] = [];
    const plan = { ...PLAN, jobs, schedules: 100_000 };
    const result = await new Campaign(workers, plan, new CampaignState(), ({ schedule }) =>
      told.push(schedule),
    ).run();
    t.is(result.ending, 'found');
    t.deepEqual(
      result.findings.map(({ schedule }) => schedule),
      [1400],
    );
    t.deepEqual(told, [1400]);
    t.true(chunks.length <= 1 + jobs);
  }
});

test('one that keeps going reports each as it comes', async (t) => {
  const { workers } = playing([5, 1400, 3300]);
  const told: number[] = [];
  const plan = { ...PLAN, keepGoing: true };
  const result = await new Campaign(workers, plan, new CampaignState(), ({ schedule }) =>
    told.push(schedule),
  ).run();
  t.like(result, { ending: 'done', executions: 3500 });
  t.deepEqual(
    told.sort((a, b) => a - b),
    [5, 1400, 3300],
  );
});

test('what exhausts gets all on one thread, and its end is the end', async (t) => {
  const { workers, chunks } = playing([], 812);
  const result = await new Campaign(workers, { ...PLAN, strategy: 'dfs' }, new CampaignState()).run();
  t.like(result, { ending: 'exhausted', executions: 812 });
  t.deepEqual(chunks, [{ from: 0, to: 3500 }]);
});

test('what learns gets a range on each thread', async (t) => {
  const { workers, chunks } = playing([]);
  await new Campaign(workers, { ...PLAN, strategy: 'auto' }, new CampaignState()).run();
  t.deepEqual(chunks, [
    { from: 0, to: 1750 },
    { from: 1750, to: 3500 },
  ]);
});

test('what a state has done is not done again', async (t) => {
  const state = new CampaignState();
  await new Campaign(playing([]).workers, { ...PLAN, schedules: 2000 }, state).run();
  const { workers, chunks } = playing([]);
  const result = await new Campaign(workers, PLAN, state).run();
  t.is(result.executions, 3500);
  t.is(chunks[0]!.from, 2000);
});

test('a worker that fails ends the campaign with its error', async (t) => {
  const { workers } = playing([]);
  const failing = { ...workers, control: workers.control, explore: () => Promise.reject(new Error('no')) };
  const campaign = new Campaign(failing as unknown as Workers, PLAN, new CampaignState());
  await t.throwsAsync(() => campaign.run(), { message: 'no' });
});

test('only strategies whose schedules stand alone can be resumed', (t) => {
  for (const name of ['random', 'pct', 'pct3', 'pos', 'urw', 'surw']) t.true(isBySeed(name), name);
  for (const name of ['dfs', 'dpor', 'ipb2', 'auto', 'rr']) {
    t.throws(() => mustBeResumable(name), { message: `--resume: ${name} cannot go on where it stopped` });
  }
});
