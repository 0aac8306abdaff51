/** One line that says how a run is doing: rewritten in place on a terminal, a line each second elsewhere. */
import type { MachineStatus } from '../machine.ts';
import { formatCount } from '../shared/units.ts';

const TTY_EVERY_MS = 200;
const PLAIN_EVERY_MS = 1000;

export class StatusLine {
  readonly #out: NodeJS.WriteStream;
  readonly #read: () => string;
  readonly #timer: ReturnType<typeof setInterval>;
  #shown = false;

  /** Shows the first line at once. `read` gives the line as it is now. */
  constructor(out: NodeJS.WriteStream, read: () => string) {
    this.#out = out;
    this.#read = read;
    this.#show();
    this.#timer = setInterval(() => this.#show(), out.isTTY ? TTY_EVERY_MS : PLAIN_EVERY_MS);
  }

  /** Makes room for other output on the same terminal; the line comes back by itself. */
  clear(): void {
    if (this.#shown && this.#out.isTTY) this.#out.write('\r\x1b[K');
    this.#shown = false;
  }

  /** Shows the last state, and stays. */
  end(): void {
    clearInterval(this.#timer);
    this.#show();
    if (this.#out.isTTY) this.#out.write('\n');
  }

  #show(): void {
    const line = this.#read();
    this.#out.write(this.#out.isTTY ? `\r${line}\x1b[K` : `${line}\n`);
    this.#shown = true;
  }
}

export function statusText(status: MachineStatus): string {
  const { seconds, instructions, events, slotChanges, flushes } = status;
  const rate = seconds > 0 ? ` (${(instructions / seconds / 1e6).toFixed(1)} M/s)` : '';
  return [
    `${seconds.toFixed(1)} s`,
    `${formatCount(instructions)} instructions${rate}`,
    `${formatCount(events)} events`,
    `${formatCount(slotChanges)} slot changes`,
    `${formatCount(flushes)} flushes`,
  ].join(' · ');
}
