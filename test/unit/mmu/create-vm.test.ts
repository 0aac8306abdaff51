/** The memory of a machine: what the host refuses, and sizes that do not fit into 31 bits. */
import test from 'ava';
import { allocateMemory } from '../../../src/actors/mmu/create-vm.ts';
import type { Access } from '../../../src/actors/vcpu/access-program.ts';
import { lookup } from '../../../src/actors/vcpu/tlb.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { ACCESS_R } from '../../../src/shared/layout/cpu.ts';
import { SmallMachine } from '../../support/small-machine.ts';

const PAGE = 4096;

test.serial('memory that the host does not give is an error with the size and the remedy', (t) => {
  const { Memory } = WebAssembly;
  t.teardown(() => {
    WebAssembly.Memory = Memory;
  });
  const cause = new RangeError('WebAssembly.Memory(): could not allocate memory');
  const config = {
    vcpuCount: 1,
    ramPages: 2 ** 19,
    gfnCount: 2 ** 19,
    accessLimit: 64,
    traceBytes: 0,
    actorCount: 3,
  };
  const refusing = (error: Error) =>
    class {
      constructor() {
        throw error;
      }
    } as unknown as typeof Memory;
  WebAssembly.Memory = refusing(cause);
  const error = t.throws(() => allocateMemory(config), { instanceOf: SimError });
  t.like(error, { code: 'SIM_CONFIG_RANGE', cause });
  t.regex(error!.message, /^the host does not give 2\d\d\dM of memory \(2G of it RAM\)$/);
  t.regex(error!.hint, /less RAM/);
  WebAssembly.Memory = refusing(new TypeError('ours'));
  t.throws(() => allocateMemory(config), { message: 'ours' });
});

test.serial('accesses and events work in RAM beyond 2 GiB, to its last byte', (t) => {
  const ramPages = (3 * 2 ** 30) / PAGE;
  const machine = new SmallMachine({ ramPages });
  const { vm } = machine;
  const slot = { id: 1, baseGfn: 32, npages: 8, ramPage: ramPages - 8 };
  t.is(machine.slot(slot), 0);
  machine.hook();
  machine.enablePf(0);
  const last = 40 * PAGE - 8;
  const accesses: Access[] = [
    { kind: 'write', gpa: last, size: 8, value: 0x1122_3344_5566_7788n },
    { kind: 'read', gpa: last, size: 8 },
    { kind: 'execute', gpa: last, size: 1 },
  ];
  const seen: bigint[] = [];
  machine.alone(machine.program(0, accesses, seen));
  t.deepEqual(seen, [0x1122_3344_5566_7788n]);
  const host = vm.ramPage(ramPages) - 8;
  t.true(host > 2 ** 31);
  t.is(vm.mem.u64[host / 8], 0x1122_3344_5566_7788n);
  t.is(lookup(vm.mem, vm.cpu(0), false, ACCESS_R, BigInt(last)), host);
  // Emulated, after an event.
  t.is(machine.access(39, ACCESS_R), 0);
  machine.together(
    1,
    machine.toolRunner(function* () {
      return 0;
    }),
    machine.vcpuRunner(0, [{ kind: 'write', gpa: last, size: 8, value: 7n }]),
  );
  t.is(machine.events.length, 1);
  t.is(vm.mem.u64[host / 8], 7n);
  t.deepEqual(machine.verdict(), []);
});
