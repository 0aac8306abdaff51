import type { Vm } from '../../src/actors/mmu/vm.ts';
import { Core, compileCore } from '../../src/actors/vcpu/isa/core.ts';
import { type RunLimits, runVcpu } from '../../src/actors/vcpu/run-loop.ts';
import { flushTlb } from '../../src/actors/vcpu/tlb.ts';
import type { Vcpu } from '../../src/actors/vcpu/vcpu.ts';
import type { Registers } from '../../src/explore/world/tool-side.ts';
import { bootState, PAGE_DIRECTORY_GPA, writeBootTables } from '../../src/image/boot.ts';
import { writeInitialState } from '../../src/machine/initial-state.ts';
import { OUTSIDE_GUEST } from '../../src/shared/layout/vcpu.ts';
import type { Path } from '../../src/shared/sync/point.ts';
import { PTE_PS } from '../../src/shared/x86/paging.ts';
import { SmallMachine, type SmallMachineOptions, type Tool } from './small-machine.ts';
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

export type { RegisterName, Registers } from '../../src/explore/world/tool-side.ts';

export interface GuestMachineOptions extends Omit<SmallMachineOptions, 'core' | 'ramPages' | 'gfnCount'> {
  /** Called before each run of the core in guest mode, with the number of its vCPU. */
  readonly onGuestMode?: (vcpu: number) => void;
}

export class GuestMachine extends SmallMachine {
  constructor(options: GuestMachineOptions = {}) {
    const { onGuestMode } = options;
    super({
      ...options,
      ramPages: LOW_PAGES + VICTIM_PAGES,
      gfnCount: VICTIM_GFN + 2 * VICTIM_PAGES,
      core: (vm) => (onGuestMode === undefined ? newCore(vm) : new WatchedCore(vm, onGuestMode)),
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
  setQuad(gpa: number, value: bigint): void {
    const bytes = this.ram(gpa, 8);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, value, true);
  }

  load(code: Uint8Array | readonly number[], gpa = CODE_GPA): void {
    this.ram(gpa, code.length).set(code);
  }

  /** Maps the 2 MiB around `gva` by 4 KiB pages, with a table at `tableGpa`. @returns gpa of the PTE of `gva` */
  splitLargePage(gva: number, tableGpa: number): number {
    const directoryEntry = PAGE_DIRECTORY_GPA + Math.floor(gva / 0x20_0000) * 8;
    const large = this.quad(directoryEntry);
    for (let page = 0; page < 512; page++) {
      this.setQuad(tableGpa + page * 8, (large & ~PTE_PS) + BigInt(page * 4096));
    }
    this.setQuad(directoryEntry, BigInt(tableGpa) | (large & 0xfffn & ~PTE_PS));
    return tableGpa + (Math.floor(gva / 4096) % 512) * 8;
  }

  /** Registers as at the first instruction. */
  boot(vcpu: Vcpu, entry: number): void {
    writeInitialState(this.vm, vcpu.index, bootState(vcpu.index, this.vcpus.length, entry));
    flushTlb(this.vm.mem, vcpu.cpu);
  }

  /** Runs vCPU `index` until it exits or reaches a limit. */
  guestRunner(index: number, limits: RunLimits = {}): Runner {
    const vcpu = this.vcpus[index]!;
    const { vm, mem } = vcpu;
    function* life(): Path<void> {
      yield* runVcpu(vcpu, limits);
      // As its thread would: nobody waits for it to park.
      mem.add(vm.word('LIVE_VCPUS'), -1);
      mem.notify(vm.word('PARKED'));
    }
    return { name: `vcpu ${index}`, waiter: vcpu.actor, path: life() };
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

  /** Runs all vCPUs with a tool that answers. */
  runWith(tool: Tool, limits: RunLimits = {}, seed = 1): void {
    const vcpus = this.vcpus.map((_, index) => this.guestRunner(index, limits));
    this.together(seed, this.toolRunner(tool), ...vcpus);
  }

  // ── the tool's side ───────────────────────────────────────────────────────────────────────────────────────
  /** Hooks once more, from the control path, after an unhook. @returns the session number, or a negative errno */
  *rehook(): Path<number> {
    return yield* this.tool.rehook(this.control);
  }
  *hangUp(): Path<void> {
    yield* this.tool.hangUp();
  }
  *registers(vcpu: number): Path<Registers> {
    return yield* this.tool.registers(vcpu);
  }
  *setRegisters(vcpu: number, changes: Partial<Registers>): Path<number> {
    return yield* this.tool.setRegisters(vcpu, changes);
  }
}

function newCore(vm: Vm): Core {
  return new Core(compileCore(), vm.mem);
}

/** Lets a test look at the machine each time guest code is about to run by itself. */
class WatchedCore extends Core {
  readonly #vm: Vm;
  readonly #look: (vcpu: number) => void;

  constructor(vm: Vm, look: (vcpu: number) => void) {
    super(compileCore(), vm.mem);
    this.#vm = vm;
    this.#look = look;
  }

  override run(record: number, cpu: number): void {
    const index = (cpu - this.#vm.layout.cpus) / this.#vm.layout.cpuStride;
    // Outside it is the emulator, which asks for each access.
    if (this.#vm.mem.load(this.#vm.vcpuWord(index, 'MODE')) !== OUTSIDE_GUEST) this.#look(index);
    super.run(record, cpu);
  }
}
