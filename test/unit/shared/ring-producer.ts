/** The other thread of byte-ring.test.ts: pushes numbered records as fast as there is room. */
import { isMainThread, workerData } from 'node:worker_threads';
import { ByteRing, type RingRecord } from '../../../src/shared/byte-ring.ts';
import { Mem } from '../../../src/shared/mem.ts';

/** What record `index` looks like, for both threads. */
export function recordNumber(index: number): RingRecord {
  const payload = Uint8Array.from({ length: (index * 37) % 300 }, (_, i) => (index + i) & 0xff);
  return { kind: index, seq: ~index, vcpu: index % 16, payload };
}

export interface ProducerTask {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly total: number;
}

const task = workerData as Partial<ProducerTask> | null;
// The tests themselves run in a worker thread too, without such a task.
if (!isMainThread && task?.memory !== undefined) {
  const { memory, base = 0, total = 0 } = task;
  const ring = new ByteRing(new Mem(memory), base);
  for (let next = 0; next < total; ) if (ring.push(recordNumber(next))) next++;
}
