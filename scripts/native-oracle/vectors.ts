/**
 * Cases with the processor's results as one small file, so that tests need neither compiler nor the same processor.
 *
 * A gzipped container: a line of JSON (format, seed, host, count), then streams of like values, each with its length.
 * Keeping like with like, and storing results as what they changed, is what makes it small:
 *
 *   code      length, bytes                      results   vector, flags as before ^ after, RIP
 *   head      offsets, counts, fill, freedom     faults    error code, CR2
 *   chosen    registers, or what differs from    changed   registers: mask, then before ^ after
 *             their fill, whichever is shorter
 *   bases     FS and GS, where not zero          memory    offset, length, bytes ^ before
 *   patch     offset, length, bytes ^ background
 *   fpu       x87 and SSE, where there are: controls, chosen registers, then words of the result that differ
 */
import { gunzipSync, gzipSync } from 'node:zlib';
import { BACKGROUND, CODE_BASE } from './arena.ts';
import {
  type CaseResult,
  type Freedom,
  fillRegister,
  NO_FREEDOM,
  type OracleCase,
  VECTOR_PF,
} from './case.ts';
import { FPU_USED, type FpuCase, fpuImage, NO_FPU } from './fpu-case.ts';
import { groupOfCode } from './generate.ts';

const FORMAT = 'faultline-oracle-2';
const STREAMS = [
  'code',
  'head',
  'chosen',
  'bases',
  'patch',
  'results',
  'faults',
  'changed',
  'memory',
  'fpu',
] as const;
type StreamName = (typeof STREAMS)[number];

export interface Vectors {
  readonly seed: bigint;
  /** The processor that gave the results. */
  readonly host: string;
  readonly cases: readonly OracleCase[];
  readonly results: readonly CaseResult[];
}

export function packVectors({ seed, host, cases, results }: Vectors): Uint8Array {
  const streams = new Map(STREAMS.map((name) => [name, new Writer()]));
  const to = (name: StreamName): Writer => streams.get(name)!;
  for (const [index, item] of cases.entries()) {
    packCase(to, item);
    packResult(to, item, results[index]!);
  }
  const head = { format: FORMAT, seed: `0x${seed.toString(16)}`, host, count: cases.length };
  const whole = new Writer();
  const text = new TextEncoder().encode(`${JSON.stringify(head)}\n`);
  whole.number(text.length, 4);
  whole.bytes(text);
  for (const name of STREAMS) {
    const bytes = to(name).done();
    whole.number(bytes.length, 4);
    whole.bytes(bytes);
  }
  return gzipSync(whole.done(), { level: 9 });
}

/** @throws Error if the file is of another format */
export function unpackVectors(file: Uint8Array): Vectors {
  const whole = new Reader(gunzipSync(file));
  const text = new TextDecoder().decode(whole.bytes(whole.number(4)));
  const head = JSON.parse(text) as {
    format: string;
    seed: string;
    host: string;
    count: number;
    groups: string[];
  };
  if (head.format !== FORMAT) throw new Error(`vectors of format '${head.format}', not '${FORMAT}'`);
  const streams = new Map(STREAMS.map((name) => [name, new Reader(whole.bytes(whole.number(4)))]));
  const from = (name: StreamName): Reader => streams.get(name)!;
  const cases: OracleCase[] = [];
  const results: CaseResult[] = [];
  for (let index = 0; index < head.count; index++) {
    const item = unpackCase(from);
    cases.push(item);
    results.push(unpackResult(from, item));
  }
  return { seed: BigInt(head.seed), host: head.host, cases, results };
}

function packCase(to: (name: StreamName) => Writer, item: OracleCase): void {
  to('code').number(item.code.length, 1);
  to('code').bytes(item.code);
  const head = to('head');
  head.number(item.instructionCount, 1);
  head.number(item.codeOffset, 2);
  head.number(item.fill, 1);
  head.number(item.rflags, 4);
  head.number(item.chosen, 2);
  const { freedom } = item;
  head.number(freedom.flags, 2);
  head.number((freedom.register + 1) | (freedom.memory ? 0x80 : 0), 1);
  if (freedom.register >= 0) head.quad(freedom.registerMask);
  for (const n of members(item.chosen)) to('chosen').near(item.gpr[n]!, fillRegister(item.fill, n));
  head.number((item.fsBase === 0n ? 0 : 1) | (item.gsBase === 0n ? 0 : 2), 1);
  if (item.fsBase !== 0n) to('bases').quad(item.fsBase);
  if (item.gsBase !== 0n) to('bases').quad(item.gsBase);
  packFpu(to('fpu'), item.fpu);
  to('patch').number(item.patch.length, 1);
  if (item.patch.length === 0) return;
  to('patch').number(item.patchOffset, 2);
  to('patch').bytes(item.patch.map((byte, i) => byte ^ BACKGROUND[item.patchOffset + i]!));
}

