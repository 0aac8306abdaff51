/**
 * Transfers of control that change CS: far JMP, CALL and RET, IRET, SYSCALL and SYSRET. Each commits its registers at
 * its end or not at all.
 *
 * LIMIT: to 64-bit code segments only. Call gates, task gates and compatibility mode end in the #GP that a descriptor
 * of the wrong type gives.
 * LIMIT: RF is not loaded by IRET. It would keep an instruction breakpoint from firing, and there are none.
 *
 * @source Intel SDM vol. 2A, "JMP—Jump", "CALL—Call Procedure", "IRET/IRETD/IRETQ—Interrupt Return"; vol. 2B,
 *         "RET—Return From Procedure", "SYSCALL—Fast System Call", "SYSRET—Return From Fast System Call"
 */
import type { Path } from '../../shared/sync/point.ts';
import { EFER_SCE } from '../../shared/x86/control-registers.ts';
import {
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_SS,
  SELECTOR_RPL,
} from '../../shared/x86/descriptors.ts';
import { R11, RCX, RSP } from '../../shared/x86/registers.ts';
import {
  ARITHMETIC_FLAGS,
  RFLAGS_AC,
  RFLAGS_DF,
  RFLAGS_FIXED,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_RF,
  RFLAGS_TF,
  RFLAGS_VIF,
  RFLAGS_VIP,
} from '../../shared/x86/rflags.ts';
import { VECTOR_GP, VECTOR_NP, VECTOR_UD } from '../../shared/x86/vectors.ts';
import { isCanonical } from './canonical.ts';
import {
  checkStackSegment,
  codeSegment,
  commitSegment,
  isNull,
  markAccessed,
  readDescriptor,
  selectorError,
} from './descriptors.ts';
import type { Insn, MemOperand } from './isa/insn.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { linearAddress, usesStackSegment } from './operands.ts';
import { hasIoPrivilege, requireRing0, setPrivilegeLevel } from './privilege.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

const STACK = { stack: true, own: true };

/** JMP m16:16, m16:32, m16:64. */
export function* farJump(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const target = yield* readFarPointer(vcpu, insn.src as MemOperand, insn.size);
  if (typeof target === 'number') return target;
  const outcome = yield* checkFarCode(vcpu, target);
  if (outcome !== OUTCOME_OK) return outcome;
  vcpu.setSelector(SEG_CS, selectorError(target.selector) | vcpu.get32('CPL'));
  vcpu.set64('RIP', target.rip);
  return OUTCOME_OK;
}

/** CALL m16:16, m16:32, m16:64: CS, then the return address. */
export function* farCall(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const { size } = insn;
  const target = yield* readFarPointer(vcpu, insn.src as MemOperand, size);
  if (typeof target === 'number') return target;
  const outcome = yield* checkFarCode(vcpu, target);
  if (outcome !== OUTCOME_OK) return outcome;
  let rsp = vcpu.gpr(RSP);
  for (const word of [BigInt(vcpu.selector(SEG_CS)), insn.rip + BigInt(insn.length)]) {
    rsp = BigInt.asUintN(64, rsp - BigInt(size));
    const pushed = yield* writeLinear(vcpu, rsp, size, BigInt.asUintN(8 * size, word), STACK);
    if (pushed !== OUTCOME_OK) return pushed;
  }
  vcpu.setGpr(RSP, rsp);
  vcpu.setSelector(SEG_CS, selectorError(target.selector) | vcpu.get32('CPL'));
  vcpu.set64('RIP', target.rip);
  return OUTCOME_OK;
}

/** RETF, with or without an immediate of bytes to release. */
export function* farReturn(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const { size } = insn;
  const released = insn.src?.kind === 'imm' ? insn.src.value : 0n;
  const words = yield* popWords(vcpu, vcpu.gpr(RSP), size, 2);
  if (typeof words === 'number') return words;
  const [rip, cs] = words as [bigint, bigint];
  const selector = Number(cs & 0xffffn);
  const inner = BigInt.asUintN(64, vcpu.gpr(RSP) + BigInt(2 * size) + released);
  const checked = yield* checkReturnCode(vcpu, selector, rip);
  if (checked !== OUTCOME_OK) return checked;
  if ((selector & SELECTOR_RPL) === vcpu.get32('CPL')) {
    commitReturn(vcpu, { rip, cs: selector, rsp: inner });
    return OUTCOME_OK;
  }
  const outer = yield* popWords(vcpu, inner, size, 2);
  if (typeof outer === 'number') return outer;
  const [rsp, ss] = outer as [bigint, bigint];
  const stack = yield* checkReturnStack(vcpu, Number(ss & 0xffffn), selector & SELECTOR_RPL);
  if (stack !== OUTCOME_OK) return stack;
  const newRsp = BigInt.asUintN(64, rsp + released);
  commitReturn(vcpu, { rip, cs: selector, rsp: newRsp, ss: Number(ss & 0xffffn) });
  return OUTCOME_OK;
}

