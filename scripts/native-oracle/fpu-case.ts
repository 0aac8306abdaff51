/**
 * The x87 and SSE state of an oracle case: what a pseudo-random fill gives, over it the registers that were chosen, as
 * the 512 bytes of FXSAVE that both sides load and give back.
 */
import { mix } from './arena.ts';

export const FPU_BYTES = 512;
/** Bytes that FXSAVE writes: what is compared. */
export const FPU_USED = 416;
export const FPU_XMM = 160;
const FPU_ST = 32;

export interface FpuCase {
  /** Registers nobody chose hold `fillVector(fill, n)`. */
  readonly fill: number;
  /** 0…15: XMM; 16…23: ST0…ST7, 80 bits. */
  readonly chosen: readonly (readonly [register: number, value: bigint])[];
  readonly mxcsr: number;
  readonly fcw: number;
  readonly fsw: number;
  /** Bit n: physical register n is not empty. */
  readonly ftw: number;
}

export const NO_FPU = new Uint8Array(0);

export function fillVector(fill: number, register: number): bigint {
  let value = 0n;
  const words = register < 16 ? 4 : 2;
  for (let i = 0; i < words; i++) {
    value |= BigInt(mix(fill + 0x1000, register * 4 + i)) << BigInt(32 * i);
  }
  // An x87 number of moderate size, with the integer bit that all but a few have.
  if (register >= 16) value |= (1n << 63n) | (BigInt(0x3ff0 + (mix(fill, register) & 0x1f)) << 64n);
  return value;
}

/** As FXSAVE lays it out. */
export function fpuImage(item: FpuCase): Uint8Array {
  const image = new Uint8Array(FPU_BYTES);
  const view = new DataView(image.buffer);
  view.setUint16(0, item.fcw, true);
  view.setUint16(2, item.fsw, true);
  view.setUint8(4, item.ftw);
  view.setUint32(24, item.mxcsr, true);
  view.setUint32(28, 0xffff, true);
  const chosen = new Map(item.chosen);
  for (let n = 0; n < 24; n++) {
    const at = n < 16 ? FPU_XMM + 16 * n : FPU_ST + 16 * (n - 16);
    const value = chosen.get(n) ?? fillVector(item.fill, n);
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    if (n < 16) view.setBigUint64(at + 8, value >> 64n, true);
    else view.setUint16(at + 8, Number((value >> 64n) & 0xffffn), true);
  }
  return image;
}

export interface FpuDifference {
  readonly what: string;
  readonly native: string;
  readonly ours: string;
}

/**
 * What differs between two images, name by name. The pointers to the last x87 instruction are not compared.
 *
 * @param freedom.error   relative error that singles in XMM registers may have against each other
 * @param freedom.status  bits of the x87 status word that are not compared
 * @param freedom.last    x87 registers may be off by one in their last place
 */
export function fpuDifferences(
  native: Uint8Array,
  ours: Uint8Array,
  { error, status, last }: { readonly error: number; readonly status: number; readonly last: boolean },
): FpuDifference[] {
  const found: FpuDifference[] = [];
  const compare = (what: string, at: number, bytes: number): void => {
    const [a, b] = [native, ours].map((image) => hexOf(image, at, bytes)) as [string, string];
    if (a !== b) found.push({ what, native: a, ours: b });
  };
  compare('fcw', 0, 2);
  const [a, b] = [native, ours].map((image) => (image[2]! | (image[3]! << 8)) & ~status) as [number, number];
  if (a !== b) found.push({ what: 'fsw', native: a.toString(16), ours: b.toString(16) });
  compare('ftw', 4, 1);
  compare('mxcsr', 24, 4);
  for (let n = 0; n < 8; n++) {
    const at = FPU_ST + 16 * n;
    if (!last || !areNeighbours(native, ours, at)) compare(`st${n}`, at, 10);
  }
  for (let n = 0; n < 16; n++) {
    if (error === 0 || !areNear(native, ours, FPU_XMM + 16 * n, error))
      compare(`xmm${n}`, FPU_XMM + 16 * n, 16);
  }
  return found;
}

function areNeighbours(native: Uint8Array, ours: Uint8Array, at: number): boolean {
  const [a, b] = [native, ours].map((image) => BigInt(`0x${hexOf(image, at, 10)}`)) as [bigint, bigint];
  const distance = a > b ? a - b : b - a;
  // One more where the exponents differ: the integer bit is written out.
  return distance <= 1n || distance === (1n << 63n) + 1n;
}

/** Of singles. */
const LEAST_NORMAL = 2 ** -126;

function areNear(native: Uint8Array, ours: Uint8Array, at: number, error: number): boolean {
  const [a, b] = [native, ours].map((image) => new DataView(image.buffer, image.byteOffset)) as [
    DataView,
    DataView,
  ];
  return [0, 4, 8, 12].every((lane) => {
    const [x, y] = [a, b].map((view) => view.getFloat32(at + lane, true)) as [number, number];
    // An approximation just below the least normal number is flushed to zero.
    if (x === 0 && Math.abs(y) === LEAST_NORMAL) return true;
    if (!Number.isFinite(x) || x === 0) return a.getUint32(at + lane) === b.getUint32(at + lane);
    return Math.abs(x - y) <= error * Math.abs(x);
  });
}

/** Most significant byte first. */
function hexOf(image: Uint8Array, at: number, bytes: number): string {
  return Buffer.from(image.slice(at, at + bytes).reverse()).toString('hex');
}

/** The registers that a case chose, in words. */
export function fpuText(item: FpuCase): string {
  const registers = item.chosen.map(
    ([n, value]) => `${n < 16 ? `xmm${n}` : `st${n - 16}`}=${value.toString(16)}`,
  );
  const control = `mxcsr ${item.mxcsr.toString(16)} fcw ${item.fcw.toString(16)} fsw ${item.fsw.toString(16)}`;
  return `${control} ftw ${item.ftw.toString(16)} ${registers.join(' ')}`;
}
