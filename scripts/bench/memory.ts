/** Resident memory of a machine above its guest's RAM, in a process of its own. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Machine } from '../../src/index.ts';
import { row, type Suite } from './suite.ts';

const MIB = 1024 ** 2;
const VCPUS = 4;
const RAM_BYTES = 256 * MIB;
/** Below this nothing is touched, so nothing is subtracted. */
const UNTOUCHED_BYTES = 16 * MIB;
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

/** Writes a byte to every page from 16 MiB on, then turns for ever. */
function touchAll(): Uint8Array {
  // mov ebx, 16 MiB; next: mov [rbx], al; add ebx, 4096; cmp ebx, RAM_BYTES; jb next; jmp $
  const code = Uint8Array.from([
    0xbb, 0, 0, 0, 1, 0x88, 0x03, 0x81, 0xc3, 0, 0x10, 0, 0, 0x81, 0xfb, 0, 0, 0, 0, 0x72, 0xf0, 0xeb, 0xfe,
  ]);
  new DataView(code.buffer).setUint32(15, RAM_BYTES, true);
  return code;
}

/** The child: prints MiB. */
async function measure(): Promise<void> {
  const machine = await Machine.create({
    vcpuCount: VCPUS,
    ramBytes: RAM_BYTES,
    image: touchAll(),
    flat: true,
  });
  await machine.start();
  while (machine.status().instructions < MEASURED_INSTRUCTIONS) {
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  const kib = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  await machine.stop();
  process.stdout.write(String((kib * 1024 - (RAM_BYTES - UNTOUCHED_BYTES)) / MIB));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await measure();
