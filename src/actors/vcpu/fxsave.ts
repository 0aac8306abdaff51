/**
 * The 512 bytes of FXSAVE, which are also the legacy area of XSAVE, from and to the registers of a vCPU.
 *
 *     0  FCW u16   2  FSW u16   4  FTW u8   6  FOP u16   8  FIP   16  FDP   24  MXCSR   28  MXCSR_MASK
 *    32  ST0…ST7, 16 bytes each, 10 of them used        160  XMM0…XMM15        416  reserved, left alone
 *
 * @source Intel SDM vol. 2A, "FXSAVE—Save x87 FPU, MMX Technology, and SSE State", table "Layout of the 64-Bit Mode
 *         FXSAVE64 Map"
 */
import { CPU } from '../../shared/layout/cpu.ts';
import {
  FCW_ONES,
  FCW_WRITABLE,
  FP_EXCEPTIONS,
  FSW_B,
  FSW_ES,
  FSW_TOP_SHIFT,
  MXCSR_VALID,
} from '../../shared/x86/x87.ts';
import type { Vcpu } from './vcpu.ts';

export const FXSAVE_BYTES = 512;
/** What of it is ever written. */
export const FXSAVE_WRITTEN = 416;
export const FX_MXCSR = 24;
export const FX_XMM = 160;

const FX_ST = 32;
const LOW_80 = (1n << 80n) - 1n;

/** Which parts an XSAVE or XRSTOR is about; FXSAVE is about both. */
export interface FxParts {
  readonly x87: boolean;
  readonly sse: boolean;
}
export const FX_ALL: FxParts = { x87: true, sse: true };

/** Address in u64 of physical x87 register n. */
function physical({ cpu }: Vcpu, n: number): number {
  return (cpu + CPU.at.ST) / 8 + 2 * (n & 7);
}

/** 80 bits of physical register n. */
export function x87Register(vcpu: Vcpu, n: number): bigint {
  const at = physical(vcpu, n);
  return vcpu.mem.u64[at]! | ((vcpu.mem.u64[at + 1]! & 0xffffn) << 64n);
}

export function setX87Register(vcpu: Vcpu, n: number, value: bigint): void {
  const at = physical(vcpu, n);
  vcpu.mem.touch(8 * at, 16);
  vcpu.mem.u64[at] = value;
  vcpu.mem.u64[at + 1] = (value & LOW_80) >> 64n;
}

export function x87Top(vcpu: Vcpu): number {
  return (vcpu.get32('FSW') >> FSW_TOP_SHIFT) & 7;
}

/** A status word with ES and B as its exceptions and the masks of `control` have them. */
export function withSummary(status: number, control: number): number {
  const summary = FSW_ES | FSW_B;
  return (status & ~control & FP_EXCEPTIONS) !== 0 ? status | summary : status & ~summary;
}

/** Writes the parts into `area`; with REX.W the pointers are 64 bits, else 32 and a selector of 0. */
export function storeFx(vcpu: Vcpu, area: Uint8Array, parts: FxParts, wide = true): void {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  if (parts.x87) {
    view.setUint16(0, vcpu.get32('FCW'), true);
    view.setUint16(2, vcpu.get32('FSW'), true);
    view.setUint16(4, vcpu.get32('FTW'), true);
    view.setUint16(6, vcpu.get32('FOP'), true);
    const pointer = (at: number, value: bigint): void =>
      view.setBigUint64(at, wide ? value : value & 0xffff_ffffn, true);
    pointer(8, vcpu.get64('FIP'));
    pointer(16, vcpu.get64('FDP'));
    for (let i = 0; i < 8; i++) {
      const value = x87Register(vcpu, x87Top(vcpu) + i);
      view.setBigUint64(FX_ST + 16 * i, BigInt.asUintN(64, value), true);
      view.setBigUint64(FX_ST + 16 * i + 8, value >> 64n, true);
    }
  }
  if (!parts.sse) return;
  storeMxcsr(vcpu, view);
  for (let i = 0; i < 32; i++) {
    view.setBigUint64(FX_XMM + 8 * i, vcpu.mem.u64[(vcpu.cpu + CPU.at.XMM) / 8 + i]!, true);
  }
}

/** MXCSR and its mask, which XSAVE writes for AVX too. */
export function storeMxcsr(vcpu: Vcpu, view: DataView): void {
  view.setUint32(FX_MXCSR, vcpu.get32('MXCSR'), true);
  view.setUint32(FX_MXCSR + 4, MXCSR_VALID, true);
}

/** Loads the parts from `area`. MXCSR has been checked. */
export function loadFx(vcpu: Vcpu, area: Uint8Array, parts: FxParts, wide = true): void {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  if (parts.x87) {
    vcpu.set32('FCW', (view.getUint16(0, true) & FCW_WRITABLE) | FCW_ONES);
    vcpu.set32('FSW', withSummary(view.getUint16(2, true), vcpu.get32('FCW')));
    vcpu.set32('FTW', area[4]!);
    vcpu.set32('FOP', view.getUint16(6, true) & 0x7ff);
    const pointer = (at: number): bigint => view.getBigUint64(at, true) & (wide ? ~0n : 0xffff_ffffn);
    vcpu.set64('FIP', pointer(8));
    vcpu.set64('FDP', pointer(16));
    for (let i = 0; i < 8; i++) {
      const high = BigInt(view.getUint16(FX_ST + 16 * i + 8, true));
      const value = view.getBigUint64(FX_ST + 16 * i, true) | (high << 64n);
      setX87Register(vcpu, x87Top(vcpu) + i, value);
    }
  }
  if (!parts.sse) return;
  vcpu.set32('MXCSR', view.getUint32(FX_MXCSR, true) & MXCSR_VALID);
  vcpu.mem.touch(vcpu.cpu + CPU.at.XMM, 256);
  for (let i = 0; i < 32; i++) {
    vcpu.mem.u64[(vcpu.cpu + CPU.at.XMM) / 8 + i] = view.getBigUint64(FX_XMM + 8 * i, true);
  }
}
