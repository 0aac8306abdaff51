/** Uncontended locks, as a suite. */
import { run } from './locks.ts';
import { row, type Suite } from './suite.ts';

export const lockCosts: Suite = {
  name: 'locks',
  about: 'one uncontended acquire and release of each primitive, its generator driven',
  async run() {
    return (await run()).map(({ name, nsPerOp }) => row(name, 'ns', [nsPerOp]));
  },
};
