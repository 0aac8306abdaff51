/**
 * The storm's tool: answers by chance, and changes access while the vCPU it answers is waiting. RETRY comes with a
 * change, or the same event would come for ever.
 */
import type { PageAccess, Tool, ToolSession } from '../actors/introspector/tool.ts';
import { Prng } from '../shared/prng.ts';
import { STORM_PAGES } from './guest-image.ts';
import { RESTRICTED_GPAS } from './memory.ts';

/** Pages that are restricted at any time, more or less. */
const RESTRICTED = 24;
const ACCESSES: readonly PageAccess[] = ['---', 'r--', '-w-', 'rw-', '--x', 'r-x', '-wx'];

/** `options`: the seed. */
export default function stormTool(options: unknown): Tool {
  const prng = new Prng(options as bigint).fork('tool');
  const page = () => prng.pick(RESTRICTED_GPAS) + prng.below(STORM_PAGES) * 4096;
  const set = (session: ToolSession, gpa: number, access: PageAccess) =>
    session.setPageAccess([{ gpa, access }], { visible: false });
  return {
    async attached(session) {
      for (let n = 0; n < RESTRICTED; n++) await set(session, page(), prng.pick(ACCESSES));
    },
    pageFault(event, session) {
      if (prng.chance(0.25)) {
        void set(session, event.gpa, 'rwx');
        void set(session, page(), prng.pick(ACCESSES));
        return 'retry';
      }
      if (prng.chance(0.1)) void set(session, page(), prng.pick(ACCESSES));
      return 'continue';
    },
  };
}
