import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import fc from 'fast-check';
import { ByteRing, type RingRecord } from '../../../src/shared/byte-ring.ts';
import { RECORD, RING, RING_BYTES, RING_DATA_BYTES } from '../../../src/shared/layout/ring.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { roundUp } from '../../../src/shared/struct.ts';
import { recordNumber } from './ring-producer.ts';

/** The ring under test stands between guards that nobody may write. */
const BASE = 4096;

function fresh(position = 0): { mem: Mem; ring: ByteRing } {
  const mem = new Mem(new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true }));
  mem.u8.fill(0xee, 0, BASE);
  mem.u8.fill(0xee, BASE + RING_BYTES);
  mem.store(BASE + RING.at.HEAD, position | 0);
  mem.store(BASE + RING.at.TAIL, position | 0);
  return { mem, ring: new ByteRing(mem, BASE) };
}

function guardsIntact(mem: Mem): boolean {
  return mem.u8.every((byte, at) => byte === 0xee || (at >= BASE && at < BASE + RING_BYTES));
}

function record(bytes: number, seed: number): RingRecord {
  const payload = Uint8Array.from({ length: bytes }, (_, i) => (seed * 31 + i * 7) & 0xff);
  return { kind: seed, seq: -seed, vcpu: seed % 16, payload };
}

const storedBytes = ({ payload }: RingRecord) => RECORD.bytes + roundUp(payload.length, 8);
const LARGEST = RING_DATA_BYTES - RECORD.bytes;

test('records come out whole, oldest first', (t) => {
  const { ring } = fresh();
  const records = [record(0, 1), record(1, 2), record(8, 3), record(8192, 4)];
  for (const each of records) t.true(ring.push(each));
  t.false(ring.empty);
  for (const each of records) t.deepEqual(ring.shift(), each);
  t.true(ring.empty);
  t.is(ring.shift(), null);
});

test('a payload taken out is a copy', (t) => {
  const { ring } = fresh();
  ring.push(record(8, 1));
  const taken = ring.shift()!;
  const before = taken.payload.slice();
  for (let i = 0; i < 50; i++) {
    ring.push(record(4000, i));
    ring.shift();
  }
  t.deepEqual(taken.payload, before);
});

test('one record may fill the ring; one byte more finds no room', (t) => {
  const { ring } = fresh();
  t.false(ring.push(record(LARGEST + 1, 1)));
  t.true(ring.empty);
  t.true(ring.push(record(LARGEST, 2)));
  t.false(ring.push(record(0, 3)));
  t.deepEqual(ring.shift(), record(LARGEST, 2));
  t.true(ring.push(record(0, 3)));
});

test('a refused record leaves the ring as it was', (t) => {
  const { mem, ring } = fresh();
  ring.push(record(RING_DATA_BYTES / 2, 1));
  const before = mem.u8.slice();
  t.false(ring.push(record(RING_DATA_BYTES / 2, 2)));
  t.deepEqual(mem.u8.slice(), before);
});

interface Model {
  readonly queue: RingRecord[];
}
interface Real {
  readonly mem: Mem;
  readonly ring: ByteRing;
}

class Push implements fc.Command<Model, Real> {
  readonly bytes: number;
  readonly seed: number;
  constructor(bytes: number, seed: number) {
    this.bytes = bytes;
    this.seed = seed;
  }
  check = () => true;
  run({ queue }: Model, { ring }: Real): void {
    const each = record(this.bytes, this.seed);
    const used = queue.reduce((sum, queued) => sum + storedBytes(queued), 0);
    const fits = used + storedBytes(each) <= RING_DATA_BYTES;
    if (ring.push(each) !== fits) throw new Error(`push with ${used} bytes used`);
    if (fits) queue.push(each);
  }
  toString = () => `push(${this.bytes} bytes)`;
}

class Shift implements fc.Command<Model, Real> {
  check = () => true;
  run({ queue }: Model, { ring }: Real): void {
    if (ring.empty !== (queue.length === 0)) throw new Error('empty');
    const [taken, expected] = [ring.shift(), queue.shift() ?? null];
    if ((taken === null) !== (expected === null)) throw new Error('shift');
    if (taken === null || expected === null) return;
    const same = Buffer.compare(taken.payload, expected.payload) === 0;
    if (!same || taken.kind !== expected.kind || taken.seq !== expected.seq || taken.vcpu !== expected.vcpu) {
      throw new Error(`took ${taken.kind} of ${taken.payload.length} bytes, not ${expected.kind}`);
    }
  }
  toString = () => 'shift';
}

test('the ring is a queue of bounded bytes, round its end and past 2^32 bytes', (t) => {
  const sizes = fc.oneof(fc.nat(64), fc.nat(9000), fc.constantFrom(LARGEST, LARGEST - 8, LARGEST + 1));
  const commands = fc.commands(
    [
      fc.tuple(sizes, fc.integer({ min: 1, max: 1e6 })).map(([bytes, seed]) => new Push(bytes, seed)),
      fc.constant(new Shift()),
    ],
    { maxCommands: 60 },
  );
  // Positions are multiples of 8; some starts are just below the end of the ring, some just below 2^32.
  const starts = fc.constantFrom(
    0,
    RING_DATA_BYTES - 8,
    RING_DATA_BYTES - 24,
    2 ** 31 - 8,
    2 ** 32 - 8,
    2 ** 32 - 1024,
  );
  fc.assert(
    fc.property(commands, starts, (list, start) => {
      const real = fresh(start);
      fc.modelRun(() => ({ model: { queue: [] }, real }), list);
      if (!guardsIntact(real.mem)) throw new Error('wrote outside the ring');
    }),
    { numRuns: 60 },
  );
  t.pass();
});

test('a producer in another thread and a consumer here lose, mix and tear nothing', async (t) => {
  const { mem, ring } = fresh(2 ** 32 - 4096);
  const total = 20_000;
  const worker = new Worker(new URL(`./ring-producer${import.meta.url.slice(-3)}`, import.meta.url), {
    workerData: { memory: mem.wasm, base: BASE, total },
  });
  t.teardown(() => worker.terminate());
  const failed = once(worker, 'error').then(([error]) => {
    throw error;
  });
  const consume = async () => {
    for (let next = 0; next < total; ) {
      const taken = ring.shift();
      if (taken === null) {
        // Nothing yet: let a failure of the worker be heard.
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const expected = recordNumber(next);
      const same = taken.kind === expected.kind && taken.seq === expected.seq && taken.vcpu === expected.vcpu;
      if (!same || Buffer.compare(taken.payload, expected.payload) !== 0) {
        throw new Error(`record ${next}: got ${taken.kind}, ${taken.payload.length} bytes`);
      }
      next++;
    }
  };
  await Promise.race([consume(), failed]);
  t.true(ring.empty);
});
