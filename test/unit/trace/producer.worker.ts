/** A thread that does nothing but record: the other side of ring.test.ts. */
import { workerData } from 'node:worker_threads';
import { TRACE_RING } from '../../../src/shared/layout/trace.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { TRACE_SERVE } from '../../../src/shared/trace/kinds.ts';
import { Tracer } from '../../../src/shared/trace/tracer.ts';

interface ProducerTask {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly bytes: number;
  readonly records: number;
}

const { memory, base, bytes, records } = workerData as ProducerTask;
const BATCH = 64;
/** So many at first, without looking at the consumer. */
const FREE = 1000;
let now = 0;
const mem = new Mem(memory);
const tracer = new Tracer({ mem, base, bytes, clock: () => ++now });
for (let n = 0; n < records; n++) {
  // Later on a batch begins when the consumer has caught up, so that both sides are at work at once.
  while (n >= FREE && n % BATCH === 0) {
    const head = mem.load(base + TRACE_RING.at.HEAD);
    if (head === mem.load(base + TRACE_RING.at.TAIL)) break;
    Atomics.wait(mem.i32, (base + TRACE_RING.at.HEAD) >>> 2, head, 1);
  }
  tracer.instant(TRACE_SERVE, n, -n, n, n + 0.5, BigInt(n));
}
