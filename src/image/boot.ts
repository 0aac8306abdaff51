/**
 * The boot protocol for guest images: every vCPU starts in 64-bit mode, at the image's entry point, with flat
 * segments, identity paging and a stack of its own. No firmware, no real mode, no start-up IPI.
 *
 * Guest physical memory at the first instruction:
 *
 *   gpa                    what                                                      written by
 *   ─────────────────────  ────────────────────────────────────────────────────────  ──────────
 *   0x00000 … 0x004ff      nothing                                                   nobody
 *   0x00500 … 0x00627      GDT: null, kernel code and data, user data and code,      here
 *                          then one 16-byte TSS descriptor per vCPU
 *   0x01000 … 0x01fff      PML4: entry 0                                             here
 *   0x02000 … 0x02fff      PDPT: one entry per GiB, four at most                     here
 *   0x03000 … 0x06fff      page directories: gpa = gva, 2 MiB pages                  here
 *   0x07000 … 0x077ff      TSS of vCPU i at 0x7000 + i × 0x80: RSP0 and IST1         here
 *   0x08000 … 0x08fff      IDT, all gates absent: one for all vCPUs                  the guest
 *   0x60000 … 0x6ffff      ring 0 stacks (RSP0), 4 KiB per vCPU                      the guest
 *   0x70000 … 0x7ffff      interrupt stacks (IST1), 4 KiB per vCPU                   the guest
 *   0x80000 … 0xbffff      first stacks (RSP at entry), 16 KiB per vCPU              the guest
 *   0x100000 …             the image, and whatever else the guest likes              the loader
 *
 * Registers: RDI is the vCPU's index, RSI the number of vCPUs, RSP the top of its first stack (16-byte aligned),
 * every other general register 0, interrupts off. Until the guest fills in a gate, an exception is a triple fault.
 *
 * Ports: a byte written to PORT_CONSOLE is text; `out PORT_EXIT, eax` ends the vCPU that does it, AL being its
 * exit code, 0 for success.
 *
 * test/guests/boot.inc repeats these numbers for guests; a unit test holds the two together.
 *
 * @source Intel SDM vol. 3A, "Segment Descriptors", "64-Bit Task State Segment (TSS)", "4-Level Paging and 5-Level
 *         Paging", "Initializing IA-32e Mode"
 */
