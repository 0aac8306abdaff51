/**
 * Example: a memslot is deleted and made again under the faults of two vCPUs, and a tool lifts the restriction that was
 * broken before it answers. While the slot is away its pages are nobody's: an access there is MMIO and raises no event.
 */
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { CONTINUE, R, RETRY, read, type SceneSlot, scene, slotOf, W, write, X } from '../scene.ts';

const VICTIM: SceneSlot = { id: 1, gfn: 0x20, pages: 2 };
const setting = {
  slots: [VICTIM],
  vcpus: [[write(0x20_000, 1n), read(0x21_000)], [write(0x20_008, 2n)]],
};

export const slotGoes = scene({
  name: 'slot-goes',
  title: 'a memslot goes and comes under faults, with a tool that lifts restrictions',
  ...setting,
  restrict: { 32: R },
  *tool(_world, { pf }, session) {
    if (pf === null) return CONTINUE;
    yield* session.setPageAccess(pf.gpa, R | W | X);
    return RETRY;
  },
  *control({ control, vm }) {
    const victim = slotOf(setting, VICTIM.id);
    yield* setMemoryRegion(control, vm, { ...victim, npages: 0 });
    yield* setMemoryRegion(control, vm, victim);
  },
});
