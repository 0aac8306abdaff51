/**
 * From a file to a guest in RAM: recognises what the file is, checks that it fits the machine and the boot protocol
 * (boot.ts), and copies it. Paging is identity at the first instruction, so a segment's virtual address is its gpa.
 */
import { readFileSync, statSync } from 'node:fs';
import { SimError } from '../shared/errors.ts';
import { invariant } from '../shared/invariant.ts';
import { PAGE_BYTES, VCPU_LIMIT } from '../shared/layout/machine.ts';
import { formatSize, type Gpa, hex } from '../shared/units.ts';
import { IDENTITY_GPA_LIMIT_MAX, IMAGE_GPA_MIN } from './boot.ts';
import { type ElfSegment, type ElfSymbol, isElf, parseElf } from './elf.ts';
import { isBzImage } from './linux.ts';

export interface LoadOptions {
  /** RAM from gpa 0 on. */
  readonly ramBytes: number;
  readonly vcpuCount: number;
  /** The file is plain code, not ELF: it is loaded at `baseGpa` and entered at its first byte. */
  readonly flat?: boolean;
  /** Where a flat image goes; IMAGE_GPA_MIN when absent. ELF images say it themselves. */
  readonly baseGpa?: number;
}

export interface ImageSegment {
  readonly gpa: Gpa;
  /** A view of the file: do not change it while the image is in use. */
  readonly data: Uint8Array;
  /** At least `data.byteLength`; the rest is zero. */
  readonly memBytes: number;
  readonly writable: boolean;
  readonly executable: boolean;
}

export interface LoadedImage {
  /** Both gpa and gva of the first instruction of every vCPU. */
  readonly entry: Gpa;
  /** By rising gpa, none overlapping, all within RAM. */
  readonly segments: readonly ImageSegment[];
  /** Empty for a flat image and for a stripped one. */
  readonly symbols: ReadonlyMap<string, ElfSymbol>;
}

/** A larger file is no guest for a machine whose RAM ends at 4 GiB, and reading it would only take long. */
const FILE_BYTES_MAX = 1024 ** 3;
const MIB = 1024 ** 2;

/**
 * Reads and checks an image. Nothing is copied yet.
 *
 * @param source  a path, or the file's bytes
 * @throws        SimError: SIM_IMAGE_MISSING if it cannot be read, SIM_IMAGE_FORMAT if it is no image we can load,
 *                SIM_CONFIG_RANGE if it does not fit the machine, SIM_USAGE if the options contradict the file
 */
export function loadImage(source: string | Uint8Array, options: LoadOptions): LoadedImage {
  checkOptions(options);
  const file = readGuestFile(source, '--kernel');
  if (options.flat === true) return flatImage(file, options);
  if (!isElf(file)) throw notElf(file);
  if (options.baseGpa !== undefined) {
    throw new SimError('SIM_USAGE', `an ELF image cannot be loaded at ${hex(options.baseGpa)}`, {
      hint: 'it has its own addresses: leave the base address out, or link it elsewhere',
    });
  }
  return elfImage(file, options);
}

/**
 * Copies an image into RAM and clears what it wants cleared. Call it before any vCPU runs.
 *
 * @param ram  guest RAM from gpa 0 on, at least the `ramBytes` the image was loaded for
 * @throws     InvariantError if a segment lies outside `ram`; nothing is written then
 * @locking    takes nothing; plain stores
 */
export function writeImage(image: LoadedImage, ram: Uint8Array): void {
  for (const { gpa, memBytes } of image.segments) {
    invariant(
      gpa + memBytes <= ram.byteLength,
      `segment of ${memBytes} bytes at ${hex(gpa)} in RAM of ${ram.byteLength} bytes`,
    );
  }
  for (const { gpa, data, memBytes } of image.segments) {
    ram.set(data, gpa);
    ram.fill(0, gpa + data.byteLength, gpa + memBytes);
  }
}

/**
 * The gpa a symbol stands for, or the value of an absolute one.
 *
 * @throws SimError SIM_IMAGE_FORMAT if the image has no such symbol, or its value is above 2⁵³ − 1
 */
export function symbolValue(image: LoadedImage, name: string): number {
  const symbol = image.symbols.get(name);
  if (symbol === undefined) {
    throw new SimError('SIM_IMAGE_FORMAT', `the image has no symbol '${name}'`, {
      hint: image.symbols.size === 0 ? 'it has no symbols at all: link it without --strip-all' : '',
    });
  }
  if (symbol.value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new SimError(
      'SIM_IMAGE_FORMAT',
      `symbol '${name}' is ${hex(symbol.value)}: no guest physical address`,
    );
  }
  return Number(symbol.value);
}