function unpackCase(from: (name: StreamName) => Reader): OracleCase {
  const code = from('code').bytes(from('code').number(1));
  const head = from('head');
  const instructionCount = head.number(1);
  const codeOffset = head.number(2);
  const fill = head.number(1);
  const rflags = head.number(4);
  const chosen = head.number(2);
  const freedom = unpackFreedom(head);
  const gpr = Array.from({ length: 16 }, (_, n) => fillRegister(fill, n));
  for (const n of members(chosen)) gpr[n] = from('chosen').near(gpr[n]!);
  const bases = head.number(1);
  const fsBase = (bases & 1) === 0 ? 0n : from('bases').quad();
  const gsBase = (bases & 2) === 0 ? 0n : from('bases').quad();
  const fpu = unpackFpu(from('fpu'));
  const patchBytes = from('patch').number(1);
  const patchOffset = patchBytes === 0 ? 0 : from('patch').number(2);
  const patch = from('patch')
    .bytes(patchBytes)
    .map((byte, i) => byte ^ BACKGROUND[patchOffset + i]!);
  const place = { code, instructionCount, codeOffset, patchOffset, patch };
  const group = groupOfCode(code, instructionCount);
  return { ...place, fill, chosen, gpr, rflags, fsBase, gsBase, fpu, freedom, group };
}

function unpackFreedom(head: Reader): Freedom {
  const flags = head.number(2);
  const packed = head.number(1);
  const register = (packed & 0x7f) - 1;
  const registerMask = register >= 0 ? head.quad() : 0n;
  const memory = (packed & 0x80) !== 0;
  return flags === 0 && register < 0 && !memory ? NO_FREEDOM : { flags, register, registerMask, memory };
}

function packResult(to: (name: StreamName) => Writer, item: OracleCase, result: CaseResult): void {
  to('results').number(result.vector, 1);
  to('results').number(item.rflags ^ result.rflags, 4);
  to('results').quad(result.rip - BigInt(CODE_BASE + item.codeOffset));
  to('faults').number(result.errorCode, 1);
  if (result.vector === VECTOR_PF) to('faults').quad(result.cr2);
  const delta = result.gpr.map((value, n) => value ^ item.gpr[n]!);
  to('changed').number(
    delta.reduce((mask, bits, n) => (bits === 0n ? mask : mask | (1 << n)), 0),
    2,
  );
  for (const bits of delta) if (bits !== 0n) to('changed').near(bits, 0n);
  if (item.fpu !== null) packImage(to('fpu'), fpuImage(item.fpu), result.fpu);
  to('memory').number(result.changed.length, 2);
  if (result.changed.length === 0) return;
  to('memory').number(result.changedOffset, 2);
  to('memory').bytes(result.changed.map((byte, i) => byte ^ byteBefore(item, result.changedOffset + i)));
}

function unpackResult(from: (name: StreamName) => Reader, item: OracleCase): CaseResult {
  const results = from('results');
  const vector = results.number(1);
  const rflags = item.rflags ^ results.number(4);
  const rip = BigInt.asUintN(64, results.quad() + BigInt(CODE_BASE + item.codeOffset));
  const errorCode = from('faults').number(1);
  const cr2 = vector === VECTOR_PF ? from('faults').quad() : 0n;
  const mask = from('changed').number(2);
  const gpr = item.gpr.slice();
  for (const n of members(mask)) gpr[n]! ^= from('changed').near(0n);
  const fpu = item.fpu === null ? NO_FPU : unpackImage(from('fpu'), fpuImage(item.fpu));
  const length = from('memory').number(2);
  const changedOffset = length === 0 ? 0 : from('memory').number(2);
  const changed = from('memory')
    .bytes(length)
    .map((byte, i) => byte ^ byteBefore(item, changedOffset + i));
  return { gpr, rip, rflags, vector, errorCode, cr2, changedOffset, changed, fpu };
}

function packFpu(to: Writer, item: FpuCase | null): void {
  to.number(item === null ? 0 : 1, 1);
  if (item === null) return;
  to.number(item.fill, 1);
  to.number(item.mxcsr, 2);
  to.number(item.fcw, 2);
  to.number(item.fsw, 2);
  to.number(item.ftw, 1);
  to.number(item.chosen.length, 1);
  for (const [register, value] of item.chosen) {
    to.number(register, 1);
    to.near(BigInt.asUintN(64, value), 0n);
    to.near(value >> 64n, 0n);
  }
}

