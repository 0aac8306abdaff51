/**
 * The state components that XCR0 names: what they hold, and as what area they are exchanged, with the guest (xsave.ts)
 * and with the tool.
 *
 * @source Intel SDM vol. 1, "Managing State Using the XSAVE Feature Set"; linux arch/x86/kvm/x86.c:
 *         kvm_vcpu_ioctl_x86_get_xsave, kvm_vcpu_ioctl_x86_set_xsave
 */
import { FCW_INIT, MXCSR_INIT, MXCSR_VALID } from '../../shared/x86/x87.ts';
import {
  XCOMP_BV,
  XCR0_SSE,
  XCR0_SUPPORTED,
  XCR0_X87,
  XSAVE_BYTES,
  XSAVE_FCW,
  XSAVE_HEADER_CHECKED,
  XSAVE_LEGACY_BYTES,
  XSAVE_MXCSR,
  XSAVE_MXCSR_MASK,
  XSAVE_ST,
  XSAVE_XMM,
  XSAVE_XMM_END,
  XSTATE_BV,
} from '../../shared/x86/xsave.ts';
import { FX_ALL, loadFx, storeFx } from './fxsave.ts';
import type { Vcpu } from './vcpu.ts';

/** A part of the legacy region, and the component it belongs to. */
export type XsavePart = readonly [component: bigint, from: number, to: number];

/** All but MXCSR, which goes its own way. */
const PARTS: readonly XsavePart[] = [
  [XCR0_X87, XSAVE_FCW, XSAVE_MXCSR],
  [XCR0_X87, XSAVE_ST, XSAVE_XMM],
  [XCR0_SSE, XSAVE_XMM, XSAVE_XMM_END],
];

/** What XSAVE stores, by the component that has to be asked for. */
export const SAVED_PARTS: readonly XsavePart[] = [...PARTS, [XCR0_SSE, XSAVE_MXCSR, XSAVE_ST]];

/** Components that have not been used. */
const INITIAL = initialState();

function initialState(): Uint8Array {
  const state = new Uint8Array(XSAVE_LEGACY_BYTES);
  const view = new DataView(state.buffer);
  view.setUint16(XSAVE_FCW, FCW_INIT, true);
  view.setUint32(XSAVE_MXCSR, MXCSR_INIT, true);
  view.setUint32(XSAVE_MXCSR_MASK, MXCSR_VALID, true);
  return state;
}

/** All components as an area in the standard format. `wide`: x87's pointers have 64 bits. */
export function readXsave(vcpu: Vcpu, wide = true): Uint8Array<ArrayBuffer> {
  const area = new Uint8Array(XSAVE_BYTES);
  storeFx(vcpu, area, FX_ALL, wide);
  new DataView(area.buffer).setBigUint64(XSTATE_BV, componentsInUse(vcpu), true);
  return area;
}

/** Replaces all components. False for an area that no processor of this kind takes: nothing has changed. */
export function writeXsave(vcpu: Vcpu, area: Uint8Array): boolean {
  if (!acceptableXsave(area, XCR0_SUPPORTED, XCR0_SUPPORTED)) return false;
  loadXsave(vcpu, area, XCR0_SUPPORTED);
  return true;
}

/**
 * Would a processor load it?
 *
 * @param allowed  components that it may hold
 * @param asked    components that are to be loaded: with SSE comes MXCSR, whose bits are looked at
 */
export function acceptableXsave(area: Uint8Array, allowed: bigint, asked: bigint): boolean {
  const view = new DataView(area.buffer, area.byteOffset);
  if ((view.getBigUint64(XSTATE_BV, true) & ~allowed) !== 0n) return false;
  for (let i = XCOMP_BV; i < XSAVE_HEADER_CHECKED; i++) if (area[i] !== 0) return false;
  return (asked & XCR0_SSE) === 0n || (view.getUint32(XSAVE_MXCSR, true) & ~MXCSR_VALID) === 0;
}

/** Loads components from an acceptable area; those that it does not hold become as they are initially. */
export function loadXsave(vcpu: Vcpu, area: Uint8Array, components: bigint, wide = true): void {
  const state = stateOf(vcpu);
  const present = new DataView(area.buffer, area.byteOffset).getBigUint64(XSTATE_BV, true);
  for (const [component, from, to] of PARTS) {
    if ((components & component) === 0n) continue;
    state.set(((present & component) === 0n ? INITIAL : area).subarray(from, to), from);
  }
  // In the standard format MXCSR is loaded whether SSE is present or not.
  if ((components & XCR0_SSE) !== 0n) state.set(area.subarray(XSAVE_MXCSR, XSAVE_MXCSR_MASK), XSAVE_MXCSR);
  loadFx(vcpu, state, FX_ALL, wide);
}

/** XINUSE: components that are not as they are initially. MXCSR does not count. */
export function componentsInUse(vcpu: Vcpu): bigint {
  const state = stateOf(vcpu);
  let used = 0n;
  for (const [component, from, to] of PARTS) {
    for (let i = from; i < to; i++) if (state[i] !== INITIAL[i]) used |= component;
  }
  return used;
}

/** The registers as a legacy region. */
function stateOf(vcpu: Vcpu): Uint8Array<ArrayBuffer> {
  const state = new Uint8Array(XSAVE_LEGACY_BYTES);
  storeFx(vcpu, state, FX_ALL);
  return state;
}
