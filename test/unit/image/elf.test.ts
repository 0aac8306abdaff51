import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { parseElf } from '../../../src/image/elf.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { type BuiltElf, buildElf, CODE, CODE_GPA, type ElfPlan } from '../../support/elf-builder.ts';

/** The file, spoilt by `spoil`, is refused: with our code, the wrong value in the message, and something to do. */
function refused(t: ExecutionContext, plan: ElfPlan, spoil: (elf: BuiltElf) => void, message: RegExp): void {
  const elf = buildElf(plan);
  spoil(elf);
  refusedBytes(t, elf.bytes, message);
}

function refusedBytes(t: ExecutionContext, bytes: Uint8Array, message: RegExp): void {
  const error = t.throws(() => parseElf(bytes), { instanceOf: SimError, message });
  t.is(error?.code, 'SIM_IMAGE_FORMAT');
}

const TWO_SEGMENTS: ElfPlan = {
  segments: [
    { gpa: 0x300000, data: Uint8Array.of(1, 2, 3), memBytes: 0x2000, flags: 6 },
    { gpa: CODE_GPA, data: CODE, flags: 5 },
  ],
  entry: CODE_GPA + 2,
};
const WITH_SYMBOLS: ElfPlan = {
  symbols: [
    { name: 'start', value: 0x100000n, size: 6n },
    { name: 'high', value: 0xfffffffffffffff0n },
    { name: 'naïve', value: 5n },
  ],
};

test('segments come by rising address, with their data, zeros, rights and the entry point', (t) => {
  const { entry, segments, symbols } = parseElf(buildElf(TWO_SEGMENTS).bytes);
  t.is(entry, 0x100002n);
  t.is(symbols.size, 0);
  t.is(segments.length, 2);
  t.like(segments[0], {
    index: 1,
    virtualAddress: 0x100000n,
    physicalAddress: 0x100000n,
    memBytes: 6n,
    writable: false,
    executable: true,
  });
  t.deepEqual([...segments[0]!.data], [...CODE]);
  t.like(segments[1], {
    index: 0,
    virtualAddress: 0x300000n,
    memBytes: 0x2000n,
    writable: true,
    executable: false,
  });
  t.deepEqual([...segments[1]!.data], [1, 2, 3]);
});

test('a file may lie anywhere in a larger buffer', (t) => {
  const { bytes } = buildElf(WITH_SYMBOLS);
  const padded = new Uint8Array(bytes.byteLength + 100).fill(0xcc);
  padded.set(bytes, 33);
  const elf = parseElf(padded.subarray(33, 33 + bytes.byteLength));
  t.deepEqual([...elf.segments[0]!.data], [...CODE]);
  t.is(elf.symbols.get('start')?.size, 6n);
});

test('symbols keep all 64 bits, and names in UTF-8', (t) => {
  const { symbols } = parseElf(buildElf(WITH_SYMBOLS).bytes);
  t.deepEqual([...symbols.keys()], ['start', 'high', 'naïve']);
  t.is(symbols.get('high')?.value, 0xfffffffffffffff0n);
});

test('of symbols with one name the global one counts, else the first', (t) => {
  const value = (...symbols: [bigint, boolean][]) =>
    parseElf(
      buildElf({ symbols: symbols.map(([v, isGlobal]) => ({ name: 'x', value: v, isGlobal })) }).bytes,
    ).symbols.get('x')?.value;
  t.is(value([1n, false], [2n, true]), 2n);
  t.is(value([1n, true], [2n, false]), 1n);
  t.is(value([1n, false], [2n, false]), 1n);
});

test('undefined symbols, files and sections are no names', (t) => {
  const elf = buildElf(WITH_SYMBOLS);
  const symbol = (index: number) =>
    Number(elf.view.getBigUint64(elf.sectionHeader(1) + 0x18, true)) + index * 24;
  elf.view.setUint16(symbol(1) + 6, 0, true);
  elf.view.setUint8(symbol(2) + 4, 0x14);
  t.deepEqual([...parseElf(elf.bytes).symbols.keys()], ['naïve']);
});

test('empty program headers and those that load nothing are passed over', (t) => {
  const elf = buildElf(TWO_SEGMENTS);
  elf.view.setUint32(elf.programHeader(0), 0x6474e551, true); // GNU_STACK
  t.is(parseElf(elf.bytes).segments.length, 1);
  const empty = buildElf({
    segments: [
      { gpa: CODE_GPA, data: CODE },
      { gpa: 7, data: new Uint8Array() },
    ],
  });
  empty.view.setBigUint64(empty.programHeader(1) + 0x30, 0x1000n, true);
  t.is(parseElf(empty.bytes).segments.length, 1);
});

