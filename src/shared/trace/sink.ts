/** What a trace is written to: a file format. The collector feeds it; it produces bytes. */
import type { TraceRecord } from './reader.ts';

/** One line of numbers beside the actors' tracks. */
export interface TraceCounter {
  readonly name: string;
  /** Index of the actor it belongs to, −1 for the machine. */
  readonly actor: number;
}

export interface TraceSinkOptions {
  /** Names of the actors, by index. */
  readonly actors: readonly string[];
  readonly counters: readonly TraceCounter[];
  /** Takes the next bytes of the file. They are only valid during the call. */
  readonly write: (bytes: Uint8Array) => void;
}

export interface TraceSink {
  /** The next record of an actor, in the order it was made. The object is only valid during the call. */
  record(actor: number, record: TraceRecord): void;
  /** A new value of counter `index`. */
  counter(index: number, time: number, value: number): void;
  /** Hands over what it has gathered. */
  flush(): void;
  /** Ends the file at `time`, the last moment there is, and flushes. */
  close(time: number): void;
}
