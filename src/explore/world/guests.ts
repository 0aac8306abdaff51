/**
 * Guest code in a world: a megabyte of low memory with the boot tables, and a program for each vCPU.
 *
 *   gpa                 what
 *   ──────────────────  ─────────────────────────────────────────────────────────────
 *   0x00000 … 0x08fff   boot tables (image/boot.ts): identity paging, A and D set
 *   0x20000 + i × 4096  program of vCPU i
 *   0x60000 … 0xbffff   stacks
 *   0x100000 …          whatever slots the scenario makes: watched, access by access
 */
import { endIntrospection } from '../../actors/introspector/vcpu-side.ts';
import { Core, compileCore } from '../../actors/vcpu/isa/core.ts';
import { runVcpu } from '../../actors/vcpu/run-loop.ts';
import { flushTlb } from '../../actors/vcpu/tlb.ts';
import { bootState, IMAGE_GPA_MIN, writeBootTables } from '../../image/boot.ts';
import { writeInitialState } from '../../machine/initial-state.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import type { Path } from '../../shared/sync/point.ts';
import type { Participant } from '../engine/execution.ts';
import type { World, WorldOptions } from './world.ts';

/** First frame above the low memory, and its size in pages. */
export const LOW_PAGES = IMAGE_GPA_MIN / PAGE_BYTES;
const CODE_GPA = 0x20000;

/** Where the program of vCPU `index` begins. It may be a page long. */
export function programGpa(index: number): number {
  return CODE_GPA + index * PAGE_BYTES;
}

/** What a world needs so that its vCPUs can execute guest code: a core, and an eye on everything above low memory. */
export function guestWorldOptions(options: WorldOptions): WorldOptions {
  return {
    ...options,
    core: (vm) => new Core(compileCore(), vm.mem),
    surroundings: { ...options.surroundings, watched: (gfn) => gfn >= LOW_PAGES },
  };
}

/** Makes the slot of the low memory, from RAM page 0, and puts the programs there. Before anything else runs. */
export function loadGuests(world: World, programs: readonly Uint8Array[]): void {
  const { vm } = world;
  world.slot({ id: 0, baseGfn: 0, npages: LOW_PAGES, ramPage: 0 });
  const low = vm.mem.u8.subarray(vm.layout.ram, vm.layout.ram + IMAGE_GPA_MIN);
  writeBootTables(low, { vcpuCount: vm.vcpuCount });
  for (const [index, bytes] of programs.entries()) {
    if (bytes.length > PAGE_BYTES)
      throw new RangeError(`program of vCPU ${index}: ${bytes.length} bytes, at most a page`);
    low.set(bytes, programGpa(index));
    writeInitialState(vm, index, bootState(index, vm.vcpuCount, programGpa(index)));
    flushTlb(vm.mem, vm.cpu(index));
  }
}

/** Runs vCPU `index` until its guest exits or it must stop. */
export function guestParticipant(world: World, index: number): Participant {
  return { name: `vcpu ${index}`, waiter: world.vcpus[index]!.actor, path: guestLife(world, index) };
}

function* guestLife(world: World, index: number): Path<void> {
  const { vm } = world;
  yield* runVcpu(world.vcpus[index]!);
  endIntrospection(vm, index);
  // Nobody waits for it to park.
  vm.mem.add(vm.word('LIVE_VCPUS'), -1);
  vm.mem.notify(vm.word('PARKED'));
}
