/** What the file of a kernel says of its memory: which pages hold text, where data lies, what addresses are called. */
import { type ElfSegment, type ElfSymbol, parseElf } from '../../image/elf.ts';
import { SimError } from '../../shared/errors.ts';
import { hex } from '../../shared/units.ts';

const PAGE = 4096n;

/** A piece of data. */
export interface DataRange {
  readonly name: string;
  /** First byte, and the first after it. */
  readonly gpa: bigint;
  readonly end: bigint;
}

export class KernelMap {
  readonly #segments: readonly ElfSegment[];
  readonly #symbols: ReadonlyMap<string, ElfSymbol>;
  /** By rising address. Local labels (`function.label`) belong to their function. */
  readonly #places: readonly (readonly [name: string, at: bigint])[];

  /** @throws SimError SIM_IMAGE_FORMAT for a file that is no static x86-64 ELF */
  constructor(file: Uint8Array) {
    const { segments, symbols } = parseElf(file);
    this.#segments = segments;
    this.#symbols = symbols;
    this.#places = [...symbols]
      .filter(([name]) => !name.includes('.'))
      .map(([name, { value }]) => [name, value] as const)
      .sort(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** Physical addresses of the pages that hold code and nothing that is to be written. */
  textPages(): bigint[] {
    return this.#segments
      .filter(({ executable, writable }) => executable && !writable)
      .flatMap(({ physicalAddress, memBytes }) => pagesOf(physicalAddress, physicalAddress + memBytes));
  }

  /** @throws SimError SIM_USAGE for a symbol that is not there, or has no size and nothing behind it */
  data(name: string): DataRange {
    const symbol = this.#symbols.get(name);
    const segment = this.#segments.find(({ virtualAddress, memBytes }) => {
      return (
        symbol !== undefined && symbol.value >= virtualAddress && symbol.value < virtualAddress + memBytes
      );
    });
    if (symbol === undefined || segment === undefined) {
      throw new SimError('SIM_USAGE', `the kernel has no data called '${name}'`, {
        hint: 'name a symbol of its file, as nm shows them',
      });
    }
    const next = this.#places.find(([, at]) => at > symbol.value)?.[1];
    const bytes = symbol.size > 0n ? symbol.size : (next ?? symbol.value + 1n) - symbol.value;
    const gpa = symbol.value - segment.virtualAddress + segment.physicalAddress;
    return { name, gpa, end: gpa + bytes };
  }

  /** `function+0x12 (0x200012)`: what a virtual address is part of. */
  nameOf(gva: bigint): string {
    const place = this.#places.findLast(([, at]) => at <= gva);
    if (place === undefined) return hex(gva);
    const [name, at] = place;
    return `${name}${gva === at ? '' : `+${hex(gva - at)}`} (${hex(gva)})`;
  }
}

/** Addresses of all pages with a byte in the range. */
export function pagesOf(from: bigint, to: bigint): bigint[] {
  const pages: bigint[] = [];
  for (let page = from - (from % PAGE); page < to; page += PAGE) pages.push(page);
  return pages;
}
