/** What the vCPUs find when they start: the image and the boot tables in RAM, their registers. */
import type { Vm } from '../actors/mmu/vm.ts';
import { bootState, writeBootTables } from '../image/boot.ts';
import { loadLinux } from '../image/linux.ts';
import { loadImage, readGuestFile, writeImage } from '../image/load.ts';
import { writeInitialState } from './initial-state.ts';
import type { MachinePlan } from './options.ts';

/**
 * Puts the guest into RAM, before any thread runs.
 *
 * @throws SimError SIM_IMAGE_MISSING, SIM_IMAGE_FORMAT, or SIM_CONFIG_RANGE for an image that does not fit
 */
export function boardGuest(vm: Vm, plan: MachinePlan): void {
  const { ramBytes, flat, contents, linux } = plan;
  const { vcpuCount } = vm;
  const ram = guestRam(vm, plan);
  if (plan.image !== null) {
    const image = loadImage(plan.image, { ramBytes, vcpuCount, flat });
    writeBootTables(ram, { vcpuCount });
    writeImage(image, ram);
    for (let index = 0; index < vcpuCount; index++) {
      writeInitialState(vm, index, bootState(index, vcpuCount, image.entry));
    }
  }
  if (linux !== null) {
    const { kernel, initrd, commandLine } = linux;
    const state = loadLinux(readGuestFile(kernel, '--kernel'), ram, {
      ramBytes,
      vcpuCount,
      ...(initrd === undefined ? {} : { initrd: readGuestFile(initrd, '--initrd') }),
      ...(commandLine === undefined ? {} : { commandLine }),
    });
    writeInitialState(vm, 0, state);
  }
  for (const { offset, data } of contents) ram.set(data, offset);
}

/** All of the machine's RAM, whether memory slots show it to the guest or not. */
export function guestRam(vm: Vm, { ramBytes }: MachinePlan): Uint8Array<SharedArrayBuffer> {
  return vm.mem.u8.subarray(vm.layout.ram, vm.layout.ram + ramBytes);
}
