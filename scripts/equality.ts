/**
 * The same schedules as coroutines and on real threads: equal steps, equal findings, equal memory, seed after seed.
 *
 * `npm run equality -- [--seeds N] [--seed FIRST] [--scenario NAME…] [--strategy NAME…]`: N executions in all, spread
 * over scenarios and strategies. Exit code 1 at the first difference, with what to type to see it again.
 */
import { parseArgs } from 'node:util';
import { ControlledTarget } from '../src/explore/controlled/controlled-target.ts';
import type { Execution } from '../src/explore/engine/execution.ts';
import { Stage } from '../src/explore/explorer.ts';
import { differenceOf, footprint } from '../src/explore/oracle/determinism.ts';
import { BUNDLED } from '../src/explore/scenario/bundled/index.ts';
import { scenarioByName } from '../src/explore/scenario/known.ts';
import { MachineTarget } from '../src/explore/scenario/machine-target.ts';
import { strategyByName } from '../src/explore/strategy/registry.ts';
import type { World } from '../src/explore/world/world.ts';
import { StateHasher } from '../src/shared/state/hash.ts';

const ALL = ['random', 'pct3', 'pos', 'surw'];
const EXTENSION = import.meta.url.slice(-3);
const PROGRESS_MS = 5000;
/** Oracles look at one engine's executions as at the other's: what is compared is the machine. */
const OPTIONS = { oracles: 'off' } as const;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    scenario: { type: 'string', multiple: true },
    strategy: { type: 'string', multiple: true },
  },
});
const [seeds, firstSeed] = [Number(values.seeds), Number(values.seed)];
if (!Number.isSafeInteger(seeds) || seeds < 1 || !Number.isSafeInteger(firstSeed) || firstSeed < 0) {
  process.stderr.write('--seeds takes a number from 1, --seed one from 0\n');
  process.exit(2);
}
const scenarios = values.scenario ?? BUNDLED.map(({ name }) => name);
const strategies = values.strategy ?? ALL;
const pairs = scenarios.length * strategies.length;

const began = performance.now();
let shown = began;
let done = 0;
let steps = 0;
let difference: string | null = null;
for (const [number, name] of scenarios.entries()) {
  difference = await compareScenario(name, number);
  if (difference !== null) break;
}
const seconds = (performance.now() - began) / 1000;
if (difference !== null) {
  process.stdout.write(`${difference}\n`);
  process.exitCode = 1;
} else {
  process.stdout.write(
    `${done} executions, ${steps} steps: the same in both engines (${seconds.toFixed(1)} s, ${(done / seconds).toFixed(0)}/s)\n`,
  );
}

/** One after another, one execution on each. */
interface Engines {
  readonly explored: Stage;
  readonly controlled: Stage;
  readonly worlds: readonly [explored: World, controlled: World];
  readonly hashers: readonly [explored: StateHasher, controlled: StateHasher];
}

/** @returns null when all are the same, else what is not */
async function compareScenario(name: string, number: number): Promise<string | null> {
  const explored = new MachineTarget(scenarioByName(name), OPTIONS);
  const source = {
    module: new URL(`../src/explore/scenario/known${EXTENSION}`, import.meta.url).href,
    export: scenarioByName.name,
    args: [name],
  };
  const controlled = await ControlledTarget.open(source, OPTIONS);
  const hasherOf = ({ mem, world }: MachineTarget) => new StateHasher(mem, world.vm.layout);
  try {
    for (const [place, strategy] of strategies.entries()) {
      const engines: Engines = {
        explored: new Stage(explored),
        controlled: new Stage(controlled),
        worlds: [explored.world, controlled.machine.world],
        hashers: [hasherOf(explored), hasherOf(controlled.machine)],
      };
      // The first ones get what does not divide.
      const rest = number * strategies.length + place < seeds % pairs ? 1 : 0;
      const found = compareSeeds(engines, strategy, Math.floor(seeds / pairs) + rest);
      if (found !== null) return found;
    }
    return null;
  } finally {
    await controlled.close();
  }
}

function compareSeeds(
  { explored, controlled, worlds, hashers }: Engines,
  name: string,
  count: number,
): string | null {
  // Those that learn have one of their own each, and learn the same.
  const [one, other] = [strategyByName(name), strategyByName(name)];
  const scenario = explored.target.name;
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const first = explored.execute(one, seed);
    const left = first === null ? null : footprint(worlds[0], first, hashers[0]);
    const second = controlled.execute(other, seed);
    if (first === null || left === null || second === null) {
      return first === second ? null : repeat(scenario, name, seed, 'one engine has something left to try');
    }
    const parted = differenceOf(
      worlds[0],
      first.participants,
      left,
      footprint(worlds[1], second, hashers[1]),
    );
    if (parted !== null) {
      const what =
        parted.rule === 'state'
          ? `the same steps, but ${parted.regions.join(', ')} differ`
          : `step ${parted.step} is ${parted.first} when explored; ${parted.second} on threads`;
      return repeat(scenario, name, seed, what);
    }
    if (findingsOf(first) !== findingsOf(second)) {
      const what = `findings when explored: ${findingsOf(first)}; on threads: ${findingsOf(second)}`;
      return repeat(scenario, name, seed, what);
    }
    done += 1;
    steps += left.steps;
    if (performance.now() - shown < PROGRESS_MS) continue;
    shown = performance.now();
    const rate = (done * 1000) / (shown - began);
    process.stderr.write(`${done}/${seeds}  ${scenario}, ${name}, seed ${seed}  ${rate.toFixed(0)}/s\n`);
  }
  return null;
}

function findingsOf({ findings }: Execution): string {
  return (
    findings.map(({ rule, message, step }) => `${rule} at step ${step}: ${message}`).join('; ') || 'none'
  );
}

/** A strategy that learns has to see the seeds before it again. */
function repeat(scenario: string, strategy: string, seed: number, what: string): string {
  const command = `npm run equality -- --scenario ${scenario} --strategy ${strategy} --seed ${firstSeed} --seeds ${seed - firstSeed + 1}`;
  return `${scenario}, ${strategy}, seed ${seed}: ${what}\n${command}`;
}
