/** A world whose participants run together in an order that a seed decides: for tests of the protocol. */
import type { Participant } from '../../src/explore/engine/execution.ts';
import { World } from '../../src/explore/world/world.ts';
import { together } from './together.ts';

export type { Tool } from '../../src/explore/world/tool-side.ts';
export type { WorldOptions as SmallMachineOptions } from '../../src/explore/world/world.ts';

export class SmallMachine extends World {
  /** How long a runner tends to go on (see together.ts). */
  stay = 0;

  together(seed: number, ...runners: Participant[]): void {
    together(runners, { mem: this.vm.mem, seed, stay: this.stay });
  }
}
