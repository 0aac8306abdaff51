/**
 * What the architecture leaves open: flags that an instruction leaves undefined, and the few undefined results. The
 * comparison passes over them unless it is told to compare them too.
 *
 * @source Intel SDM vol. 2, "Flags Affected" of each instruction; vol. 1, appendix A, "EFLAGS Cross-Reference"
 */

import type { Insn } from '../../src/actors/vcpu/isa/insn.ts';
import { AF, ARITHMETIC_FLAGS, CF, OF, PF, SF, ZF } from '../../src/shared/x86/rflags.ts';
import { type Freedom, NO_FREEDOM } from './case.ts';

/** Undefined flags of what does not hang on a count. */
const ALWAYS: { readonly [op: string]: number } = {
  and: AF,
  or: AF,
  xor: AF,
  test: AF,
  mul: SF | ZF | AF | PF,
  imul: SF | ZF | AF | PF,
  imul2: SF | ZF | AF | PF,
  imul3: SF | ZF | AF | PF,
  div: ARITHMETIC_FLAGS,
  idiv: ARITHMETIC_FLAGS,
  bt: OF | SF | AF | PF,
  bts: OF | SF | AF | PF,
  btr: OF | SF | AF | PF,
  btc: OF | SF | AF | PF,
  bsf: CF | OF | SF | AF | PF,
  bsr: CF | OF | SF | AF | PF,
  tzcnt: OF | SF | AF | PF,
  lzcnt: OF | SF | AF | PF,
};

/** The part of a shift count that counts. */
export function maskedCount(insn: Insn, count: number): number {
  return count & (insn.size === 8 ? 63 : 31);
}

/**
 * @param count  of a shift or rotate, as it stands in CL or the immediate; anything for other instructions
 * @returns      RFLAGS bits
 */
export function undefinedFlags(insn: Insn, count: number): number {
  const masked = maskedCount(insn, count);
  const bits = insn.size * 8;
  switch (insn.op) {
    case 'rol':
    case 'ror':
    case 'rcl':
    case 'rcr':
      return masked > 1 ? OF : 0;
    case 'shl':
    case 'shr':
      return masked === 0 ? 0 : AF | (masked > 1 ? OF : 0) | (masked >= bits ? CF : 0);
    case 'sar':
      return masked === 0 ? 0 : AF | (masked > 1 ? OF : 0);
    case 'shld':
    case 'shrd':
      if (masked > bits) return ARITHMETIC_FLAGS;
      return masked === 0 ? 0 : AF | (masked > 1 ? OF : 0);
    default:
      return ALWAYS[insn.op] ?? 0;
  }
}

/**
 * All that is open in one instruction.
 *
 * @param count       as for {@link undefinedFlags}
 * @param sourceZero  bsf, bsr: the source is zero
 */
export function freedomOf(insn: Insn, count: number, sourceZero: boolean): Freedom {
  const flags = undefinedFlags(insn, count);
  const register = insn.dst?.kind === 'reg' ? insn.dst.reg : -1;
  const memory = insn.dst?.kind === 'mem';
  const shifted = insn.op === 'shld' || insn.op === 'shrd';
  if (shifted && maskedCount(insn, count) > insn.size * 8) {
    return { flags, register, registerMask: 0xffffn, memory };
  }
  if (insn.op === 'bswap' && insn.size === 2)
    return { flags, register, registerMask: 0xffffn, memory: false };
  if ((insn.op === 'bsf' || insn.op === 'bsr') && sourceZero) {
    // Documented to stay as it was by AMD and lately by Intel, except that 32-bit forms may clear the upper half.
    return { flags, register, registerMask: insn.size === 4 ? 0xffff_ffff_0000_0000n : 0n, memory: false };
  }
  return flags === 0 ? NO_FREEDOM : { flags, register: -1, registerMask: 0n, memory: false };
}
