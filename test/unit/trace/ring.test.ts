/** The trace ring between one producer and one consumer: order, wrap-around, overflow, and two threads. */
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { PHASE_INSTANT, PHASE_LOST, TRACE_RECORD, TRACE_RING } from '../../../src/shared/layout/trace.ts';
import { TRACE_SERVE } from '../../../src/shared/trace/kinds.ts';
import { TraceReader } from '../../../src/shared/trace/reader.ts';
import { record, ringBytes, testRing, ticking } from './trial.ts';

test('a record comes out as it was put in', (t) => {
  const ring = testRing(4, () => 1_234_567_890_123);
  ring.tracer.instant(TRACE_SERVE, 2 ** 52 + 1, -1, -(2 ** 31), 3 * 2 ** 32 + 7, 0xffff_8000_dead_beefn);
  t.deepEqual(ring.take(), [
    record({
      time: 1_234_567_890_123,
      phase: PHASE_INSTANT,
      kind: TRACE_SERVE,
      a: 2 ** 52 + 1,
      b: -1,
      c: -(2 ** 31),
      flow: 3 * 2 ** 32 + 7,
      wide: 0xffff_8000_dead_beefn,
    }),
  ]);
  t.deepEqual(ring.take(), []);
});

test('the heads of both sides stand on cache lines of their own, and records are 8-aligned', (t) => {
  t.is(TRACE_RING.bytes, 128);
  t.is(TRACE_RING.at.HEAD - TRACE_RING.at.TAIL, 64);
  t.is(TRACE_RECORD.bytes % 8, 0);
});

test('order is kept over many turns of the ring, for any capacity', (t) => {
  for (const capacity of [1, 2, 3, 5, 8, 13]) {
    const ring = testRing(capacity);
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 40; round++) {
      const burst = 1 + (round % capacity);
      for (let i = 0; i < burst; i++) ring.tracer.instant(TRACE_SERVE, next++);
      for (const taken of ring.take()) t.is(taken.a, expected++, `capacity ${capacity}`);
    }
    t.is(expected, next, `capacity ${capacity}`);
    t.is(ring.reader.lost, 0);
  }
});

test('a full ring drops the newest, and the next that fits says how many and since when', (t) => {
  const ring = testRing(4);
  for (let n = 1; n <= 7; n++) ring.tracer.instant(TRACE_SERVE, n);
  t.is(ring.reader.lost, 3);
  t.is(ring.reader.lostAtEnd, 3);
  t.deepEqual(
    ring.take().map((r) => r.a),
    [1, 2, 3, 4],
  );
  ring.tracer.instant(TRACE_SERVE, 8);
  const [lost, after] = ring.take();
  t.like(lost, { phase: PHASE_LOST, a: 3, time: 5 });
  t.like(after, { phase: PHASE_INSTANT, a: 8, time: 8 });
  t.is(ring.reader.lostAtEnd, 0);
  t.is(ring.reader.lost, 3);
});

test('one free place is not enough for the count and the record', (t) => {
  const ring = testRing(2);
  for (let n = 1; n <= 3; n++) ring.tracer.instant(TRACE_SERVE, n);
  // As if the consumer had taken one only.
  ring.mem.store(ring.base + TRACE_RING.at.HEAD, 1);
  ring.tracer.instant(TRACE_SERVE, 4);
  t.is(ring.reader.lost, 2);
  t.deepEqual(
    ring.take().map((r) => r.a),
    [2],
  );
  ring.tracer.instant(TRACE_SERVE, 5);
  t.deepEqual(
    ring.take().map((r) => [r.phase, r.a]),
    [
      [PHASE_LOST, 2],
      [PHASE_INSTANT, 5],
    ],
  );
});

test('a ring without room for a record loses everything and nothing else', (t) => {
  const ring = testRing(0);
  for (let n = 0; n < 5; n++) ring.tracer.instant(TRACE_SERVE, n);
  t.deepEqual(ring.take(), []);
  t.is(ring.reader.lost, 5);
});

test('a producer in another thread: every record arrives in order or is counted where it was lost', async (t) => {
  const records = 100_000;
  const capacity = 200;
  const bytes = ringBytes(capacity);
  const ring = testRing(capacity, ticking());
  const worker = new Worker(new URL('./producer.worker.js', import.meta.url), {
    workerData: { memory: ring.mem.wasm, base: ring.base, bytes, records },
  });
  let over = false;
  const done = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => {
      over = true;
      resolve();
    });
  });
  const reader = new TraceReader(ring.mem, ring.base, bytes);
  let expected = 0;
  let announced = 0;
  const problems: string[] = [];
  const drain = () =>
    reader.drain((r) => {
      if (r.phase === PHASE_LOST) {
        expected += r.a;
        announced += r.a;
        return;
      }
      // Every field of a record carries its number: a torn one would not agree with itself.
      const whole = r.b === -r.a && r.c === r.a && r.flow === r.a + 0.5 && r.wide === BigInt(r.a);
      if (r.a !== expected || !whole)
        problems.push(`expected ${expected}, got ${r.a} ${r.b} ${r.c} ${r.wide}`);
      expected = r.a + 1;
    });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  while (!over && reader.lost === 0) await turn();
  while (!over) {
    drain();
    await turn();
  }
  await done;
  drain();
  t.deepEqual(problems.slice(0, 3), []);
  t.is(expected + reader.lostAtEnd, records);
  t.is(announced + reader.lostAtEnd, reader.lost);
  t.true(reader.lost > 0 && reader.lost < records, `${reader.lost} of ${records} lost`);
});
