/** What the serial port sends, on its way to the main thread: whole lines where there are lines, and no byte late. */

const CHUNK_BYTES_MAX = 512;
const NEWLINE = 0x0a;
/** A line without an end (a prompt) is sent when so much time has passed. */
const PATIENCE_NS = 2e6;

export class SerialOutput {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #bytes = new Uint8Array(CHUNK_BYTES_MAX);
  #count = 0;
  #lastNs = 0;

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  put(byte: number, now: number): void {
    this.#bytes[this.#count] = byte;
    this.#count += 1;
    this.#lastNs = now;
    if (byte === NEWLINE || this.#count === CHUNK_BYTES_MAX) this.flush();
  }

  /** Sends what has waited long enough. */
  tick(now: number): void {
    if (this.#count > 0 && now - this.#lastNs > PATIENCE_NS) this.flush();
  }

  flush(): void {
    if (this.#count === 0) return;
    const bytes = this.#bytes.slice(0, this.#count);
    this.#count = 0;
    this.#send(bytes);
  }
}
