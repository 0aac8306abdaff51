/** An item of the race corpus: one known mistake behind its switch, and the scenario that can show it. */
import type { Scenario } from '../scenario/scenario.ts';

export interface CorpusItem {
  /** RC-01 … RC-84. */
  readonly id: string;
  /** Of its quirk: what `--bug` takes. */
  readonly name: string;
  readonly title: string;
  /** In the sense of PCT: ordering constraints that force it. 0: sequential. */
  readonly depth: number;
  /** Found upstream, in the reference design, or made for the corpus. */
  readonly origin: 'HIST' | 'REF' | 'MUT';
  /** A find names one of these rules: I3, L1, deadlock's I10, … */
  readonly rules: readonly string[];
  /** Where the mistake stands: a deviation of the machine's own code, or of a small model beside it, and why. */
  readonly place: string;
  /** The scenario with its mistake, or the same without it. At most 200 scheduling points, if it can be. */
  scenario(mutated: boolean): Scenario;
}

/** Behaviour that looks like a mistake and is none: nothing may be reported. */
export interface NegativeControl {
  /** NC-01 … NC-14. */
  readonly id: string;
  readonly title: string;
  /** @param shown  called in every execution in which it has happened, at least once */
  scenario(shown: () => void): Scenario;
}
