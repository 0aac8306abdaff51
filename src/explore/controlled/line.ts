/**
 * The line between the engine and one participant's thread: one of the two runs, the other waits for its turn.
 *
 * A shared block of words says whose turn it is and what was said; longer things follow as serialised bytes. Both sides
 * look for a while before they sleep.
 */
import { deserialize, serialize } from 'node:v8';

/** Asked of the thread: build the participant anew; take a step; end. */
export const ASK_BEGIN = 1;
export const ASK_STEP = 2;
export const ASK_QUIT = 3;

/** Said by the thread: it stands before a point; its path has ended; it has thrown; it notifies sleepers of a cell. */
export const SAY_POINT = 1;
export const SAY_ENDED = 2;
export const SAY_THROWN = 3;
export const SAY_NOTIFY = 4;

const TURN = 0;
const VERB = 1;
const NUMBER = 2;
const COUNT = 3;
const BYTES = 4;
const WORDS = 6;
const FIRST_FLOAT = WORDS / 2;
const FLOATS = 2;
const DATA = (FIRST_FLOAT + FLOATS) * 8;

/** Room for what one step tells. */
const DATA_BYTES = 1 << 18;
export const LINE_BYTES = DATA + DATA_BYTES;

const ENGINE = 0;
const THREAD = 1;

/** Looks before sleeping: some tens of microseconds. */
const LOOKS = 300;

export class Line {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #bytes: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#floats = new Float64Array(buffer, FIRST_FLOAT * 8, FLOATS);
    this.#bytes = new Uint8Array(buffer, DATA, DATA_BYTES);
  }

  // ── the engine's side ─────────────────────────────────────────────────────────────────────────────────────
  /** Asks, and waits until the thread has something to say. @returns SAY_* */
  ask(verb: number, answer = 0): number {
    this.#words[VERB] = verb;
    this.#words[NUMBER] = answer;
    this.#pass(THREAD);
    this.#await(ENGINE);
    return this.#words[VERB]!;
  }

  /** Lets the thread go without waiting for it. */
  dismiss(): void {
    this.#words[VERB] = ASK_QUIT;
    this.#pass(THREAD);
  }

  /** Answers SAY_NOTIFY with the number of those woken. @returns the next SAY_* */
  answer(woken: number): number {
    this.#words[NUMBER] = woken;
    this.#pass(THREAD);
    this.#await(ENGINE);
    return this.#words[VERB]!;
  }

  /** The point; of SAY_NOTIFY the cell. */
  get place(): number {
    return this.#floats[0]!;
  }
  /** Of a `waiting` point: what it expects, and its timeout. Of SAY_NOTIFY: how many to wake. */
  get count(): number {
    return this.#words[COUNT]!;
  }
  get timeoutMs(): number {
    return this.#floats[1]!;
  }
  /** What was told besides, once. */
  take(): readonly unknown[] {
    const length = this.#words[BYTES]!;
    if (length === 0) return [];
    this.#words[BYTES] = 0;
    return deserialize(this.#bytes.slice(0, length)) as unknown[];
  }

  // ── the thread's side ─────────────────────────────────────────────────────────────────────────────────────
  /** Waits to be asked. @returns ASK_* */
  listen(): number {
    this.#await(THREAD);
    return this.#words[VERB]!;
  }

  get answered(): number {
    return this.#words[NUMBER]!;
  }

  /** @throws RangeError when more is told in one step than there is room for */
  say(verb: number, place: number, count: number, timeoutMs: number, told: readonly unknown[]): void {
    this.#words[VERB] = verb;
    this.#floats[0] = place;
    this.#words[COUNT] = count;
    this.#floats[1] = timeoutMs;
    if (told.length > 0) {
      const bytes = serialize(told);
      if (bytes.length > DATA_BYTES)
        throw new RangeError(`${bytes.length} bytes told in one step; room for ${DATA_BYTES}`);
      this.#bytes.set(bytes);
      this.#words[BYTES] = bytes.length;
    }
    this.#pass(ENGINE);
  }

  // ── whose turn ────────────────────────────────────────────────────────────────────────────────────────────
  // ORDER: the turn after what is said. Whoever sees its turn reads a whole message.
  #pass(to: number): void {
    Atomics.store(this.#words, TURN, to);
    Atomics.notify(this.#words, TURN);
  }

  #await(mine: number): void {
    for (let looks = LOOKS; looks > 0; looks--) if (Atomics.load(this.#words, TURN) === mine) return;
    while (Atomics.load(this.#words, TURN) !== mine) Atomics.wait(this.#words, TURN, 1 - mine);
  }
}
