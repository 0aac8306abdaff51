/**
 * Host operations: the instructions that the core leaves to TypeScript (HOST_OPS in isa/insn.ts), for 64-bit mode,
 * rings 0 and 3. Here is which is which; what takes more than a few lines has a file of its own.
 *
 * Every operation checks first, touches memory next, and commits RIP and registers last, on OUTCOME_OK only.
 *
 * @source Intel SDM vol. 2, the page of each instruction, "64-Bit Mode Exceptions"
 */
import { VCPU_HALTED } from '../../shared/layout/vcpu.ts';
import { type Path, writing } from '../../shared/sync/point.ts';
import { CR4_FSGSBASE } from '../../shared/x86/control-registers.ts';
import { SEG_LDTR, SEG_SS, SEG_TR } from '../../shared/x86/descriptors.ts';
import { MISC_FEATURES_CPUID_FAULT } from '../../shared/x86/msr.ts';
import { RAX, RBX, RCX, RDI, RDX, RSI, RSP } from '../../shared/x86/registers.ts';
import { ARITHMETIC_FLAGS, CF, RFLAGS_IF } from '../../shared/x86/rflags.ts';
import { VECTOR_BP, VECTOR_DB, VECTOR_GP, VECTOR_UD } from '../../shared/x86/vectors.ts';
import {
  breakpointEvent,
  cpuidEvent,
  type DescriptorRegister,
  descriptorEvent,
  hypercallEvent,
  trapEvent,
} from '../introspector/vcpu-events.ts';
import { isCanonical } from './canonical.ts';
import {
  clearTaskSwitched,
  loadMachineStatus,
  readControl,
  readDebug,
  writeControl,
  writeDebug,
} from './control-registers.ts';
import { type CpuidResult, cpuid } from './cpuid.ts';
import { loadLdt, loadSegment, loadTable, loadTaskRegister, storeTable } from './descriptors.ts';
import { deliver } from './exceptions.ts';
import { farCall, farJump, farReturn, interruptReturn, systemCall, systemReturn } from './far-transfers.ts';
import { executeX87 } from './float/x87.ts';
import { executeX87Environment } from './float/x87-environment.ts';
import type { HostOp, Insn, MemOperand, RegOperand } from './isa/insn.ts';
import { isX87Op, type X87Op } from './isa/x87-ops.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { storeMasked } from './masked-store.ts';
import { rdmsr, rdtsc, wrmsr } from './msr.ts';
import {
  type GeneralOperand,
  linearAddress,
  readOperand,
  readRegister,
  usesStackSegment,
  writeOperand,
  writeRegister,
} from './operands.ts';
import { portIn, portOut, portString, repeats } from './port-io.ts';
import { hasIoPrivilege, requireRing0 } from './privilege.ts';
import { flushPage } from './tlb.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';
import { fxrstor, fxsave, xgetbv, xrstor, xsave, xsetbv } from './xsave.ts';

const STACK = { stack: true, own: true };
const LOW_32 = 0xffff_ffffn;

/**
 * Carries out one host operation.
 *
 * @param insn  decoded at RIP; `insn.op` is one of HOST_OPS
 * @returns OUTCOME_OK: done, RIP is at the next instruction (or the same one of a REP that goes on, or a handler);
 *          OUTCOME_FAULT: `vcpu.fault` is to be delivered; OUTCOME_RETRY; OUTCOME_DEAD: the vCPU has ended (exit port,
 *          triple fault), VCPU.STATE says how. HLT sets VCPU.STATE to VCPU_HALTED
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* executeHostOp(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const op = insn.op as HostOp;
  const next = BigInt.asUintN(64, insn.rip + BigInt(insn.length));
  switch (op) {
    // These set RIP themselves.
    case 'int':
      return yield* interrupt(vcpu, insn, insn.extra, 'int');
    case 'int3':
      return yield* interrupt(vcpu, insn, VECTOR_BP, 'int');
    case 'int1':
      return yield* interrupt(vcpu, insn, VECTOR_DB, 'int1');
    case 'iret':
      return yield* interruptReturn(vcpu, insn);
    case 'retf':
      return yield* farReturn(vcpu, insn);
    case 'callf':
      return yield* farCall(vcpu, insn);
    case 'jmpf':
      return yield* farJump(vcpu, insn);
    case 'syscall':
      return systemCall(vcpu, insn);
    case 'sysret':
      return systemReturn(vcpu, insn);
    default: {
      const outcome = yield* executeStraight(vcpu, insn, op);
      if (outcome !== OUTCOME_OK || (isPortString(op) && repeats(vcpu, insn))) return outcome;
      vcpu.set64('RIP', asksTool(op) ? after(vcpu, insn) : next);
      return outcome;
    }
  }
}

/** Behind the instruction, from where RIP is now: the tool may have moved it while it was asked. */
function after(vcpu: Vcpu, insn: Insn): bigint {
  return BigInt.asUintN(64, vcpu.get64('RIP') + BigInt(insn.length));
}

