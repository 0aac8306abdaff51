/** A machine from create to its end: what may be called when, what it announces, how it says it went. */
import test from 'ava';
import { Machine, SimError } from '../../src/index.ts';
import { pathsAreErased } from '../../src/machine/worker-file.ts';
import { boot, nextFact, PAGE, until } from '../support/boot.ts';

test.serial('threads run erased paths, unless the environment asks for driven ones', (t) => {
  t.is(pathsAreErased(), process.env['FAULTLINE_DRIVEN'] !== '1');
});

test.serial('a machine runs to the end of its guest and reports it', async (t) => {
  const machine = await boot(t, { guest: 'hello', vcpuCount: 2, ramBytes: 4 * 1024 ** 2 });
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'exited');
  t.is(report.exitCode, 0);
  t.is(report.error, null);
  t.deepEqual(report.findings, []);
  t.deepEqual(report.console.split('\n').sort(), ['', 'hello from vcpu 0', 'hello from vcpu 1']);
  t.deepEqual(
    report.vcpus.map(({ state, exitCode }) => ({ state, exitCode })),
    [
      { state: 'exited', exitCode: 0 },
      { state: 'exited', exitCode: 0 },
    ],
  );
  t.true(report.vcpus.every(({ instructions }) => instructions > 90));
  t.regex(report.stateHash ?? '', /^[0-9a-f]{16}$/);
  t.true((report.checks.facts['I3'] ?? 0) > 0);
});

test.serial('nothing runs before start, and the machine can be stopped without ever starting', async (t) => {
  const machine = await boot(t);
  t.is(machine.stateOf(0), 'created');
  t.is(machine.status().instructions, 0);
  const report = await machine.stop();
  t.is(report.ending, 'stopped');
  t.is(report.exitCode, 0);
  t.is(report.seconds, 0);
  t.is(report.vcpus[0]!.instructions, 0);
});

test.serial('it can be started once, and not after its end', async (t) => {
  const machine = await boot(t, { endless: true });
  await machine.start();
  await t.throwsAsync(machine.start(), { instanceOf: SimError, message: /runs already/ });
  await machine.stop();
  await t.throwsAsync(machine.start(), { instanceOf: SimError, message: 'the machine has ended' });
  const late = await t.throwsAsync(machine.introspector.getInfo(), { instanceOf: SimError });
  t.is(late!.code, 'SIM_CLOSED');
});

test.serial('await using ends it', async (t) => {
  let machine: Machine;
  {
    await using inner = await boot(t, { endless: true });
    machine = inner;
    await machine.start();
  }
  t.is((await machine.ended).ending, 'stopped');
});

test.serial('facts are announced: states, exits, slots, events, console', async (t) => {
  const machine = await boot(t, {
    accesses: [[{ kind: 'write', gpa: 5 * PAGE, size: 8, value: 1n }]],
    tool: { restrict: [{ gpa: 5 * PAGE, access: 'r--' }], pageFault: 'continue' },
  });
  const states: string[] = [];
  const exits: string[] = [];
  machine.on('vcpuState', ({ state }) => states.push(state));
  machine.on('actorExit', ({ actor }) => exits.push(actor));
  const event = nextFact(machine, 'pageFault');
  const reply = nextFact(machine, 'reply');
  const slot = nextFact(machine, 'slot');
  await machine.control.setMemoryRegion({ slot: 1, gpa: 2 ** 26, bytes: 16 * PAGE, ramOffset: 0 });
  t.deepEqual(await slot, { change: 'create', id: 1, gpa: 2 ** 26, bytes: 16 * PAGE } as never);
  await machine.start();
  t.like(await event, { vcpu: 0, gpa: 5 * PAGE, access: 'W' } as never);
  t.like(await reply, { vcpu: 0, answer: 'continue' });
  await machine.ended;
  t.deepEqual(states, ['running', 'exited']);
  t.deepEqual(exits.sort(), ['control', 'introspector', 'vcpu 0']);
});

test.serial('a listener that throws is the error of the run, and keeps nobody from anything', async (t) => {
  const machine = await boot(t);
  machine.on('vcpuState', () => {
    throw new RangeError('no');
  });
  await machine.start();
  const report = await machine.ended;
  t.is(report.error?.code, 'SIM_TOOL_FAILED');
  t.is(report.vcpus[0]!.state, 'exited');
});

