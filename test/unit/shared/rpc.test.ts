import { once } from 'node:events';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import { SimError } from '../../../src/shared/errors.ts';
import { InvariantError } from '../../../src/shared/invariant.ts';
import { expose, exposePumped, raceExit, release, transfer, wrap } from '../../../src/shared/rpc.ts';
import type { actor, Failure } from './rpc-actor.ts';

type Actor = typeof actor;

/** The actor of rpc-actor.ts in its thread, and a promise of the thread's end. */
function startActor(t: ExecutionContext) {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL(`./rpc-actor${import.meta.url.slice(-3)}`, import.meta.url), {
    workerData: { rpcPort: port2 },
    transferList: [port2],
  });
  t.teardown(async () => {
    port1.close();
    await worker.terminate();
  });
  const exit = once(worker, 'exit').then(([code]) => code as number);
  return { remote: wrap<Actor>(port1), exit, worker };
}

async function failureOf(t: ExecutionContext, how: Failure): Promise<unknown> {
  const { remote } = startActor(t);
  try {
    await remote.fail(how);
  } catch (error) {
    return error;
  }
  throw new Error(`${how} did not fail`);
}

/** Two ends of a channel in this thread, closed at the end. */
function channel(t: ExecutionContext): { ours: MessagePort; theirs: MessagePort } {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => {
    port1.close();
    port2.close();
  });
  return { ours: port1, theirs: port2 };
}

test('a call to another thread returns its result, bigints included', async (t) => {
  const { remote } = startActor(t);
  t.is(await remote.add(2, 3), 5);
  t.is(await remote.big(2n ** 63n), 2n ** 64n);
});

test('a transferred buffer moves: the sender has none left', async (t) => {
  const { remote } = startActor(t);
  const buffer = Uint8Array.of(1, 2, 3).buffer;
  const back = await remote.bounce(transfer(buffer, [buffer]));
  t.is(buffer.byteLength, 0);
  t.deepEqual([...new Uint8Array(back)], [1, 2, 3]);
});

// ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────
test('a SimError arrives as one, with code, hint, stack and the chain of causes', async (t) => {
  const error = await failureOf(t, 'sim');
  if (!(error instanceof SimError)) return t.fail(String(error));
  t.like(error, { code: 'SIM_MEMSLOT', message: 'slot 3 refused', hint: 'another id', name: 'SimError' });
  t.regex(error.stack ?? '', /rpc-actor/);
  t.true(error.cause instanceof RangeError);
  t.like(error.cause, { message: 'too far', cause: 'the deepest' });
});

test('without cause it arrives without one', async (t) => {
  const error = (await failureOf(t, 'simWithoutHint')) as SimError;
  t.is(error.hint, '');
  t.false('cause' in error);
});

test('a cause of undefined arrives as that', async (t) => {
  const error = (await failureOf(t, 'undefinedCause')) as Error;
  t.true('cause' in error);
  t.is(error.cause, undefined);
});

test('an InvariantError and a built-in error keep their class', async (t) => {
  t.true((await failureOf(t, 'invariant')) instanceof InvariantError);
  const builtIn = await failureOf(t, 'builtIn');
  t.true(builtIn instanceof TypeError);
  t.is((builtIn as Error).message, 'no function');
});

test('an unknown class arrives as Error with its name and fields; what cannot be copied as text', async (t) => {
  const error = await failureOf(t, 'custom');
  t.true(error instanceof Error);
  t.like(error, { name: 'DetailedError', message: 'own class', gpa: 0x1000n, callback: '() => 0' });
});

test('an AggregateError arrives with its members', async (t) => {
  const error = await failureOf(t, 'aggregate');
  if (!(error instanceof AggregateError)) return t.fail(String(error));
  t.is(error.message, 'several');
  t.true(error.errors[0] instanceof RangeError);
  t.is(error.errors[1], 2);
});

test('a thrown value arrives as it is, or as text when it cannot be copied', async (t) => {
  t.deepEqual(await failureOf(t, 'value'), { errno: -22 });
  t.is(await failureOf(t, 'undefined'), undefined);
  t.regex((await failureOf(t, 'function')) as string, /uncloneable/);
});

