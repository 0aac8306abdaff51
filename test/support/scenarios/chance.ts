/** For tests of `faultline explore`: an actor that throws dice. */
import { misbehaving } from './misbehaving.ts';

export default misbehaving({ step: () => void Math.random() });