function checkOptions({ ramBytes, vcpuCount, baseGpa }: LoadOptions): void {
  if (!Number.isSafeInteger(ramBytes) || ramBytes < IMAGE_GPA_MIN || ramBytes % PAGE_BYTES !== 0) {
    throw new SimError('SIM_CONFIG_RANGE', `RAM of ${ramBytes} bytes`, {
      hint: 'give whole pages of 4096 bytes, 1M at least: -m 64M',
    });
  }
  if (!Number.isInteger(vcpuCount) || vcpuCount < 1 || vcpuCount > VCPU_LIMIT) {
    throw new SimError('SIM_CONFIG_RANGE', `${vcpuCount} vCPUs`, { hint: `give 1 to ${VCPU_LIMIT}: -smp 2` });
  }
  if (baseGpa === undefined) return;
  if (!Number.isInteger(baseGpa) || baseGpa < IMAGE_GPA_MIN || baseGpa >= IDENTITY_GPA_LIMIT_MAX) {
    throw new SimError('SIM_CONFIG_RANGE', `an image at gpa ${baseGpa}`, {
      hint: `images go from ${hex(IMAGE_GPA_MIN)} to ${hex(IDENTITY_GPA_LIMIT_MAX - 1)}`,
    });
  }
}

/**
 * A file that goes into the guest.
 *
 * @param source  a path, or the file's bytes
 * @param flag    which says what file it is, for messages
 * @throws        SimError SIM_IMAGE_MISSING if it cannot be read, SIM_IMAGE_FORMAT if it is too large
 */
export function readGuestFile(source: string | Uint8Array, flag: string): Uint8Array {
  if (typeof source !== 'string') return source;
  const path = source;
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX) {
      throw new SimError('SIM_IMAGE_FORMAT', `${path}: ${formatSize(size)} is too large for an image`, {
        hint: `images have ${formatSize(FILE_BYTES_MAX)} at most`,
      });
    }
    return readFileSync(path);
  } catch (error) {
    if (error instanceof SimError) throw error;
    throw new SimError('SIM_IMAGE_MISSING', `cannot read ${path}`, {
      hint: `it is the file after ${flag}`,
      cause: error,
    });
  }
}

function flatImage(file: Uint8Array, { ramBytes, baseGpa = IMAGE_GPA_MIN }: LoadOptions): LoadedImage {
  if (file.byteLength === 0) {
    throw new SimError('SIM_IMAGE_FORMAT', 'the flat image is empty', {
      hint: 'it starts with its first instruction',
    });
  }
  const kind = isElf(file) ? 'an ELF file' : isBzImage(file) ? 'a Linux kernel (bzImage)' : null;
  if (kind !== null) {
    throw new SimError('SIM_IMAGE_FORMAT', `the file is ${kind}, not a flat image`, {
      hint: 'leave out --flat',
    });
  }
  const segment = {
    gpa: baseGpa as Gpa,
    data: file,
    memBytes: file.byteLength,
    writable: true,
    executable: true,
  };
  checkFits([segment], ramBytes);
  return { entry: segment.gpa, segments: [segment], symbols: new Map() };
}

function elfImage(file: Uint8Array, { ramBytes }: LoadOptions): LoadedImage {
  if (multiboot(file) !== null) throw multibootRefused('an ELF file for multiboot loaders', file);
  const elf = parseElf(file);
  const segments = elf.segments.map((segment) => {
    checkPlace(segment);
    const { virtualAddress, data, memBytes, writable, executable } = segment;
    return { gpa: Number(virtualAddress) as Gpa, data, memBytes: Number(memBytes), writable, executable };
  });
  checkFits(segments, ramBytes);
  // Within a segment, so below 4 GiB and exact.
  return { entry: Number(elf.entry) as Gpa, segments, symbols: elf.symbols };
}

/** After this, both ends of the segment are exact as numbers. */
function checkPlace({ index, virtualAddress, physicalAddress, memBytes }: ElfSegment): void {
  const refuse = (message: string, hint: string) => {
    throw new SimError('SIM_IMAGE_FORMAT', `segment ${index}: ${message}`, { hint });
  };
  if (physicalAddress !== virtualAddress) {
    refuse(
      `p_paddr ${hex(physicalAddress)} is not p_vaddr ${hex(virtualAddress)}`,
      'paging is identity at the first instruction: link it where it is to be loaded, without AT()',
    );
  }
  if (virtualAddress < BigInt(IMAGE_GPA_MIN)) {
    refuse(
      `p_vaddr ${hex(virtualAddress)} lies below ${hex(IMAGE_GPA_MIN)}`,
      'boot tables and stacks are there: link it at 0x100000 or above',
    );
  }
  if (virtualAddress + memBytes > BigInt(IDENTITY_GPA_LIMIT_MAX)) {
    refuse(
      `${hex(virtualAddress)}…${hex(virtualAddress + memBytes - 1n)} reaches past 4 GiB`,
      'only the first 4 GiB are mapped: link it at 0x100000, say',
    );
  }
}

