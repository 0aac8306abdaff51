/** Three vCPUs fault on pages of a memslot while it is deleted: the scenario that speed is measured with. */
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import type { Scenario } from '../scenario.ts';

const PAGE = 4096;
const LOW = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 16, ramPage: 0 };
const VICTIM = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 8, ramPage: 16 };
const VCPUS = [0, 1, 2];

export const flush: Scenario = flushWith(VCPUS);

function flushWith(vcpus: readonly number[]): Scenario {
  return {
    name: 'flush',
    title: 'three vCPU faults against the deletion of their memslot',
    machine: { vcpuCount: VCPUS.length },
    setUp(world) {
      world.slot(LOW);
      world.slot(VICTIM);
      world.hook();
      world.enablePf(...VCPUS);
    },
    participants(world) {
      const faults = vcpus.map((index) =>
        world.vcpuRunner(index, [{ kind: 'read', gpa: (VICTIM.baseGfn + index) * PAGE, size: 4 }]),
      );
      const deletion = setMemoryRegion(world.control, world.vm, { ...VICTIM, npages: 0 });
      return [...faults, world.controlRunner(deletion)];
    },
    parts: {
      names: VCPUS.map((index) => `the fault of vcpu ${index}`),
      without: (dropped) => flushWith(VCPUS.filter((index) => !dropped.includes(index))),
    },
  };
}