test('what readelf says of a committed image is what the parser says', (t) => {
  const elf = parseElf(readFileSync('test/guests/images/hello.elf'));
  t.is(elf.entry, 0x200000n);
  t.is(elf.symbols.get('_start')?.value, elf.entry);
  t.deepEqual(
    elf.segments.map(({ virtualAddress, executable }) => [virtualAddress, executable]),
    [
      [0x200000n, true],
      [0x201000n, false],
    ],
  );
});

test('what is no ELF file, or only the beginning of one', (t) => {
  refusedBytes(t, new Uint8Array(), /starts with nothing, not 7f 45 4c 46/);
  refusedBytes(t, Uint8Array.of(0x7f, 0x45), /starts with 7f 45,/);
  refusedBytes(t, buildElf().bytes.subarray(0, 63), /cut short: 63 bytes of 64/);
  refusedBytes(
    t,
    buildElf().bytes.subarray(0, 100),
    /program headers: 56 bytes at 0x40 pass the end.*100 bytes/,
  );
});

test('a file for another kind of machine says which', (t) => {
  refused(t, {}, ({ view }) => view.setUint8(4, 1), /32-bit ELF file/);
  refused(t, {}, ({ view }) => view.setUint8(4, 9), /class 9/);
  refused(t, {}, ({ view }) => view.setUint8(5, 2), /big-endian/);
  refused(t, {}, ({ view }) => view.setUint8(5, 0), /encoding 0/);
  refused(t, {}, ({ view }) => view.setUint8(6, 7), /version 7/);
  refused(t, {}, ({ view }) => view.setUint8(7, 9), /OS ABI 9/);
  refused(t, {}, ({ view }) => view.setUint16(0x12, 183, true), /64-bit Arm \(e_machine 183\)/);
  refused(t, {}, ({ view }) => view.setUint16(0x12, 9999, true), /some other machine \(e_machine 9999\)/);
});

test('a file that is not linked to run at a fixed address says so, with the flags that help', (t) => {
  const hintOf = (spoil: (elf: BuiltElf) => void) => {
    const elf = buildElf(TWO_SEGMENTS);
    spoil(elf);
    return t.throws(() => parseElf(elf.bytes), { instanceOf: SimError })?.hint ?? '';
  };
  refused(t, {}, ({ view }) => view.setUint16(0x10, 3, true), /position-independent.*ET_DYN/);
  refused(t, {}, ({ view }) => view.setUint16(0x10, 1, true), /object file/);
  refused(t, {}, ({ view }) => view.setUint16(0x10, 4, true), /core dump/);
  refused(t, {}, ({ view }) => view.setUint16(0x10, 0xfe00, true), /type 65024/);
  refused(
    t,
    TWO_SEGMENTS,
    ({ view, programHeader }) => view.setUint32(programHeader(1), 3, true),
    /1 is PT_INTERP/,
  );
  refused(
    t,
    TWO_SEGMENTS,
    ({ view, programHeader }) => view.setUint32(programHeader(0), 2, true),
    /0 is PT_DYNAMIC/,
  );
  t.regex(
    hintOf(({ view }) => view.setUint16(0x10, 3, true)),
    /-static -no-pie/,
  );
});

test('header fields that contradict the format', (t) => {
  refused(t, {}, ({ view }) => view.setUint32(0x14, 2, true), /e_version 2/);
  refused(t, {}, ({ view }) => view.setUint16(0x34, 52, true), /e_ehsize 52/);
  refused(t, {}, ({ view }) => view.setUint16(0x36, 32, true), /e_phentsize 32/);
  refused(t, {}, ({ view }) => view.setUint16(0x38, 0, true), /e_phnum 0/);
  refused(t, {}, ({ view }) => view.setUint16(0x38, 0xffff, true), /e_phnum 0xffff/);
  refused(t, {}, ({ view }) => view.setUint16(0x38, 2, true), /program headers: 112 bytes at 0x40/);
  refused(t, {}, ({ view }) => view.setBigUint64(0x20, 2n ** 64n - 8n, true), /at 0xfffffffffffffff8/);
  refused(t, {}, ({ view }) => view.setUint32(64, 6, true), /none of 1 program headers/);
});

