/**
 * XGETBV, XSETBV, XSAVE and XRSTOR, FXSAVE and FXRSTOR.
 *
 * @source Intel SDM vol. 1, "Operation of XSAVE", "Operation of XRSTOR"; vol. 2, "XGETBV", "XSETBV", "XSAVE", "XRSTOR", "FXSAVE",
 *         "FXRSTOR"; linux arch/x86/kvm/x86.c: __kvm_set_xcr
 */
import type { Path } from '../../shared/sync/point.ts';
import { CR0_EM, CR0_TS, CR4_OSXSAVE } from '../../shared/x86/control-registers.ts';
import { RAX, RCX, RDX } from '../../shared/x86/registers.ts';
import { VECTOR_GP, VECTOR_NM, VECTOR_UD } from '../../shared/x86/vectors.ts';
import { MXCSR_VALID } from '../../shared/x86/x87.ts';
import { XCR0_SUPPORTED, XCR0_X87, XSAVE_ALIGN, XSAVE_BYTES, XSTATE_BV } from '../../shared/x86/xsave.ts';
import { xsetbvEvent } from '../introspector/vcpu-events.ts';
import { readBlock, writeBlock } from './block-access.ts';
import { acceptableXsave, componentsInUse, loadXsave, readXsave, SAVED_PARTS } from './extended-state.ts';
import { FX_ALL, FX_MXCSR, FXSAVE_BYTES, FXSAVE_WRITTEN, loadFx, storeFx } from './fxsave.ts';
import type { Insn, MemOperand } from './isa/insn.ts';
import { checkWritable, readLinear, writeLinear } from './linear-memory.ts';
import { linearAddress, usesStackSegment } from './operands.ts';
import { requireRing0 } from './privilege.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';

const LOW_32 = 0xffff_ffffn;
const FXSAVE_ALIGN = 16n;

/** XGETBV: XCR0, at any privilege level. */
export function xgetbv(vcpu: Vcpu): Outcome {
  if (!switchedOn(vcpu)) return vcpu.raise(VECTOR_UD);
  if ((vcpu.gpr(RCX) & LOW_32) !== 0n) return vcpu.raise(VECTOR_GP, 0);
  const value = vcpu.get64('XCR0');
  vcpu.setGpr(RAX, value & LOW_32);
  vcpu.setGpr(RDX, value >> 32n);
  return OUTCOME_OK;
}

