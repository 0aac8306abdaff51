import type { Path } from '../../shared/sync/point.ts';
import type { Insn } from './isa/insn.ts';
import { OUTCOME_DEAD, OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';
export function* executeHostOp(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  if (insn.op === 'out') {
    const port = insn.extra === -1 ? Number(vcpu.gpr(2) & 0xffffn) : insn.extra;
    vcpu.ports.write(port, insn.size, Number(vcpu.gpr(0) & 0xffffffffn));
    vcpu.set64('RIP', insn.rip + BigInt(insn.length));
    return vcpu.mem.load(vcpu.word('STATE')) === 4 ? OUTCOME_DEAD : OUTCOME_OK;
  }
  throw new Error('host op ' + insn.op);
}
