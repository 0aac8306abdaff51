/** The tool of benchmark `hooked`: takes access away from pages that nobody uses, and answers CONTINUE. */
import type { Tool } from '../../src/index.ts';

export interface RestrictedPages {
  readonly gpa: number;
  readonly count: number;
}

export default function restrictTool(pages: unknown): Tool {
  const { gpa, count } = pages as RestrictedPages;
  return {
    attached: (session) =>
      session.setPageAccess(
        Array.from({ length: count }, (_, index) => ({ gpa: gpa + index * 4096, access: 'r--' as const })),
      ),
    pageFault: () => 'continue',
  };
}
