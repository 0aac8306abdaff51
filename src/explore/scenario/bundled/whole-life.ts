/**
 * Example: the whole life of a session. Hook, a restriction, events whose answers are the schedule's choice, a slot
 * that moves, a page that the host takes away, a connection that somebody shuts, unhook.
 */
import { shutConnection, unhook } from '../../../actors/introspector/hook.ts';
import { KVMI_VCPU_EVENT_PF } from '../../../actors/introspector/kvmi/constants.ts';
import { invalidateRangeEnd, invalidateRangeStart } from '../../../actors/mmu/host-invalidation.ts';
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { choosing } from '../../../shared/sync/point.ts';
import { CONTINUE, CRASH, R, RETRY, type SceneSlot, scene, slotOf, W, write, X } from '../scene.ts';

const MOVED: SceneSlot = { id: 1, gfn: 0x20, pages: 2 };
const setting = {
  slots: [MOVED],
  vcpus: [[write(0x20_000, 1n), write(0x22_000, 2n)], [write(0x20_008, 3n)]],
};

export const wholeLife = scene({
  name: 'whole-life',
  title: 'hook, restrict, events with every answer, a move, the host, a lost connection, unhook',
  ...setting,
  hooked: false,
  *tool(_world, { pf }, session) {
    const answer = yield choosing(3);
    if (pf === null || answer === 0) return CONTINUE;
    if (answer === 1) return CRASH;
    // Once more, but without the event: RETRY alone might go on for ever.
    yield* session.setPageAccess(pf.gpa, R | W | X);
    return RETRY;
  },
  *control({ control, vm, tool, commands, vcpus }) {
    yield* tool.rehook(control);
    for (const { index } of vcpus) yield* commands.controlEvents(index, KVMI_VCPU_EVENT_PF, true);
    yield* commands.setPageAccess(0x20_000, R | X);
    const slot = slotOf(setting, MOVED.id);
    yield* setMemoryRegion(control, vm, { ...slot, baseGfn: 0x22 });
    yield* setMemoryRegion(control, vm, slot);
    yield* unhook(control, vm);
  },
  others: {
    *host({ vm }, actor) {
      const pages = { ramPage: slotOf(setting, MOVED.id).ramPage, npages: 1 };
      yield* invalidateRangeStart(actor, vm, pages);
      yield* invalidateRangeEnd(actor, vm, pages);
      yield* shutConnection(vm);
    },
  },
});
