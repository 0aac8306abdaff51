/**
 * A small machine after some work: hooked, slots created, moved and deleted, pages restricted, memory accessed, events
 * answered. Run with the argument `print` it prints the state hash, for another process to compare.
 */
import { ACCESS_R, ACCESS_X } from '../../../../src/shared/layout/cpu.ts';
import { stateHash } from '../../../../src/shared/state/hash.ts';
import { SmallMachine } from '../../../support/small-machine.ts';

const CONTINUE = 0;

export function workedMachine(): SmallMachine {
  const machine = new SmallMachine({ vcpuCount: 2 });
  machine.hook();
  machine.enablePf(0, 1);
  machine.slot({ id: 0, baseGfn: 0, npages: 16, ramPage: 0 });
  machine.slot({ id: 1, baseGfn: 32, npages: 8, ramPage: 16 });
  machine.slot({ id: 2, baseGfn: 64, npages: 4, ramPage: 32 });
  machine.slot({ id: 1, baseGfn: 40, npages: 8, ramPage: 16 });
  machine.slot({ id: 2, npages: 0 });
  machine.access(3, ACCESS_R);
  machine.access(41, ACCESS_X);
  machine.together(
    1,
    machine.vcpuRunner(0, [{ kind: 'write', gpa: 0x3010, size: 8, value: 0x1122334455667788n }]),
    machine.vcpuRunner(1, [
      { kind: 'read', gpa: 0x29008, size: 4 },
      { kind: 'write', gpa: 0x5000, size: 4, value: 7n },
    ]),
    machine.toolRunner(function* () {
      return CONTINUE;
    }),
  );
  return machine;
}

if (process.argv[2] === 'print') {
  const { vm } = workedMachine();
  console.log(JSON.stringify(stateHash(vm.mem, vm.layout)));
}
