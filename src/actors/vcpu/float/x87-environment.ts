/**
 * FNSTENV, FLDENV, FNSAVE and FRSTOR: control words and pointers as they were before FXSAVE, with two bits of tag for
 * each register, in the format of protected mode with 32 or (66) 16 bits.
 *
 * @source Intel SDM vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE", figures "Protected Mode
 *         x87 FPU State Image in Memory"
 */
import type { Path } from '../../../shared/sync/point.ts';
import { FP_EXCEPTIONS } from '../../../shared/x86/x87.ts';
import { readBlock, writeBlock } from '../block-access.ts';
import { setX87Register, x87Register, x87Top } from '../fxsave.ts';
import type { Insn, MemOperand } from '../isa/insn.ts';
import type { X87Op } from '../isa/x87-ops.ts';
import { linearAddress, usesStackSegment } from '../operands.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from '../vcpu.ts';
import { EXTENDED, unpack } from './number.ts';
import { requireX87 } from './x87.ts';
import { X87 } from './x87-state.ts';

const REGISTER_BYTES = 10;
const TAG_VALID = 0;
const TAG_ZERO = 1;
const TAG_SPECIAL = 2;
const TAG_EMPTY = 3;

export function* executeX87Environment(vcpu: Vcpu, insn: Insn, op: X87Op): Path<Outcome> {
  const usable = requireX87(vcpu, op);
  if (usable !== OUTCOME_OK) return usable;
  const narrow = insn.size === 2;
  const environmentBytes = narrow ? 14 : 28;
  const whole = op === 'fnsave' || op === 'frstor';
  const area = new Uint8Array(environmentBytes + (whole ? 8 * REGISTER_BYTES : 0));
  const operand = (insn.dst ?? insn.src) as MemOperand;
  const options = { stack: usesStackSegment(operand) };
  const at = linearAddress(vcpu, operand);
  if (op === 'fnstenv' || op === 'fnsave') {
    storeEnvironment(vcpu, area, narrow);
    if (whole) storeRegisters(vcpu, area, environmentBytes);
    const outcome = yield* writeBlock(vcpu, at, area, options);
    if (outcome !== OUTCOME_OK) return outcome;
    const fpu = new X87(vcpu);
    if (whole) fpu.reset();
    else fpu.setControl(vcpu.get32('FCW') | FP_EXCEPTIONS);
    return OUTCOME_OK;
  }
  const outcome = yield* readBlock(vcpu, at, area, options);
  if (outcome !== OUTCOME_OK) return outcome;
  loadEnvironment(vcpu, area, narrow);
  if (whole) loadRegisters(vcpu, area, environmentBytes);
  return OUTCOME_OK;
}

/** Words of the environment: 2 or 4 bytes apart. */
function storeEnvironment(vcpu: Vcpu, area: Uint8Array, narrow: boolean): void {
  const view = new DataView(area.buffer);
  const step = narrow ? 2 : 4;
  const words = [vcpu.get32('FCW'), vcpu.get32('FSW'), fullTags(vcpu)];
  const [fip, fdp] = [vcpu.get64('FIP'), vcpu.get64('FDP')].map(Number) as [number, number];
  // There are no selectors in 64-bit mode.
  if (narrow) words.push(fip, 0, fdp, 0);
  for (const [i, word] of words.entries()) {
    view.setUint16(i * step, word & 0xffff, true);
    if (!narrow) view.setUint16(i * step + 2, 0xffff, true);
  }
  if (narrow) return;
  view.setUint32(12, fip >>> 0, true);
  view.setUint32(16, vcpu.get32('FOP') << 16, true);
  view.setUint32(20, fdp >>> 0, true);
  view.setUint32(24, 0xffff_0000, true);
}

function loadEnvironment(vcpu: Vcpu, area: Uint8Array, narrow: boolean): void {
  const view = new DataView(area.buffer);
  const step = narrow ? 2 : 4;
  const word = (i: number): number => view.getUint16(i * step, true);
  const fpu = new X87(vcpu);
  vcpu.set32('FSW', word(1));
  fpu.setControl(word(0));
  let tags = 0;
  for (let n = 0; n < 8; n++) if (((word(2) >> (2 * n)) & 3) !== TAG_EMPTY) tags |= 1 << n;
  vcpu.set32('FTW', tags);
  const pointer = (i: number): bigint => BigInt(narrow ? word(i) : view.getUint32(i * step, true));
  vcpu.set64('FIP', pointer(3));
  vcpu.set64('FDP', pointer(5));
  if (!narrow) vcpu.set32('FOP', view.getUint16(18, true) & 0x7ff);
}

function fullTags(vcpu: Vcpu): number {
  let tags = 0;
  for (let n = 0; n < 8; n++) tags |= tagOf(vcpu, n) << (2 * n);
  return tags;
}

function tagOf(vcpu: Vcpu, n: number): number {
  if ((vcpu.get32('FTW') & (1 << n)) === 0) return TAG_EMPTY;
  const value = unpack(EXTENDED, x87Register(vcpu, n));
  if (value.kind === 'zero') return TAG_ZERO;
  return value.kind === 'finite' && !value.denormal ? TAG_VALID : TAG_SPECIAL;
}

/** ST0 first. */
function storeRegisters(vcpu: Vcpu, area: Uint8Array, from: number): void {
  const view = new DataView(area.buffer);
  for (let i = 0; i < 8; i++) {
    const value = x87Register(vcpu, x87Top(vcpu) + i);
    view.setBigUint64(from + i * REGISTER_BYTES, BigInt.asUintN(64, value), true);
    view.setUint16(from + i * REGISTER_BYTES + 8, Number(value >> 64n), true);
  }
}

function loadRegisters(vcpu: Vcpu, area: Uint8Array, from: number): void {
  const view = new DataView(area.buffer);
  for (let i = 0; i < 8; i++) {
    const low = view.getBigUint64(from + i * REGISTER_BYTES, true);
    const high = BigInt(view.getUint16(from + i * REGISTER_BYTES + 8, true));
    setX87Register(vcpu, x87Top(vcpu) + i, low | (high << 64n));
  }
}
