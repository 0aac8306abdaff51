/** Thread of one variant of the suite `explore`: executes as many schedules as it is told, and says how fast. */
import { parentPort, workerData } from 'node:worker_threads';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import { Stage } from '../../src/explore/explorer.ts';
import type { OracleLevel } from '../../src/explore/oracle/oracles-for.ts';
import { flush } from '../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import { scene, slotOf } from '../../src/explore/scenario/scene.ts';
import { RandomWalk } from '../../src/explore/strategy/random-walk.ts';
import { LockValidator } from '../../src/shared/lockdep/validator.ts';

export interface Variant {
  readonly scenario: 'flush' | 'guest-flush';
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

const { scenario, oracles, lockdep } = workerData as Variant;
const options = lockdep ? { oracles, validator: new LockValidator() } : { oracles };
const stage = new Stage(new MachineTarget(scenario === 'flush' ? flush : guestFlush, options));
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
