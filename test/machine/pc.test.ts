/** Whole PCs on real threads, without a kernel of somebody else: a few instructions that a boot loader takes for one. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openSerial, parseSerial } from '../../src/cli/serial-line.ts';
import type { MachineOptions } from '../../src/machine/options.ts';
import { Machine } from '../../src/machine.ts';
import { SimError } from '../../src/shared/errors.ts';
import { smallLinux } from '../support/small-linux.ts';

const MIB = 1024 ** 2;
const OFF = 'mov edx, 0x604\n mov eax, 0x3400\n out dx, ax\n';
const HELLO = [...'hello\n'].map((letter) => `mov eax, ${letter.charCodeAt(0)}\n out dx, al\n`).join('');
/** Sends what it receives, one more each, until a 'q' comes. */
const ECHO = `
  next: mov edx, 0x3fd
  in    al, dx
  test  al, 1
  je    next
  mov   edx, 0x3f8
  in    al, dx
  cmp   al, 0x71
  je    done
  add   al, 1
  out   dx, al
  jmp   next
  done:
`;

async function pc(
  t: import('ava').ExecutionContext,
  source: string,
  options: Partial<MachineOptions> = {},
): Promise<Machine> {
  const machine = await Machine.create({
    vcpuCount: 1,
    ramBytes: 32 * MIB,
    introspected: false,
    runMs: 60_000,
    timeIsLimit: true,
    linux: { kernel: smallLinux(source) },
    ...options,
  });
  t.teardown(async () => {
    await machine.stop();
  });
  return machine;
}

test.serial('a kernel speaks through its serial port and switches the machine off', async (t) => {
  const machine = await pc(t, `mov edx, 0x3f8\n ${HELLO} ${OFF}`);
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'exited');
  t.is(report.exitCode, 0);
  t.is(report.console, 'hello\n');
  t.deepEqual(report.findings, []);
});

test.serial('input reaches it, and what it says comes back byte for byte', async (t) => {
  const machine = await pc(t, `${ECHO} ${OFF}`);
  const heard: number[] = [];
  machine.on('serial', ({ bytes }) => heard.push(...bytes));
  await machine.start();
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * 7) & 0x3f);
  t.is(machine.sendSerial(bytes), 300);
  t.is(machine.sendSerial(Uint8Array.of(0x71)), 1);
  t.is((await machine.ended).ending, 'exited');
  t.deepEqual(
    heard,
    [...bytes].map((byte) => byte + 1),
  );
});

test.serial('vCPUs beside the first wait, and go when the machine goes', async (t) => {
  const machine = await pc(t, OFF, { vcpuCount: 3 });
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'exited');
  t.deepEqual(
    report.vcpus.map(({ state }) => state),
    ['exited', 'exited', 'exited'],
  );
});

test.serial('a PC that halts with interrupts off has ended; one that a timer wakes goes on', async (t) => {
  const dead = await pc(t, 'cli\n hlt');
  await dead.start();
  t.is((await dead.ended).ending, 'halted');
  // Nothing is set up that could interrupt, but IF says that something might.
  const alive = await pc(t, 'sti\n wait: hlt\n jmp wait', { runMs: 300, timeIsLimit: false });
  await alive.start();
  t.is((await alive.ended).ending, 'time');
});

test.serial('in virtual time a run repeats to the last bit', async (t) => {
  const source = `
    mov   ecx, 2000
    again: rdtsc
    add   rbx, rax
    mov   edx, 0x608
    in    eax, dx
    add   rbx, rax
    loop  again
    ${OFF}
  `;
  const runs = [];
  for (let i = 0; i < 2; i++) {
    const machine = await pc(t, source, { clock: 'virtual' });
    await machine.start();
    const { instructions, stateHash, ending } = await machine.ended;
    t.is(ending, 'exited');
    runs.push({ instructions, stateHash });
  }
  t.not(runs[0]!.stateHash, null);
  t.deepEqual(runs[0], runs[1]);
});

test.serial('the serial line can be a file; places that make no sense are refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'serial-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'log');
  const machine = await pc(t, `mov edx, 0x3f8\n ${HELLO} ${OFF}`);
  const line = await openSerial(parseSerial(`file:${path}`), machine, (error) => t.fail(error.message));
  machine.on('serial', ({ bytes }) => line.send(bytes));
  await machine.start();
  await machine.ended;
  await line.close();
  t.is(readFileSync(path, 'utf8'), 'hello\n');
  t.throws(() => parseSerial('tcp:1234'), { instanceOf: SimError, message: /--serial tcp:1234/ });
  const nowhere = openSerial(parseSerial(`file:${folder}/no/log`), machine, () => {});
  await t.throwsAsync(nowhere, { instanceOf: SimError, message: /serial line/ });
});

test.serial('combinations that make no sense are refused', async (t) => {
  const kernel = smallLinux('hlt');
  const refused = async (options: Partial<MachineOptions>, message: RegExp) =>
    await t.throwsAsync(Machine.create({ vcpuCount: 1, ...options }), { instanceOf: SimError, message });
  await refused({ linux: { kernel }, image: new Uint8Array(8) }, /beside another program/);
  await refused({ linux: { kernel }, board: false }, /without a board/);
  await refused({ linux: { kernel }, vcpuCount: 2, clock: 'virtual' }, /virtual time for 2 vCPUs/);
  await refused({ image: new Uint8Array(8), flat: true, clock: 'real' }, /real clock/);
  await refused({ image: kernel }, /which needs a PC/);
});
