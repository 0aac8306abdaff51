/**
 * The same guest twice: compiled, and beside it interpreted. Both are stopped after the same number of instructions,
 * again and again; the first also whenever a compiled region is left that was entered from outside of the core. Registers,
 * flags, RIP and memory have to be the same each time.
 *
 * One vCPU, nobody else about: what it does depends on its instructions alone.
 */
import { COMPILED_BASE, Core, compileCore } from '../../src/actors/vcpu/isa/core.ts';
import { UOP } from '../../src/actors/vcpu/isa/uop.ts';
import { runVcpu } from '../../src/actors/vcpu/run-loop.ts';
import type { Vcpu, VcpuSurroundings } from '../../src/actors/vcpu/vcpu.ts';
import { bootState, writeBootTables } from '../../src/image/boot.ts';
import { writeInitialState } from '../../src/machine/initial-state.ts';
import { CPU, EXIT_BLOCK } from '../../src/shared/layout/cpu.ts';
import { VCPU_STOPPED } from '../../src/shared/layout/vcpu.ts';
import type { Mem } from '../../src/shared/mem.ts';
import type { Prng } from '../../src/shared/prng.ts';
import { drive } from '../../src/shared/sync/point.ts';
import { SmallMachine } from './small-machine.ts';

const PAGE_BYTES = 4096;
/** A turn shorter than a block is single-stepped, one shorter than a region interpreted: some of each. */
const STEP_MIN = 40;
const OPERAND_SIZE_PREFIX = 0x66;

/** A guest as it is before its first instruction. */
export interface LockstepGuest {
  readonly ramBytes: number;
  readonly entry: number;
  readonly write: (ram: Uint8Array) => void;
}

/** A core that says when it has left a region that it was told to run. */
class RegionCore extends Core {
  readonly #mem: Mem;
  readonly #left: (record: number, budgetBefore: number) => void;

  constructor(mem: Mem, left: (record: number, budgetBefore: number) => void) {
    super(compileCore(), mem);
    this.#mem = mem;
    this.#left = left;
  }
  override run(record: number, cpu: number): void {
    let next = record;
    // A record that begins a block leads to compiled code if its handler is behind the core's own.
    while (next >= 0 && this.#handler(next) >= COMPILED_BASE) {
      const region = this.table.get(this.#handler(next)) as (record: number, cpu: number) => number;
      const budget = this.#budget(cpu);
      next = region(next, cpu);
      this.#left(next, budget);
    }
    if (next >= 0) super.run(next, cpu);
  }
  #budget(cpu: number): number {
    return this.#mem.i32[(cpu + CPU.at.BUDGET) >>> 2]!;
  }
  #handler(record: number): number {
    return this.#mem.u16[(record + UOP.at.HANDLER) >>> 1]!;
  }
}

export class Lockstep {
  readonly compiled: Vcpu;
  readonly interpreted: Vcpu;
  /** Regions left, and states compared after it. */
  exits = 0;
  compared = 0;
  readonly #machines: readonly [SmallMachine, SmallMachine];
  /** What is wrong, null while nothing is. */
  #difference: string | null = null;
  /** Instructions after which both stop next. */
  #limit = 0n;

  constructor(guest: LockstepGuest, jit: NonNullable<VcpuSurroundings['jit']>) {
    const compiled = this.#machine(
      guest,
      (mem) => new RegionCore(mem, (record, before) => this.#leftRegion(record, before)),
      { jit },
    );
    const interpreted = this.#machine(guest, (mem) => new Core(compileCore(), mem), {});
    this.#machines = [compiled, interpreted];
    this.compiled = compiled.vcpus[0]!;
    this.interpreted = interpreted.vcpus[0]!;
  }

