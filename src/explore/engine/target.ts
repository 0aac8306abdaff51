/**
 * What can be explored: anything that is begun afresh for each schedule and plays in one memory. A scenario in a world
 * is one kind (scenario/machine-target.ts), a plain program over a few words another (program/program.ts).
 */
import type { Mem } from '../../shared/mem.ts';
import type { Observer, Participant } from './execution.ts';

export interface Target {
  /** For the command line and for tokens: lower case, digits and hyphens. */
  readonly name: string;
  /** One line. */
  readonly title: string;
  /** The one object through which all participants reach the memory. */
  readonly mem: Mem;
  /** Steps after which an execution counts as endless. */
  readonly stepLimit: number;
  /** What it checks of itself, beside what every execution is checked for: deadlock, endlessness, code that throws. */
  readonly oracle: Observer;
  /**
   * Everything as it was in the beginning, and new paths. The same participants each time, in the order that gives them
   * their numbers. Paths of before must not be used again.
   */
  begin(): readonly Participant[];
}
