/** Tools that treat the machine badly, as processes: they stop, they take their time, they are killed in mid-message. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { Machine } from '../../src/index.ts';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';
import { until } from '../support/boot.ts';

const GPA = 0x2000000;
/** again: mov [GPA], ecx; jmp again */
const STORES = Uint8Array.from([0x89, 0x0c, 0x25, 0, 0, 0, 2, 0xeb, 0xf7]);
const SCRIPT = fileURLToPath(new URL(`./rough-tool${import.meta.url.slice(-3)}`, import.meta.url));

interface Bed {
  readonly machine: Machine;
  readonly tool: ChildProcess;
  /** Waits until the tool says this. */
  said(word: string): Promise<void>;
  /** Instructions of a vCPU so far. */
  done(vcpu: number): number;
  /** Waits until a vCPU has carried out some more. */
  goesOn(vcpu: number): Promise<void>;
  readonly path: string;
}

/** Two vCPUs that store to one page; vCPU 0 waits for the tool, vCPU 1 is not asked. */
async function bed(t: ExecutionContext): Promise<Bed> {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-rough-'));
  const path = join(folder, 'tool.sock');
  const tool = spawn(process.execPath, [SCRIPT, path, String(GPA)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: tool.stdout! })[Symbol.asyncIterator]();
  const said = async (word: string) => {
    const { value } = await lines.next();
    t.is(value, word);
  };
  await said('listens');
  const machine = await Machine.create({
    vcpuCount: 2,
    image: STORES,
    flat: true,
    kvmi: { endpoint: `unix:${path}`, reconnectMs: 5 },
  });
  t.teardown(async () => {
    tool.kill('SIGKILL');
    const { findings } = await machine.stop();
    rmSync(folder, { recursive: true });
    if (findings.length > 0) throw new Error(findings.map(({ detail }) => detail).join('\n'));
  });
  await said('ready');
  await machine.start();
  await said('event');
  const done = (vcpu: number) => machine.counters().vcpus[vcpu]!.instructions;
  const goesOn = async (vcpu: number) => {
    const before = done(vcpu);
    await until(() => done(vcpu) > before + 1000);
  };
  return { machine, tool, said, done, goesOn, path };
}

test.serial('a tool that is stopped holds up the vCPU that asks it, and nobody else', async (t) => {
  const { machine, tool, done, goesOn } = await bed(t);
  tool.kill('SIGSTOP');
  tool.stdin!.write('reply\n');
  await until(() => machine.stateOf(0) === 'waiting');
  const before = done(0);
  await goesOn(1);
  // Memslots change, invariants are looked at: nothing of the machine needs the tool.
  const check = await machine.control.checkInvariants();
  t.deepEqual(check?.findings ?? [], []);
  t.is(done(0), before);
  tool.kill('SIGCONT');
  await until(() => done(0) > before);
});

test.serial('an answer may take as long as it likes', async (t) => {
  const { machine, tool, done, goesOn } = await bed(t);
  const before = done(0);
  for (let i = 0; i < 50; i++) await goesOn(1);
  t.is(machine.stateOf(0), 'waiting');
  t.is(done(0), before);
  tool.stdin!.write('reply\n');
  await until(() => done(0) > before);
});

test.serial('a tool that is killed in mid-message lets the guest go on, and leaves nothing', async (t) => {
  const { machine, tool, done, goesOn, path } = await bed(t);
  const before = done(0);
  tool.stdin!.write('half\n');
  await goesOn(1);
  tool.kill('SIGKILL');
  await once(tool, 'exit');
  await until(() => done(0) > before);
  await goesOn(0);
  await goesOn(1);
  const check = await machine.control.checkInvariants();
  t.deepEqual(check?.findings ?? [], []);
  // The socket of the dead is in the way of the next.
  rmSync(path);
  const listener = await KvmiListener.at(path);
  t.teardown(() => listener.close());
  const next = await listener.next();
  t.is((await next.getInfo()).vcpu_count, 2);
  await next.close();
});