test('segments that the file or the address space cannot hold', (t) => {
  const field = (offset: number, value: bigint) => (elf: BuiltElf) =>
    elf.view.setBigUint64(elf.programHeader(0) + offset, value, true);
  refused(t, {}, field(0x08, 1000n), /segment 0: 6 bytes at 0x3e8 pass the end/);
  // 2⁵³ + 1 is no number: were the offset made one, it would be another offset.
  refused(t, {}, field(0x08, 2n ** 53n + 1n), /at 0x20000000000001 pass/);
  refused(t, {}, field(0x08, 2n ** 64n - 1n), /at 0xffffffffffffffff pass/);
  refused(t, {}, field(0x20, 5_000_000n), /p_memsz 6 below p_filesz 5000000/);
  refused(t, {}, field(0x28, 5n), /p_memsz 5 below p_filesz 6/);
  refused(t, {}, field(0x28, 2n ** 64n - 1n), /p_vaddr 0x100000 .* passes the end of the address space/);
  refused(t, {}, field(0x18, 2n ** 64n - 1n), /p_paddr 0xffffffffffffffff .* passes the end/);
  refused(t, {}, field(0x30, 0x3000n), /p_align 0x3000 is no power of two/);
  refused(t, {}, field(0x30, 0x1000n), /differ modulo p_align 0x1000/);
});

test('overlapping segments are named with their ranges', (t) => {
  const at = (gpa: number) => ({
    segments: [
      { gpa: CODE_GPA, data: CODE },
      { gpa, data: CODE },
    ],
  });
  refused(t, at(0x100005), () => {}, /segments 0 and 1 overlap: 0x100000…0x100005 and 0x100005…0x10000a/);
  refused(t, at(0x0ffffb), () => {}, /segments 1 and 0 overlap/);
  refused(t, at(0x100000), () => {}, /overlap/);
  t.notThrows(() => parseElf(buildElf(at(0x100006)).bytes));
});

test('the entry point lies in an executable segment', (t) => {
  refused(
    t,
    { ...TWO_SEGMENTS, entry: 0x100006 },
    () => {},
    /entry point 0x100006 lies in no segment: 0x100000…/,
  );
  refused(t, { ...TWO_SEGMENTS, entry: 0 }, () => {}, /entry point 0x0 lies in no segment/);
  refused(t, { ...TWO_SEGMENTS, entry: 0x300001 }, () => {}, /segment 0, which is not executable/);
});

test('symbol tables that are cut short or point astray', (t) => {
  const section = (index: number, offset: number, value: bigint) => (elf: BuiltElf) =>
    elf.view.setBigUint64(elf.sectionHeader(index) + offset, value, true);
  refused(t, WITH_SYMBOLS, section(1, 0x38, 16n), /entries of 16; a symbol has 24/);
  refused(t, WITH_SYMBOLS, section(1, 0x20, 25n), /25 bytes in entries of 24/);
  refused(
    t,
    WITH_SYMBOLS,
    section(1, 0x18, 2n ** 63n),
    /symbol table 1: 96 bytes at 0x8000000000000000 pass/,
  );
  refused(t, WITH_SYMBOLS, section(2, 0x20, 2n ** 40n), /symbol names \(section 2\)/);
  refused(t, WITH_SYMBOLS, section(2, 0x20, 3n), /symbol name at 0x1 in 3 bytes of names: no end/);
  refused(
    t,
    WITH_SYMBOLS,
    ({ view, sectionHeader }) => view.setUint32(sectionHeader(1) + 0x28, 1, true),
    /names are to be in section 1/,
  );
  refused(
    t,
    WITH_SYMBOLS,
    ({ view, sectionHeader }) => view.setUint32(sectionHeader(1) + 0x28, 77, true),
    /section 77/,
  );
  refused(t, WITH_SYMBOLS, ({ view }) => view.setUint16(0x3a, 40, true), /e_shentsize 40/);
  refused(t, WITH_SYMBOLS, ({ view }) => view.setUint16(0x3c, 4, true), /section headers: 256 bytes/);
  refused(t, WITH_SYMBOLS, ({ view }) => view.setUint16(0x3c, 0, true), /e_shnum 0/);
  refused(t, {}, ({ view }) => view.setUint16(0x3c, 3, true), /e_shoff 0x0 with e_shnum 3/);
});
