/** What a participant's thread is started with. */
import type { ScenarioSource } from './source.ts';

export interface ParticipantTask {
  readonly scenario: ScenarioSource;
  readonly memory: WebAssembly.Memory;
  /** Number of the participant in the scenario's list. */
  readonly index: number;
  readonly line: SharedArrayBuffer;
  /** One word: how many threads are listening. */
  readonly ready: SharedArrayBuffer;
}
