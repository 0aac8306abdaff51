/**
 * Runs oracle cases on one whole vCPU: guest page tables that map the arena as the native harness does, ring 3, and an
 * IDT whose handlers do nothing but exit. What a case comes to is read from where the handler stands and what the
 * exception pushed.
 *
 *   gpa                      gva                       what
 *   ───────────────────────  ────────────────────────  ─────────────────────────────────────────────
 *   0x000000 … 0x1fffff      the same, supervisor      boot tables, IDT, stacks
 *   0x009000 … 0x009fff                                page table of the arena's 2 MiB
 *   0x00a000 … 0x00a1ff      the same, supervisor      handlers: `out 0xf4, al`, 16 bytes for each vector
 *   0x100000 …               0x10000000 …              the arena, see scripts/native-oracle/arena.ts
 */
import * as arena from '../../scripts/native-oracle/arena.ts';
import type { CaseResult, OracleCase } from '../../scripts/native-oracle/case.ts';
import { changedMemory } from '../../scripts/native-oracle/compare.ts';
import { fpuImage, NO_FPU } from '../../scripts/native-oracle/fpu-case.ts';
import { codeWord } from '../../src/actors/mmu/code-map.ts';
import { FX_ALL, FXSAVE_BYTES, loadFx, storeFx } from '../../src/actors/vcpu/fxsave.ts';
import { Core, compileCore } from '../../src/actors/vcpu/isa/core.ts';
import { UOP } from '../../src/actors/vcpu/isa/uop.ts';
import { runVcpu } from '../../src/actors/vcpu/run-loop.ts';
import type { Vcpu, VcpuSurroundings } from '../../src/actors/vcpu/vcpu.ts';
import {
  bootState,
  IDT_GPA,
  KERNEL_CODE_SELECTOR,
  PAGE_DIRECTORY_GPA,
  PML4_GPA,
  USER_CODE_SELECTOR,
  USER_DATA_SELECTOR,
  writeBootTables,
} from '../../src/image/boot.ts';
import { writeInitialState } from '../../src/machine/initial-state.ts';
import { CPU_UOPS, UOP_ARENA_BYTES } from '../../src/shared/layout/cpu.ts';
import { VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { drive } from '../../src/shared/sync/point.ts';
import { CR0_MP, CR0_NE, CR4_OSFXSR, CR4_OSXMMEXCPT } from '../../src/shared/x86/control-registers.ts';
import { SmallMachine } from './small-machine.ts';

/**
 * `fast`: the block cache and its handlers. `emulated`: every instruction single-stepped, access by access. `compiled`:
 * as fast, but each block is compiled before it is first entered.
 */
export type LabMode = 'fast' | 'emulated' | 'compiled';

export interface CoreLab {
  run(item: OracleCase, mode: LabMode): CaseResult;
}

const LARGE_PAGE_BYTES = 0x20_0000;
const RAM_PAGES = LARGE_PAGE_BYTES / arena.PAGE_BYTES;
const PAGE_TABLE_GPA = 0x9000;
const HANDLERS_GPA = 0xa000;
const HANDLER_BYTES = 16;
const ARENA_GPA = 0x10_0000;
const VECTORS = 32;

const PTE_P = 1n << 0n;
const PTE_RW = 1n << 1n;
const PTE_US = 1n << 2n;
const PTE_A_D = 3n << 5n;
const PTE_PS = 1n << 7n;
const PTE_NX = 1n << 63n;
const GATE_DPL3_INTERRUPT = 0xeen;
const OUT_EXIT_AL = [0xe6, 0xf4];

/** Vectors that push an error code. */
const WITH_ERROR_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);
const VECTOR_PF = 14;
const GPRS = 16;

const SS = 2;
const SELECTORS = [USER_DATA_SELECTOR, USER_CODE_SELECTOR, USER_DATA_SELECTOR, USER_DATA_SELECTOR];

