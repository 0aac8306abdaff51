/** Three vCPUs fault on pages of a memslot while it is deleted: the scenario that speed is measured with. */
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import type { Scenario } from '../scenario.ts';

const PAGE = 4096;
const LOW = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 16, ramPage: 0 };
const VICTIM = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 8, ramPage: 16 };

export const flush: Scenario = {
  name: 'flush',
  title: 'three vCPU faults against the deletion of their memslot',
  machine: { vcpuCount: 3 },
  setUp(world) {
    world.slot(LOW);
    world.slot(VICTIM);
    world.hook();
    world.enablePf(0, 1, 2);
  },
  participants(world) {
    const vcpus = world.vcpus.map((_, index) =>
      world.vcpuRunner(index, [{ kind: 'read', gpa: (VICTIM.baseGfn + index) * PAGE, size: 4 }]),
    );
    const deletion = setMemoryRegion(world.control, world.vm, { ...VICTIM, npages: 0 });
    return [...vcpus, world.controlRunner(deletion)];
  },
};