/** IRET, IRETD, IRETQ: in 64-bit mode RSP and SS are popped whatever the level. */
export function* interruptReturn(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const flags = Number(vcpu.flags.rflags());
  if ((flags & RFLAGS_NT) !== 0) return vcpu.raise(VECTOR_GP, 0);
  const words = yield* popWords(vcpu, vcpu.gpr(RSP), insn.size, 5);
  if (typeof words === 'number') return words;
  const [rip, cs, newFlags, rsp, ss] = words as [bigint, bigint, bigint, bigint, bigint];
  const selector = Number(cs & 0xffffn);
  const checked = yield* checkReturnCode(vcpu, selector, rip);
  if (checked !== OUTCOME_OK) return checked;
  const stackSelector = Number(ss & 0xffffn);
  const stack = yield* checkReturnStack(vcpu, stackSelector, selector & SELECTOR_RPL);
  if (stack !== OUTCOME_OK) return stack;

  let writable = ARITHMETIC_FLAGS | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
  if (insn.size >= 4) writable |= RFLAGS_AC | RFLAGS_ID;
  if (hasIoPrivilege(vcpu)) writable |= RFLAGS_IF;
  if (vcpu.get32('CPL') === 0) {
    writable |= RFLAGS_IOPL;
    if (insn.size >= 4) writable |= RFLAGS_VIF | RFLAGS_VIP;
  }
  const loaded = Number(newFlags & 0xffff_ffffn) & writable;
  vcpu.flags.setRflags(BigInt((flags & ~(writable | RFLAGS_RF)) | loaded | RFLAGS_FIXED));
  commitReturn(vcpu, { rip, cs: selector, rsp, ss: stackSelector });
  vcpu.platform?.unblockNmi();
  return OUTCOME_OK;
}

/** SYSCALL. */
export function systemCall(vcpu: Vcpu, insn: Insn): Outcome {
  if ((vcpu.get64('EFER') & EFER_SCE) === 0n) return vcpu.raise(VECTOR_UD);
  const flags = vcpu.flags.rflags();
  const selector = Number((vcpu.get64('STAR') >> 32n) & 0xffffn);
  vcpu.setGpr(RCX, BigInt.asUintN(64, insn.rip + BigInt(insn.length)));
  vcpu.setGpr(R11, flags);
  vcpu.set64('RIP', vcpu.get64('LSTAR'));
  const mask = vcpu.get64('SFMASK') | BigInt(RFLAGS_RF);
  vcpu.flags.setRflags((flags & ~mask) | BigInt(RFLAGS_FIXED));
  // Fixed flat segments: descriptors are not read.
  vcpu.setSelector(SEG_CS, selector & 0xfffc);
  vcpu.setSelector(SEG_SS, (selector & 0xfffc) + 8);
  vcpu.setSegmentDpl(SEG_SS, 0);
  setPrivilegeLevel(vcpu, 0);
  return OUTCOME_OK;
}

/** RFLAGS bits that SYSRET takes from R11: all but RF, VM and the reserved ones. */
const SYSRET_FLAGS = 0x3c7fd7n;

/** SYSRET with REX.W. */
export function systemReturn(vcpu: Vcpu, insn: Insn): Outcome {
  if ((vcpu.get64('EFER') & EFER_SCE) === 0n) return vcpu.raise(VECTOR_UD);
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  // LIMIT: without REX.W it returns to compatibility mode, which is not there.
  if (insn.size !== 8 || !isCanonical(vcpu.gpr(RCX))) return vcpu.raise(VECTOR_GP, 0);
  const selector = Number((vcpu.get64('STAR') >> 48n) & 0xffffn);
  vcpu.set64('RIP', vcpu.gpr(RCX));
  vcpu.flags.setRflags((vcpu.gpr(R11) & SYSRET_FLAGS) | BigInt(RFLAGS_FIXED));
  vcpu.setSelector(SEG_CS, ((selector + 16) & 0xffff) | 3);
  vcpu.setSelector(SEG_SS, ((selector + 8) & 0xffff) | 3);
  vcpu.setSegmentDpl(SEG_SS, 3);
  setPrivilegeLevel(vcpu, 3);
  return OUTCOME_OK;
}

interface FarPointer {
  readonly selector: number;
  readonly rip: bigint;
}

/** Offset, then selector. */
function* readFarPointer(vcpu: Vcpu, operand: MemOperand, size: number): Path<FarPointer | Outcome> {
  const stack = usesStackSegment(operand);
  const outcome = yield* readLinear(vcpu, linearAddress(vcpu, operand), size + 2, { stack });
  if (outcome !== OUTCOME_OK) return outcome;
  const { value } = vcpu;
  return { rip: BigInt.asUintN(8 * size, value), selector: Number((value >> BigInt(8 * size)) & 0xffffn) };
}