const ASKS_TOOL: readonly HostOp[] = ['vmcall', 'movtocr', 'lmsw', 'wrmsr', 'xsetbv'];

function asksTool(op: HostOp): boolean {
  return ASKS_TOOL.includes(op) || op in DESCRIPTOR_ACCESSES;
}

/** INT n, INT3, INT1. */
function* interrupt(vcpu: Vcpu, insn: Insn, vector: number, source: 'int' | 'int1'): Path<Outcome> {
  if (vector === VECTOR_BP) {
    const verdict = yield* breakpointEvent(vcpu, insn.rip, insn.length);
    if (verdict === 'retry') return OUTCOME_RETRY;
    const trapped = yield* trapEvent(vcpu, { nr: VECTOR_BP, errorCode: 0, address: vcpu.get64('CR2') });
    if (trapped === 'retry') return OUTCOME_RETRY;
  }
  vcpu.raise(vector);
  return yield* deliver(vcpu, { source, returnRip: after(vcpu, insn) });
}

type Jumping = 'int' | 'int3' | 'int1' | 'iret' | 'retf' | 'callf' | 'jmpf' | 'syscall' | 'sysret';

function isPortString(op: HostOp): boolean {
  return op === 'ins' || op === 'outs';
}

/** Operations that go on with the next instruction. */
function* executeStraight(vcpu: Vcpu, insn: Insn, op: Exclude<HostOp, Jumping>): Path<Outcome> {
  if (isX87Op(op)) {
    if (X87_AREAS.has(op)) return yield* executeX87Environment(vcpu, insn, op);
    return yield* executeX87(vcpu, insn, op);
  }
  const table = DESCRIPTOR_ACCESSES[op];
  if (table !== undefined && (!table.write || vcpu.get32('CPL') === 0)) {
    const verdict = yield* descriptorEvent(vcpu, table.descriptor, table.write);
    if (verdict === 'retry') return OUTCOME_RETRY;
  }
  switch (op) {
    case 'ud':
    // SMAP cannot be switched on: these are undefined.
    case 'clac':
    case 'stac':
      return vcpu.raise(VECTOR_UD);
    case 'hlt':
      return yield* halt(vcpu);
    case 'cpuid':
      return yield* identify(vcpu, insn);
    case 'rdtsc':
    case 'rdtscp':
    case 'cli':
    case 'sti':
    case 'swapgs':
    case 'rdfsbase':
    case 'rdgsbase':
    case 'wrfsbase':
    case 'wrgsbase':
      return executeLight(vcpu, insn);
    case 'rdmsr':
      return rdmsr(vcpu);
    case 'wrmsr':
      return yield* wrmsr(vcpu);
    case 'rdrand':
      return random(vcpu, insn);
    case 'vmcall':
      return yield* hypercall(vcpu);

    case 'xgetbv':
      return xgetbv(vcpu);
    case 'xsetbv':
      return yield* xsetbv(vcpu);
    case 'xsave':
      return yield* xsave(vcpu, insn);
    case 'xrstor':
      return yield* xrstor(vcpu, insn);
    case 'fxsave':
      return yield* fxsave(vcpu, insn);
    case 'fxrstor':
      return yield* fxrstor(vcpu, insn);

    case 'in':
      return yield* portIn(vcpu, insn);
    case 'out':
      return yield* portOut(vcpu, insn);
    case 'ins':
    case 'outs':
      return yield* portString(vcpu, insn);

    case 'movfromcr':
      return intoRegister(vcpu, insn, readControl(vcpu, insn.extra));
    case 'movtocr':
      return yield* writeControl(vcpu, insn.extra, vcpu.gpr((insn.src as RegOperand).reg));
    case 'movfromdr':
      return intoRegister(vcpu, insn, readDebug(vcpu, insn.extra));
    case 'movtodr':
      return writeDebug(vcpu, insn.extra, vcpu.gpr((insn.src as RegOperand).reg));
    case 'clts':
      return clearTaskSwitched(vcpu);
    case 'smsw':
      return yield* storeWord(vcpu, insn, vcpu.get64('CR0'));
    case 'lmsw': {
      const read = yield* readPrivilegedWord(vcpu, insn);
      return read === OUTCOME_OK ? yield* loadMachineStatus(vcpu, vcpu.value) : read;
    }
    case 'invlpg': {
      const privileged = requireRing0(vcpu);
      if (privileged !== OUTCOME_OK) return privileged;
      flushPage(vcpu.mem, vcpu.cpu, linearAddress(vcpu, insn.src as MemOperand));
      return OUTCOME_OK;
    }
    case 'wbinvd':
      return requireRing0(vcpu);

    case 'movfromseg':
      return yield* storeWord(vcpu, insn, BigInt(vcpu.selector(insn.extra)));
    case 'movtoseg': {
      const read = yield* readOperand(vcpu, insn.src as GeneralOperand, 2);
      if (read !== OUTCOME_OK) return read;
      const loaded = yield* loadSegment(vcpu, insn.extra, Number(vcpu.value));
      if (loaded === OUTCOME_OK && insn.extra === SEG_SS) castShadow(vcpu);
      return loaded;
    }
    case 'pushseg':
      return yield* pushSegment(vcpu, insn);
    case 'popseg':
      return yield* popSegment(vcpu, insn);
    case 'lgdt':
    case 'lidt': {
      const privileged = requireRing0(vcpu);
      if (privileged !== OUTCOME_OK) return privileged;
      const operand = insn.src as MemOperand;
      const register = op === 'lgdt' ? 'GDTR' : 'IDTR';
      return yield* loadTable(vcpu, register, linearAddress(vcpu, operand), usesStackSegment(operand));
    }
    case 'sgdt':
    case 'sidt': {
      const operand = insn.dst as MemOperand;
      const register = op === 'sgdt' ? 'GDTR' : 'IDTR';
      return yield* storeTable(vcpu, register, linearAddress(vcpu, operand), usesStackSegment(operand));
    }
    case 'lldt': {
      const read = yield* readPrivilegedWord(vcpu, insn);
      return read === OUTCOME_OK ? yield* loadLdt(vcpu, Number(vcpu.value)) : read;
    }
    case 'ltr': {
      const read = yield* readPrivilegedWord(vcpu, insn);
      return read === OUTCOME_OK ? yield* loadTaskRegister(vcpu, Number(vcpu.value)) : read;
    }
    case 'sldt':
      return yield* storeWord(vcpu, insn, BigInt(vcpu.selector(SEG_LDTR)));
    case 'str':
      return yield* storeWord(vcpu, insn, BigInt(vcpu.selector(SEG_TR)));

    case 'maskmovq':
    case 'maskmovdqu':
      return yield* storeMasked(vcpu, insn);
  }
}