function unpackFpu(from: Reader): FpuCase | null {
  if (from.number(1) === 0) return null;
  const fill = from.number(1);
  const mxcsr = from.number(2);
  const fcw = from.number(2);
  const fsw = from.number(2);
  const ftw = from.number(1);
  const chosen = Array.from({ length: from.number(1) }, () => {
    const register = from.number(1);
    const low = from.near(0n);
    return [register, low | (from.near(0n) << 64n)] as const;
  });
  return { fill, mxcsr, fcw, fsw, ftw, chosen };
}

/** What nobody compares is taken as it was: the pointers, MXCSR's mask and the reserved end. */
const COMPARED_WORDS = [0, 3, ...Array.from({ length: (FPU_USED - 32) / 8 }, (_, i) => 4 + i)];

function packImage(to: Writer, before: Uint8Array, after: Uint8Array): void {
  const [a, b] = [before, after].map((image) => new DataView(image.buffer, image.byteOffset)) as [
    DataView,
    DataView,
  ];
  const differing = COMPARED_WORDS.filter(
    (word) => a.getBigUint64(word * 8, true) !== b.getBigUint64(word * 8, true),
  );
  to.number(differing.length, 1);
  for (const word of differing) {
    to.number(word, 1);
    to.near(b.getBigUint64(word * 8, true), a.getBigUint64(word * 8, true));
  }
}

function unpackImage(from: Reader, before: Uint8Array): Uint8Array {
  const after = before.slice();
  const view = new DataView(after.buffer);
  for (let left = from.number(1); left > 0; left--) {
    const word = from.number(1);
    view.setBigUint64(word * 8, from.near(view.getBigUint64(word * 8, true)), true);
  }
  return after;
}

function byteBefore(item: OracleCase, at: number): number {
  return item.patch[at - item.patchOffset] ?? BACKGROUND[at]!;
}

/** Bytes that a quad is written in as a signed number. */
function signedBytes(value: bigint): number {
  let bytes = 0;
  while (BigInt.asIntN(bytes * 8, value) !== BigInt.asIntN(64, value)) bytes++;
  return bytes;
}

function members(mask: number): number[] {
  return Array.from({ length: 16 }, (_, n) => n).filter((n) => (mask & (1 << n)) !== 0);
}

const NEAR_KNOWN = 0x80;

/** Little-endian numbers and bytes into a buffer that grows. */
class Writer {
  #buffer = new Uint8Array(1024);
  #length = 0;

  number(value: number, size: 1 | 2 | 4): void {
    for (let i = 0; i < size; i++) this.#byte(value >>> (i * 8));
  }
  quad(value: bigint): void {
    const bits = BigInt.asUintN(64, value);
    this.number(Number(bits & 0xffff_ffffn), 4);
    this.number(Number(bits >> 32n), 4);
  }
  /** A quad: itself or its difference to `known`, as a signed number of as few bytes as will do. */
  near(value: bigint, known: bigint): void {
    const plain = signedBytes(value);
    const differing = signedBytes(value ^ known);
    const useKnown = differing < plain;
    const bytes = useKnown ? differing : plain;
    this.#byte(bytes | (useKnown ? NEAR_KNOWN : 0));
    const stored = useKnown ? value ^ known : value;
    for (let i = 0; i < bytes; i++) this.#byte(Number(BigInt.asUintN(8, stored >> BigInt(i * 8))));
  }
  bytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.#byte(byte);
  }
  done(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }
  #byte(value: number): void {
    if (this.#length === this.#buffer.length) {
      const larger = new Uint8Array(this.#buffer.length * 2);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    this.#buffer[this.#length++] = value & 0xff;
  }
}

class Reader {
  readonly #buffer: Uint8Array;
  #at = 0;

  constructor(buffer: Uint8Array) {
    this.#buffer = buffer;
  }
  number(size: 1 | 2 | 4): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.#buffer[this.#at + i]!;
    this.#at += size;
    return value;
  }
  quad(): bigint {
    const low = BigInt(this.number(4));
    return low | (BigInt(this.number(4)) << 32n);
  }
  near(known: bigint): bigint {
    const tag = this.number(1);
    const bytes = tag & ~NEAR_KNOWN;
    let stored = 0n;
    for (let i = 0; i < bytes; i++) stored |= BigInt(this.number(1)) << BigInt(i * 8);
    const value = BigInt.asIntN(bytes * 8, stored);
    return BigInt.asUintN(64, (tag & NEAR_KNOWN) === 0 ? value : value ^ known);
  }
  bytes(count: number): Uint8Array {
    const bytes = this.#buffer.slice(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }
}
