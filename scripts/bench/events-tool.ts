/** The tool of the event benchmark: takes W away from one page and answers CONTINUE. */
import type { Tool } from '../../src/index.ts';

/** `gpa`: the page. */
export default function eventsTool(gpa: unknown): Tool {
  return {
    attached: (session) => session.setPageAccess([{ gpa: gpa as number, access: 'r-x' }]),
    pageFault: () => 'continue',
  };
}
