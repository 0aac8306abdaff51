/**
 * Linux by its 64-bit boot protocol: a bzImage, an initial RAM disk and a command line become memory and registers of
 * vCPU 0, as a boot loader leaves them.
 *
 *   gpa                    what
 *   ─────────────────────  ──────────────────────────────────────────────────────────
 *   0x00500 … 0x0051f      GDT: null, null, code, data
 *   0x01000 … 0x06fff      page tables: gpa = gva, the first 4 GiB in pages of 2 MiB
 *   0x10000 … 0x10fff      boot_params ("zero page")
 *   0x20000 …              command line
 *   0x90000                stack, from here down
 *   0xe0000 … 0xfffff      ACPI tables (acpi.ts); reserved
 *   pref_address …         the kernel, init_size bytes
 *   … end of RAM           the RAM disk, as high as it may be
 *
 * @source Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"; zero-page.rst
 */
import { SimError } from '../shared/errors.ts';
import { formatSize, hex } from '../shared/units.ts';
import {
  CR0_ET,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
} from '../shared/x86/control-registers.ts';
import { PTE_P, PTE_PS, PTE_RW } from '../shared/x86/paging.ts';
import { RFLAGS_FIXED } from '../shared/x86/rflags.ts';
import { ACPI_GPA, writeAcpiTables } from './acpi.ts';
import { GDT_GPA, type InitialState, PAGE_DIRECTORY_GPA, PDPT_GPA, PML4_GPA } from './boot.ts';

const BOOT_PARAMS_GPA = 0x10000;
const COMMAND_LINE_GPA = 0x20000;
const COMMAND_LINE_BYTES_MAX = 0x10000;
const STACK_GPA = 0x90000;
const LOW_RAM_BYTES = 0x9fc00;
const HIGH_RAM_GPA = 0x100000;

// Fields of the setup header, which boot_params repeats at the same offsets.
const SETUP_HEADER = 0x1f1;
const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const JUMP = 0x200;
const MAGIC = 0x202;
const VERSION = 0x206;
const TYPE_OF_LOADER = 0x210;
const LOAD_FLAGS = 0x211;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const INITRD_ADDR_MAX = 0x22c;
const KERNEL_ALIGNMENT = 0x230;
const RELOCATABLE = 0x234;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;
// Fields of boot_params besides.
const ACPI_RSDP_ADDR = 0x070;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;

const BOOT_FLAG_VALUE = 0xaa55;
const MAGIC_VALUE = 0x53726448;
/** The first version with the 64-bit entry point and xloadflags. */
const VERSION_MIN = 0x20c;
const XLF_KERNEL_64 = 1;
const LOADER_UNDEFINED = 0xff;
const LOADED_HIGH = 1;
const ENTRY_64 = 0x200;
const E820_RAM = 1;
const E820_RESERVED = 2;

const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const CODE_64 = 0x00af9b000000ffffn;
const DATA = 0x00cf93000000ffffn;
const LARGE_PAGE_BYTES = 2 * 1024 ** 2;
const GIB = 1024 ** 3;
const RSP = 4;
const RSI = 6;
const PAGE_BYTES = 4096;

export interface LinuxOptions {
  readonly ramBytes: number;
  readonly vcpuCount: number;
  readonly initrd?: Uint8Array | null;
  readonly commandLine?: string;
}

/** Is the file a Linux kernel of the boot protocol? Of any version. */
export function isBzImage(file: Uint8Array): boolean {
  if (file.byteLength < VERSION) return false;
  const view = viewOf(file);
  return view.getUint16(BOOT_FLAG, true) === BOOT_FLAG_VALUE && view.getUint32(MAGIC, true) === MAGIC_VALUE;
}

/**
 * Puts kernel, RAM disk, command line and tables into RAM.
 *
 * @param ram  guest RAM from gpa 0 on, `ramBytes` of it
 * @returns    registers of vCPU 0
 * @throws     SimError SIM_IMAGE_FORMAT for a kernel that cannot be entered in 64-bit mode, SIM_CONFIG_RANGE if kernel and
 *             RAM disk do not fit, SIM_USAGE for a command line that is too long
 */
