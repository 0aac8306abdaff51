/**
 * A small machine whose vCPU 0 stands in 64-bit mode with tables of its own: for tests of page walks, linear accesses,
 * exceptions and host operations. No instruction is ever fetched; tests call what the run loop would call.
 *
 *   gpa       what                                          gva, identity mapped by 4 KiB pages
 *   ────────  ────────────────────────────────────────────  ──────────────────────────────────
 *   0x1000    PML4, PDPT, page directory, page table        supervisor
 *   0x5000    GDT: see SELECTORS                            supervisor
 *   0x6000    IDT, all gates absent                         supervisor
 *   0x7000    TSS: RSP0 0xa000, IST1 0xc000, IO map absent  supervisor
 *   0x9000    ring 0 stack of RSP0, from 0xa000 down        supervisor
 *   0xb000    stack of IST1, from 0xc000 down               supervisor
 *   0xf000    kernel stack, RSP at 0x10000                  supervisor
 *   0x10000   kernel code and data                          supervisor
 *   0x20000   user pages, sixteen of them                   user
 */
import { decode } from '../../src/actors/vcpu/isa/decode.ts';
import type { Insn } from '../../src/actors/vcpu/isa/insn.ts';
import type { Outcome, Vcpu } from '../../src/actors/vcpu/vcpu.ts';
import { CPU } from '../../src/shared/layout/cpu.ts';
import { SLOT, SLOT_SET_BYTES } from '../../src/shared/layout/memslot.ts';
import { drive, type Path } from '../../src/shared/sync/point.ts';
import { SmallMachine, type SmallMachineOptions, type Tool } from './small-machine.ts';

export const PAGE = 4096;
export const PML4 = 0x1000;
export const PDPT = 0x2000;
export const PAGE_DIRECTORY = 0x3000;
export const PAGE_TABLE = 0x4000;
export const GDT = 0x5000;
export const IDT = 0x6000;
export const TSS = 0x7000;
export const RSP0 = 0xa000;
export const IST1 = 0xc000;
export const KERNEL_STACK = 0x10000;
export const KERNEL_CODE = 0x10000;
export const KERNEL_DATA = 0x11000;
export const USER = 0x20000;
/** RAM, and pages that the page table covers. */
export const PAGES = 64;

export const P = 1n;
export const RW = 2n;
export const US = 4n;
export const A = 0x20n;
export const D = 0x40n;

/** Selectors of the GDT, without RPL. */
export const KCODE = 0x08;
export const KDATA = 0x10;
export const UDATA = 0x18;
export const UCODE = 0x20;
/** 16 bytes. */
export const TSS_SEL = 0x28;
/** DPL 0, conforming. */
export const CONFORMING = 0x38;
/** 32-bit code, DPL 0. */
export const CODE32 = 0x40;
/** Data DPL 0, not present. */
export const ABSENT_DATA = 0x48;
/** Code DPL 0, 64-bit, not present. */
export const ABSENT_CODE = 0x50;
/** Data DPL 3 with a base, not accessed yet. */
export const BASED = 0x58;
/** Read-only data, DPL 0. */
export const READ_ONLY = 0x60;
/** 16 bytes: LDT of one page at USER + 0x8000. */
export const LDT_SEL = 0x68;
/** 16 bytes: an available TSS. */
export const TSS2_SEL = 0x78;
/** Execute-only code, DPL 3. */
export const EXECUTE_ONLY = 0x88;
/** Code DPL 3, 64-bit, present, not accessed. */
export const UCODE_FRESH = 0x90;
export const GDT_LIMIT = 0x97;

