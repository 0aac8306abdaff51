/**
 * Calls from thread to thread: Comlink over Node's MessagePort, with errors that arrive whole.
 *
 * The only file that imports comlink, because a second copy of it would not recognise the first one's markers. A Node
 * MessagePort is an endpoint as it stands; no adapter is needed.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import * as Comlink from 'comlink';
import { isSimErrorCode, SimError } from './errors.ts';
import { InvariantError } from './invariant.ts';

export type Remote<T> = Comlink.Remote<T>;

/** Serves `api` on `port` from the event loop. For actors that return to it between calls. */
export function expose(api: object, port: MessagePort): void {
  Comlink.expose(api, asEndpoint(port));
  port.start();
}

/**
 * Serves `api` on `port` only when `pump` is called. For a vCPU, which does not go back to its event loop for
 * messages: it pumps at an instruction boundary when its mail count has changed. Replies are sent by promise
 * callbacks, so the vCPU has to `await` once afterwards to let them out.
 *
 * @returns `pump`, which takes all messages that have arrived and says how many there were
 */
export function exposePumped(api: object, port: MessagePort): () => number {
  const listeners = new Set<(event: { data: unknown }) => void>();
  const endpoint = {
    postMessage: (message: unknown, transfer: Transferable[] = []) =>
      port.postMessage(message, transfer as never),
    addEventListener: (_type: string, listener: (event: { data: unknown }) => void) =>
      listeners.add(listener),
    removeEventListener: (_type: string, listener: (event: { data: unknown }) => void) =>
      listeners.delete(listener),
  };
  Comlink.expose(api, endpoint as unknown as Comlink.Endpoint);
  return () => {
    let count = 0;
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) return count;
      count += 1;
      for (const listener of [...listeners]) listener({ data: received.message });
    }
  };
}

/**
 * The other side of `port` as an object whose methods return promises. A call to a thread that has died never
 * settles: race it with `raceExit`.
 *
 * @param posted  called after each message was posted: where the caller of a pumped actor bumps its mail count
 */
export function wrap<T>(port: MessagePort, posted?: () => void): Remote<T> {
  if (posted === undefined) return Comlink.wrap<T>(asEndpoint(port));
  const endpoint = {
    // ORDER: the message before the count. Whoever sees the new count finds the message on its port.
    postMessage: (message: unknown, transfer: Transferable[] = []) => {
      port.postMessage(message, transfer as never);
      posted();
    },
    addEventListener: (type: string, listener: never) => port.addEventListener(type, listener),
    removeEventListener: (type: string, listener: never) => port.removeEventListener(type, listener),
    start: () => port.start(),
  };
  return Comlink.wrap<T>(endpoint as unknown as Comlink.Endpoint);
}

/** Ends a `wrap`: outstanding calls stay unsettled, the port is closed. */
export function release(remote: Remote<unknown>): void {
  (remote as Comlink.ProxyMethods)[Comlink.releaseProxy]();
}

/** Marks an object as moved, not copied, when it is an argument or a result. */
export function transfer<T>(value: T, list: readonly (ArrayBuffer | MessagePort)[]): T {
  return Comlink.transfer(value, [...list] as unknown as Transferable[]);
}

/**
 * The result of `call`, unless the thread it went to ends first.
 *
 * @param exit  settles when the thread has ended, as the pool's promise does
 * @param lost  makes the error for a thread that ended without saying why, or wraps the reason it gave
 * @throws what `lost` made, when `exit` settles first; else what `call` throws
 */
export async function raceExit<T>(
  call: PromiseLike<T>,
  exit: PromiseLike<unknown>,
  lost: (reason: unknown) => Error = actorLost,
): Promise<T> {
  // A reply that was sent before the thread ended is already on its way, on another port: give it some turns. One is
  // enough on an idle machine; on a busy one the end has been seen to overtake it.
  const ended = exit.then(
    () => afterTurns(undefined),
    (reason) => afterTurns(reason),
  );
  return Promise.race([
    call,
    ended.then((reason) => {
      throw lost(reason);
    }),
  ]);
}

