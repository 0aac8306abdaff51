/**
 * Operands of decoded instructions: effective addresses, registers by size, and both behind one read and one write.
 *
 * @source Intel SDM vol. 1, "Operand Addressing", "Specifying an Offset in 64-Bit Mode"
 */
import type { Path } from '../../shared/sync/point.ts';
import { RBP, RSP } from '../../shared/x86/registers.ts';
import type { ImmOperand, MemOperand, RegOperand } from './isa/insn.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

/** What host operations read. */
export type GeneralOperand = MemOperand | RegOperand | ImmOperand;

/** Linear address of a memory operand, unsigned 64 bits. Not checked for being canonical: the access is. */
export function linearAddress(vcpu: Vcpu, operand: MemOperand): bigint {
  let offset = operand.disp;
  if (operand.base >= 0) offset += vcpu.gpr(operand.base);
  if (operand.index >= 0) offset += vcpu.gpr(operand.index) * BigInt(operand.scale);
  if (operand.addressSize === 4) offset = BigInt.asUintN(32, offset);
  return BigInt.asUintN(64, offset + segmentBase(vcpu, operand.seg));
}

/** Base of a segment override; the other segments have none in 64-bit mode. */
export function segmentBase(vcpu: Vcpu, seg: MemOperand['seg']): bigint {
  if (seg === 'fs') return vcpu.get64('FS_BASE');
  return seg === 'gs' ? vcpu.get64('GS_BASE') : 0n;
}

/** Does the operand use SS (base RSP or RBP, no override), so that a bad address is #SS? */
export function usesStackSegment(operand: MemOperand): boolean {
  return operand.seg === 'none' && (operand.base === RSP || operand.base === RBP);
}

/** The low `size` bytes of a register, or AH CH DH BH. */
export function readRegister(vcpu: Vcpu, operand: RegOperand, size: number): bigint {
  const value = vcpu.gpr(operand.reg);
  return operand.high ? (value >> 8n) & 0xffn : BigInt.asUintN(8 * size, value);
}

/** Writes a register as an instruction of this operand size does: 4 bytes clear the upper half, 1 and 2 keep the rest. */
export function writeRegister(vcpu: Vcpu, operand: RegOperand, size: number, value: bigint): void {
  const { reg } = operand;
  if (size >= 4) {
    vcpu.setGpr(reg, BigInt.asUintN(8 * size, value));
    return;
  }
  const shift = operand.high ? 8n : 0n;
  const mask = ((1n << BigInt(8 * size)) - 1n) << shift;
  vcpu.setGpr(reg, (vcpu.gpr(reg) & ~mask) | ((value << shift) & mask));
}

/** Reads an operand into `vcpu.value`, zero extended from `size`. */
export function* readOperand(vcpu: Vcpu, operand: GeneralOperand, size: number): Path<Outcome> {
  if (operand.kind === 'mem') {
    const stack = usesStackSegment(operand);
    return yield* readLinear(vcpu, linearAddress(vcpu, operand), size, { stack });
  }
  vcpu.value = registerOrImmediate(vcpu, operand, size);
  return OUTCOME_OK;
}

/** Writes an operand. Nothing changes unless OUTCOME_OK comes back. */
export function* writeOperand(
  vcpu: Vcpu,
  operand: MemOperand | RegOperand,
  size: number,
  value: bigint,
): Path<Outcome> {
  if (operand.kind === 'mem') {
    const stack = usesStackSegment(operand);
    return yield* writeLinear(vcpu, linearAddress(vcpu, operand), size, value, { stack });
  }
  writeRegister(vcpu, operand, size, value);
  return OUTCOME_OK;
}

function registerOrImmediate(vcpu: Vcpu, operand: RegOperand | ImmOperand, size: number): bigint {
  return operand.kind === 'reg' ? readRegister(vcpu, operand, size) : BigInt.asUintN(8 * size, operand.value);
}
