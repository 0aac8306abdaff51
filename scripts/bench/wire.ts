/**
 * A tool at a unix socket, beside bare sockets of the same sizes: the round trip of a page-fault event, reading memory,
 * and several vCPUs that raise events as fast as they can.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine } from '../../src/index.ts';
import { interleaved, row, type Suite } from './suite.ts';
import {
  ANSWER_BYTES,
  EVENT_BYTES,
  Peer,
  type PeerMessage,
  type PeerTask,
  READ_ANSWER_BYTES,
  READ_BYTES,
} from './wire-peer.ts';

/** The page that is restricted. */
const TARGET_GPA = 0x2000000;
/** again: mov [TARGET_GPA], ecx; jmp again */
const STORES = Uint8Array.from([0x89, 0x0c, 0x25, 0, 0, 0, 2, 0xeb, 0xf7]);

let paths = 0;

/** In a folder that goes away with the process. */
function socketPath(folder: string): string {
  return join(folder, `${paths++}.sock`);
}

/** ns for one turn between two threads at the ends of a socket. */
async function bare(folder: string, asked: number, answered: number, turns: number): Promise<number> {
  const path = socketPath(folder);
  const server = new Peer({ role: 'answerer', path, asked, answered });
  await server.next('ready');
  const client = new Peer({ role: 'asker', path, asked, answered, turns });
  const { medianNs } = await client.next('taken');
  await Promise.all([server.end(), client.end()]);
  return medianNs;
}

type Taken = Extract<PeerMessage, { is: 'taken' }>;

/** What a tool measures of a machine whose vCPUs do nothing but store to one page. */
async function withTool(task: PeerTask, vcpuCount: number): Promise<Taken> {
  const tool = new Peer(task);
  await tool.next('ready');
  const machine = await Machine.create({
    vcpuCount,
    image: STORES,
    flat: true,
    kvmi: { endpoint: `unix:${task.path}` },
  });
  await tool.next('ready');
  if (task.role === 'guard') await machine.start();
  else tool.begin();
  const taken = await tool.next('taken');
  const { findings } = await machine.stop();
  await tool.end();
  if (findings.length > 0) throw new Error(findings.map(({ detail }) => detail).join('\n'));
  return taken;
}

export const wire: Suite = {
  name: 'wire',
  about: 'a tool at a unix socket: event round trip and reads beside bare sockets, four vCPUs at once',
  async run({ quick }) {
    const folder = mkdtempSync(join(tmpdir(), 'faultline-bench-'));
    const guard = (vcpuCount: number, turns: number) =>
      withTool({ role: 'guard', path: socketPath(folder), vcpuCount, gpa: TARGET_GPA, turns }, vcpuCount);
    // Fewer would measure the compiler.
    const turns = quick ? 10_000 : 20_000;
    const four: Taken[] = [];
    try {
      const taken = await interleaved(quick ? 3 : 9, {
        ping: () => bare(folder, EVENT_BYTES, ANSWER_BYTES, turns),
        event: async () => (await guard(1, turns)).medianNs,
        echo: () => bare(folder, READ_BYTES, READ_ANSWER_BYTES, turns),
        read: async () => (await withTool({ role: 'reader', path: socketPath(folder), turns }, 1)).medianNs,
        four: async () => {
          const one = await guard(4, 2 * turns);
          four.push(one);
          return one.meanNs;
        },
      });
      const over = taken.event.map((ns, i) => ns / taken.ping[i]!);
      const share = taken.read.map((ns, i) => (100 * taken.echo[i]!) / ns);
      const fairness = four.map(({ counts }) => {
        const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
        return (100 * Math.min(...counts)) / mean;
      });
      return [
        row('socket ping-pong', 'ns', taken.ping),
        row('PF event over it', 'ns', taken.event),
        row('event over ping-pong', '×', over, { is: 'at most', value: 2 }),
        row('echo of 4 KiB', 'ns', taken.echo),
        row('READ_PHYSICAL 4 KiB', 'ns', taken.read),
        row('reads of echoes', '%', share, { is: 'at least', value: 50 }),
        row(
          '4 vCPUs: events',
          '1/s',
          taken.four.map((ns) => 1e9 / ns),
        ),
        row('4 vCPUs: slowest of mean', '%', fairness, { is: 'at least', value: 80 }),
      ];
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
