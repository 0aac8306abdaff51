/** The bundled storm, whole, on real threads: for as long as it takes until enough has happened. */
import test, { type ExecutionContext } from 'ava';
import { loadImage, symbolValue } from '../../src/image/load.ts';
import { Machine, type MachineOptions, type RunReport } from '../../src/index.ts';
import { STORM_STRIDE } from '../../src/storm/guest-image.ts';
import { stormOptions } from '../../src/storm/storm.ts';

const SEED = BigInt(process.env['SEED'] ?? Date.now() % 1000);
/** Turns that each vCPU of the guest makes. */
const TURNS = Number(process.env['STORM_TURNS'] ?? 300);

async function storm(t: ExecutionContext, asked: Partial<MachineOptions>): Promise<RunReport> {
  const vcpuCount = 2;
  const options = stormOptions({ vcpuCount, seed: SEED, ...asked });
  const { image, ramBytes = 0 } = options;
  const turns = symbolValue(loadImage(image!, { ramBytes, vcpuCount }), 'storm_ops');
  const machine = await Machine.create(options);
  t.teardown(() => machine.stop());
  await machine.start();
  for (let vcpu = 0; vcpu < vcpuCount; ) {
    const bytes = await machine.introspector.readPhysical(turns + vcpu * STORM_STRIDE, 8);
    if (new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) >= TURNS) vcpu += 1;
  }
  return machine.stop();
}

test.serial(`a storm with lock rules checked holds everything (SEED=${SEED})`, async (t) => {
  const report = await storm(t, { lockdep: true, checkEveryMs: 50 });
  t.deepEqual(report.findings, []);
  t.is(report.error, null);
  t.is(report.exitCode, 0);
  t.deepEqual(
    report.vcpus.map(({ state, exitCode }) => ({ state, exitCode })),
    [
      { state: 'exited', exitCode: 0 },
      { state: 'exited', exitCode: 0 },
    ],
  );
  t.true(report.slots.moved > 0 && report.slots.deleted > 0);
  t.true(report.events.some(({ sent }) => sent > 0));
  t.true(report.checks.rounds > 2);
});

test.serial(`the same storm under the reference design ends in findings (SEED=${SEED})`, async (t) => {
  const report = await storm(t, { reference: true });
  t.is(report.exitCode, 1);
  t.log(report.verdict);
  // Which of its mistakes show in these turns depends on how the threads run.
  t.true(report.findings.some(({ id }) => ['I3', 'I5', 'I18'].includes(id)));
});
