/** A memslot appears while the tool restricts one of its pages: whoever comes second has to see the other (RC-01). */
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { ACCESS_R } from '../../../shared/layout/cpu.ts';
import type { Scenario } from '../scenario.ts';

const PAGE = 4096;
const LOW = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 16, ramPage: 0 };
const NEW = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 2, ramPage: 16 };
const GFN = 33;

export const createSlot: Scenario = {
  name: 'create-slot',
  title: 'a page of a memslot is restricted while the slot is created',
  machine: { vcpuCount: 1 },
  setUp(world) {
    world.slot(LOW);
    world.hook();
  },
  participants(world) {
    const restriction = world.session.setPageAccess(GFN * PAGE, ACCESS_R, { needSlot: false });
    return [
      world.controlRunner(setMemoryRegion(world.control, world.vm, NEW)),
      { name: 'receiver', waiter: world.receiver, path: restriction },
    ];
  },
};
