/**
 * One case of the instruction oracle, its result, and both as the fixed-size records that harness.c reads and writes.
 *
 *   request                              reply
 *   ──────────────────────────────       ────────────────────────────────────────────
 *     0  code, CODE_LIMIT bytes            0  16 registers
 *    64  code offset, u16                128  RIP
 *    66  code bytes, u16                 136  RFLAGS
 *    68  patch offset, u16               144  CR2, 0 unless the vector is 14
 *    70  patch bytes, u16                152  vector, i32
 *    72  RFLAGS                          156  error code, i32
 *    80  FS base                         160  changed offset, u16
 *    88  GS base                         162  changed bytes, u16; 0xffff: too many
 *    96  16 registers                    168  changed memory, CHANGED_LIMIT bytes
 *   224  patch, PATCH_LIMIT bytes        424  x87 and SSE, FPU_BYTES (if the request has them)
 *   384  1: x87 and SSE follow, u64
 *   392  x87 and SSE, FPU_BYTES
 */
import { mix } from './arena.ts';
import { FPU_BYTES, type FpuCase, fpuImage, NO_FPU } from './fpu-case.ts';

export const CODE_LIMIT = 64;
export const PATCH_LIMIT = 160;
export const CHANGED_LIMIT = 256;
const REQUEST_FPU = 224 + PATCH_LIMIT;
export const REQUEST_BYTES = REQUEST_FPU + 8 + FPU_BYTES;
const REPLY_FPU = 168 + CHANGED_LIMIT;
export const REPLY_BYTES = REPLY_FPU + FPU_BYTES;

export const VECTOR_DE = 0;
export const VECTOR_BP = 3;
export const VECTOR_UD = 6;
export const VECTOR_MF = 16;
export const VECTOR_XM = 19;
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;

/** What a processor may do as it likes in a case: not compared. */
export interface Freedom {
  /** RFLAGS bits. */
  readonly flags: number;
  /** Register that holds an undefined result, and its undefined bits; −1 for none. */
  readonly register: number;
  readonly registerMask: bigint;
  /** The memory it writes holds an undefined result. */
  readonly memory: boolean;
}
export const NO_FREEDOM: Freedom = { flags: 0, register: -1, registerMask: 0n, memory: false };
/** Operations whose results are singles that may be off by a relative error of this. */
export const APPROXIMATE_ERROR = 1.5 * 2 ** -12;
export function isApproximate(item: OracleCase): boolean {
  return /^(rcp|rsqrt)[ps]s /.test(item.group);
}

export interface OracleCase {
  /** One instruction, or a straight line of them; INT3 follows. At most CODE_LIMIT bytes. */
  readonly code: Uint8Array;
  readonly instructionCount: number;
  /** Of the first byte, from CODE_OFFSET. */
  readonly codeOffset: number;
  /** Registers that `chosen` does not name hold `fillRegister(fill, n)`. */
  readonly fill: number;
  /** Bit n: gpr[n] was chosen. */
  readonly chosen: number;
  readonly gpr: readonly bigint[];
  readonly rflags: number;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
  /** Bytes over the background, within mapped data pages; from the start of the arena. */
  readonly patchOffset: number;
  readonly patch: Uint8Array;
  /** Null: the instruction touches none of it, and it is not compared. */
  readonly fpu: FpuCase | null;
  readonly freedom: Freedom;
  /** Key of the coverage table: "op size shapes". */
  readonly group: string;
}

export interface CaseResult {
  readonly gpr: readonly bigint[];
  /** Of the INT3 it landed on plus 1, or of the instruction that faulted. */
  readonly rip: bigint;
  readonly rflags: number;
  /** VECTOR_BP: it ran and landed on an INT3. */
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: bigint;
  /** First to last byte of the arena that the case changed. */
  readonly changedOffset: number;
  readonly changed: Uint8Array;
  /** FPU_BYTES as FXSAVE gives them; empty if the case has no such state. */
  readonly fpu: Uint8Array;
}

/** Contents of a register nobody chose. */
export function fillRegister(fill: number, register: number): bigint {
  return (BigInt(mix(fill, register * 2)) << 32n) | BigInt(mix(fill, register * 2 + 1));
}

/** Writes the case at `at`, a multiple of 8, of a zeroed buffer. */
export function writeRequest(into: Uint8Array, at: number, item: OracleCase): void {
  const view = new DataView(into.buffer, into.byteOffset + at, REQUEST_BYTES);
  into.set(item.code, at);
  view.setUint16(64, item.codeOffset, true);
  view.setUint16(66, item.code.length, true);
  view.setUint16(68, item.patchOffset, true);
  view.setUint16(70, item.patch.length, true);
  view.setUint32(72, item.rflags, true);
  view.setBigUint64(80, item.fsBase, true);
  view.setBigUint64(88, item.gsBase, true);
  for (let n = 0; n < 16; n++) view.setBigUint64(96 + n * 8, item.gpr[n]!, true);
  into.set(item.patch, at + 224);
  if (item.fpu === null) return;
  view.setUint32(REQUEST_FPU, 1, true);
  into.set(fpuImage(item.fpu), at + REQUEST_FPU + 8);
}

export function readReply(from: Uint8Array, at: number, item: OracleCase): CaseResult {
  const view = new DataView(from.buffer, from.byteOffset + at, REPLY_BYTES);
  const gpr: bigint[] = [];
  for (let n = 0; n < 16; n++) gpr.push(view.getBigUint64(n * 8, true));
  const changedBytes = view.getUint16(162, true);
  if (changedBytes > CHANGED_LIMIT) throw new Error(`a case changed more than ${CHANGED_LIMIT} bytes`);
  return {
    gpr,
    rip: view.getBigUint64(128, true),
    rflags: view.getUint32(136, true),
    cr2: view.getBigUint64(144, true),
    vector: view.getInt32(152, true),
    errorCode: view.getInt32(156, true),
    changedOffset: view.getUint16(160, true),
    changed: from.slice(at + 168, at + 168 + changedBytes),
    fpu: item.fpu === null ? NO_FPU : from.slice(at + REPLY_FPU, at + REPLY_FPU + FPU_BYTES),
  };
}
