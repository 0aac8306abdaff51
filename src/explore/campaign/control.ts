/**
 * The words through which a campaign and its workers see each other while they work: the campaign asks them to stop,
 * they show how far they are. One shared buffer of int32, touched through Atomics only.
 *
 *   word  name          writer       meaning
 *   ────  ────────────  ───────────  ────────────────────────────────────────────────────────────
 *   0     STOP          campaign     1: end after the present execution
 *   1     STOP_BEFORE   campaign     number of a schedule: those from it on need not be executed any more
 *   2…    slots         the worker   SLOT_WORDS each: PHASE, EXECUTIONS, BEAT, SEED
 *   …     features      workers (or) a bit for each feature of an execution, by its hash
 */
import type { ScenarioPhase } from '../scenario/guarded.ts';

const STOP = 0;
const STOP_BEFORE = 1;
const SLOTS = 16;
const SLOT_WORDS = 16;
const PHASE = 0;
const EXECUTIONS = 1;
const BEAT = 2;
const SEED = 3;

/** Bits for features: enough for a few hundred thousand to be told apart. */
const FEATURE_BITS = 2 ** 20;

/** `threads`: the threads of the controlled engine are started. */
export type WorkerPhase = 'idle' | 'load' | ScenarioPhase | 'threads' | 'report';
const PHASES: readonly WorkerPhase[] = [
  'idle',
  'load',
  'setUp',
  'participants',
  'steps',
  'atEnd',
  'threads',
  'report',
];

export interface SlotState {
  readonly phase: WorkerPhase;
  readonly executions: number;
  /** Changes as long as the worker gets anywhere. */
  readonly beat: number;
  readonly seed: number;
}

export class CampaignControl {
  readonly buffer: SharedArrayBuffer;
  readonly slotCount: number;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #features: number;

  /** Over a buffer of another thread, or a new one. */
  constructor(slotCount: number, buffer?: SharedArrayBuffer) {
    this.slotCount = slotCount;
    this.#features = SLOTS + SLOT_WORDS * slotCount;
    this.buffer = buffer ?? new SharedArrayBuffer((this.#features + FEATURE_BITS / 32) * 4);
    this.#words = new Int32Array(this.buffer);
    if (buffer === undefined) Atomics.store(this.#words, STOP_BEFORE, 2 ** 31 - 1);
  }

  stop(): void {
    Atomics.store(this.#words, STOP, 1);
  }

  /** Schedules with this number or a higher one need not be executed. Takes the lowest that it is told. */
  stopBefore(number: number): void {
    if (number < Atomics.load(this.#words, STOP_BEFORE)) Atomics.store(this.#words, STOP_BEFORE, number);
  }

  /** Is schedule `number` still wanted? */
  wants(number: number): boolean {
    return Atomics.load(this.#words, STOP) === 0 && number < Atomics.load(this.#words, STOP_BEFORE);
  }

  /** The worker's side of slot `index`. */
  enter(index: number, phase: WorkerPhase): void {
    const at = SLOTS + index * SLOT_WORDS;
    Atomics.store(this.#words, at + PHASE, PHASES.indexOf(phase));
    Atomics.add(this.#words, at + BEAT, 1);
  }

  begin(index: number, seed: number): void {
    const at = SLOTS + index * SLOT_WORDS;
    Atomics.store(this.#words, at + SEED, seed | 0);
    Atomics.add(this.#words, at + EXECUTIONS, 1);
  }

  slot(index: number): SlotState {
    const at = SLOTS + index * SLOT_WORDS;
    const word = (which: number) => Atomics.load(this.#words, at + which);
    return {
      phase: PHASES[word(PHASE)]!,
      executions: word(EXECUTIONS) >>> 0,
      beat: word(BEAT),
      seed: word(SEED) >>> 0,
    };
  }

  /** Something that was seen in an execution, by a hash. */
  feature(hash: number): void {
    const bit = (hash >>> 0) % FEATURE_BITS;
    Atomics.or(this.#words, this.#features + (bit >>> 5), 1 << (bit & 31));
  }

  /** How many different features were seen: an estimate from the bits that are set. */
  featureCount(): number {
    let set = 0;
    for (let i = this.#features; i < this.#words.length; i++) {
      let n = this.#words[i]!;
      for (; n !== 0; n &= n - 1) set += 1;
    }
    const empty = (FEATURE_BITS - set) / FEATURE_BITS;
    return Math.max(0, Math.round(-FEATURE_BITS * Math.log(Math.max(empty, 1 / FEATURE_BITS))));
  }
}
