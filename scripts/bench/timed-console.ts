/**
 * What a benchmark guest says on its console, and when: "begin" when the measured part begins, "lap NAME COUNT" after
 * each part of it that is measured alone, and a checksum at its end (test/guests/bench.h). The same for all peers. Who has
 * a clock of its own, as a program of the host has, may add "took N ns", which is more exact than when lines arrive.
 */

/** What a guest has done, and how long it took. */
export interface TimedRun {
  /** From "begin" to the checksum. */
  readonly seconds: number;
  readonly checksum: string;
  readonly laps: readonly Lap[];
}

export interface Lap {
  readonly name: string;
  readonly count: number;
  readonly seconds: number;
}

const CHECKSUM = /^[0-9a-f]{16}$/;
const TOOK = /^took (\d+) ns$/;
const LAP = /^lap (\S+) (\d+)$/;

export class TimedConsole {
  /** Whole lines, with the time at which their end came. */
  readonly #lines: { readonly text: string; readonly atMs: number }[] = [];
  #rest = '';

  /** Takes text as it comes. @param atMs when it came */
  put(text: string, atMs = performance.now()): void {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop()!;
    for (const part of parts) this.#lines.push({ text: part, atMs });
  }

  get text(): string {
    return this.#lines.map(({ text }) => `${text}\n`).join('') + this.#rest;
  }

  /** Has the guest said its checksum? */
  get isComplete(): boolean {
    return this.#lines.some(({ text }) => CHECKSUM.test(text));
  }

  /** @throws Error when the guest has not said what a benchmark says */
  result(): TimedRun {
    const begin = this.#lines.findIndex(({ text }) => text === 'begin');
    const end = this.#lines.findIndex(({ text }) => CHECKSUM.test(text));
    if (begin < 0 || end < begin) throw new Error(`no benchmark's console: ${JSON.stringify(this.text)}`);
    const laps: Lap[] = [];
    let from = this.#lines[begin]!.atMs;
    for (const { text, atMs } of this.#lines.slice(begin + 1, end)) {
      const [, name, count] = LAP.exec(text) ?? [];
      if (name === undefined) continue;
      laps.push({ name, count: Number(count), seconds: (atMs - from) / 1000 });
      from = atMs;
    }
    const { text: checksum, atMs } = this.#lines[end]!;
    const [, tookNs] = TOOK.exec(this.#lines[end + 1]?.text ?? '') ?? [];
    const seconds = tookNs === undefined ? (atMs - this.#lines[begin]!.atMs) / 1000 : Number(tookNs) / 1e9;
    return { seconds, checksum, laps };
  }
}