/** Checks the target of a far JMP or CALL, which stays at its level. */
function* checkFarCode(vcpu: Vcpu, target: FarPointer): Path<Outcome> {
  const { selector, rip } = target;
  const error = selectorError(selector);
  if (isNull(selector)) return vcpu.raise(VECTOR_GP, 0);
  const read = yield* readDescriptor(vcpu, selector);
  if (read !== OUTCOME_OK) return read;
  const descriptor = vcpu.value;
  const segment = codeSegment(descriptor);
  if (segment === null) return vcpu.raise(VECTOR_GP, error);
  const cpl = vcpu.get32('CPL');
  const allowed = segment.conforming
    ? segment.dpl <= cpl
    : segment.dpl === cpl && (selector & SELECTOR_RPL) <= cpl;
  if (!allowed) return vcpu.raise(VECTOR_GP, error);
  if (!segment.present) return vcpu.raise(VECTOR_NP, error);
  if (!isCanonical(rip)) return vcpu.raise(VECTOR_GP, 0);
  return yield* markAccessed(vcpu, selector, descriptor);
}

/** Checks the CS that RETF and IRET return to, at its RPL: the same level or an outer one. */
function* checkReturnCode(vcpu: Vcpu, selector: number, rip: bigint): Path<Outcome> {
  const error = selectorError(selector);
  const rpl = selector & SELECTOR_RPL;
  if (isNull(selector)) return vcpu.raise(VECTOR_GP, 0);
  const read = yield* readDescriptor(vcpu, selector);
  if (read !== OUTCOME_OK) return read;
  const descriptor = vcpu.value;
  const segment = codeSegment(descriptor);
  if (segment === null || rpl < vcpu.get32('CPL')) return vcpu.raise(VECTOR_GP, error);
  if (segment.conforming ? segment.dpl > rpl : segment.dpl !== rpl) return vcpu.raise(VECTOR_GP, error);
  if (!segment.present) return vcpu.raise(VECTOR_NP, error);
  if (!isCanonical(rip)) return vcpu.raise(VECTOR_GP, 0);
  return yield* markAccessed(vcpu, selector, descriptor);
}

/** Checks the SS of a return to level `rpl`. Null will do for 64-bit code inside ring 3. */
function* checkReturnStack(vcpu: Vcpu, selector: number, rpl: number): Path<Outcome> {
  if (isNull(selector)) {
    return rpl === 3 || (selector & SELECTOR_RPL) !== rpl ? vcpu.raise(VECTOR_GP, 0) : OUTCOME_OK;
  }
  const read = yield* readDescriptor(vcpu, selector);
  if (read !== OUTCOME_OK) return read;
  const descriptor = vcpu.value;
  const check = checkStackSegment(vcpu, selector, descriptor, rpl);
  if (check !== OUTCOME_OK) return check;
  return yield* markAccessed(vcpu, selector, descriptor);
}

/** Reads `count` stack words from `rsp` up, lowest first. RSP does not move. */
function* popWords(vcpu: Vcpu, rsp: bigint, size: number, count: number): Path<bigint[] | Outcome> {
  const words: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const outcome = yield* readLinear(vcpu, BigInt.asUintN(64, rsp + BigInt(i * size)), size, STACK);
    if (outcome !== OUTCOME_OK) return outcome;
    words.push(vcpu.value);
  }
  return words;
}

interface Return {
  readonly rip: bigint;
  readonly cs: number;
  readonly rsp: bigint;
  /** Absent when SS stays. */
  readonly ss?: number;
}

function commitReturn(vcpu: Vcpu, to: Return): void {
  const rpl = to.cs & SELECTOR_RPL;
  const outer = rpl > vcpu.get32('CPL');
  vcpu.setSelector(SEG_CS, to.cs);
  vcpu.set64('RIP', to.rip);
  vcpu.setGpr(RSP, to.rsp);
  if (to.ss !== undefined) {
    vcpu.setSelector(SEG_SS, to.ss);
    vcpu.setSegmentDpl(SEG_SS, rpl);
  }
  setPrivilegeLevel(vcpu, rpl);
  if (outer) dropInnerSegments(vcpu, rpl);
}

/** Data segments that the outer ring may not have become null. The bases of FS and GS stay. */
function dropInnerSegments(vcpu: Vcpu, cpl: number): void {
  for (const segment of [SEG_ES, SEG_DS, SEG_FS, SEG_GS]) {
    if (isNull(vcpu.selector(segment)) || vcpu.segmentDpl(segment) >= cpl) continue;
    const base = segment === SEG_FS ? 'FS_BASE' : segment === SEG_GS ? 'GS_BASE' : null;
    const kept = base === null ? 0n : vcpu.get64(base);
    commitSegment(vcpu, segment, 0, 0n);
    if (base !== null) vcpu.set64(base, kept);
  }
}