test.serial('a guest that exits with another code than 0 has failed', async (t) => {
  // mov al, 7; out 0xf4, eax
  const machine = await Machine.create({
    vcpuCount: 1,
    ramBytes: 2 * 1024 ** 2,
    image: Uint8Array.of(0xb0, 7, 0xe7, 0xf4),
    flat: true,
  });
  t.teardown(() => machine.stop());
  await machine.start();
  const report = await machine.ended;
  t.is(report.exitCode, 1);
  t.is(report.verdict, 'the guest says it failed: vCPU 0 exited with code 7');
});

test.serial('a triple fault is a crash, and stops the other vCPUs', async (t) => {
  // test edi, edi; jnz $; ud2
  const code = Uint8Array.of(0x85, 0xff, 0x75, 0xfe, 0x0f, 0x0b);
  const machine = await Machine.create({ vcpuCount: 2, ramBytes: 2 * 1024 ** 2, image: code, flat: true });
  t.teardown(() => machine.stop());
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'crashed');
  t.is(report.error?.code, 'SIM_GUEST_CRASH');
  t.is(report.exitCode, 3);
  t.is(report.error?.message, 'vCPU 0: triple fault, begun by #UD at rip 0x100004');
  // The other one may not even have begun: it is told all the same.
  t.true(['crashed', 'stopped'].includes(report.vcpus[1]!.state));
});

test.serial('when every vCPU stands at HLT the run is over', async (t) => {
  const machine = await Machine.create({
    vcpuCount: 2,
    ramBytes: 2 * 1024 ** 2,
    image: Uint8Array.of(0xf4, 0xeb, 0xfd),
    flat: true,
  });
  t.teardown(() => machine.stop());
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'halted');
  t.is(report.exitCode, 0);
});

test.serial('an instruction limit stops each vCPU exactly there', async (t) => {
  const machine = await Machine.create({
    vcpuCount: 2,
    ramBytes: 2 * 1024 ** 2,
    image: Uint8Array.of(0xeb, 0xfe),
    flat: true,
    instructionLimit: 123_456,
  });
  t.teardown(() => machine.stop());
  await machine.start();
  const report = await machine.ended;
  t.is(report.ending, 'limit');
  t.is(report.error?.code, 'SIM_LIMIT');
  t.is(report.exitCode, 4);
  t.deepEqual(
    report.vcpus.map(({ instructions }) => instructions),
    [123_456, 123_456],
  );
});

test.serial('the time given ends a run, as its end or as a limit', async (t) => {
  for (const timeIsLimit of [false, true]) {
    const machine = await boot(t, { endless: true, runMs: 50, timeIsLimit });
    await machine.start();
    const report = await machine.ended;
    t.is(report.ending, 'time');
    t.is(report.error?.code ?? null, timeIsLimit ? 'SIM_LIMIT' : null);
    t.is(report.exitCode, timeIsLimit ? 4 : 0);
  }
});

test.serial('a running machine is checked again and again, and goes on', async (t) => {
  const machine = await boot(t, {
    endless: true,
    accesses: [[{ kind: 'read', gpa: 0, size: 1 }], [{ kind: 'write', gpa: 9, size: 1 }]],
  });
  await machine.start();
  for (let round = 0; round < 5; round++) {
    const result = await machine.control.checkInvariants();
    t.deepEqual(result?.findings, []);
    const before = machine.status().instructions;
    await until(() => machine.status().instructions > before);
  }
  t.is((await machine.stop()).exitCode, 0);
});

