/**
 * Every path that takes locks around a memslot flush, in one small machine: faults, an event whose tool restricts another
 * page before it answers, a memslot moved, deleted and created, a host invalidation, unhook and hook. What
 * `faultline locks` shows by default.
 */
import { hook, unhook } from '../../../actors/introspector/hook.ts';
import { invalidateRangeEnd, invalidateRangeStart } from '../../../actors/mmu/host-invalidation.ts';
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { CONTINUE, R, read, type SceneSlot, scene, slotOf, W, write, X } from '../scene.ts';

const PAGE = 4096;
const VICTIM = { id: 1, gfn: 0x20, pages: 2 } as const satisfies SceneSlot;
const STABLE = { id: 2, gfn: 0x28, pages: 2 } as const satisfies SceneSlot;
const shape = {
  slots: [VICTIM, STABLE],
  vcpus: [
    [read(VICTIM.gfn * PAGE), write(STABLE.gfn * PAGE, 1n)],
    [write((VICTIM.gfn + 1) * PAGE, 1n), read((STABLE.gfn + 1) * PAGE)],
  ],
};

export const lockTour = scene({
  name: 'lock-tour',
  title: 'every path that takes locks around a memslot flush',
  ...shape,
  restrict: { [VICTIM.gfn + 1]: R, [STABLE.gfn]: R | X },
  *tool(_world, _event, session) {
    // Both pages a vCPU reads: their mappings go, and who is in guest mode has to say so.
    yield* session.setPageAccess(VICTIM.gfn * PAGE, R | W);
    yield* session.setPageAccess((STABLE.gfn + 1) * PAGE, R);
    return CONTINUE;
  },
  *control({ control, vm }) {
    const victim = slotOf(shape, VICTIM.id);
    yield* setMemoryRegion(control, vm, { ...victim, baseGfn: victim.baseGfn + 2 });
    yield* setMemoryRegion(control, vm, { ...victim, npages: 0 });
    yield* setMemoryRegion(control, vm, victim);
    yield* unhook(control, vm);
    yield* hook(control, vm);
  },
  others: {
    *host({ vm }, actor) {
      const { ramPage } = slotOf(shape, STABLE.id);
      yield* invalidateRangeStart(actor, vm, { ramPage, npages: 1 });
      yield* invalidateRangeEnd(actor, vm, { ramPage, npages: 1 });
    },
  },
});