test('a circle of causes ends after some', async (t) => {
  let depth = 0;
  for (let error = (await failureOf(t, 'cyclic')) as Error | undefined; error !== undefined; depth++) {
    t.is(error.message, 'turtle');
    error = error.cause as Error | undefined;
  }
  t.is(depth, 17);
});

test('a call after a failed one works', async (t) => {
  const { remote } = startActor(t);
  await t.throwsAsync(async () => remote.fail('builtIn'));
  t.is(await remote.add(1, 1), 2);
});

// ── actors that end ─────────────────────────────────────────────────────────────────────────────────────────
test('a call to a thread that ends is lost: SIM_ACTOR_LOST', async (t) => {
  const { remote, exit } = startActor(t);
  await t.throwsAsync(raceExit(remote.exit(0), exit), { instanceOf: SimError, code: 'SIM_ACTOR_LOST' });
});

test('a call to a thread that is killed is lost, and the caller may name the loss', async (t) => {
  const { remote, exit, worker } = startActor(t);
  const lost = (reason: unknown) => new SimError('SIM_VCPU_LOST', `vCPU 1 exited with ${reason}`);
  const call = raceExit(remote.never(), exit, () => lost('nothing'));
  await remote.add(1, 1);
  await worker.terminate();
  await t.throwsAsync(call, { instanceOf: SimError, code: 'SIM_VCPU_LOST' });
});

test('the reason for the end becomes the cause', async (t) => {
  const reason = new Error('out of memory');
  const error = await t.throwsAsync(raceExit(new Promise(() => {}), Promise.reject(reason)), {
    instanceOf: SimError,
    code: 'SIM_ACTOR_LOST',
  });
  t.is(error?.cause, reason);
});

test('an answer that was sent before the thread ended is not lost', async (t) => {
  for (let i = 0; i < 5; i++) {
    const { remote, exit } = startActor(t);
    t.is(await raceExit(remote.answerAndExit(), exit), 'answered');
  }
});

test('while the thread lives, the call decides: its result or its error', async (t) => {
  const { remote, exit } = startActor(t);
  t.is(await raceExit(remote.add(1, 2), exit), 3);
  await t.throwsAsync(raceExit(remote.fail('builtIn'), exit), { instanceOf: TypeError });
});

// ── pumped actors ───────────────────────────────────────────────────────────────────────────────────────────
test('a pumped actor is called only when it pumps, and says how many messages it took', async (t) => {
  const { ours, theirs } = channel(t);
  const called: number[] = [];
  const pump = exposePumped({ note: (n: number) => called.push(n) }, theirs);
  const remote = wrap<{ note: (n: number) => number }>(ours);
  t.is(pump(), 0);
  const results = [remote.note(7), remote.note(8)];
  // Turns of the event loop do not deliver them.
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(called, []);
  t.is(pump(), 2);
  t.deepEqual(called, [7, 8]);
  t.deepEqual(await Promise.all(results), [1, 2]);
  t.is(pump(), 0);
});

test('errors of a pumped actor arrive whole as well', async (t) => {
  const { ours, theirs } = channel(t);
  const pump = exposePumped(
    {
      fail: () => {
        throw new SimError('SIM_CLOSED', 'closed');
      },
    },
    theirs,
  );
  const call = wrap<{ fail: () => void }>(ours).fail();
  pump();
  await t.throwsAsync(call, { instanceOf: SimError, code: 'SIM_CLOSED' });
});

test('who is told that a message was posted finds it on the port', async (t) => {
  const { ours, theirs } = channel(t);
  const pump = exposePumped({ add: (a: number, b: number) => a + b }, theirs);
  const found: number[] = [];
  const remote = wrap<{ add: (a: number, b: number) => number }>(ours, () => found.push(pump()));
  t.is(await remote.add(1, 2), 3);
  t.is(await remote.add(3, 4), 7);
  t.deepEqual(found, [1, 1]);
});

test('release ends a wrap: its port is closed, further calls fail', async (t) => {
  const { ours, theirs } = channel(t);
  expose({ add: (a: number, b: number) => a + b }, theirs);
  const remote = wrap<{ add: (a: number, b: number) => number }>(ours);
  t.is(await remote.add(1, 2), 3);
  const closed = once(theirs, 'close');
  release(remote);
  await closed;
  t.throws(() => remote.add(1, 2), { message: /released/ });
});
