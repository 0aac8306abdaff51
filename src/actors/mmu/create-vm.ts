/** A new machine's shared memory: sized, zeroed, and brought to the state before the first memslot. */
import { SimError } from '../../shared/errors.ts';
import { NOTIFIER_MMU } from '../../shared/layout/access-tree.ts';
import { checkLayoutConfig, roundUpMiB } from '../../shared/layout/check-config.ts';
import { CPU, TLB_READ, tlbTable } from '../../shared/layout/cpu.ts';
import {
  type LayoutConfig,
  type MachineLayout,
  machineLayout,
  PAGE_BYTES,
} from '../../shared/layout/machine.ts';
import { SLOT_SET, SLOT_SET_BYTES } from '../../shared/layout/memslot.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import { Mem, sharedMemory } from '../../shared/mem.ts';
import { type Quirks, quirkWords } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import type { Path } from '../../shared/sync/point.ts';
import { formatSize } from '../../shared/units.ts';
import { registerNotifier } from './page-track.ts';
import { Vm } from './vm.ts';

/**
 * Allocates the one shared memory of a machine. Untouched pages cost nothing.
 *
 * @throws SimError SIM_CONFIG_RANGE when no machine can have this configuration, or the host has not enough memory
 */
export function allocateMemory(config: LayoutConfig): { memory: WebAssembly.Memory; layout: MachineLayout } {
  checkLayoutConfig(config);
  const layout = machineLayout(config);
  try {
    return { memory: sharedMemory(layout.bytes), layout };
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const ram = formatSize(config.ramPages * PAGE_BYTES);
    const size = formatSize(roundUpMiB(layout.bytes));
    throw new SimError('SIM_CONFIG_RANGE', `the host does not give ${size} of memory (${ram} of it RAM)`, {
      hint: 'choose less RAM, close other machines or programs, or raise the limit of the process (ulimit -v)',
      cause,
    });
  }
}

export interface VmOptions {
  readonly quirks: Quirks;
  readonly strict: boolean;
  readonly checked: boolean;
}

/** A fresh memory as a handle. Call {@link initializeVm} once, in one thread. */
export function openVm(memory: WebAssembly.Memory, layout: MachineLayout): Vm {
  return new Vm(new Mem(memory), layout);
}

/** kvm_create_vm: VM-wide words, vCPU blocks, KVM's own page-track node. */
export function* initializeVm(actor: Actor, vm: Vm, options: VmOptions): Path<void> {
  const { mem, layout, vcpuCount } = vm;
  mem.u8.set(new TextEncoder().encode('FAULTLN1'), 0);
  mem.store(vm.word('VCPU_COUNT'), vcpuCount);
  mem.i32.set(quirkWords(options.quirks), vm.word('QUIRKS') >>> 2);
  mem.store(vm.word('STRICT'), options.strict ? 1 : 0);
  mem.store(vm.word('CHECKED'), options.checked ? 1 : 0);
  mem.store(vm.word('LIVE_VCPUS'), vcpuCount);
  // Generations of the two address spaces never meet: they start apart and advance by their number.
  for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
    for (const which of [0, 1]) {
      mem.store64(
        layout.slotSets + (asId * 2 + which) * SLOT_SET_BYTES + SLOT_SET.at.GENERATION,
        BigInt(asId),
      );
    }
  }
  for (let index = 0; index < vcpuCount; index++) {
    mem.store(vm.vcpuWord(index, 'ROOT'), -1);
    mem.store(vm.vcpuWord(index, 'SRCU_INDEX'), -1);
    mem.store(vm.cpu(index) + CPU.at.TLB, tlbTable(vm.cpu(index), false, TLB_READ));
  }
  yield* registerNotifier(actor, vm, NOTIFIER_MMU);
}
