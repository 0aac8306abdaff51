/**
 * Static x86-64 ELF files: what is to be loaded where, where execution starts, and what the addresses are called.
 *
 * The file comes from outside, so every field is checked before it is used, and 64-bit fields stay bigint until they
 * are known to lie within the file. Nothing here knows of RAM or of the boot protocol; that is load.ts.
 *
 *   offset  bytes  field         must be
 *   ──────  ─────  ────────────  ────────────────────────────────────────────────────────────────
 *   0x00    4      magic         7f 'E' 'L' 'F'
 *   0x04    1      class         2: 64-bit
 *   0x05    1      data          1: little-endian
 *   0x06    1      version       1
 *   0x07    1      OS ABI        0: System V, or 3: GNU
 *   0x10    2      e_type        2: EXEC, all addresses fixed
 *   0x12    2      e_machine     62: x86-64
 *   0x14    4      e_version     1
 *   0x18    8      e_entry       inside an executable segment
 *   0x20    8      e_phoff       e_phnum entries of 56 bytes, all within the file
 *   0x28    8      e_shoff       0, or e_shnum entries of 64 bytes, all within the file
 *   0x34    2      e_ehsize      64 or more
 *   0x36    2      e_phentsize   56
 *   0x38    2      e_phnum       1 or more; 0xffff would mean "elsewhere"
 *   0x3a    2      e_shentsize   64, if there are sections
 *   0x3c    2      e_shnum       0 together with e_shoff; 0 alone would mean "elsewhere"
 *
 * @source System V Application Binary Interface, "Object Files" and "Program Loading and Dynamic Linking"; its
 *         AMD64 supplement, "Object Files"
 */
import { SimError } from '../shared/errors.ts';
import { hex } from '../shared/units.ts';

/** One PT_LOAD entry that occupies memory. */
export interface ElfSegment {
  /** Index into the program headers, as readelf counts. */
  readonly index: number;
  readonly virtualAddress: bigint;
  readonly physicalAddress: bigint;
  /** What the file gives; a view of the file. The rest, up to `memBytes`, is zero. */
  readonly data: Uint8Array;
  /** At least `data.byteLength`, and never past the end of the 64-bit address space. */
  readonly memBytes: bigint;
  readonly writable: boolean;
  readonly executable: boolean;
}

/** Both unsigned 64-bit, as the file has them. */
export interface ElfSymbol {
  readonly value: bigint;
  /** Bytes; 0 where the assembler did not say. */
  readonly size: bigint;
}

export interface ElfFile {
  readonly entry: bigint;
  /** By rising address, none overlapping; one or more. */
  readonly segments: readonly ElfSegment[];
  /** Empty for a stripped file. Of several symbols with one name the global one, else the first. */
  readonly symbols: ReadonlyMap<string, ElfSymbol>;
}

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;

const CLASS_32 = 1;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const BIG_ENDIAN = 2;
const ABI_SYSTEM_V = 0;
const ABI_GNU = 3;

const ET_REL = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const ET_CORE = 4;
const EM_X86_64 = 62;

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const PF_X = 1;
const PF_W = 2;
/** Program header count that stands in section 0 instead. */
const PN_XNUM = 0xffff;

const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHN_UNDEF = 0;
const STB_LOCAL = 0;
const STT_SECTION = 3;
const STT_FILE = 4;

const ADDRESS_LIMIT = 1n << 64n;

const STATIC_HINT = 'link it statically at a fixed address: -static -no-pie -nostdlib, and a linker script';
const DAMAGED_HINT = 'the file is damaged or cut short: build or copy it again';

/** Machines people are likely to try, by e_machine. */
const MACHINES: Readonly<Record<number, string>> = {
  2: 'SPARC',
  3: '32-bit x86',
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 's390',
  40: '32-bit Arm',
  43: '64-bit SPARC',
  50: 'Itanium',
  183: '64-bit Arm',
  243: 'RISC-V',
  247: 'eBPF',
  258: 'LoongArch',
};

