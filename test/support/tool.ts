/** A tool module for tests: does what its options say, right or wrong. */
import type { PageAccess, Tool } from '../../src/index.ts';

export interface Behaviour {
  /** What it leaves allowed, set when it is attached. */
  readonly restrict?: readonly { readonly gpa: number; readonly access: PageAccess }[];
  /** What it does with a page-fault event. */
  readonly pageFault?:
    | 'continue'
    | 'crash'
    /** Allows everything on the page, then RETRY. */
    | 'allow and retry'
    /** Answers a promise of CONTINUE. */
    | 'promise'
    | 'throw'
    | 'reject'
    | 'answer nonsense'
    /** A promise that never settles. */
    | 'never'
    /** Does not return from the handler. */
    | 'hang';
  readonly attached?: 'throw' | 'never';
  /** Ends its own session at the first event, then answers. */
  readonly closes?: boolean;
}

export default function testTool(options: unknown): Tool {
  const { restrict = [], pageFault, attached, closes = false } = options as Behaviour;
  const tool: Tool = {
    async attached(session) {
      if (attached === 'throw') throw new Error('not today');
      if (attached === 'never') await new Promise(() => {});
      await session.setPageAccess(restrict);
    },
  };
  if (pageFault === undefined) return tool;
  tool.pageFault = (event, session) => {
    if (closes) void session.close();
    switch (pageFault) {
      case 'allow and retry':
        void session.setPageAccess([{ gpa: event.gpa, access: 'rwx' }]);
        return 'retry';
      case 'promise':
        return Promise.resolve('continue');
      case 'throw':
        throw new RangeError('the handler threw');
      case 'reject':
        return Promise.reject(new RangeError('the handler rejected'));
      case 'answer nonsense':
        return 'maybe' as never;
      case 'never':
        return new Promise(() => {});
      case 'hang':
        // Nobody ever wakes it: only the end of the thread.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
        return 'continue';
      default:
        return pageFault;
    }
  };
  return tool;
}