test.serial(
  'memory is changed under a running machine, and what makes no sense is refused as the kernel does',
  async (t) => {
    const machine = await boot(t, { endless: true, ramBytes: 64 * PAGE, gpaBytes: 256 * PAGE });
    await machine.start();
    const region = { slot: 1, gpa: 128 * PAGE, bytes: 8 * PAGE, ramOffset: 0 };
    await machine.control.setMemoryRegion(region);
    await machine.control.setMemoryRegion({ ...region, gpa: 64 * PAGE });
    await machine.control.setMemoryRegion({ ...region, gpa: 64 * PAGE, logDirty: true });
    for (const [change, errno] of [
      [{ gpa: 63 * PAGE }, 'EEXIST'],
      [{ bytes: 4 * PAGE }, 'EINVAL'],
      [{ gpa: 64 * PAGE + 1 }, 'EINVAL'],
      [{ slot: 61 }, 'EINVAL'],
      [{ gpa: 252 * PAGE }, 'EINVAL'],
      [{ slot: 7, bytes: 0 }, 'EINVAL'],
    ] as const) {
      const error = await t.throwsAsync(machine.control.setMemoryRegion({ ...region, ...change }), {
        instanceOf: SimError,
      });
      t.is(error!.code, 'SIM_MEMSLOT');
      t.regex(error!.message, new RegExp(`${errno}$`));
    }
    await machine.control.setMemoryRegion({ ...region, bytes: 0 });
    const report = await machine.stop();
    t.deepEqual(report.slots, { created: 2, deleted: 1, moved: 1, reflagged: 1, failed: 0 });
    t.is(report.exitCode, 0);
  },
);

test.serial('options that no machine can be built with are refused by name', async (t) => {
  const image = Uint8Array.of(0xf4);
  for (const [options, code, message] of [
    [{ vcpuCount: 0, image }, 'SIM_CONFIG_RANGE', /0 vCPUs/],
    [{ vcpuCount: 17, image }, 'SIM_CONFIG_RANGE', /17 vCPUs/],
    [{ vcpuCount: 1.5, image }, 'SIM_CONFIG_RANGE', /1.5 vCPUs/],
    [{ vcpuCount: 1, ramBytes: 5000, image, flat: true }, 'SIM_CONFIG_RANGE', /RAM of 5000/],
    [{ vcpuCount: 1, ramBytes: 4 * 1024 ** 3, image, flat: true }, 'SIM_CONFIG_RANGE', /RAM of 4G/],
    [{ vcpuCount: 1, runMs: 0, image }, 'SIM_CONFIG_RANGE', /a run of 0 ms/],
    [{ vcpuCount: 1, seed: -1n, image }, 'SIM_CONFIG_RANGE', /seed -1/],
    [{ vcpuCount: 1, instructionLimit: 0, image }, 'SIM_CONFIG_RANGE', /0 instructions/],
    [{ vcpuCount: 1 }, 'SIM_USAGE', /nothing to run/],
    [{ vcpuCount: 1, image: 'no/such/image.elf' }, 'SIM_IMAGE_MISSING', /no\/such/],
    [{ vcpuCount: 1, image: Uint8Array.of(1, 2, 3) }, 'SIM_IMAGE_FORMAT', /01 02 03/],
    [{ vcpuCount: 1, image, flat: true, trace: '/no/such/folder/x.pftrace' }, 'SIM_FILE', /trace/],
    [
      { vcpuCount: 1, image, flat: true, memory: [{ slot: 0, gpa: 1, bytes: PAGE }] },
      'SIM_MEMSLOT',
      /EINVAL/,
    ],
    [
      { vcpuCount: 1, image, flat: true, introspected: false, tool: { module: 'x' } },
      'SIM_USAGE',
      /not introspected/,
    ],
  ] as const) {
    const error = await t.throwsAsync(Machine.create(options), { instanceOf: SimError, message });
    t.is(error!.code, code);
  }
});

test.serial('a machine that is stopped in the middle of its checks ends all the same', async (t) => {
  for (let round = 0; round < 10; round++) {
    const machine = await boot(t, { endless: true, checkEveryMs: 1, ramBytes: 64 * PAGE });
    const checking = new Promise<void>((resolve) => {
      machine.on('vcpuState', () => resolve());
    });
    await machine.start();
    await checking;
    await machine.control.checkInvariants();
    const late = machine.control.checkInvariants();
    const report = await machine.stop();
    await late;
    t.is(report.ending, 'stopped');
    t.regex(report.stateHash ?? '', /^[0-9a-f]{16}$/);
    await t.throwsAsync(machine.control.checkInvariants(), { message: 'the machine has ended' });
  }
});