function checkFits(segments: readonly ImageSegment[], ramBytes: number): void {
  const end = Math.max(...segments.map(({ gpa, memBytes }) => gpa + memBytes));
  if (end <= ramBytes) return;
  throw new SimError(
    'SIM_CONFIG_RANGE',
    `the image needs RAM up to ${hex(end - 1)}, the machine has ${formatSize(ramBytes)}`,
    {
      hint: `give the machine more: -m ${formatSize(enoughRam(end))}`,
    },
  );
}

/** A size people give, with room behind the image: a power of two up to 256M, then whole multiples of that. */
function enoughRam(bytes: number): number {
  const step = 256 * MIB;
  if (bytes > step) return Math.ceil(bytes / step) * step;
  let size = MIB;
  while (size < bytes) size *= 2;
  return size;
}

// ── what else a file may be ─────────────────────────────────────────────────────────────────────

const BOOT_SECTOR_MAGIC = 0xaa55;
const MULTIBOOT_MAGIC = 0x1badb002;
const MULTIBOOT_SEARCH_BYTES = 8192;
const MULTIBOOT2_MAGIC = 0xe85250d6;
const MULTIBOOT2_SEARCH_BYTES = 32768;

const ELF_HINT = 'give a static 64-bit ELF file for x86-64, or plain code with --flat';

/** First bytes, what they say, and what to do about it. */
const KINDS: readonly { readonly magic: readonly number[]; readonly what: string; readonly hint?: string }[] =
  [
    { magic: [0x1f, 0x8b], what: 'a gzip file', hint: 'unpack it first: gunzip' },
    { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: 'an xz file', hint: 'unpack it first: unxz' },
    { magic: [0x28, 0xb5, 0x2f, 0xfd], what: 'a zstd file', hint: 'unpack it first: unzstd' },
    { magic: [0x42, 0x5a, 0x68], what: 'a bzip2 file', hint: 'unpack it first: bunzip2' },
    { magic: [0x50, 0x4b, 0x03, 0x04], what: 'a zip file', hint: 'unpack it first: unzip' },
    {
      magic: [0x21, 0x3c, 0x61, 0x72, 0x63, 0x68, 0x3e],
      what: 'an archive (.a)',
      hint: 'link it into a program',
    },
    {
      magic: [0xcf, 0xfa, 0xed, 0xfe],
      what: 'a Mach-O file',
      hint: 'compile for a bare machine: an ELF target',
    },
    { magic: [0x23, 0x21], what: 'a script' },
    { magic: [0x4d, 0x5a], what: 'a PE file (EFI or Windows): not supported yet' },
  ];

function notElf(file: Uint8Array): SimError {
  const refuse = (message: string, hint: string) => new SimError('SIM_IMAGE_FORMAT', message, { hint });
  if (file.byteLength === 0) return refuse('the image is empty', ELF_HINT);
  if (isBzImage(file)) {
    return refuse('a Linux kernel (bzImage), which needs a PC', 'give it as `linux: { kernel }`');
  }
  if (multiboot(file) !== null) return multibootRefused('an image for multiboot loaders', file);
  const kind = KINDS.find(({ magic }) => magic.every((byte, index) => file[index] === byte));
  if (kind !== undefined) return refuse(kind.what, kind.hint ?? ELF_HINT);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength >= 512 && view.getUint16(0x1fe, true) === BOOT_SECTOR_MAGIC) {
    return refuse('a disk image or boot sector: not supported yet', ELF_HINT);
  }
  const start = [...file.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return refuse(`no image format we know: it starts with ${start}`, ELF_HINT);
}

function multibootRefused(what: string, file: Uint8Array): SimError {
  return new SimError('SIM_IMAGE_FORMAT', `${what} (multiboot ${multiboot(file)}): not supported yet`, {
    hint: 'vCPUs start in 64-bit mode, such images in 32-bit mode; give one without a multiboot header',
  });
}

/**
 * Version of the multiboot header in the file, or null. The words of a header add up to zero, so that data which
 * only looks like its magic number is not taken for one.
 *
 * @source GNU Multiboot Specification 0.6.96 and 2.0, "The layout of Multiboot header"
 */
function multiboot(file: Uint8Array): 1 | 2 | null {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const word = (at: number) => view.getUint32(at, true);
  for (let at = 0; at + 12 <= Math.min(file.byteLength, MULTIBOOT_SEARCH_BYTES); at += 4) {
    if (word(at) === MULTIBOOT_MAGIC && (word(at) + word(at + 4) + word(at + 8)) % 2 ** 32 === 0) return 1;
  }
  for (let at = 0; at + 16 <= Math.min(file.byteLength, MULTIBOOT2_SEARCH_BYTES); at += 8) {
    if (word(at) !== MULTIBOOT2_MAGIC) continue;
    if ((word(at) + word(at + 4) + word(at + 8) + word(at + 12)) % 2 ** 32 === 0) return 2;
  }
  return null;
}