export function isElf(file: Uint8Array): boolean {
  return file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * Parses a whole file.
 *
 * @param file  not copied: segments are views of it
 * @throws      SimError SIM_IMAGE_FORMAT for whatever is wrong with it; never anything else
 */
export function parseElf(file: Uint8Array): ElfFile {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  checkHeader(file, view);
  const segments = readSegments(file, view);
  checkOverlap(segments);
  const entry = view.getBigUint64(0x18, true);
  checkEntry(entry, segments);
  return { entry, segments, symbols: readSymbols(file, view) };
}

function checkHeader(file: Uint8Array, view: DataView): void {
  if (!isElf(file)) {
    const start = [...file.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw malformed(`not an ELF file: it starts with ${start === '' ? 'nothing' : start}, not 7f 45 4c 46`);
  }
  if (file.byteLength < HEADER_BYTES) {
    throw malformed(`ELF header cut short: ${file.byteLength} bytes of ${HEADER_BYTES}`, DAMAGED_HINT);
  }
  const elfClass = view.getUint8(4);
  if (elfClass === CLASS_32) {
    throw malformed('a 32-bit ELF file (class 1)', 'compile with -m64: vCPUs start in 64-bit mode');
  }
  if (elfClass !== CLASS_64)
    throw malformed(`ELF class ${elfClass}: neither 32-bit nor 64-bit`, DAMAGED_HINT);
  const data = view.getUint8(5);
  if (data === BIG_ENDIAN) {
    throw malformed('a big-endian ELF file (data 2)', 'x86-64 is little-endian: compile for x86-64');
  }
  if (data !== LITTLE_ENDIAN) throw malformed(`ELF data encoding ${data}: no byte order`, DAMAGED_HINT);
  const version = view.getUint8(6);
  if (version !== 1) throw malformed(`ELF version ${version}: there is only 1`, DAMAGED_HINT);
  const abi = view.getUint8(7);
  if (abi !== ABI_SYSTEM_V && abi !== ABI_GNU) {
    throw malformed(`ELF OS ABI ${abi}: neither System V (0) nor GNU (3)`, 'compile for a bare machine');
  }

  checkMachineAndType(view.getUint16(0x12, true), view.getUint16(0x10, true));
  const fileVersion = view.getUint32(0x14, true);
  if (fileVersion !== 1) throw malformed(`e_version ${fileVersion}: there is only 1`, DAMAGED_HINT);
  const headerBytes = view.getUint16(0x34, true);
  if (headerBytes < HEADER_BYTES) {
    throw malformed(`e_ehsize ${headerBytes}: a 64-bit ELF header has ${HEADER_BYTES} bytes`, DAMAGED_HINT);
  }
}

function checkMachineAndType(machine: number, type: number): void {
  if (machine !== EM_X86_64) {
    const name = MACHINES[machine] ?? 'some other machine';
    throw malformed(`an ELF file for ${name} (e_machine ${machine})`, 'compile for x86-64 (e_machine 62)');
  }
  if (type === ET_DYN) {
    throw malformed(
      'a position-independent or shared ELF file (ET_DYN): it would need relocation',
      STATIC_HINT,
    );
  }
  if (type === ET_REL) throw malformed('an ELF object file (ET_REL): it is not linked yet', STATIC_HINT);
  if (type === ET_CORE) throw malformed('an ELF core dump (ET_CORE)', 'give the program, not its core');
  if (type !== ET_EXEC) throw malformed(`ELF file type ${type}: not an executable (2)`, STATIC_HINT);
}

// ── segments ────────────────────────────────────────────────────────────────────────────────────

function readSegments(file: Uint8Array, view: DataView): ElfSegment[] {
  const count = view.getUint16(0x38, true);
  const entryBytes = view.getUint16(0x36, true);
  if (count === 0) throw malformed('no program headers (e_phnum 0): nothing to load', STATIC_HINT);
  if (count === PN_XNUM) throw malformed('65535 or more program headers (e_phnum 0xffff)', STATIC_HINT);
  if (entryBytes !== PROGRAM_HEADER_BYTES) {
    throw malformed(
      `e_phentsize ${entryBytes}: a program header has ${PROGRAM_HEADER_BYTES} bytes`,
      DAMAGED_HINT,
    );
  }
  const table = within(file, view.getBigUint64(0x20, true), BigInt(count * entryBytes), 'program headers');

  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entryBytes;
    const type = view.getUint32(at, true);
    if (type === PT_DYNAMIC || type === PT_INTERP) {
      const name = type === PT_DYNAMIC ? 'PT_DYNAMIC' : 'PT_INTERP';
      throw malformed(`program header ${index} is ${name}: the file wants a dynamic linker`, STATIC_HINT);
    }
    if (type !== PT_LOAD) continue;
    const segment = readSegment(file, view, { index, at });
    if (segment !== null) segments.push(segment);
  }
  if (segments.length === 0) {
    throw malformed(`none of ${count} program headers loads anything (PT_LOAD)`, STATIC_HINT);
  }
  return segments.sort((a, b) => (a.virtualAddress < b.virtualAddress ? -1 : 1));
}

/** null when it occupies no memory. */
function readSegment(
  file: Uint8Array,
  view: DataView,
  place: { index: number; at: number },
): ElfSegment | null {
  const { index, at } = place;
  const flags = view.getUint32(at + 0x04, true);
  const offset = view.getBigUint64(at + 0x08, true);
  const virtualAddress = view.getBigUint64(at + 0x10, true);
  const physicalAddress = view.getBigUint64(at + 0x18, true);
  const fileBytes = view.getBigUint64(at + 0x20, true);
  const memBytes = view.getBigUint64(at + 0x28, true);
  const align = view.getBigUint64(at + 0x30, true);
  if (memBytes < fileBytes) {
    throw malformed(`segment ${index}: p_memsz ${memBytes} below p_filesz ${fileBytes}`, DAMAGED_HINT);
  }
  // Linkers leave empty entries behind, whose other fields mean nothing.
  if (memBytes === 0n) return null;
  if ((align & (align - 1n)) !== 0n && align !== 0n) {
    throw malformed(`segment ${index}: p_align ${hex(align)} is no power of two`, DAMAGED_HINT);
  }
  if (align > 1n && (virtualAddress - offset) % align !== 0n) {
    throw malformed(
      `segment ${index}: p_vaddr ${hex(virtualAddress)} and p_offset ${hex(offset)} differ modulo p_align ${hex(align)}`,
      DAMAGED_HINT,
    );
  }
  const start = within(file, offset, fileBytes, `segment ${index}`);
  for (const [name, address] of [
    ['p_vaddr', virtualAddress],
    ['p_paddr', physicalAddress],
  ] as const) {
    if (address + memBytes <= ADDRESS_LIMIT) continue;
    throw malformed(
      `segment ${index}: ${name} ${hex(address)} + p_memsz ${hex(memBytes)} passes the end of the address space`,
      DAMAGED_HINT,
    );
  }
  return {
    index,
    virtualAddress,
    physicalAddress,
    data: file.subarray(start, start + Number(fileBytes)),
    memBytes,
    writable: (flags & PF_W) !== 0,
    executable: (flags & PF_X) !== 0,
  };
}

function checkOverlap(segments: readonly ElfSegment[]): void {
  for (const [i, segment] of segments.entries()) {
    const next = segments[i + 1];
    if (next === undefined || segment.virtualAddress + segment.memBytes <= next.virtualAddress) continue;
    throw malformed(
      `segments ${segment.index} and ${next.index} overlap: ${range(segment)} and ${range(next)}`,
      'look at the addresses in the linker script',
    );
  }
}

function checkEntry(entry: bigint, segments: readonly ElfSegment[]): void {
  const inside = (s: ElfSegment) => entry >= s.virtualAddress && entry < s.virtualAddress + s.memBytes;
  const segment = segments.find(inside);
  if (segment === undefined) {
    throw malformed(
      `entry point ${hex(entry)} lies in no segment: ${segments.map(range).join(', ')}`,
      'name the entry point in the linker script: ENTRY(_start)',
    );
  }
  if (!segment.executable) {
    throw malformed(
      `entry point ${hex(entry)} lies in segment ${segment.index}, which is not executable`,
      'put the code into a section and a segment with the X flag',
    );
  }
}

function range(segment: ElfSegment): string {
  return `${hex(segment.virtualAddress)}…${hex(segment.virtualAddress + segment.memBytes - 1n)}`;
}

// ── symbols ─────────────────────────────────────────────────────────────────────────────────────

interface Section {
  readonly type: number;
  readonly link: number;
  readonly offset: bigint;
  readonly size: bigint;
  readonly entryBytes: bigint;
}

function readSymbols(file: Uint8Array, view: DataView): ReadonlyMap<string, ElfSymbol> {
  const symbols = new Map<string, ElfSymbol>();
  const globals = new Set<string>();
  const sections = readSections(file, view);
  for (const [index, table] of sections.entries()) {
    if (table.type !== SHT_SYMTAB) continue;
    const names = sections[table.link];
    if (names === undefined || names.type !== SHT_STRTAB) {
      throw malformed(
        `symbol table ${index}: its names are to be in section ${table.link}, which has none`,
        DAMAGED_HINT,
      );
    }
    if (table.entryBytes !== BigInt(SYMBOL_BYTES) || table.size % BigInt(SYMBOL_BYTES) !== 0n) {
      throw malformed(
        `symbol table ${index}: ${table.size} bytes in entries of ${table.entryBytes}; a symbol has ${SYMBOL_BYTES}`,
        DAMAGED_HINT,
      );
    }
    const start = within(file, table.offset, table.size, `symbol table ${index}`);
    const namesStart = within(file, names.offset, names.size, `symbol names (section ${table.link})`);
    const strings = file.subarray(namesStart, namesStart + Number(names.size));
    for (let at = start; at < start + Number(table.size); at += SYMBOL_BYTES) {
      const info = view.getUint8(at + 4);
      const isGlobal = info >> 4 !== STB_LOCAL;
      const kind = info & 15;
      if (kind === STT_FILE || kind === STT_SECTION || view.getUint16(at + 6, true) === SHN_UNDEF) continue;
      const name = nameAt(strings, view.getUint32(at, true));
      if (name === '' || (symbols.has(name) && (!isGlobal || globals.has(name)))) continue;
      if (isGlobal) globals.add(name);
      symbols.set(name, { value: view.getBigUint64(at + 8, true), size: view.getBigUint64(at + 16, true) });
    }
  }
  return symbols;
}

function readSections(file: Uint8Array, view: DataView): Section[] {
  const offset = view.getBigUint64(0x28, true);
  const entryBytes = view.getUint16(0x3a, true);
  const count = view.getUint16(0x3c, true);
  if (offset === 0n && count === 0) return [];
  if (offset === 0n || count === 0) {
    throw malformed(
      `e_shoff ${hex(offset)} with e_shnum ${count}: a section table without place or length`,
      DAMAGED_HINT,
    );
  }
  if (entryBytes !== SECTION_HEADER_BYTES) {
    throw malformed(
      `e_shentsize ${entryBytes}: a section header has ${SECTION_HEADER_BYTES} bytes`,
      DAMAGED_HINT,
    );
  }
  const table = within(file, offset, BigInt(count * entryBytes), 'section headers');
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * entryBytes;
    return {
      type: view.getUint32(at + 0x04, true),
      link: view.getUint32(at + 0x28, true),
      offset: view.getBigUint64(at + 0x18, true),
      size: view.getBigUint64(at + 0x20, true),
      entryBytes: view.getBigUint64(at + 0x38, true),
    };
  });
}

/** Names are bytes to ELF and text to people: UTF-8 that does not decode is shown as such, never refused. */
function nameAt(strings: Uint8Array, offset: number): string {
  const end = offset < strings.byteLength ? strings.indexOf(0, offset) : -1;
  if (end < 0) {
    throw malformed(
      `symbol name at ${hex(offset)} in ${strings.byteLength} bytes of names: no end`,
      DAMAGED_HINT,
    );
  }
  return new TextDecoder().decode(strings.slice(offset, end));
}

// ── checks ──────────────────────────────────────────────────────────────────────────────────────

/** The offset as a number, once it and its length are known to lie within the file. */
function within(file: Uint8Array, offset: bigint, length: bigint, what: string): number {
  if (offset + length > BigInt(file.byteLength)) {
    throw malformed(
      `${what}: ${length} bytes at ${hex(offset)} pass the end of the file (${file.byteLength} bytes)`,
      DAMAGED_HINT,
    );
  }
  return Number(offset);
}

function malformed(message: string, hint = ''): SimError {
  return new SimError('SIM_IMAGE_FORMAT', message, { hint });
}