/** Operations that touch this vCPU's registers only: no memory, no device, no tool. */
const LIGHT: ReadonlySet<string> = new Set([
  'rdtsc', 'rdtscp', 'cli', 'sti', 'swapgs', 'rdfsbase', 'rdgsbase', 'wrfsbase', 'wrgsbase',
]); // biome-ignore format: table

export function isLight(insn: Insn): boolean {
  return LIGHT.has(insn.op) || (insn.op === 'movfromseg' && insn.dst?.kind === 'reg');
}

/** Carries out what {@link isLight}: anywhere, in guest mode too. RIP stays, and all else on another outcome than OK. */
export function executeLight(vcpu: Vcpu, insn: Insn): Outcome {
  switch (insn.op) {
    case 'rdtsc':
      return rdtsc(vcpu, false);
    case 'rdtscp':
      return rdtsc(vcpu, true);
    case 'cli':
      return setInterruptFlag(vcpu, false);
    case 'sti':
      return setInterruptFlag(vcpu, true);
    case 'swapgs':
      return swapGs(vcpu);
    case 'rdfsbase':
      return readBase(vcpu, insn, 'FS_BASE');
    case 'rdgsbase':
      return readBase(vcpu, insn, 'GS_BASE');
    case 'wrfsbase':
      return writeBase(vcpu, insn, 'FS_BASE');
    case 'wrgsbase':
      return writeBase(vcpu, insn, 'GS_BASE');
    default: {
      const selector = BigInt(vcpu.selector(insn.extra));
      writeRegister(vcpu, insn.dst as RegOperand, insn.size, selector);
      return OUTCOME_OK;
    }
  }
}
const X87_AREAS: ReadonlySet<string> = new Set<X87Op>(['fnstenv', 'fldenv', 'fnsave', 'frstor']);