  #machine(guest: LockstepGuest, core: (mem: Mem) => Core, surroundings: VcpuSurroundings): SmallMachine {
    const ramPages = guest.ramBytes / PAGE_BYTES;
    const machine = new SmallMachine({
      ramPages,
      gfnCount: ramPages,
      core: (vm) => core(vm.mem),
      surroundings,
    });
    machine.slot({ baseGfn: 0, npages: ramPages, ramPage: 0 });
    const ram = this.#ram(machine);
    writeBootTables(ram, { vcpuCount: 1 });
    guest.write(ram);
    writeInitialState(machine.vm, 0, bootState(0, 1, guest.entry));
    return machine;
  }

  /**
   * Runs both to the end of the guest, or until they differ.
   *
   * @param stepMax  instructions between two comparisons, at most
   * @returns null, or what differs
   */
  run(prng: Prng, stepMax: number): string | null {
    for (let ended = false; !ended && this.#difference === null; ) {
      this.#limit += BigInt(STEP_MIN + prng.below(stepMax));
      ended = runTo(this.compiled, this.#limit);
      runTo(this.interpreted, this.compiled.get64('RETIRED'));
      if (ended) runTo(this.interpreted, this.#limit);
      this.#compare(ended ? 'at the end' : 'at the end of a turn');
    }
    return this.#difference;
  }

  #leftRegion(record: number, budgetBefore: number): void {
    this.exits++;
    const { compiled } = this;
    const { mem } = compiled;
    const at = record >= 0 ? record : compiled.get32('EXIT_UOP');
    const branched = record < 0 && compiled.get32('EXIT_KIND') === EXIT_BLOCK;
    const remain = branched ? 0 : mem.u8[at + UOP.at.REMAIN]!;
    // A REP that left in the middle of its work is at no place where an interpreted one could be stopped.
    const pc = record >= 0 ? mem.u64[(at + UOP.at.PC) / 8]! : compiled.get64('RIP');
    if (this.#isRep(Number(pc)) || (this.exits > ALL_EXITS && this.exits % SOME_EXITS !== 0)) return;
    const left = compiled.get32('BUDGET') + remain;
    // An exception may just have been taken that the other has yet to take: no instruction tells the difference.
    if (left === budgetBefore) return;
    // The budget was what was left to the limit.
    runTo(this.interpreted, this.#limit - BigInt(left));
    this.#compare('after a region', pc);
  }

  #compare(where: string, rip = this.compiled.get64('RIP')): void {
    this.compared++;
    const { compiled, interpreted } = this;
    const found: string[] = [];
    const note = (what: string, ours: bigint, theirs: bigint): void => {
      if (ours !== theirs) found.push(`${what} ${ours.toString(16)}, not ${theirs.toString(16)}`);
    };
    for (let n = 0; n < 16; n++) note(`r${n}`, compiled.gpr(n), interpreted.gpr(n));
    note('rflags', compiled.flags.rflags(), interpreted.flags.rflags());
    note('rip', rip, interpreted.get64('RIP'));
    const [ours, theirs] = this.#machines.map((machine) =>
      Buffer.from(this.#ram(machine).buffer, ...place(this.#ram(machine))),
    );
    if (!ours!.equals(theirs!)) {
      const at = ours!.findIndex((byte, index) => byte !== theirs![index]);
      note(`ram at ${at.toString(16)}`, BigInt(ours![at]!), BigInt(theirs![at]!));
    }
    if (found.length === 0) return;
    this.#difference ??= `${where}, after ${interpreted.get64('RETIRED')} instructions: ${found.join('; ')}`;
  }

  #isRep(gpa: number): boolean {
    const ram = this.#ram(this.#machines[0]);
    let at = gpa;
    while (ram[at] === OPERAND_SIZE_PREFIX) at++;
    return ram[at] === 0xf2 || ram[at] === 0xf3;
  }

  #ram({ vm }: SmallMachine): Uint8Array {
    return vm.mem.u8.subarray(vm.layout.ram, vm.layout.ram + vm.layout.config.ramPages * PAGE_BYTES);
  }
}

function place(bytes: Uint8Array): [number, number] {
  return [bytes.byteOffset, bytes.byteLength];
}

/** Exits of regions after the first so many are compared one in so many. */
const ALL_EXITS = 300;
const SOME_EXITS = 17;

/** Runs the vCPU up to so many instructions. True when its guest has ended by itself. */
function runTo(vcpu: Vcpu, instructions: bigint): boolean {
  const state = vcpu.mem.load(vcpu.word('STATE'));
  if (ended(state)) return true;
  if (vcpu.get64('RETIRED') < instructions) drive(vcpu.actor, runVcpu(vcpu, { instructions }));
  return ended(vcpu.mem.load(vcpu.word('STATE')));
}

function ended(state: number): boolean {
  return state > 2 && state !== VCPU_STOPPED;
}
