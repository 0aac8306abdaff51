/** For tests of `faultline explore`: an actor that never reaches its next point. */
import { misbehaving } from './misbehaving.ts';

export const scenario = misbehaving({
  step: () => {
    for (;;);
  },
});
