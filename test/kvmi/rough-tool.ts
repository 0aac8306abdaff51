/**
 * A tool as a process of its own, to be stopped or killed: takes rights away from a page, has the events of vCPU 0, and
 * when one has come says so on stdout. On a line of stdin it does what that says.
 */
import { createInterface } from 'node:readline';
import type { AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';

const [path, gpa] = process.argv.slice(2);
const listener = await KvmiListener.at(path!);
process.stdout.write('listens\n');
const tool = await listener.next();
await tool.controlEvents(0, 'pf', true);
await tool.setPageAccess([{ gpa: BigInt(gpa!), access: 5 }]);
process.stdout.write('ready\n');
const event = (await tool.nextEvent()) as AnyVcpuEvent;
process.stdout.write('event\n');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'reply') tool.reply(event, 'continue');
  // The head of a WRITE_PHYSICAL and one byte.
  if (line === 'half') tool.connection.sendBytes(Uint8Array.of(14, 0, 24, 0, 1, 0, 0, 0, 0));
}