export class VcpuLab implements CoreLab {
  readonly #machine: SmallMachine;
  readonly #vcpu: Vcpu;
  readonly #ram: Uint8Array;
  readonly #arena: Uint8Array;

  /** For the compiled mode: a machine of its own. */
  #compiling: VcpuLab | null = null;

  constructor(surroundings: VcpuSurroundings = {}) {
    const core = { core: (vm: SmallMachine['vm']) => new Core(compileCore(), vm.mem) };
    this.#machine = new SmallMachine({ ramPages: RAM_PAGES, gfnCount: RAM_PAGES, surroundings, ...core });
    this.#machine.slot({ baseGfn: 0, npages: RAM_PAGES, ramPage: 0 });
    this.#vcpu = this.#machine.vcpus[0]!;
    const { mem, layout } = this.#machine.vm;
    this.#ram = mem.u8.subarray(layout.ram, layout.ram + LARGE_PAGE_BYTES);
    this.#arena = this.#ram.subarray(ARENA_GPA, ARENA_GPA + arena.ARENA_BYTES);
    this.#arena.set(arena.BACKGROUND);
    this.#writeTables();
  }

  run(item: OracleCase, mode: LabMode): CaseResult {
    if (mode === 'compiled') {
      this.#compiling ??= new VcpuLab({ jit: { heat: 0 } });
      return this.#compiling.run(item, 'fast');
    }
    const vcpu = this.#vcpu;
    this.#prepare(item);
    drive(vcpu.actor, runVcpu(vcpu, mode === 'fast' ? {} : { slice: 1 }));
    if (vcpu.mem.load(vcpu.word('STATE')) !== VCPU_EXITED) throw new Error('a case did not come to its exit');
    const result = this.#result(item);
    this.#cleanUp(item, result);
    return result;
  }

  /** Regions that the compiled mode has compiled so far. */
  get regions(): number {
    return this.#compiling === null ? 0 : this.#compiling.#vcpu.jit!.counters.regions;
  }

  /** Table indices of the handlers that decoded code in the arena uses now. The arena is emptied when it is full. */
  handlersInUse(): Set<number> {
    const { mem, cpu } = this.#vcpu;
    const handlers = new Set<number>();
    const end = cpu + CPU_UOPS + UOP_ARENA_BYTES;
    for (let at = cpu + CPU_UOPS; at < end; at += UOP.bytes) {
      handlers.add(mem.u16[(at + UOP.at.HANDLER) >>> 1]!);
    }
    return handlers;
  }

  #prepare(item: OracleCase): void {
    const { vm } = this.#machine;
    const vcpu = this.#vcpu;
    const entry = arena.CODE_BASE + item.codeOffset;
    this.#arena.set(item.code, arena.CODE_OFFSET + item.codeOffset);
    this.#arena.set(item.patch, item.patchOffset);
    const boot = bootState(0, 1, entry);
    const selectors = [...SELECTORS, ...boot.SELECTORS.slice(SELECTORS.length)];
    writeInitialState(vm, 0, {
      ...boot,
      GPR: item.gpr,
      RFLAGS: BigInt(item.rflags),
      SELECTORS: selectors,
    });
    vcpu.setSegmentDpl(SS, 3);
    vcpu.set64('FS_BASE', item.fsBase);
    vcpu.set64('GS_BASE', item.gsBase);
    vcpu.set64('CR0', boot.CR0 | CR0_MP | CR0_NE);
    vcpu.set64('CR4', boot.CR4 | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if (item.fpu !== null) loadFx(vcpu, fpuImage(item.fpu), FX_ALL);
    this.#dropCode(item);
  }

