/** An actor in a thread of its own, for rpc.test.ts: answers, fails in every way, ends, or never answers. */
import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { SimError } from '../../../src/shared/errors.ts';
import { invariant } from '../../../src/shared/invariant.ts';
import { expose, transfer } from '../../../src/shared/rpc.ts';

/** A class that the other side does not know. */
class DetailedError extends Error {
  override readonly name = 'DetailedError';
  readonly gpa = 0x1000n;
  readonly callback = () => 0;
}

function cyclic(): Error {
  const error = new Error('turtle');
  error.cause = error;
  return error;
}

const FAILURES = {
  sim: () => {
    const cause = new RangeError('too far', { cause: 'the deepest' });
    throw new SimError('SIM_MEMSLOT', 'slot 3 refused', { hint: 'another id', cause });
  },
  simWithoutHint: () => {
    throw new SimError('SIM_CLOSED', 'closed');
  },
  invariant: () => invariant(false, 'two replies'),
  builtIn: () => {
    throw new TypeError('no function');
  },
  custom: () => {
    throw new DetailedError('own class');
  },
  aggregate: () => {
    throw new AggregateError([new RangeError('one'), 2], 'several');
  },
  value: () => {
    throw { errno: -22 };
  },
  function: () => {
    throw () => 'uncloneable';
  },
  undefined: () => {
    throw undefined;
  },
  undefinedCause: () => {
    throw new Error('why', { cause: undefined });
  },
  cyclic: () => {
    throw cyclic();
  },
} as const;
export type Failure = keyof typeof FAILURES;

export const actor = {
  add: (a: number, b: number) => a + b,
  big: (value: bigint) => value * 2n,
  fail: (how: Failure): void => FAILURES[how](),
  /** Moves `buffer` there and back. */
  bounce: (buffer: ArrayBuffer) => transfer(buffer, [buffer]),
  /** Ends the thread; the call is never answered. */
  exit: (code: number) => process.exit(code),
  /** Answers, and ends the thread at once. */
  answerAndExit: () => {
    setImmediate(() => process.exit(0));
    return 'answered';
  },
  never: () => new Promise<never>(() => {}),
};

const port = (workerData as { rpcPort?: MessagePort } | null)?.rpcPort;
if (!isMainThread && port !== undefined) expose(actor, port);
