/**
 * MASKMOVDQU and MASKMOVQ: bytes of a vector register to memory at RDI, those whose byte in the mask has its sign set.
 *
 * @source Intel SDM vol. 2B, "MASKMOVDQU—Store Selected Bytes of Double Quadword", "MASKMOVQ"
 */
import type { Path } from '../../shared/sync/point.ts';
import { RDI } from '../../shared/x86/registers.ts';
import { commitMmx, mm, requireMmx, requireSse, xmm } from './fpu-access.ts';
import type { Insn, VectorOperand } from './isa/insn.ts';
import { checkWritable, writeLinear } from './linear-memory.ts';
import { segmentBase } from './operands.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

export function* storeMasked(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const mmx = insn.op === 'maskmovq';
  const usable = mmx ? requireMmx(vcpu) : requireSse(vcpu);
  if (usable !== OUTCOME_OK) return usable;
  const register = mmx ? mm : xmm;
  const value = register(vcpu, (insn.dst as VectorOperand).reg);
  const mask = register(vcpu, (insn.src as VectorOperand).reg);
  const bits = insn.addressSize * 8;
  const base = BigInt.asUintN(bits, vcpu.gpr(RDI)) + segmentBase(vcpu, insn.seg);
  const count = mmx ? 8 : 16;
  const selected = Array.from({ length: count }, (_, i) => i).filter(
    (i) => ((mask >> BigInt(8 * i + 7)) & 1n) === 1n,
  );
  const address = (i: number): bigint => BigInt.asUintN(64, base + BigInt(i));
  // All of them are asked for first, so that a fault leaves nothing stored.
  for (const i of selected) {
    const outcome = yield* checkWritable(vcpu, address(i), 1);
    if (outcome !== OUTCOME_OK) return outcome;
  }
  // A run of bytes at a time.
  for (let from = 0; from < selected.length; ) {
    let to = from + 1;
    while (to < selected.length && selected[to] === selected[to - 1]! + 1) to++;
    const first = selected[from]!;
    const run = BigInt.asUintN(8 * (to - from), value >> BigInt(8 * first));
    const outcome = yield* writeLinear(vcpu, address(first), to - from, run);
    if (outcome !== OUTCOME_OK) return outcome;
    from = to;
  }
  if (mmx) commitMmx(vcpu);
  return OUTCOME_OK;
}