export function loadLinux(file: Uint8Array, ram: Uint8Array, options: LinuxOptions): InitialState {
  const header = checkHeader(file);
  const { ramBytes, vcpuCount, initrd = null, commandLine = '' } = options;
  const kernel = file.subarray(((file[SETUP_SECTS] || 4) + 1) * 512);
  const kernelGpa = placeKernel(header, kernel.length, ramBytes);
  const kernelEnd = kernelGpa + Math.max(header.initSize, kernel.length);
  const initrdGpa = initrd === null ? 0 : placeInitrd(initrd, { ramBytes, kernelEnd, max: header.initrdMax });

  ram.set(kernel, kernelGpa);
  if (initrd !== null) ram.set(initrd, initrdGpa);
  writeCommandLine(ram, commandLine, header.commandLineMax);
  const rsdp = writeAcpiTables(ram, { vcpuCount });
  writeGdt(ram);
  writePageTables(ram);

  const params = new Uint8Array(PAGE_BYTES);
  // The header ends where its jump goes to.
  const headerEnd = JUMP + 2 + file[JUMP + 1]!;
  params.set(file.subarray(SETUP_HEADER, headerEnd), SETUP_HEADER);
  const view = viewOf(params);
  view.setUint8(TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint8(LOAD_FLAGS, view.getUint8(LOAD_FLAGS) | LOADED_HIGH);
  view.setUint32(CMD_LINE_PTR, COMMAND_LINE_GPA, true);
  view.setUint32(RAMDISK_IMAGE, initrdGpa, true);
  view.setUint32(RAMDISK_SIZE, initrd?.length ?? 0, true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(rsdp), true);
  writeMemoryMap(view, ramBytes);
  ram.set(params, BOOT_PARAMS_GPA);
  return entryState(kernelGpa + ENTRY_64);
}

interface Header {
  readonly prefGpa: number;
  readonly alignment: number;
  readonly relocatable: boolean;
  readonly initSize: number;
  readonly initrdMax: number;
  readonly commandLineMax: number;
}

function checkHeader(file: Uint8Array): Header {
  const view = viewOf(file);
  const refuse = (message: string): never => {
    throw new SimError('SIM_IMAGE_FORMAT', message, {
      hint: 'give a 64-bit Linux kernel, 3.8 or later: vmlinuz of a distribution will do',
    });
  };
  if (file.byteLength < INIT_SIZE + 4) refuse(`a Linux kernel of only ${file.byteLength} bytes`);
  const version = view.getUint16(VERSION, true);
  if (version < VERSION_MIN) {
    refuse(`a Linux kernel with boot protocol ${version >> 8}.${version & 255}: 2.12 is the least`);
  }
  if ((view.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64) === 0) refuse('a 32-bit Linux kernel');
  const size = ((file[SETUP_SECTS] || 4) + 1) * 512;
  if (size >= file.byteLength) refuse(`a Linux kernel that ends in its ${size} bytes of setup code`);
  const prefGpa = Number(view.getBigUint64(PREF_ADDRESS, true));
  return {
    prefGpa,
    alignment: view.getUint32(KERNEL_ALIGNMENT, true),
    relocatable: view.getUint8(RELOCATABLE) !== 0,
    initSize: view.getUint32(INIT_SIZE, true),
    initrdMax: view.getUint32(INITRD_ADDR_MAX, true),
    commandLineMax: view.getUint32(CMDLINE_SIZE, true),
  };
}

function placeKernel(header: Header, bytes: number, ramBytes: number): number {
  const { prefGpa, initSize } = header;
  const needed = Math.max(initSize, bytes);
  if (prefGpa >= HIGH_RAM_GPA && prefGpa + needed <= ramBytes) return prefGpa;
  throw new SimError(
    'SIM_CONFIG_RANGE',
    `the kernel needs ${formatSize(Math.ceil(needed / PAGE_BYTES) * PAGE_BYTES)} from ${hex(prefGpa)} on, the machine has ${formatSize(ramBytes)}`,
    { hint: 'give the machine more: -m 256M' },
  );
}

function placeInitrd(
  initrd: Uint8Array,
  { ramBytes, kernelEnd, max }: { ramBytes: number; kernelEnd: number; max: number },
): number {
  const end = Math.min(ramBytes, max + 1);
  const gpa = Math.floor((end - initrd.length) / PAGE_BYTES) * PAGE_BYTES;
  if (gpa >= kernelEnd) return gpa;
  throw new SimError(
    'SIM_CONFIG_RANGE',
    `a RAM disk of ${initrd.length} bytes does not fit behind a kernel that ends at ${hex(kernelEnd)} in ${formatSize(ramBytes)}`,
    { hint: 'give the machine more: -m 512M' },
  );
}

function writeCommandLine(ram: Uint8Array, commandLine: string, limit: number): void {
  const bytes = new TextEncoder().encode(commandLine);
  const most = Math.min(limit, COMMAND_LINE_BYTES_MAX - 1);
  if (bytes.length > most) {
    throw new SimError('SIM_USAGE', `a command line of ${bytes.length} bytes`, {
      hint: `this kernel takes ${most}: shorten --append`,
    });
  }
  ram.set(bytes, COMMAND_LINE_GPA);
  ram[COMMAND_LINE_GPA + bytes.length] = 0;
}

function writeMemoryMap(params: DataView, ramBytes: number): void {
  const ranges: readonly (readonly [gpa: number, bytes: number, type: number])[] = [
    [0, LOW_RAM_BYTES, E820_RAM],
    [LOW_RAM_BYTES, 0xa0000 - LOW_RAM_BYTES, E820_RESERVED],
    [ACPI_GPA, HIGH_RAM_GPA - ACPI_GPA, E820_RESERVED],
    [HIGH_RAM_GPA, ramBytes - HIGH_RAM_GPA, E820_RAM],
  ];
  params.setUint8(E820_ENTRIES, ranges.length);
  for (const [index, [gpa, bytes, type]] of ranges.entries()) {
    const at = E820_TABLE + 20 * index;
    params.setBigUint64(at, BigInt(gpa), true);
    params.setBigUint64(at + 8, BigInt(bytes), true);
    params.setUint32(at + 16, type, true);
  }
}

function writeGdt(ram: Uint8Array): void {
  const view = viewOf(ram);
  for (const [index, descriptor] of [0n, 0n, CODE_64, DATA].entries()) {
    view.setBigUint64(GDT_GPA + 8 * index, descriptor, true);
  }
}

function writePageTables(ram: Uint8Array): void {
  const view = viewOf(ram);
  ram.fill(0, PML4_GPA, PAGE_DIRECTORY_GPA);
  view.setBigUint64(PML4_GPA, BigInt(PDPT_GPA) | PTE_P | PTE_RW, true);
  for (let index = 0; index < 4; index++) {
    const directory = BigInt(PAGE_DIRECTORY_GPA + index * PAGE_BYTES);
    view.setBigUint64(PDPT_GPA + index * 8, directory | PTE_P | PTE_RW, true);
  }
  for (let index = 0; index < (4 * GIB) / LARGE_PAGE_BYTES; index++) {
    const page = BigInt(index * LARGE_PAGE_BYTES) | PTE_P | PTE_RW | PTE_PS;
    view.setBigUint64(PAGE_DIRECTORY_GPA + index * 8, page, true);
  }
}

function entryState(entry: number): InitialState {
  const gpr = new Array<bigint>(16).fill(0n);
  gpr[RSP] = BigInt(STACK_GPA);
  gpr[RSI] = BigInt(BOOT_PARAMS_GPA);
  return {
    GPR: gpr,
    RIP: BigInt(entry),
    RFLAGS: BigInt(RFLAGS_FIXED),
    CR0: CR0_PE | CR0_ET | CR0_NE | CR0_PG,
    CR3: BigInt(PML4_GPA),
    CR4: CR4_PAE,
    EFER: EFER_LME | EFER_LMA,
    GDTR_BASE: BigInt(GDT_GPA),
    GDTR_LIMIT: 4 * 8 - 1,
    IDTR_BASE: 0n,
    IDTR_LIMIT: 0,
    SELECTORS: [BOOT_DS, BOOT_CS, BOOT_DS, BOOT_DS, BOOT_DS, BOOT_DS, 0, 0],
    TR_BASE: 0n,
    TR_LIMIT: 0,
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
