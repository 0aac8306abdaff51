/** Example, ten lines: a page loses W while a vCPU writes to it. Each write comes before the tightening or raises an event. */
import { R, scene, write, X } from '../scene.ts';

export const tighten = scene({
  name: 'tighten',
  title: 'a page is made read-only while a vCPU writes to it',
  slots: [{ id: 1, gfn: 0x20, pages: 1 }],
  vcpus: [[write(0x20_000, 1n), write(0x20_000, 2n)]],
  *control({ commands }) {
    yield* commands.setPageAccess(0x20_000, R | X);
  },
});