const DESCRIPTORS: readonly (readonly [number, bigint])[] = [
  [KCODE, 0x00af9b000000ffffn],
  [KDATA, 0x00cf93000000ffffn],
  [UDATA, 0x00cff3000000ffffn],
  [UCODE, 0x00affb000000ffffn],
  [TSS_SEL, 0x00008b0070000067n],
  [CONFORMING, 0x00af9f000000ffffn],
  [CODE32, 0x00cf9b000000ffffn],
  [ABSENT_DATA, 0x00cf13000000ffffn],
  [ABSENT_CODE, 0x00af1b000000ffffn],
  [BASED, 0x12cff2345678ffffn],
  [READ_ONLY, 0x00cf91000000ffffn],
  [LDT_SEL, 0x0000820280000fffn],
  [TSS2_SEL, 0x0000890070800067n],
  [EXECUTE_ONLY, 0x00cff9000000ffffn],
  [UCODE_FRESH, 0x00affa000000ffffn],
];

const CR0 = 0x8001_0033n;
const EFER = 0xd01n;

export class SystemBed extends SmallMachine {
  /** Bytes written to the console, of all vCPUs. */
  readonly console: number[] = [];

  constructor(options: SmallMachineOptions = {}) {
    super({ ...options, surroundings: { console: (byte) => this.console.push(byte), seed: 0x5eedn } });
    this.slot({ id: 0, baseGfn: 0, npages: PAGES, ramPage: 0 });
    this.#writeTables();
    for (const vcpu of this.vcpus) this.#start(vcpu);
  }

  get vcpu(): Vcpu {
    return this.vcpus[0]!;
  }