function actorLost(reason: unknown): SimError {
  return new SimError('SIM_ACTOR_LOST', 'the thread ended before it answered', {
    ...(reason === undefined ? {} : { cause: reason }),
  });
}

/** Turns of the event loop that a late reply gets. */
const LATE_REPLY_TURNS = 20;

async function afterTurns(reason: unknown): Promise<unknown> {
  for (let turn = 0; turn < LATE_REPLY_TURNS; turn++) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  return reason;
}

function asEndpoint(port: MessagePort): Comlink.Endpoint {
  return port as unknown as Comlink.Endpoint;
}

// ── errors that arrive whole ────────────────────────────────────────────────────────────────────────────────

/** An error on the wire. */
interface ErrorRecord {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Absent when the error has none; `undefined` can be a cause. */
  readonly cause?: Thrown;
  /** Members of an AggregateError. */
  readonly errors?: readonly Thrown[];
  /** Own enumerable fields that can be copied: `code`, `hint`, bigint details. */
  readonly fields: Readonly<Record<string, unknown>>;
}
type Thrown = { readonly error: ErrorRecord } | { readonly value: unknown };

/** How far chains of causes are followed; also what ends a cyclic one. */
const CAUSE_DEPTH = 16;

const BUILT_IN: Readonly<Record<string, ErrorConstructor>> = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

function toWire(thrown: unknown, depth = 0): Thrown {
  if (!(thrown instanceof Error)) return { value: cloneable(thrown) ? thrown : String(thrown) };
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(thrown)) {
    if (key === 'cause' || key === 'errors' || key === 'name') continue;
    // A field that cannot be copied would lose the whole error: Comlink would send a complaint about it instead.
    fields[key] = cloneable(value) ? value : String(value);
  }
  const deeper = depth < CAUSE_DEPTH;
  return {
    error: {
      name: thrown.name,
      message: thrown.message,
      stack: thrown.stack,
      ...(deeper && 'cause' in thrown ? { cause: toWire(thrown.cause, depth + 1) } : {}),
      ...(deeper && thrown instanceof AggregateError
        ? { errors: thrown.errors.map((member) => toWire(member, depth + 1)) }
        : {}),
      fields,
    },
  };
}

function fromWire(thrown: Thrown): unknown {
  if (!('error' in thrown)) return thrown.value;
  const { name, message, stack, cause, errors, fields } = thrown.error;
  const opts = cause === undefined ? undefined : { cause: fromWire(cause) };
  const error = rebuild();
  Object.assign(error, fields);
  if (error.name !== name) error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;

  function rebuild(): Error {
    if (errors !== undefined) return new AggregateError(errors.map(fromWire), message, opts);
    const code = fields['code'];
    if (name === 'SimError' && isSimErrorCode(code)) return new SimError(code, message, { ...opts });
    if (name === 'InvariantError') {
      const error = new InvariantError(message);
      if (opts !== undefined) error.cause = opts.cause;
      return error;
    }
    return new (BUILT_IN[name] ?? Error)(message, opts);
  }
}

function cloneable(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'DataCloneError') return false;
    throw error;
  }
}

const builtInThrow = Comlink.transferHandlers.get('throw');
if (builtInThrow === undefined) throw new Error('comlink has no "throw" transfer handler to replace');
Comlink.transferHandlers.set('throw', {
  // Comlink marks what was thrown with a symbol it keeps to itself; only its own handler knows it.
  canHandle: builtInThrow.canHandle,
  serialize: ({ value }: { value: unknown }) => [toWire(value), []],
  deserialize: (thrown: Thrown) => {
    throw fromWire(thrown);
  },
} as Comlink.TransferHandler<unknown, unknown>);
