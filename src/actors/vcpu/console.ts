/** A vCPU's console: bytes from the guest, text to the main thread, a line at a time. */

/** A line without an end is sent when it gets this long. */
const LINE_BYTES_MAX = 512;
const NEWLINE = 0x0a;

export class ConsoleLines {
  readonly #send: (text: string) => void;
  readonly #decoder = new TextDecoder();
  readonly #bytes = new Uint8Array(LINE_BYTES_MAX);
  #count = 0;

  constructor(send: (text: string) => void) {
    this.#send = send;
  }

  put(byte: number): void {
    this.#bytes[this.#count] = byte;
    this.#count += 1;
    if (byte === NEWLINE || this.#count === LINE_BYTES_MAX) this.flush();
  }

  /** Sends what has no end yet. */
  flush(): void {
    // A character whose last bytes are still to come waits for them.
    const text = this.#decoder.decode(this.#bytes.subarray(0, this.#count), { stream: true });
    this.#count = 0;
    if (text !== '') this.#send(text);
  }
}
