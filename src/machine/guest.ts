/** What the vCPUs find when they start: the image and the boot tables in RAM, their registers. */
import type { Vm } from '../actors/mmu/vm.ts';
import { bootState, writeBootTables } from '../image/boot.ts';
import { type LoadedImage, loadImage, writeImage } from '../image/load.ts';
import { writeInitialState } from './initial-state.ts';
import type { MachinePlan } from './options.ts';

/**
 * Puts the guest into RAM, before any thread runs.
 *
 * @throws SimError SIM_IMAGE_MISSING, SIM_IMAGE_FORMAT, or SIM_CONFIG_RANGE for an image that does not fit
 */
export function boardGuest(vm: Vm, plan: MachinePlan): LoadedImage | null {
  if (plan.image === null) return null;
  const { ramBytes, flat } = plan;
  const { vcpuCount, layout } = vm;
  const image = loadImage(plan.image, { ramBytes, vcpuCount, flat });
  const ram = vm.mem.u8.subarray(layout.ram, layout.ram + ramBytes);
  writeBootTables(ram, { vcpuCount });
  writeImage(image, ram);
  for (let index = 0; index < vcpuCount; index++) {
    writeInitialState(vm, index, bootState(index, vcpuCount, image.entry));
  }
  return image;
}