/** Which instructions store (write false) or load (true) a descriptor-table register. */
const DESCRIPTOR_ACCESSES: Readonly<
  Partial<Record<HostOp, { readonly descriptor: DescriptorRegister; readonly write: boolean }>>
> = {
  sidt: { descriptor: 'idtr', write: false },
  sgdt: { descriptor: 'gdtr', write: false },
  sldt: { descriptor: 'ldtr', write: false },
  str: { descriptor: 'tr', write: false },
  lidt: { descriptor: 'idtr', write: true },
  lgdt: { descriptor: 'gdtr', write: true },
  lldt: { descriptor: 'ldtr', write: true },
  ltr: { descriptor: 'tr', write: true },
};

/** HLT: the run loop sleeps, from the next instruction on. */
function* halt(vcpu: Vcpu): Path<Outcome> {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  yield writing(vcpu.word('STATE'));
  vcpu.mem.store(vcpu.word('STATE'), VCPU_HALTED);
  return OUTCOME_OK;
}

/** CPUID, which faults outside ring 0 when the guest has asked for that. */
function* identify(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const faulting = (vcpu.get64('MISC_FEATURES') & MISC_FEATURES_CPUID_FAULT) !== 0n;
  if (faulting && vcpu.get32('CPL') > 0) return vcpu.raise(VECTOR_GP, 0);
  const leaf = Number(vcpu.gpr(RAX) & LOW_32);
  const subleaf = Number(vcpu.gpr(RCX) & LOW_32);
  const verdict = yield* cpuidEvent(vcpu, leaf, subleaf, insn.length);
  if (verdict === 'retry') return OUTCOME_RETRY;
  const { eax, ebx, ecx, edx } = cpuidOf(vcpu, leaf, subleaf);
  vcpu.setGpr(RAX, BigInt(eax));
  vcpu.setGpr(RBX, BigInt(ebx));
  vcpu.setGpr(RCX, BigInt(ecx));
  vcpu.setGpr(RDX, BigInt(edx));
  return OUTCOME_OK;
}

/** With what the board adds. A leaf beyond the last answers as the last basic one. */
function cpuidOf(vcpu: Vcpu, leaf: number, subleaf: number): CpuidResult {
  const board = vcpu.platform === null ? null : vcpu.cpuid(leaf, subleaf);
  return board ?? cpuid(leaf, subleaf, vcpu);
}

/** RDRAND: always has a number, CF 1 and the other flags 0. */
function random(vcpu: Vcpu, insn: Insn): Outcome {
  const low = vcpu.random.u32();
  const high = vcpu.random.u32();
  const value = (BigInt(high) << 32n) | BigInt(low);
  writeRegister(vcpu, insn.dst as RegOperand, insn.size, BigInt.asUintN(8 * insn.size, value));
  vcpu.flags.setRflags((vcpu.flags.rflags() & ~BigInt(ARITHMETIC_FLAGS)) | BigInt(CF));
  return OUTCOME_OK;
}

const KVM_ENOSYS = 1000n;
const KVM_EPERM = 1n;

/** What a guest says to reach the tool: KVM_HC_XEN_HVM_OP with KVM_HC_XEN_HVM_OP_GUEST_REQUEST_VM_EVENT. */
const TOOL_CALL = { rax: 34n, rdi: 24n, rsi: 0n };

/**
 * VMCALL: there are no hypercalls, but the tool may answer one.
 * @source linux arch/x86/kvm/x86.c: kvm_emulate_hypercall; arch/x86/kvm/kvmi.c: kvmi_arch_is_agent_hypercall
 */
