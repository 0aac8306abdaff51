/**
 * IN, OUT, INS, OUTS: permission, then the port bus.
 *
 * @source Intel SDM vol. 1, "I/O Privilege Level", "I/O Permission Bit Map"; vol. 2A, "IN", "INS"; vol. 2B, "OUT", "OUTS"
 */
import type { Path } from '../../shared/sync/point.ts';
import { TSS_BYTES, TSS_IO_MAP_BASE } from '../../shared/x86/descriptors.ts';
import { RAX, RCX, RDI, RDX, RSI } from '../../shared/x86/registers.ts';
import { RFLAGS_DF } from '../../shared/x86/rflags.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import type { Insn } from './isa/insn.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { readRegister, segmentBase, writeRegister } from './operands.ts';
import { hasIoPrivilege } from './privilege.ts';
import { OUTCOME_DEAD, OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

const SYSTEM = { system: true };
const ACCUMULATOR = { kind: 'reg', reg: RAX, high: false } as const;

/** IN. The accumulator changes only on OUTCOME_OK. */
export function* portIn(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const port = portOf(vcpu, insn);
  const allowed = yield* checkPort(vcpu, port, insn.size);
  if (allowed !== OUTCOME_OK) return allowed;
  writeRegister(vcpu, ACCUMULATOR, insn.size, BigInt(yield* vcpu.ports.inPort(port, insn.size)));
  return OUTCOME_OK;
}

/** OUT. OUTCOME_DEAD when it was the exit port. */
export function* portOut(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const port = portOf(vcpu, insn);
  const allowed = yield* checkPort(vcpu, port, insn.size);
  if (allowed !== OUTCOME_OK) return allowed;
  const ended = yield* vcpu.ports.outPort(
    port,
    insn.size,
    Number(readRegister(vcpu, ACCUMULATOR, insn.size)),
  );
  return ended ? OUTCOME_DEAD : OUTCOME_OK;
}

/**
 * One iteration of INS or OUTS: count and index are committed, RIP is the caller's, who leaves it where it is while
 * {@link repeats} says so.
 */
export function* portString(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const { size } = insn;
  const repeated = insn.rep !== 'none';
  const width = insn.addressSize * 8;
  if (repeated && BigInt.asUintN(width, vcpu.gpr(RCX)) === 0n) {
    // A 32-bit count clears the upper half even when it is 0.
    setByAddressSize(vcpu, RCX, insn, 0n);
    return OUTCOME_OK;
  }
  const port = Number(vcpu.gpr(RDX) & 0xffffn);
  const allowed = yield* checkPort(vcpu, port, size);
  if (allowed !== OUTCOME_OK) return allowed;
  const index = insn.op === 'ins' ? RDI : RSI;
  const offset = BigInt.asUintN(width, vcpu.gpr(index));
  let outcome: Outcome;
  if (insn.op === 'ins') {
    outcome = yield* writeLinear(vcpu, offset, size, BigInt(yield* vcpu.ports.inPort(port, size)));
  } else {
    const address = BigInt.asUintN(64, offset + segmentBase(vcpu, insn.seg));
    outcome = yield* readLinear(vcpu, address, size);
    if (outcome === OUTCOME_OK && (yield* vcpu.ports.outPort(port, size, Number(vcpu.value)))) {
      return OUTCOME_DEAD;
    }
  }
  if (outcome !== OUTCOME_OK) return outcome;
  const down = (Number(vcpu.flags.rflags()) & RFLAGS_DF) !== 0;
  setByAddressSize(vcpu, index, insn, offset + BigInt(down ? -size : size));
  if (repeated) setByAddressSize(vcpu, RCX, insn, BigInt.asUintN(width, vcpu.gpr(RCX)) - 1n);
  return OUTCOME_OK;
}

/** After an iteration: is there another one? */
export function repeats(vcpu: Vcpu, insn: Insn): boolean {
  return insn.rep !== 'none' && BigInt.asUintN(insn.addressSize * 8, vcpu.gpr(RCX)) !== 0n;
}

function setByAddressSize(vcpu: Vcpu, reg: number, insn: Insn, value: bigint): void {
  vcpu.setGpr(reg, BigInt.asUintN(insn.addressSize * 8, value));
}

/** The immediate, or DX. */
function portOf(vcpu: Vcpu, insn: Insn): number {
  return insn.extra >= 0 ? insn.extra : Number(vcpu.gpr(RDX) & 0xffffn);
}

/** By privilege level, or by the bitmap of the TSS: a clear bit for every byte of the port. Two bytes are read, always. */
function* checkPort(vcpu: Vcpu, port: number, size: number): Path<Outcome> {
  if (hasIoPrivilege(vcpu)) return OUTCOME_OK;
  const limit = vcpu.get32('TR_LIMIT') >>> 0;
  if (limit < TSS_BYTES - 1) return vcpu.raise(VECTOR_GP, 0);
  const tss = vcpu.get64('TR_BASE');
  const base = yield* readLinear(vcpu, BigInt.asUintN(64, tss + BigInt(TSS_IO_MAP_BASE)), 2, SYSTEM);
  if (base !== OUTCOME_OK) return base;
  const offset = Number(vcpu.value) + (port >>> 3);
  if (offset + 1 > limit) return vcpu.raise(VECTOR_GP, 0);
  const bitmap = yield* readLinear(vcpu, BigInt.asUintN(64, tss + BigInt(offset)), 2, SYSTEM);
  if (bitmap !== OUTCOME_OK) return bitmap;
  const mask = ((1 << size) - 1) << (port & 7);
  return (Number(vcpu.value) & mask) === 0 ? OUTCOME_OK : vcpu.raise(VECTOR_GP, 0);
}