  #writeTables(): void {
    const table = P | RW | US | A;
    this.write64(PML4, BigInt(PDPT) | table);
    this.write64(PDPT, BigInt(PAGE_DIRECTORY) | table);
    this.write64(PAGE_DIRECTORY, BigInt(PAGE_TABLE) | table);
    for (let page = 0; page < PAGES; page++) {
      const user = page >= USER / PAGE && page < USER / PAGE + 16;
      this.write64(PAGE_TABLE + page * 8, BigInt(page * PAGE) | P | RW | A | D | (user ? US : 0n));
    }
    for (const [selector, descriptor] of DESCRIPTORS) this.write64(GDT + selector, descriptor);
    this.write64(TSS + 0x04, BigInt(RSP0));
    this.write64(TSS + 0x24, BigInt(IST1));
    this.ram.setUint16(TSS + 0x66, 104, true);
  }

  #start(vcpu: Vcpu): void {
    vcpu.set64('CR0', CR0);
    vcpu.set64('CR3', BigInt(PML4));
    vcpu.set64('CR4', 0xa0n);
    vcpu.set64('EFER', EFER);
    vcpu.set64('GDTR_BASE', BigInt(GDT));
    vcpu.set32('GDTR_LIMIT', GDT_LIMIT);
    vcpu.set64('IDTR_BASE', BigInt(IDT));
    vcpu.set32('IDTR_LIMIT', 0xfff);
    vcpu.set64('TR_BASE', BigInt(TSS));
    vcpu.set32('TR_LIMIT', 103);
    for (const [n, selector] of [KDATA, KCODE, KDATA, KDATA, 0, 0, 0, TSS_SEL].entries()) {
      vcpu.setSelector(n, selector);
    }
    vcpu.setGpr(4, BigInt(KERNEL_STACK));
    vcpu.set64('RIP', BigInt(KERNEL_CODE));
    vcpu.flags.setRflags(2n);
    // What making the memslot has posted.
    vcpu.set32('REQUESTS', 0);
  }

  /** Puts vCPU 0 into ring 3, on the user pages. */
  enterUser(): Vcpu {
    const { vcpu } = this;
    vcpu.setSelector(1, UCODE | 3);
    vcpu.setSelector(2, UDATA | 3);
    vcpu.setSegmentDpl(2, 3);
    vcpu.setGpr(4, BigInt(USER + 0x2000));
    vcpu.set64('RIP', BigInt(USER));
    vcpu.set32('CPL', 3);
    vcpu.set32('TLB', this.vm.tlb(vcpu.index, true, 0));
    return vcpu;
  }

  /** Guest RAM by gpa. */
  get ram(): DataView {
    return new DataView(this.vm.mem.u8.buffer, this.vm.layout.ram, PAGES * PAGE);
  }

  read64(gpa: number): bigint {
    return this.ram.getBigUint64(gpa, true);
  }

  write64(gpa: number, value: bigint): void {
    this.ram.setBigUint64(gpa, value, true);
  }

  bytes(gpa: number, ...bytes: number[]): void {
    this.vm.mem.u8.set(bytes, this.vm.layout.ram + gpa);
  }

  /** The page table entry of `gva`. */
  pte(gva: number): bigint {
    return this.read64(PAGE_TABLE + Math.floor(gva / PAGE) * 8);
  }

  setPte(gva: number, entry: bigint): void {
    this.write64(PAGE_TABLE + Math.floor(gva / PAGE) * 8, entry);
  }

  /** A gate of the IDT. */
  gate(
    vector: number,
    handler: bigint,
    options: { dpl?: number; ist?: number; trap?: boolean; selector?: number; present?: boolean } = {},
  ): void {
    const { dpl = 0, ist = 0, trap = false, selector = KCODE, present = true } = options;
    const access = (present ? 0x80 : 0) | (dpl << 5) | (trap ? 0xf : 0xe);
    const low =
      (handler & 0xffffn) |
      (BigInt(selector) << 16n) |
      (BigInt(ist) << 32n) |
      (BigInt(access) << 40n) |
      (((handler >> 16n) & 0xffffn) << 48n);
    this.write64(IDT + vector * 16, low);
    this.write64(IDT + vector * 16 + 8, handler >> 32n);
  }

  /** Flags of the one memslot, behind everybody's back. */
  slotFlags(flags: number): void {
    const { vm } = this;
    const which = vm.mem.load(vm.word('ACTIVE_SET'));
    vm.mem.store(vm.layout.slotSets + which * SLOT_SET_BYTES + 64 + SLOT.at.FLAGS, flags);
  }

  /** Runs a path of vCPU 0 alone, as a reader of the memslots. */
  run<T>(path: Path<T>): T {
    const { vcpu } = this;
    return drive(vcpu.actor, inSection(vcpu, path));
  }

  /** Runs a path of vCPU 0 beside the tool, until it ends. */
  runWithTool<T>(tool: Tool, path: Path<T>): T {
    const results: T[] = [];
    const { vcpu } = this;
    const whole = function* (): Path<void> {
      results.push(yield* inSection(vcpu, path));
    };
    this.together(11, this.toolRunner(tool), { name: 'vcpu 0', waiter: vcpu.actor, path: whole() });
    return results[0]!;
  }

  /** Hooks, with PF events on for every vCPU. */
  introspect(): void {
    this.hook();
    this.enablePf(...this.vcpus.keys());
  }

  /** The instruction that these bytes are, at vCPU 0's RIP. */
  insn(...bytes: number[]): Insn {
    const insn = decode(Uint8Array.from(bytes), 0, bytes.length, this.vcpu.get64('RIP'));
    if ('fault' in insn) throw new Error(`${bytes.map((b) => b.toString(16)).join(' ')}: ${insn.fault}`);
    return insn;
  }

  /** Everything of the CPU struct that an instruction could change, for "nothing was committed". */
  cpuState(vcpu: Vcpu = this.vcpu): Uint8Array {
    const words = this.vm.mem.u8.slice(vcpu.cpu, vcpu.cpu + CPU.at.FETCH_BYTES);
    // Others write here at any time.
    words.fill(0, CPU.at.REQUESTS, CPU.at.REQUESTS + 4);
    return words;
  }
}

function* inSection<T>(vcpu: Vcpu, path: Path<T>): Path<T> {
  yield* vcpu.enterSrcu();
  const result = yield* path;
  yield* vcpu.leaveSrcu();
  return result;
}

/** A fault as tests compare it. */
export function fault(vcpu: Vcpu): { vector: number; errorCode: number; address?: bigint } {
  const { vector, errorCode, address } = vcpu.fault;
  return vector === 14 ? { vector, errorCode, address } : { vector, errorCode };
}

export const OUTCOME_NAMES: Readonly<Record<Outcome, string>> = {
  0: 'ok',
  1: 'fault',
  2: 'retry',
  3: 'dead',
};
