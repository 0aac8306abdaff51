/** For tests of `faultline explore`: breaks the third time it is executed, whatever the schedule. */
import { misbehaving } from './misbehaving.ts';

let times = 0;
export default misbehaving({
  step: () => {
    times += 1;
    if (times === 5) throw new Error('the fifth step');
  },
});