  /**
   * Voids blocks decoded from the bytes of the case before. The vCPU stands still and no other is there, so the pages
   * can stay marked as code: the next version and a look at it are all there is to do.
   */
  #dropCode(item: OracleCase): void {
    const { vm } = this.#machine;
    const first = (ARENA_GPA + arena.CODE_OFFSET + item.codeOffset) >> 12;
    for (let page = first; page <= first + 1; page++) vm.mem.add(codeWord(vm, page), 2);
    this.#vcpu.dropStaleCode();
  }

  #result(item: OracleCase): CaseResult {
    const vcpu = this.#vcpu;
    const vector = Math.floor((Number(vcpu.get64('RIP')) - HANDLERS_GPA) / HANDLER_BYTES);
    if (vector < 0 || vector >= VECTORS) throw new Error(`a case ended at ${vcpu.get64('RIP').toString(16)}`);
    const frame = new DataView(this.#ram.buffer, this.#ram.byteOffset + Number(vcpu.gpr(4)), 48);
    const hasError = WITH_ERROR_CODE.has(vector);
    const word = (index: number): bigint => frame.getBigUint64((index + (hasError ? 1 : 0)) * 8, true);
    const gpr = Array.from({ length: GPRS }, (_, n) => (n === 4 ? word(3) : vcpu.gpr(n)));
    return {
      gpr,
      rip: word(0),
      rflags: Number(word(2)),
      vector,
      errorCode: hasError ? Number(frame.getBigUint64(0, true)) : 0,
      cr2: vector === VECTOR_PF ? vcpu.get64('CR2') : 0n,
      ...changedMemory(item, this.#arena),
      fpu: item.fpu === null ? NO_FPU : this.#fpuState(),
    };
  }

  #fpuState(): Uint8Array {
    const image = new Uint8Array(FXSAVE_BYTES);
    storeFx(this.#vcpu, image, FX_ALL);
    return image;
  }

  #cleanUp(item: OracleCase, { changedOffset, changed }: CaseResult): void {
    const restore = (from: number, count: number): void => {
      this.#arena.set(arena.BACKGROUND.subarray(from, from + count), from);
    };
    restore(arena.CODE_OFFSET + item.codeOffset, item.code.length);
    restore(item.patchOffset, item.patch.length);
    restore(changedOffset, changed.length);
  }

  #writeTables(): void {
    const view = new DataView(this.#ram.buffer, this.#ram.byteOffset, this.#ram.byteLength);
    const entry = (table: number, index: number, value: bigint): void =>
      view.setBigUint64(table + index * 8, value, true);
    writeBootTables(this.#ram, { vcpuCount: 1, gpaLimit: LARGE_PAGE_BYTES });
    const table = PTE_P | PTE_RW | PTE_US | PTE_A_D;
    if (view.getBigUint64(PML4_GPA, true) === 0n) throw new Error('no boot tables');
    entry(PAGE_DIRECTORY_GPA, 0, PTE_P | PTE_RW | PTE_A_D | PTE_PS);
    entry(PAGE_DIRECTORY_GPA, arena.ARENA_BASE / LARGE_PAGE_BYTES, BigInt(PAGE_TABLE_GPA) | table);
    const map = (offset: number, bytes: number, rights: bigint): void => {
      for (let at = offset; at < offset + bytes; at += arena.PAGE_BYTES) {
        entry(
          PAGE_TABLE_GPA,
          at / arena.PAGE_BYTES,
          BigInt(ARENA_GPA + at) | PTE_P | PTE_US | PTE_A_D | rights,
        );
      }
    };
    map(arena.CODE_OFFSET, arena.CODE_BYTES, 0n);
    map(arena.DATA_OFFSET, arena.DATA_BYTES, PTE_RW | PTE_NX);
    map(arena.READ_ONLY_OFFSET, arena.READ_ONLY_BYTES, PTE_NX);
    for (let vector = 0; vector < VECTORS; vector++) {
      const handler = HANDLERS_GPA + vector * HANDLER_BYTES;
      this.#ram.set(OUT_EXIT_AL, handler);
      const gate = BigInt(handler) | (BigInt(KERNEL_CODE_SELECTOR) << 16n) | (GATE_DPL3_INTERRUPT << 40n);
      view.setBigUint64(IDT_GPA + vector * 16, gate, true);
      view.setBigUint64(IDT_GPA + vector * 16 + 8, 0n, true);
    }
  }
}
