/** What a thread of wire-peer.worker.ts is told and tells, and how to run one. */
import { Worker } from 'node:worker_threads';

/** A PF event and the reply to it, header and all. */
export const EVENT_BYTES = 8 + 576;
export const ANSWER_BYTES = 8 + 16;
/** A request to read a page, and the answer. */
export const READ_BYTES = 8 + 16;
export const READ_ANSWER_BYTES = 8 + 8 + 4096;

export type PeerTask =
  /** Listens, and answers. */
  | { readonly role: 'answerer'; readonly path: string; readonly asked: number; readonly answered: number }
  /** Connects, and asks. */
  | {
      readonly role: 'asker';
      readonly path: string;
      readonly asked: number;
      readonly answered: number;
      readonly turns: number;
    }
  /** A tool that reads memory, when it is told to begin. */
  | { readonly role: 'reader'; readonly path: string; readonly turns: number }
  /** A tool that answers page faults. */
  | {
      readonly role: 'guard';
      readonly path: string;
      readonly vcpuCount: number;
      readonly gpa: number;
      readonly turns: number;
    };

export type PeerMessage =
  | { readonly is: 'ready' }
  /** For one turn, and the events of each vCPU. Medians leave out the turns in which somebody else had the processor. */
  | {
      readonly is: 'taken';
      readonly medianNs: number;
      readonly meanNs: number;
      readonly counts: readonly number[];
    };

export class Peer {
  readonly #worker: Worker;
  readonly #came: PeerMessage[] = [];
  #wake: () => void = () => {};
  #failure: Error | null = null;

  constructor(task: PeerTask) {
    this.#worker = new Worker(new URL(`./wire-peer.worker${import.meta.url.slice(-3)}`, import.meta.url), {
      workerData: task,
    });
    this.#worker.on('message', (message: PeerMessage) => {
      this.#came.push(message);
      this.#wake();
    });
    this.#worker.on('error', (error) => {
      this.#failure = error;
      this.#wake();
    });
    this.#worker.on('exit', () => {
      this.#failure ??= new Error(`the ${task.role} has ended`);
      this.#wake();
    });
  }

  /** The next that it tells. @throws what has ended it */
  async next<Is extends PeerMessage['is']>(is: Is): Promise<Extract<PeerMessage, { is: Is }>> {
    while (this.#came.length === 0 && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const message = this.#came.shift();
    if (message === undefined) throw this.#failure!;
    if (message.is !== is) throw new Error(`${message.is} instead of ${is}`);
    return message as Extract<PeerMessage, { is: Is }>;
  }

  begin(): void {
    this.#worker.postMessage('begin');
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
