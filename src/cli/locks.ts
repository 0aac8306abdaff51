/** `faultline locks`: the order graph of a scenario in many schedules, or of a run. */
import { type ExploredCycle, exploreLocks } from '../explore/lockdep/explore-locks.ts';
import { Machine } from '../machine.ts';
import { jsonLine } from '../report/json-lines.ts';
import { type ShownLockGraph, shownLockGraph } from '../report/lock-graph.ts';
import { lockGraphDot } from '../report/lock-graph-dot.ts';
import { lockGraphText } from '../report/lock-graph-text.ts';
import { EXIT } from '../shared/errors.ts';
import { formatCount } from '../shared/units.ts';
import { stormOptions } from '../storm/storm.ts';
import { interruptible } from './interrupt.ts';
import { type LockFormat, type LocksRequest, parseLocks } from './locks-flags.ts';

/** @returns the exit code: 1 when waits can deadlock, or are not declared */
export async function locks(words: readonly string[]): Promise<number> {
  const request = parseLocks(words);
  const { graph, stoppedBy } = request.what === 'run' ? await graphOfRun(request) : graphOfScenario(request);
  process.stdout.write(formatted(graph, request.format));
  if (stoppedBy !== null) return stoppedBy;
  const sound = graph.cycles.length === 0 && graph.edges.every(({ declared }) => declared);
  return sound ? EXIT.OK : EXIT.FINDING;
}

interface Result {
  readonly graph: ShownLockGraph;
  /** 128 + n when a signal ended it. */
  readonly stoppedBy: number | null;
}

function graphOfScenario(request: Extract<LocksRequest, { what: 'scenario' }>): Result {
  const { scenario, schedules, attempts, seed } = request;
  const { graph, executions, times, cycles } = exploreLocks(scenario, { schedules, attempts, seed });
  return {
    graph: shownLockGraph({
      title: `lock order of scenario ${scenario.name}: ${scenario.title}; ${formatCount(executions)} schedules`,
      clock: 'virtual',
      graph,
      times,
      cycles: cycles.map((explored) => ({
        cycle: explored.cycle,
        status: explored.realised === null ? ('predicted' as const) : ('realised' as const),
        witnesses: witnessLines(explored),
        details: detailLines(explored),
      })),
    }),
    stoppedBy: null,
  };
}

function detailLines({ cycle, realised }: ExploredCycle): string[] {
  if (realised === null) return [];
  const { finding, executions, schedule } = realised;
  return [
    ...(finding.details ?? []).slice(0, cycle.edges.length),
    `realised in execution ${executions}, by a schedule with ${schedule.length} deviations`,
  ];
}

function witnessLines({ cycle, witnesses }: ExploredCycle): string[] {
  return cycle.edges.map(({ from, to, actor }, i) => {
    const { execution, steps } = witnesses[i]!;
    const when = execution < 0 ? 'while the scenario is set up' : `in schedule ${execution}, step ${steps}`;
    return `${from} → ${to}: seen first of ${actor} ${when}`;
  });
}

async function graphOfRun({ run }: Extract<LocksRequest, { what: 'run' }>): Promise<Result> {
  const { kernel, machine: options } = run;
  const machine = await Machine.create(
    kernel === null ? stormOptions(options) : { ...options, image: kernel },
  );
  const signal = interruptible(() => void machine.stop());
  await machine.start();
  const report = await machine.ended;
  const stoppedBy = signal.release();
  const what = kernel === null ? 'a storm' : `a run of ${kernel}`;
  return {
    graph: shownLockGraph({
      title: `lock order of ${what}: ${report.seconds.toFixed(2)} s, ${report.vcpus.length} vCPUs`,
      clock: 'real',
      graph: machine.lockGraph,
      times: report.locks,
      cycles: machine.lockGraph.cycles.map((cycle) => ({
        cycle,
        status: 'predicted' as const,
        witnesses: cycle.edges.map(({ from, to, actor }) => `${from} → ${to}: seen first of ${actor}`),
        details: [],
      })),
    }),
    stoppedBy,
  };
}

function formatted(graph: ShownLockGraph, format: LockFormat): string {
  switch (format) {
    case 'dot':
      return lockGraphDot(graph);
    case 'json':
      return jsonLine(graph);
    case 'text':
      return lockGraphText(graph);
  }
}
