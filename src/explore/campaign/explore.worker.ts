/** Thread entry of a campaign's workers: scenarios are loaded and executed here and nowhere else. */

import { scheduleOf } from '../engine/schedule.ts';
import { Stage } from '../explorer.ts';
import { type Explained, explain } from '../finding/explain.ts';
import { writeLogicalTrace } from '../finding/logical-trace.ts';
import { type ReplayOutcome, replayExplored, scenarioOf } from '../finding/replay.ts';
import { replayControlled } from '../finding/replay-controlled.ts';
import { reportOf } from '../finding/report.ts';
import { reportJson, reportText } from '../finding/report-text.ts';
import { callerOf, stepText } from '../finding/rows.ts';
import { shortPlace } from '../finding/source-line.ts';
import { decodeToken } from '../finding/token.ts';
import { guarded } from '../scenario/guarded.ts';
import { loadScenario } from '../scenario/load.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import { type Scenario, withQuirks } from '../scenario/scenario.ts';
import { stageOf } from '../scenario/stage.ts';
import { trapped } from '../scenario/traps.ts';
import { strategyByName } from '../strategy/registry.ts';
import { type Answer, errorAnswer } from './answer.ts';
import { CampaignControl } from './control.ts';
import { featuresOf } from './features.ts';
import { found } from './found.ts';
import { REPEAT_EVERY, Repeats } from './repeats.ts';
import type { Described, Explored, ExploreTask, FoundFinding, Replayed, ReplayTask, Task } from './task.ts';

export default async function exploreThread(task: Task): Promise<Answer<Described | Explored | Replayed>> {
  const control = new CampaignControl(task.slotCount, task.control);
  control.enter(task.slot, 'load');
  try {
    const scenario = guarded(await loadScenario(task.scenario), (phase) => control.enter(task.slot, phase));
    if (task.kind === 'replay' && task.engine === 'controlled') {
      control.enter(task.slot, 'threads');
      return { value: await replayOnThreads(task, scenario) };
    }
    return { value: trapped(scenario.name, () => carryOut(task, scenario, control)) };
  } catch (error) {
    return errorAnswer(error);
  } finally {
    control.enter(task.slot, 'idle');
  }
}

function carryOut(task: Task, scenario: Scenario, control: CampaignControl): Described | Explored | Replayed {
  switch (task.kind) {
    case 'describe':
      stageOf(scenario);
      return { name: scenario.name, title: scenario.title };
    case 'explore':
      return exploreChunk(task, withQuirks(scenario, task.quirks), control);
    case 'replay':
      return replay(task, scenario);
  }
}

/** Features are a statistic: of the first schedules all are noted, later those of some. */
const ALL_FEATURES = 10_000;
const FEATURES_EVERY = 8;

/** A pure function of the task, but for being told to stop. */
function exploreChunk(task: ExploreTask, scenario: Scenario, control: CampaignControl): Explored {
  const { slot, from, to, keepGoing, quirks } = task;
  const target = new MachineTarget(scenario);
  const stage = new Stage(target);
  const repeats = new Repeats(scenario);
  const strategy = strategyByName(task.strategy, task.depth === null ? {} : { depth: task.depth });
  const known = new Set(task.known);
  const times: Record<string, number> = {};
  const findings: FoundFinding[] = [];
  const note = (hash: number) => control.feature(hash);
  let executions = 0;
  let steps = 0;
  let actors = 0;
  let exhausted = false;
  let number = from;
  for (; number < to && control.wants(number); number++) {
    const seed = (task.seed + number) >>> 0;
    control.begin(slot, seed);
    const execution = stage.execute(strategy, seed);
    if (execution === null) {
      exhausted = true;
      break;
    }
    executions += 1;
    steps += execution.step;
    actors = execution.actorCount;
    if (number < ALL_FEATURES || number % FEATURES_EVERY === 0) featuresOf(execution.trace, note);
    if (execution.findings.length === 0) {
      if (number % REPEAT_EVERY === 0) repeats.check(target.world, execution, seed);
      continue;
    }
    const schedule = scheduleOf(execution.trace, execution.actorCount);
    for (const finding of execution.findings) {
      times[finding.key] = (times[finding.key] ?? 0) + 1;
      if (known.has(finding.key)) continue;
      known.add(finding.key);
      control.enter(slot, 'report');
      findings.push(found(scenario, task.scenario, quirks, { finding, schedule, number, seed }));
    }
    if (!keepGoing) break;
  }
  return { executions, steps, actors, longest: stage.longest, exhausted, findings, times };
}

function replay(task: ReplayTask, whole: Scenario): Replayed {
  const token = decodeToken(task.token);
  const { scenario } = scenarioOf(token, whole);
  return replayed(task, whole, replayExplored(scenario, token));
}

async function replayOnThreads(task: ReplayTask, whole: Scenario): Promise<Replayed> {
  const outcome = await replayControlled(task.scenario, task.token);
  return trapped(whole.name, () => replayed(task, whole, outcome));
}

/** What became of it, explained by one more execution in this thread. */
function replayed(task: ReplayTask, whole: Scenario, outcome: ReplayOutcome): Replayed {
  const token = decodeToken(task.token);
  const { scenario, without } = scenarioOf(token, whole);
  if (task.trace !== null) writeLogicalTrace(scenario, token.schedule, task.trace);
  const { finding, sameExecution, divergence, steps } = outcome;
  const explained = explain(scenario, token.schedule);
  const report =
    finding === null
      ? null
      : reportOf({
          scenario,
          schedule: token.schedule,
          key: finding.key,
          quirks: token.quirks,
          without,
          minimal: null,
          token: task.token,
          repeat: task.repeat,
        });
  return {
    reproduced: finding !== null,
    sameExecution,
    divergence,
    steps,
    text: report === null ? '' : reportText(report),
    json: report === null ? {} : reportJson(report),
    stepLines: stepLines(explained),
  };
}

/** `   18  control   write-unlock mmu_lock   gfn-access.ts:216 addMemslot`. */
function stepLines({ steps, actors }: Explained): string[] {
  const width = Math.max(...actors.map((name) => name.length));
  return steps.map((step) => {
    const at = callerOf(step);
    const where = at === null ? '' : `${shortPlace(at)} ${at.function}`;
    const text = step.sync === null ? stepText(step) : `${step.sync.name}: ${step.kind} ${step.cell}`;
    const values = step.before === step.after || step.sync === null ? '' : ` ${step.before} → ${step.after}`;
    const mark = step.preempts ? '▼' : ' ';
    return `${String(step.index + 1).padStart(5)} ${mark} ${actors[step.actor]!.padEnd(width)}  ${`${text}${values}`.padEnd(48)}  ${where}`.trimEnd();
  });
}
