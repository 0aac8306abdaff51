/**
 * Example: introspection ends while events wait for an answer, and begins again. Unhook waits for the last vCPU that
 * is inside, so nobody uses a block that is gone; hook is refused until every vCPU has let go of its old one.
 */
import { unhook } from '../../../actors/introspector/hook.ts';
import { relaxing } from '../../../shared/sync/point.ts';
import { R, read, scene, write } from '../scene.ts';

export const rehook = scene({
  name: 'rehook',
  title: 'introspection ends while events wait, and begins again',
  slots: [{ id: 1, gfn: 0x20, pages: 2 }],
  restrict: { 32: R },
  vcpus: [
    [write(0x20_000, 1n), write(0x20_000, 2n)],
    [write(0x20_008, 3n), read(0x21_000)],
  ],
  *control(world) {
    const { control, vm, tool } = world;
    yield* unhook(control, vm);
    while ((yield* tool.rehook(control)) < 0) yield relaxing(vm.vcpuWord(0, 'KVMI_BLOCK'));
    yield* world.commands.setPageAccess(0x20_000, R);
  },
});
