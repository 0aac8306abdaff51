/**
 * The round trip of a page-fault event, from the fault to the retried or continued instruction, beside the cheapest
 * round trip there is: two threads that wake each other by Atomics.wait and notify.
 */
import { Worker } from 'node:worker_threads';
import { runGuest } from './guests.ts';
import { interleaved, row, type Suite } from './suite.ts';

const PING = 0;
const PONG = 1;

const PING_PONG_WORKER = `
  const { workerData } = require('node:worker_threads');
  const { words, turns } = workerData;
  for (let n = 1; n <= turns; n++) {
    Atomics.wait(words, ${PING}, n - 1);
    Atomics.store(words, ${PONG}, n);
    Atomics.notify(words, ${PONG});
  }
`;

/** ns for one round trip between this thread's child and its own child: neither has an event loop to serve. */
async function pingPong(turns: number): Promise<number> {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const code = `
    const { Worker, workerData, parentPort } = require('node:worker_threads');
    const { words, turns, other } = workerData;
    const peer = new Worker(other, { eval: true, workerData: { words, turns } });
    peer.once('online', () => {
      const began = process.hrtime.bigint();
      for (let n = 1; n <= turns; n++) {
        Atomics.store(words, ${PING}, n);
        Atomics.notify(words, ${PING});
        Atomics.wait(words, ${PONG}, n - 1);
      }
      parentPort.postMessage(Number(process.hrtime.bigint() - began) / turns);
    });
  `;
  return new Promise((resolve, reject) => {
    const worker = new Worker(code, { eval: true, workerData: { words, turns, other: PING_PONG_WORKER } });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** The page that is restricted. */
const TARGET_GPA = 0x2000000;

/** mov ecx, count; again: mov [TARGET_GPA], ecx; dec ecx; jnz again; xor eax, eax; out 0xf4, eax */
function storeLoop(count: number): Uint8Array {
  const code = Uint8Array.from([
    0xb9, 0, 0, 0, 0, 0x89, 0x0c, 0x25, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf5, 0x31, 0xc0, 0xe7, 0xf4,
  ]);
  const view = new DataView(code.buffer);
  view.setUint32(1, count, true);
  view.setUint32(8, TARGET_GPA, true);
  return code;
}

/** ns for one event: a guest that writes a restricted page again and again, a tool that says CONTINUE. */
async function pageFault(count: number): Promise<number> {
  const report = await runGuest({
    vcpuCount: 1,
    image: storeLoop(count),
    flat: true,
    tool: {
      module: new URL(`./events-tool${import.meta.url.slice(-3)}`, import.meta.url),
      options: TARGET_GPA,
    },
  });
  const sent = report.events.reduce((total, event) => total + event.sent, 0);
  if (sent !== count) throw new Error(`${count} stores to a restricted page raised ${sent} events`);
  return (report.seconds * 1e9) / sent;
}

export const events: Suite = {
  name: 'events',
  about: 'page-fault event round trip in process, beside a bare Atomics.wait/notify ping-pong',
  async run({ quick }) {
    const turns = quick ? 5_000 : 40_000;
    const taken = await interleaved(quick ? 2 : 7, {
      ping: () => pingPong(turns),
      event: () => pageFault(turns),
    });
    const ratios = taken.event.map((ns, i) => ns / taken.ping[i]!);
    return [
      row('ping-pong', 'ns', taken.ping),
      row('PF event, CONTINUE', 'ns', taken.event),
      row('event over ping-pong', '×', ratios, { is: 'at most', value: 3 }),
    ];
  },
};
