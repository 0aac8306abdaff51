/** Resident memory of a machine above its guest's RAM, in a process of its own. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Machine } from '../../src/index.ts';
import { guestImage, withRounds } from './guests.ts';
import { row, type Suite } from './suite.ts';

const MIB = 1024 ** 2;
const VCPUS = 4;
const RAM_BYTES = 256 * MIB;
const MEASURED_INSTRUCTIONS = 20_000_000;

export const memory: Suite = {
  name: 'memory',
  about: `resident memory above guest RAM: ${VCPUS} vCPUs, ${RAM_BYTES / MIB} MiB, all of it touched, guests running`,
  async run({ quick }) {
    const rounds = Array.from({ length: quick ? 1 : 3 }, () =>
      Number(execFileSync(process.execPath, [fileURLToPath(import.meta.url)], { encoding: 'utf8' })),
    );
    return [row('above guest RAM', 'MiB', rounds, { is: 'at most', value: 250 })];
  },
};

/** The child: prints MiB. */
async function measure(): Promise<void> {
  const machine = await Machine.create({
    vcpuCount: VCPUS,
    ramBytes: RAM_BYTES,
    image: withRounds(guestImage('bench-sha256'), 10_000),
  });
  // Every page of RAM becomes resident, so that all of it can be subtracted.
  const byte = Uint8Array.of(0);
  for (let gpa = 16 * MIB; gpa < RAM_BYTES; gpa += 4096) await machine.introspector.writePhysical(gpa, byte);
  await machine.start();
  while (machine.status().instructions < MEASURED_INSTRUCTIONS) {
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  const kib = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  await machine.stop();
  process.stdout.write(String((kib * 1024 - (RAM_BYTES - 16 * MIB)) / MIB));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await measure();
