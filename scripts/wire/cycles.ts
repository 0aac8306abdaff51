/**
 * Tools that come, restrict and go, one after the other: what of the process must not grow with their number.
 *
 * Every tool enables events and takes rights away; some let the guest run into them and leave the vCPU waiting, some ask
 * for something and do not wait for the answer, some leave in the middle of a message.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine } from '../../src/index.ts';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';

/** What the process has at one moment. */
export interface Holdings {
  readonly cycles: number;
  readonly rssMib: number;
  readonly threads: number;
  readonly descriptors: number;
}

export interface CycleOptions {
  readonly count: number;
  /** Called after every `every` cycles. */
  readonly every: number;
  readonly sample: (holdings: Holdings) => void;
}

/** The page that all of them restrict. */
const GPA = 0x2000000;
/** again: mov [GPA], ecx; jmp again */
const STORES = Uint8Array.from([0x89, 0x0c, 0x25, 0, 0, 0, 2, 0xeb, 0xf7]);
const VCPUS = 2;

/** @returns findings of the machine, and of its invariants when the last tool has gone @throws what a tool met */
export async function cycles({ count, every, sample }: CycleOptions): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-cycles-'));
  const listener = await KvmiListener.at(join(folder, 'tool.sock'));
  const machine = await Machine.create({
    vcpuCount: VCPUS,
    image: STORES,
    flat: true,
    kvmi: { endpoint: `unix:${join(folder, 'tool.sock')}`, reconnectMs: 5 },
  });
  try {
    const first = await listener.next();
    await machine.start();
    await first.close();
    for (let cycle = 1; cycle <= count; cycle++) {
      await oneTool(listener, cycle);
      if (cycle % every === 0) sample(holdings(cycle));
    }
    // The next tool's handshake comes after the last one's restrictions are gone.
    const last = await listener.next();
    await last.getVersion();
    const check = await machine.control.checkInvariants();
    await last.close();
    const { findings } = await machine.stop();
    return [...(check?.findings ?? []), ...findings].map(({ id, detail }) => `${id}: ${detail}`);
  } finally {
    await machine.stop();
    listener.close();
    rmSync(folder, { recursive: true });
  }
}

async function oneTool(listener: KvmiListener, cycle: number): Promise<void> {
  const tool = await listener.next();
  const vcpu = cycle % VCPUS;
  await tool.controlEvents(vcpu, 'pf', true);
  await tool.setPageAccess([{ gpa: BigInt(GPA), access: cycle % 2 === 0 ? 1 : 5 }]);
  if (cycle % 3 === 0) await tool.nextEvent();
  if (cycle % 5 === 0) void tool.getRegisters(vcpu).catch(() => {});
  if (cycle % 7 === 0) tool.connection.sendBytes(Uint8Array.of(12, 0, 16));
  await tool.close();
}

function holdings(cycles: number): Holdings {
  return {
    cycles,
    rssMib: process.memoryUsage.rss() / 1024 ** 2,
    threads: readdirSync('/proc/self/task').length,
    descriptors: readdirSync('/proc/self/fd').length,
  };
}