/**
 * XSETBV. The tool hears of it once XCR0 has changed.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* xsetbv(vcpu: Vcpu): Path<Outcome> {
  if (!switchedOn(vcpu)) return vcpu.raise(VECTOR_UD);
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const value = edxEax(vcpu);
  const legal = (value & ~XCR0_SUPPORTED) === 0n && (value & XCR0_X87) !== 0n;
  if ((vcpu.gpr(RCX) & LOW_32) !== 0n || !legal) return vcpu.raise(VECTOR_GP, 0);
  const old = vcpu.get64('XCR0');
  vcpu.set64('XCR0', value);
  return (yield* xsetbvEvent(vcpu, old, value)) === 'retry' ? OUTCOME_RETRY : OUTCOME_OK;
}

/**
 * XSAVE, in the standard format.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* xsave(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const operand = insn.dst as MemOperand;
  const usable = checkOperand(vcpu, operand);
  if (usable !== OUTCOME_OK) return usable;
  const at = linearAddress(vcpu, operand);
  const options = { stack: usesStackSegment(operand) };
  const asked = vcpu.get64('XCR0') & edxEax(vcpu);
  // What the guest's tables deny anywhere is found out before anything is stored.
  const writable = yield* checkWritable(vcpu, at, XSAVE_BYTES, options);
  if (writable !== OUTCOME_OK) return writable;
  const read = yield* readLinear(vcpu, offset(at, XSTATE_BV), 8, options);
  if (read !== OUTCOME_OK) return read;
  const present = (vcpu.value & ~asked) | (componentsInUse(vcpu) & asked);
  const area = readXsave(vcpu, insn.size === 8);
  for (const [component, from, to] of SAVED_PARTS) {
    if ((asked & component) === 0n) continue;
    const outcome = yield* writeBlock(vcpu, offset(at, from), area.subarray(from, to), options);
    if (outcome !== OUTCOME_OK) return outcome;
  }
  return yield* writeLinear(vcpu, offset(at, XSTATE_BV), 8, present, options);
}

/**
 * XRSTOR, in the standard format. Registers change when all of it has been read.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* xrstor(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const operand = insn.src as MemOperand;
  const usable = checkOperand(vcpu, operand);
  if (usable !== OUTCOME_OK) return usable;
  const at = linearAddress(vcpu, operand);
  const options = { stack: usesStackSegment(operand) };
  const area = new Uint8Array(XSAVE_BYTES);
  const read = yield* readBlock(vcpu, at, area, options);
  if (read !== OUTCOME_OK) return read;
  const on = vcpu.get64('XCR0');
  const asked = on & edxEax(vcpu);
  if (!acceptableXsave(area, on, asked)) return vcpu.raise(VECTOR_GP, 0);
  loadXsave(vcpu, area, asked, insn.size === 8);
  return OUTCOME_OK;
}

/**
 * FXSAVE: x87 and SSE, whatever CR4.OSFXSR says.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* fxsave(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const operand = insn.dst as MemOperand;
  const usable = checkFxOperand(vcpu, operand);
  if (usable !== OUTCOME_OK) return usable;
  const area = new Uint8Array(FXSAVE_BYTES);
  storeFx(vcpu, area, FX_ALL, insn.size === 8);
  const options = { stack: usesStackSegment(operand) };
  // The end is reserved and left as it is, but has to be writable.
  const at = linearAddress(vcpu, operand);
  const writable = yield* checkWritable(vcpu, at, FXSAVE_BYTES, options);
  if (writable !== OUTCOME_OK) return writable;
  return yield* writeBlock(vcpu, at, area.subarray(0, FXSAVE_WRITTEN), options);
}

/**
 * FXRSTOR. Registers change when all of it has been read.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* fxrstor(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const operand = insn.src as MemOperand;
  const usable = checkFxOperand(vcpu, operand);
  if (usable !== OUTCOME_OK) return usable;
  const area = new Uint8Array(FXSAVE_BYTES);
  const options = { stack: usesStackSegment(operand) };
  const read = yield* readBlock(vcpu, linearAddress(vcpu, operand), area, options);
  if (read !== OUTCOME_OK) return read;
  const mxcsr = new DataView(area.buffer).getUint32(FX_MXCSR, true);
  if ((mxcsr & ~MXCSR_VALID) !== 0) return vcpu.raise(VECTOR_GP, 0);
  loadFx(vcpu, area, FX_ALL, insn.size === 8);
  return OUTCOME_OK;
}

/** @source linux arch/x86/kvm/emulate.c: check_fxsr */
function checkFxOperand(vcpu: Vcpu, operand: MemOperand): Outcome {
  if ((vcpu.get64('CR0') & (CR0_EM | CR0_TS)) !== 0n) return vcpu.raise(VECTOR_NM);
  const aligned = linearAddress(vcpu, operand) % FXSAVE_ALIGN === 0n;
  return aligned ? OUTCOME_OK : vcpu.raise(VECTOR_GP, 0);
}

function switchedOn(vcpu: Vcpu): boolean {
  return (vcpu.get64('CR4') & CR4_OSXSAVE) !== 0n;
}

function checkOperand(vcpu: Vcpu, operand: MemOperand): Outcome {
  if (!switchedOn(vcpu)) return vcpu.raise(VECTOR_UD);
  if ((vcpu.get64('CR0') & CR0_TS) !== 0n) return vcpu.raise(VECTOR_NM);
  const aligned = linearAddress(vcpu, operand) % XSAVE_ALIGN === 0n;
  return aligned ? OUTCOME_OK : vcpu.raise(VECTOR_GP, 0);
}

function edxEax(vcpu: Vcpu): bigint {
  return ((vcpu.gpr(RDX) & LOW_32) << 32n) | (vcpu.gpr(RAX) & LOW_32);
}

function offset(at: bigint, bytes: number): bigint {
  return BigInt.asUintN(64, at + BigInt(bytes));
}
