/** ELF files made to order: right in every field, until a test changes one. */

export interface SegmentPlan {
  readonly gpa: number;
  readonly data: Uint8Array;
  /** `data.byteLength` when absent. */
  readonly memBytes?: number;
  /** PF_X 1, PF_W 2, PF_R 4; 5 when absent. */
  readonly flags?: number;
}

export interface SymbolPlan {
  readonly name: string;
  readonly value: bigint;
  readonly size?: bigint;
  readonly isGlobal?: boolean;
}

export interface ElfPlan {
  readonly entry?: number;
  readonly segments?: readonly SegmentPlan[];
  readonly symbols?: readonly SymbolPlan[];
}

/** Where the tables of a built file are. */
export interface BuiltElf {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Offset of program header `index`. */
  readonly programHeader: (index: number) => number;
  /** Offset of section header `index`: 0 null, 1 symbols, 2 their names. */
  readonly sectionHeader: (index: number) => number;
}

export const CODE = Uint8Array.of(0x31, 0xc0, 0xe7, 0xf4, 0x0f, 0x0b); // xor eax, eax; out 0xf4, eax; ud2
export const CODE_GPA = 0x100000;

/** Without a plan: six bytes of code at 1 MiB, no symbols, no section headers. */
export function buildElf(plan: ElfPlan = {}): BuiltElf {
  const segments = plan.segments ?? [{ gpa: CODE_GPA, data: CODE }];
  const symbols = plan.symbols ?? [];
  const names = Buffer.from(`\0${symbols.map(({ name }) => `${name}\0`).join('')}`);
  const sectionCount = symbols.length === 0 ? 0 : 3;

  const dataAt = 64 + segments.length * 56;
  const symbolsAt = dataAt + segments.reduce((sum, { data }) => sum + data.byteLength, 0);
  const symbolBytes = sectionCount === 0 ? 0 : (symbols.length + 1) * 24;
  const namesAt = symbolsAt + symbolBytes;
  const sectionsAt = sectionCount === 0 ? 0 : namesAt + names.byteLength;
  const bytes = new Uint8Array(sectionCount === 0 ? symbolsAt : sectionsAt + sectionCount * 64);
  const view = new DataView(bytes.buffer);

  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
  view.setUint16(0x10, 2, true); // EXEC
  view.setUint16(0x12, 62, true); // x86-64
  view.setUint32(0x14, 1, true);
  view.setBigUint64(0x18, BigInt(plan.entry ?? segments[0]?.gpa ?? 0), true);
  view.setBigUint64(0x20, 64n, true);
  view.setBigUint64(0x28, BigInt(sectionsAt), true);
  view.setUint16(0x34, 64, true);
  view.setUint16(0x36, 56, true);
  view.setUint16(0x38, segments.length, true);
  view.setUint16(0x3a, 64, true);
  view.setUint16(0x3c, sectionCount, true);

  let offset = dataAt;
  for (const [index, { gpa, data, memBytes = data.byteLength, flags = 5 }] of segments.entries()) {
    const at = 64 + index * 56;
    view.setUint32(at, 1, true); // LOAD
    view.setUint32(at + 0x04, flags, true);
    view.setBigUint64(at + 0x08, BigInt(offset), true);
    view.setBigUint64(at + 0x10, BigInt(gpa), true);
    view.setBigUint64(at + 0x18, BigInt(gpa), true);
    view.setBigUint64(at + 0x20, BigInt(data.byteLength), true);
    view.setBigUint64(at + 0x28, BigInt(memBytes), true);
    view.setBigUint64(at + 0x30, 1n, true);
    bytes.set(data, offset);
    offset += data.byteLength;
  }

  if (sectionCount > 0) {
    let nameAt = 1;
    for (const [index, { name, value, size = 0n, isGlobal = true }] of symbols.entries()) {
      const at = symbolsAt + (index + 1) * 24;
      view.setUint32(at, nameAt, true);
      view.setUint8(at + 4, isGlobal ? 0x10 : 0x00);
      view.setUint16(at + 6, 0xfff1, true); // absolute
      view.setBigUint64(at + 8, value, true);
      view.setBigUint64(at + 16, size, true);
      nameAt += Buffer.byteLength(name) + 1;
    }
    bytes.set(names, namesAt);
    const section = (
      index: number,
      type: number,
      at: number,
      size: number,
      entryBytes: number,
      link: number,
    ) => {
      const header = sectionsAt + index * 64;
      view.setUint32(header + 0x04, type, true);
      view.setBigUint64(header + 0x18, BigInt(at), true);
      view.setBigUint64(header + 0x20, BigInt(size), true);
      view.setUint32(header + 0x28, link, true);
      view.setBigUint64(header + 0x38, BigInt(entryBytes), true);
    };
    section(1, 2, symbolsAt, symbolBytes, 24, 2);
    section(2, 3, namesAt, names.byteLength, 0, 0);
  }
  return {
    bytes,
    view,
    programHeader: (index) => 64 + index * 56,
    sectionHeader: (index) => sectionsAt + index * 64,
  };
}
