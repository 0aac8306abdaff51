/** For tests of `faultline explore`: a module as users write them, with a real race. */
export { lostUpdate as default } from '../hand-made.ts';
