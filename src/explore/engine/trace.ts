/** The steps of one execution, as columns. Grows, and is reused from execution to execution. */

const FIRST_CAPACITY = 1024;

export class Trace {
  length = 0;
  /** Who took step `i`. */
  actor = new Uint8Array(FIRST_CAPACITY);
  /** The point it stood before. */
  point = new Float64Array(FIRST_CAPACITY);
  /** What the point was answered: WAIT_* for a wait, the way for a choice, {@link FELL_ASLEEP}, else 0. */
  answer = new Int8Array(FIRST_CAPACITY);
  /** Who was runnable before it. */
  runnable = new Uint32Array(FIRST_CAPACITY);
  /** Who slept with a timeout before it. */
  timed = new Uint32Array(FIRST_CAPACITY);

  clear(): void {
    this.length = 0;
  }

  push(actor: number, point: number, runnable: number, timed: number): void {
    const i = this.length;
    if (i === this.actor.length) this.#grow();
    this.actor[i] = actor;
    this.point[i] = point;
    this.answer[i] = 0;
    this.runnable[i] = runnable;
    this.timed[i] = timed;
    this.length = i + 1;
  }

  /** 64 bits over all columns, as 16 hexadecimal digits: equal traces have equal hashes. */
  hash(): string {
    let a = 0x811c9dc5;
    let b = 0x9e3779b9;
    const mix = (value: number): void => {
      a = Math.imul(a ^ value, 0x01000193);
      b = Math.imul(b ^ value, 0x85ebca6b);
      b ^= b >>> 13;
    };
    for (let i = 0; i < this.length; i++) {
      const point = this.point[i]!;
      mix(this.actor[i]! | ((this.answer[i]! & 0xff) << 8));
      mix(point >>> 0);
      mix((point / 2 ** 32) >>> 0);
      mix(this.runnable[i]!);
      mix(this.timed[i]!);
    }
    return (a >>> 0).toString(16).padStart(8, '0') + (b >>> 0).toString(16).padStart(8, '0');
  }

  #grow(): void {
    const size = this.actor.length * 2;
    const grown = <T extends { set(from: T): void }>(fresh: T, old: T): T => {
      fresh.set(old);
      return fresh;
    };
    this.actor = grown(new Uint8Array(size), this.actor);
    this.point = grown(new Float64Array(size), this.point);
    this.answer = grown(new Int8Array(size), this.answer);
    this.runnable = grown(new Uint32Array(size), this.runnable);
    this.timed = grown(new Uint32Array(size), this.timed);
  }
}

/** Answer of a `waiting` step whose actor went to sleep: its real answer comes with its next step. */
export const FELL_ASLEEP = 3;
