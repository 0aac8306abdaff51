/** For tests of the package's exports: the ten lines of docs/scenarios.md, as a user writes them. */
import { R, scene, write, X } from 'faultline/explore';

export default scene({
  name: 'tighten-of-mine',
  title: 'a page is made read-only while a vCPU writes to it',
  slots: [{ id: 1, gfn: 0x20, pages: 1 }],
  vcpus: [[write(0x20_000, 1n), write(0x20_000, 2n)]],
  *control({ commands }) {
    yield* commands.setPageAccess(0x20_000, R | X);
  },
});
