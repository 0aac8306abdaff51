/**
 * A small machine whose vCPUs execute guest code in one thread, in an order that a seed decides.
 *
 *   gpa                    gfn              RAM pages      what
 *   ─────────────────────  ───────────────  ─────────────  ──────────────────────────────────────────
 *   0x0000000 … 0x3fffff   0x0000 … 0x03ff  0 … 0x3ff      slot 0: boot tables, stacks, images
 *   0x2000000 … 0x203ffff  0x2000 … 0x203f  0x400 … 0x43f  slot 1, the victim: pages to restrict
 */
import { Core, compileCore } from '../../src/actors/vcpu/isa/core.ts';
import { type RunLimits, runVcpu } from '../../src/actors/vcpu/run-loop.ts';
import { flushTlb } from '../../src/actors/vcpu/tlb.ts';
import type { Vcpu } from '../../src/actors/vcpu/vcpu.ts';
import { bootState, writeBootTables } from '../../src/image/boot.ts';
import { writeInitialState } from '../../src/machine/initial-state.ts';
import { SmallMachine, type SmallMachineOptions } from './small-machine.ts';
import type { Runner } from './together.ts';

export const LOW_PAGES = 0x400;
export const VICTIM_GPA = 0x2000000;
export const VICTIM_GFN = VICTIM_GPA / 4096;
export const VICTIM_PAGES = 64;
export const LOW_SLOT = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: LOW_PAGES, ramPage: 0 };
export const VICTIM_SLOT = {
  id: 1,
  asId: 0,
  flags: 0,
  baseGfn: VICTIM_GFN,
  npages: VICTIM_PAGES,
  ramPage: LOW_PAGES,
};
/** Where {@link GuestMachine.load} puts code unless told otherwise. */
export const CODE_GPA = 0x200000;

export class GuestMachine extends SmallMachine {
  constructor(options: Omit<SmallMachineOptions, 'core' | 'ramPages' | 'gfnCount'> = {}) {
    super({
      ...options,
      ramPages: LOW_PAGES + VICTIM_PAGES,
      gfnCount: VICTIM_GFN + 2 * VICTIM_PAGES,
      core: (vm) => new Core(compileCore(), vm.mem),
    });
    this.slot(LOW_SLOT);
    this.slot(VICTIM_SLOT);
    writeBootTables(this.ram(0, LOW_PAGES * 4096), { vcpuCount: this.vcpus.length });
    for (const vcpu of this.vcpus) this.boot(vcpu, CODE_GPA);
  }

  /** Guest memory from `gpa` on, as long as it lies in one slot. */
  ram(gpa: number, bytes: number): Uint8Array {
    const offset = gpa < VICTIM_GPA ? gpa : gpa - VICTIM_GPA + LOW_PAGES * 4096;
    return this.vm.mem.u8.subarray(this.vm.layout.ram + offset, this.vm.layout.ram + offset + bytes);
  }

  override byte(gpa: number): number {
    return this.ram(gpa, 1)[0]!;
  }
  quad(gpa: number): bigint {
    return new DataView(this.ram(gpa, 8).slice().buffer).getBigUint64(0, true);
  }

  load(code: Uint8Array | readonly number[], gpa = CODE_GPA): void {
    this.ram(gpa, code.length).set(code);
  }

  /** Registers as at the first instruction. */
  boot(vcpu: Vcpu, entry: number): void {
    writeInitialState(this.vm, vcpu.index, bootState(vcpu.index, this.vcpus.length, entry));
    flushTlb(this.vm.mem, vcpu.cpu);
  }

  /** Runs vCPU `index` until it exits or reaches a limit. */
  guestRunner(index: number, limits: RunLimits = {}): Runner {
    const vcpu = this.vcpus[index]!;
    return { name: `vcpu ${index}`, waiter: vcpu.actor, path: runVcpu(vcpu, limits) };
  }

  exitCode(index: number): number {
    return this.vm.mem.load(this.vm.vcpuWord(index, 'EXIT_CODE'));
  }
  state(index: number): number {
    return this.vm.mem.load(this.vm.vcpuWord(index, 'STATE'));
  }

  /** Runs all vCPUs with nobody else about. */
  runGuests(limits: RunLimits = {}, seed = 1): void {
    this.together(seed, ...this.vcpus.map((_, index) => this.guestRunner(index, limits)));
  }
}