function* hypercall(vcpu: Vcpu): Path<Outcome> {
  const toTool =
    vcpu.gpr(RAX) === TOOL_CALL.rax && vcpu.gpr(RDI) === TOOL_CALL.rdi && vcpu.gpr(RSI) === TOOL_CALL.rsi;
  const verdict = toTool ? yield* hypercallEvent(vcpu) : 'not asked';
  if (verdict === 'retry') return OUTCOME_RETRY;
  const error = vcpu.get32('CPL') === 0 ? KVM_ENOSYS : KVM_EPERM;
  vcpu.setGpr(RAX, verdict === 'continue' ? 0n : BigInt.asUintN(64, -error));
  return OUTCOME_OK;
}

function setInterruptFlag(vcpu: Vcpu, on: boolean): Outcome {
  if (!hasIoPrivilege(vcpu)) return vcpu.raise(VECTOR_GP, 0);
  const flag = BigInt(RFLAGS_IF);
  const flags = vcpu.flags.rflags();
  if (on && (flags & flag) === 0n) castShadow(vcpu);
  vcpu.flags.setRflags(on ? flags | flag : flags & ~flag);
  return OUTCOME_OK;
}

/** No interrupt is taken before the next instruction is complete: that is, while so many have retired. */
function castShadow(vcpu: Vcpu): void {
  vcpu.set64('SHADOW', vcpu.get64('RETIRED') + 1n);
}

/** `vcpu.value` into the 64-bit destination register, if the read went well. */
function intoRegister(vcpu: Vcpu, insn: Insn, read: Outcome): Outcome {
  if (read === OUTCOME_OK) vcpu.setGpr((insn.dst as RegOperand).reg, vcpu.value);
  return read;
}

/** A 16-bit source of an instruction of ring 0, into `vcpu.value`. */
function* readPrivilegedWord(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const privileged = requireRing0(vcpu);
  return privileged === OUTCOME_OK ? yield* readOperand(vcpu, insn.src as GeneralOperand, 2) : privileged;
}

/** Stores a system word: 16 bits to memory, as many as the operand size says to a register. */
function* storeWord(vcpu: Vcpu, insn: Insn, value: bigint): Path<Outcome> {
  const operand = insn.dst as MemOperand | RegOperand;
  const size = operand.kind === 'mem' ? 2 : insn.size;
  return yield* writeOperand(vcpu, operand, size, BigInt.asUintN(8 * size, value));
}

/** PUSH FS, PUSH GS: zero extended. */
function* pushSegment(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const rsp = BigInt.asUintN(64, vcpu.gpr(RSP) - BigInt(insn.size));
  const outcome = yield* writeLinear(vcpu, rsp, insn.size, BigInt(vcpu.selector(insn.extra)), STACK);
  if (outcome === OUTCOME_OK) vcpu.setGpr(RSP, rsp);
  return outcome;
}

function* popSegment(vcpu: Vcpu, insn: Insn): Path<Outcome> {
  const rsp = vcpu.gpr(RSP);
  const read = yield* readLinear(vcpu, rsp, insn.size, STACK);
  if (read !== OUTCOME_OK) return read;
  const outcome = yield* loadSegment(vcpu, insn.extra, Number(vcpu.value & 0xffffn));
  if (outcome === OUTCOME_OK) vcpu.setGpr(RSP, BigInt.asUintN(64, rsp + BigInt(insn.size)));
  return outcome;
}

function swapGs(vcpu: Vcpu): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const base = vcpu.get64('GS_BASE');
  vcpu.set64('GS_BASE', vcpu.get64('KERNEL_GS_BASE'));
  vcpu.set64('KERNEL_GS_BASE', base);
  return OUTCOME_OK;
}

function readBase(vcpu: Vcpu, insn: Insn, base: 'FS_BASE' | 'GS_BASE'): Outcome {
  if ((vcpu.get64('CR4') & CR4_FSGSBASE) === 0n) return vcpu.raise(VECTOR_UD);
  writeRegister(vcpu, insn.dst as RegOperand, insn.size, BigInt.asUintN(8 * insn.size, vcpu.get64(base)));
  return OUTCOME_OK;
}

function writeBase(vcpu: Vcpu, insn: Insn, base: 'FS_BASE' | 'GS_BASE'): Outcome {
  if ((vcpu.get64('CR4') & CR4_FSGSBASE) === 0n) return vcpu.raise(VECTOR_UD);
  const value = readRegister(vcpu, insn.src as RegOperand, insn.size);
  if (!isCanonical(value)) return vcpu.raise(VECTOR_GP, 0);
  vcpu.set64(base, value);
  return OUTCOME_OK;
}
