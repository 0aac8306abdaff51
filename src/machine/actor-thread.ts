/** One actor's thread as the main thread sees it: its end, what it announces, and a way to end it by force. */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { ThreadMessage, ThreadTask } from '../actors/thread.ts';
import { SimError } from '../shared/errors.ts';
import { type Remote, raceExit, wrap } from '../shared/rpc.ts';

/** Starts a task on a thread of its own: piscina's `run`, which only the composition root knows. */
export type Launch = (
  task: ThreadTask,
  worker: string,
  transfer: readonly MessagePort[],
  signal: AbortSignal,
) => Promise<unknown>;

/** What a thread says once it is loaded. */
export type Said = Exclude<ThreadMessage, { is: 'loaded' }>;

export interface ActorThreadOptions<Task extends ThreadTask> {
  readonly launch: Launch;
  /** Entry of the worker, under src/actors. */
  readonly worker: string;
  readonly task: Omit<Task, 'facts'>;
  /** Ports in the task. */
  readonly transfer?: readonly MessagePort[];
  readonly onMessage: (message: Said) => void;
}

export class ActorThread<Task extends ThreadTask = ThreadTask> {
  readonly name: string;
  /** Index of the actor among all of the machine. */
  readonly index: number;
  /** Null when the task returned, else what the thread died of. Settles after the last message was handled. */
  readonly exit: Promise<Error | null>;
  readonly #abort = new AbortController();
  #ended = false;
  #loaded = false;
  #doomed = false;

  constructor(options: ActorThreadOptions<Task>) {
    const { launch, worker, task, transfer = [], onMessage } = options;
    this.name = task.name;
    this.index = task.actor;
    const { port1, port2 } = new MessageChannel();
    const hear = (message: ThreadMessage) => {
      if (message.is !== 'loaded') return onMessage(message);
      this.#loaded = true;
      if (this.#doomed) this.#abort.abort();
    };
    port1.on('message', hear);
    // The pool's own port may overtake ours: what is still in the queue is taken out before the end is told.
    const drain = () => {
      for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1)) {
        hear(last.message as ThreadMessage);
      }
      port1.close();
      this.#ended = true;
    };
    const run = launch({ ...task, facts: port2 }, worker, [...transfer, port2], this.#abort.signal);
    this.exit = run.then(
      () => {
        drain();
        return null;
      },
      (error: unknown) => {
        drain();
        return error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Ends the thread wherever it is, as when the operating system kills it. One that still loads its modules ends when it
   * has: Node (20) aborts the process when a worker is terminated in the middle of that.
   */
  kill(): void {
    if (this.#loaded) this.#abort.abort();
    else this.#doomed = true;
  }
}

/** Calls to a thread that answer or fail, but never hang: a call whose thread has ended is refused. */
export class ThreadCalls<Api> {
  readonly #remote: Remote<Api>;
  readonly #port: MessagePort;
  readonly #thread: ActorThread;
  #closed: (() => SimError) | null = null;

  constructor(port: MessagePort, thread: ActorThread) {
    this.#port = port;
    this.#thread = thread;
    this.#remote = wrap<Api>(port);
  }

  async call<T>(body: (remote: Remote<Api>) => PromiseLike<T>): Promise<T> {
    if (this.#closed !== null || this.#thread.ended) throw this.#lost();
    return raceExit(body(this.#remote), this.#thread.exit, () => this.#lost());
  }

  /** From now on calls are refused with this error. */
  refuse(why: () => SimError): void {
    this.#closed = why;
  }

  close(): void {
    this.#port.close();
  }

  #lost(): SimError {
    if (this.#closed !== null) return this.#closed();
    return new SimError('SIM_ACTOR_LOST', `the thread of ${this.#thread.name} has ended`);
  }
}