import { invariant } from '../shared/invariant.ts';
import { VCPU_LIMIT } from '../shared/layout/machine.ts';
import {
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from '../shared/x86/control-registers.ts';
import { TSS_BYTES, TSS_IO_MAP_BASE, TSS_IST1, TSS_RSP0 } from '../shared/x86/descriptors.ts';
import { PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW, PTE_US } from '../shared/x86/paging.ts';
import { RFLAGS_FIXED } from '../shared/x86/rflags.ts';

export const GDT_GPA = 0x500;
export const PML4_GPA = 0x1000;
export const PDPT_GPA = 0x2000;
export const PAGE_DIRECTORY_GPA = 0x3000;
export const TSS_GPA = 0x7000;
export const IDT_GPA = 0x8000;
export const RSP0_STACKS_GPA = 0x60000;
export const IST1_STACKS_GPA = 0x70000;
export const STACKS_GPA = 0x80000;
/** Lowest gpa an image may load at, and so the least RAM a guest can boot with, bytes. */
export const IMAGE_GPA_MIN = 0x100000;

export const RSP0_STACK_BYTES = 0x1000;
export const IST1_STACK_BYTES = 0x1000;
export const STACK_BYTES = 0x4000;
/** From one TSS to the next: 104 bytes, rounded up to two cache lines. */
export const TSS_STRIDE = 0x80;
export const IDT_BYTES = 256 * 16;
export { TSS_BYTES };

export const KERNEL_CODE_SELECTOR = 0x08;
export const KERNEL_DATA_SELECTOR = 0x10;
/** Data before code: SYSRET takes SS from STAR[63:48] + 8 and CS from STAR[63:48] + 16. */
export const USER_DATA_SELECTOR = 0x18 | 3;
export const USER_CODE_SELECTOR = 0x20 | 3;
/** Of vCPU 0; the others follow every 16 bytes. */
export const TSS_SELECTOR = 0x28;

/** The most that identity paging covers, bytes: four page directories. */
export const IDENTITY_GPA_LIMIT_MAX = 4 * 1024 ** 3;

export { PORT_CONSOLE, PORT_EXIT } from '../shared/ports.ts';

const GIB = 1024 ** 3;
const LARGE_PAGE_BYTES = 2 * 1024 ** 2;

const RSP = 4;
const RSI = 6;
const RDI = 7;

/** Flat descriptors in GDT order, accessed bit set so that loading a selector never writes the GDT. */
const FLAT_DESCRIPTORS = [
  0n, // null
  0x00af9b000000ffffn, // code, 64-bit, DPL 0
  0x00cf93000000ffffn, // data, DPL 0
  0x00cff3000000ffffn, // data, DPL 3
  0x00affb000000ffffn, // code, 64-bit, DPL 3
];

export interface BootTableOptions {
  /** 1 … VCPU_LIMIT. */
  readonly vcpuCount: number;
  /** Bytes from gpa 0 to map, rounded up to 2 MiB; IDENTITY_GPA_LIMIT_MAX when absent. May exceed RAM. */
  readonly gpaLimit?: number;
  /** U/S of every mapping; true when absent: ring 3 may touch everything. */
  readonly user?: boolean;
  /**
   * A and D set in advance; true when absent: page walks then never write the tables, and a run's only writes are
   * the guest's own.
   */
  readonly accessed?: boolean;
}

/** Register values of one vCPU at its first instruction. Named and typed as the words of shared/layout/cpu.ts. */
export interface InitialState {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8…r15. */
  readonly GPR: readonly bigint[];
  readonly RIP: bigint;
  readonly RFLAGS: bigint;
  readonly CR0: bigint;
  readonly CR3: bigint;
  readonly CR4: bigint;
  readonly EFER: bigint;
  readonly GDTR_BASE: bigint;
  readonly GDTR_LIMIT: number;
  readonly IDTR_BASE: bigint;
  readonly IDTR_LIMIT: number;
  /** es cs ss ds fs gs ldtr tr. */
  readonly SELECTORS: readonly number[];
  readonly TR_BASE: bigint;
  readonly TR_LIMIT: number;
}

/**
 * Writes GDT, page tables and TSSs, and clears the IDT. Call it before any vCPU runs.
 *
 * @param ram  guest RAM from gpa 0 on, IMAGE_GPA_MIN bytes or more
 * @throws     InvariantError if the RAM is too small, or an option is out of its range
 * @locking    takes nothing; plain stores
 */
export function writeBootTables(ram: Uint8Array, options: BootTableOptions): void {
  const { vcpuCount, gpaLimit = IDENTITY_GPA_LIMIT_MAX, user = true, accessed = true } = options;
  invariant(ram.byteLength >= IMAGE_GPA_MIN, `boot tables need 1 MiB of RAM, got ${ram.byteLength} bytes`);
  checkVcpuCount(vcpuCount);
  invariant(
    Number.isInteger(gpaLimit) && gpaLimit > 0 && gpaLimit <= IDENTITY_GPA_LIMIT_MAX,
    `identity paging of ${gpaLimit} bytes: not within 1 … 4 GiB`,
  );

  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  ram.fill(0, GDT_GPA, IDT_GPA + IDT_BYTES);
  writeGdt(view, vcpuCount);
  writePageTables(view, { gpaLimit, user, accessed });
  for (let index = 0; index < vcpuCount; index++) writeTss(view, index);
}

/**
 * What vCPU `vcpuIndex` of `vcpuCount` starts with.
 *
 * @param entry  gva, which is the gpa, of the first instruction
 * @throws       InvariantError if the index or the count is out of range, or `entry` is no unsigned integer
 */
export function bootState(vcpuIndex: number, vcpuCount: number, entry: number): InitialState {
  checkVcpuCount(vcpuCount);
  invariant(
    Number.isInteger(vcpuIndex) && vcpuIndex >= 0 && vcpuIndex < vcpuCount,
    `vcpu ${vcpuIndex} of ${vcpuCount}`,
  );
  invariant(Number.isSafeInteger(entry) && entry >= 0, `entry point ${entry}`);

  const gpr = new Array<bigint>(16).fill(0n);
  gpr[RSP] = BigInt(STACKS_GPA + (vcpuIndex + 1) * STACK_BYTES);
  gpr[RSI] = BigInt(vcpuCount);
  gpr[RDI] = BigInt(vcpuIndex);
  const data = KERNEL_DATA_SELECTOR;
  return {
    GPR: gpr,
    RIP: BigInt(entry),
    RFLAGS: BigInt(RFLAGS_FIXED),
    CR0: CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG,
    CR3: BigInt(PML4_GPA),
    CR4: CR4_PAE | CR4_PGE,
    EFER: EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
    GDTR_BASE: BigInt(GDT_GPA),
    GDTR_LIMIT: TSS_SELECTOR + vcpuCount * 16 - 1,
    IDTR_BASE: BigInt(IDT_GPA),
    IDTR_LIMIT: IDT_BYTES - 1,
    SELECTORS: [data, KERNEL_CODE_SELECTOR, data, data, 0, 0, 0, TSS_SELECTOR + vcpuIndex * 16],
    TR_BASE: BigInt(tssGpa(vcpuIndex)),
    TR_LIMIT: TSS_BYTES - 1,
  };
}

function checkVcpuCount(vcpuCount: number): void {
  invariant(
    Number.isInteger(vcpuCount) && vcpuCount >= 1 && vcpuCount <= VCPU_LIMIT,
    `${vcpuCount} vCPUs: not within 1 … ${VCPU_LIMIT}`,
  );
}

function tssGpa(vcpuIndex: number): number {
  return TSS_GPA + vcpuIndex * TSS_STRIDE;
}

function writeGdt(view: DataView, vcpuCount: number): void {
  for (const [index, descriptor] of FLAT_DESCRIPTORS.entries()) {
    view.setBigUint64(GDT_GPA + index * 8, descriptor, true);
  }
  for (let index = 0; index < vcpuCount; index++) {
    // All TSSs lie below 64 KiB: base[31:16] and the upper eight bytes stay zero. Type 0xb: busy, as after LTR.
    const low = BigInt(TSS_BYTES - 1) | (BigInt(tssGpa(index)) << 16n) | (0x8bn << 40n);
    view.setBigUint64(GDT_GPA + TSS_SELECTOR + index * 16, low, true);
  }
}

function writePageTables(view: DataView, options: Required<Omit<BootTableOptions, 'vcpuCount'>>): void {
  const table = PTE_P | PTE_RW | (options.user ? PTE_US : 0n) | (options.accessed ? PTE_A : 0n);
  const page = table | PTE_PS | (options.accessed ? PTE_D : 0n);
  view.setBigUint64(PML4_GPA, BigInt(PDPT_GPA) | table, true);
  for (let index = 0; index < Math.ceil(options.gpaLimit / GIB); index++) {
    view.setBigUint64(PDPT_GPA + index * 8, BigInt(PAGE_DIRECTORY_GPA + index * 0x1000) | table, true);
  }
  // The four directories are contiguous, so the entry of a large page is found by its number alone.
  for (let index = 0; index < Math.ceil(options.gpaLimit / LARGE_PAGE_BYTES); index++) {
    view.setBigUint64(PAGE_DIRECTORY_GPA + index * 8, BigInt(index * LARGE_PAGE_BYTES) | page, true);
  }
}

function writeTss(view: DataView, vcpuIndex: number): void {
  const tss = tssGpa(vcpuIndex);
  view.setBigUint64(tss + TSS_RSP0, BigInt(RSP0_STACKS_GPA + (vcpuIndex + 1) * RSP0_STACK_BYTES), true);
  view.setBigUint64(tss + TSS_IST1, BigInt(IST1_STACKS_GPA + (vcpuIndex + 1) * IST1_STACK_BYTES), true);
  view.setUint16(tss + TSS_IO_MAP_BASE, TSS_BYTES, true); // I/O bitmap past the limit: no port for ring 3
}
