/** Thread of one variant of the suite `explore`: executes as many schedules as it is told, and says how fast. */
import { parentPort, workerData } from 'node:worker_threads';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import type { Target } from '../../src/explore/engine/target.ts';
import { Stage } from '../../src/explore/explorer.ts';
import type { OracleLevel } from '../../src/explore/oracle/oracles-for.ts';
import { flushProtocol } from '../../src/explore/program/flush-protocol.ts';
import { type Program, ProgramTarget } from '../../src/explore/program/program.ts';
import { flush } from '../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import { scene, slotOf } from '../../src/explore/scenario/scene.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';
import { LockValidator } from '../../src/shared/lockdep/validator.ts';
import { type Path, reading } from '../../src/shared/sync/point.ts';

export interface Variant {
  /** `flush-protocol`: the same rules and locks without a machine. `paths`: points alone, each path one call deep. */
  readonly scenario: 'flush' | 'guest-flush' | 'flush-protocol' | 'paths';
  readonly oracles: OracleLevel;
  readonly lockdep: boolean;
}

/** For each second of processor time. */
export interface Measured {
  readonly schedulesPerSecond: number;
  readonly pointsPerSecond: number;
}

const SLOT = { id: 1, gfn: 0x100, pages: 1 };
const PAGE_GPA = 0x100_000;

/** As `flush`, but the vCPUs execute guest code: a load, an addition, a store, and the end. */
const guestFlush: Scenario = scene({
  name: 'guest-flush',
  title: 'three guests count in a page of a memslot while it is deleted',
  slots: [SLOT],
  vcpus: [0, 1, 2].map((index) => {
    const word = `qword [${PAGE_GPA + 8 * index}]`;
    return `mov rax, ${word}\n inc rax\n mov ${word}, rax\n xor eax, eax\n out 0xf4, eax`;
  }),
  *control({ control, vm }) {
    yield* setMemoryRegion(control, vm, {
      ...slotOf({ slots: [SLOT], vcpus: ['', '', ''] }, SLOT.id),
      npages: 0,
    });
  },
});

/** As many points as a schedule of `flush` has, and nothing between them. */
const paths: Program = {
  name: 'paths',
  title: 'four actors look at a word each',
  bytes: 64,
  parts: Object.fromEntries(
    [0, 1, 2, 3].map((index) => [
      `actor ${index}`,
      function* (): Path<void> {
        for (let i = 0; i < 69; i++) yield reading(4 * index);
      },
    ]),
  ),
};

const { scenario, oracles, lockdep } = workerData as Variant;

function targetOf(): Target {
  if (scenario === 'paths') return new ProgramTarget(paths);
  if (scenario === 'flush-protocol') return new ProgramTarget(flushProtocol({ vcpuCount: 3 }));
  const options = lockdep ? { oracles, validator: new LockValidator() } : { oracles };
  return new MachineTarget(scenario === 'flush' ? flush : guestFlush, options);
}

const stage = new Stage(targetOf());
const walk = new RandomWalk();
let seed = 0;

parentPort!.on('message', (schedules: number) => {
  let points = 0;
  const began = process.cpuUsage();
  for (let i = 0; i < schedules; i++) points += stage.execute(walk, seed++)!.step;
  const { user, system } = process.cpuUsage(began);
  const seconds = (user + system) / 1e6;
  const measured: Measured = { schedulesPerSecond: schedules / seconds, pointsPerSecond: points / seconds };
  parentPort!.postMessage(measured);
});
