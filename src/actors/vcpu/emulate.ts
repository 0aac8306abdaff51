/**
 * The emulator: one instruction, one access at a time, each with its callbacks. What the fault path calls for when a
 * page is tracked, and what does the accesses the core leaves alone (page crossings, misaligned LOCK operands).
 *
 * Its meanings are the core's own: the emulated handlers describe each access in the CPU's log and leave; the access is
 * carried out here, and the handler starts again from the top with what the log already knows. An access that does not
 * come to its end (RETRY, a guest fault) leaves registers, flags and RIP as they were.
 *
 * @source arch/x86/kvm/emulate.c: x86_decode_insn, x86_emulate_insn; the spec's "Emulator contract"
 */
import {
  CPU,
  CPU_SCRATCH_UOP,
  EXIT_ACCESS,
  EXIT_DONE,
  EXIT_EXCEPTION,
  LOG_CAS,
  LOG_CHECK_WRITABLE,
  LOG_READ,
  LOG_READ_MODIFY,
} from '../../shared/layout/cpu.ts';
import type { Path } from '../../shared/sync/point.ts';
import { TRACE_EMULATE } from '../../shared/trace/kinds.ts';
import { RBP, RSP } from '../../shared/x86/registers.ts';
import { VECTOR_GP, VECTOR_UD } from '../../shared/x86/vectors.ts';
import { type HostWork, workOf } from './block-cache.ts';
import { executeHostOp } from './host-ops.ts';
import { EMULATED_BASE } from './isa/core.ts';
import { decode, INSN_BYTES_MAX } from './isa/decode.ts';
import { formIndex, formOf, generalForm, type NormalInsn, normalise } from './isa/forms.ts';
import { type Insn, isHostOp, type Undecoded } from './isa/insn.ts';
import { LINK_NEVER, writeRecord } from './isa/uop.ts';
import { bytesInPage } from './linear-address.ts';
import { checkWritable, fetchLinear, lockedLinear, readLinear, writeLinear } from './linear-memory.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

/**
 * REP iterations after which the guest is entered again, so that requests are seen (kernel: the same number). Not
 * sooner for a request that can wait: each entry is another fetch, and so another event where X is restricted.
 */
const REP_ITERATIONS_MAX = 1024;

/**
 * Emulates the instruction at RIP: fetch, decode, execute.
 *
 * @returns OUTCOME_OK when it is complete (a REP: some iterations of it), OUTCOME_FAULT with `vcpu.fault`,
 *          OUTCOME_RETRY to start again, OUTCOME_DEAD when the vCPU must not go on
 * @locking outside guest mode, inside kvm.srcu; may sleep for the introspector
 */
export function* emulateInstruction(vcpu: Vcpu): Path<Outcome> {
  const { tracer } = vcpu.actor;
  vcpu.intercepts.insn.begin();
  tracer?.begin(TRACE_EMULATE, 0, 0, 0, 0, vcpu.get64('RIP'));
  const outcome = yield* fetchAndExecute(vcpu);
  tracer?.end(TRACE_EMULATE, outcome);
  return outcome;
}

function* fetchAndExecute(vcpu: Vcpu): Path<Outcome> {
  const rip = vcpu.get64('RIP');
  const bytes = vcpu.mem.u8.subarray(vcpu.cpu + CPU.at.FETCH_BYTES, vcpu.cpu + CPU.at.FETCH_BYTES + 16);
  // One chunk never crosses a page; the next page is asked about only if the instruction goes on there.
  const first = bytesInPage(rip, INSN_BYTES_MAX);
  let outcome = yield* fetchLinear(vcpu, rip, first, 0);
  if (outcome !== OUTCOME_OK) return outcome;
  let decoded = decode(bytes, 0, first, rip);
  if ('fault' in decoded && decoded.fault === 'more') {
    outcome = yield* fetchLinear(vcpu, rip + BigInt(first), INSN_BYTES_MAX - first, first);
    if (outcome !== OUTCOME_OK) return outcome;
    decoded = decode(bytes, 0, INSN_BYTES_MAX, rip);
  }
  return yield* execute(vcpu, decoded);
}

function* execute(vcpu: Vcpu, decoded: Insn | Undecoded): Path<Outcome> {
  if ('fault' in decoded || isHostOp(decoded.op)) return yield* executeWork(vcpu, workOf(decoded));
  const insn = prepareStep(vcpu, decoded);
  if (insn === null) return yield* executeWork(vcpu, workOf(decoded));
  const record = vcpu.cpu + CPU_SCRATCH_UOP;
  for (let iteration = 0; iteration < REP_ITERATIONS_MAX; iteration++) {
    const outcome = yield* step(vcpu, record, insn);
    if (outcome !== OUTCOME_OK) return outcome;
    if (insn.rep === 'none' || vcpu.get64('RIP') !== insn.rip || vcpu.mustStop) break;
    vcpu.intercepts.insn.nextCycle();
  }
  if (vcpu.get64('RIP') !== insn.rip || insn.rep === 'none') vcpu.retire(1);
  return OUTCOME_OK;
}

/** Writes the scratch record of one emulated step. Null when the core has no form for the instruction. */
export function prepareStep(vcpu: Vcpu, decoded: Insn): NormalInsn | null {
  const insn = normalise(decoded);
  const form = formIndex(generalForm(formOf(insn)));
  if (form < 0) return null;
  writeRecord(vcpu.mem, vcpu.cpu + CPU_SCRATCH_UOP, vcpu.cpu, insn, {
    handler: EMULATED_BASE + form,
    remain: 1,
    insnIndex: 0,
    linkTaken: LINK_NEVER,
    linkNext: LINK_NEVER,
  });
  return insn;
}

/** An access that an emulated handler has described, by its number in the log. */
export interface LoggedAccess {
  /** LOG_*. */
  readonly kind: number;
  readonly size: number;
  readonly gva: bigint;
  /** Indices into u64: what was read or is stored, and what must be there for LOG_CAS. */
  readonly values: number;
  readonly expects: number;
}

export function loggedAccess({ mem, cpu }: Vcpu, index: number): LoggedAccess {
  return {
    kind: mem.i32[((cpu + CPU.at.LOG_KIND) >>> 2) + index]!,
    size: mem.i32[((cpu + CPU.at.LOG_SIZE) >>> 2) + index]!,
    gva: mem.u64[(cpu + CPU.at.LOG_GVA) / 8 + index]!,
    values: (cpu + CPU.at.LOG_VALUE) / 8 + index,
    expects: (cpu + CPU.at.LOG_EXPECT) / 8 + index,
  };
}

/** One pass of the handler, access by access: an instruction, or one REP iteration. */
function* step(vcpu: Vcpu, record: number, insn: NormalInsn): Path<Outcome> {
  vcpu.set32('LOG_COUNT', 0);
  for (;;) {
    vcpu.core.run(record, vcpu.cpu);
    const kind = vcpu.get32('EXIT_KIND');
    if (kind === EXIT_DONE) return OUTCOME_OK;
    if (kind === EXIT_EXCEPTION) return raiseExit(vcpu);
    if (kind !== EXIT_ACCESS) throw new Error(`emulated instruction left with exit ${kind}`);
    const outcome = yield* carryOut(vcpu, insn);
    if (outcome !== OUTCOME_OK) return outcome;
    vcpu.set32('LOG_COUNT', vcpu.get32('LOG_NEXT') + 1);
  }
}

/** The exception of an EXIT_EXCEPTION: #DE without error code, #GP with zero. */
export function raiseExit(vcpu: Vcpu): Outcome {
  const vector = vcpu.get32('EXIT_VECTOR');
  return vcpu.raise(vector, vector === VECTOR_GP ? 0 : -1);
}

/** The access that the log describes. */
function* carryOut(vcpu: Vcpu, insn: NormalInsn): Path<Outcome> {
  const { mem } = vcpu;
  const index = vcpu.get32('LOG_NEXT');
  const { kind, size, gva, values, expects } = loggedAccess(vcpu, index);
  if (kind === LOG_READ || kind === LOG_READ_MODIFY) {
    const options = { rmw: kind === LOG_READ_MODIFY, stack: usesStack(insn, false) };
    const outcome = yield* readLinear(vcpu, gva, size, options);
    if (outcome === OUTCOME_OK) setLogged(vcpu, values, size, vcpu.value);
    return outcome;
  }
  if (kind === LOG_CHECK_WRITABLE) {
    return yield* checkWritable(vcpu, gva, size, { stack: usesStack(insn, true) });
  }
  if (kind !== LOG_CAS) {
    // An earlier access may have read what this one stores to: stored in part, it must not be read again.
    const options = { stack: usesStack(insn, true), whole: index > 0 };
    return yield* writeLinear(vcpu, gva, size, getLogged(vcpu, values, size), options);
  }
  return yield* lockedLinear(vcpu, gva, size, {
    expect: mem.u64[expects]!,
    value: mem.u64[values]!,
    expectHigh: size === 16 ? mem.u64[expects + 1]! : 0n,
    valueHigh: size === 16 ? mem.u64[values + 1]! : 0n,
  });
}

/** A value of the log: 16 bytes stand in two elements. */
export function getLogged({ mem }: Vcpu, index: number, size: number): bigint {
  return size === 16 ? mem.u64[index]! | (mem.u64[index + 1]! << 64n) : mem.u64[index]!;
}

export function setLogged({ mem }: Vcpu, index: number, size: number, value: bigint): void {
  mem.u64[index] = value;
  if (size === 16) mem.u64[index + 1] = value >> 64n;
}

/**
 * Does a plain read or write of this instruction go through SS? Then a bad address is #SS, not #GP.
 *
 * @source Intel SDM vol. 1, "Specifying a Segment Selector": SS is the default of RSP and RBP as a base
 */
function usesStack(insn: NormalInsn, writes: boolean): boolean {
  if (writes ? STORES_ON_STACK.has(insn.op) : LOADS_FROM_STACK.has(insn.op)) return true;
  const operand = insn.dst?.kind === 'mem' ? insn.dst : insn.src;
  return operand?.kind === 'mem' && operand.seg === 'none' && (operand.base === RSP || operand.base === RBP);
}

const STORES_ON_STACK: ReadonlySet<string> = new Set(['push', 'pushf', 'call', 'callind', 'enter']);
const LOADS_FROM_STACK: ReadonlySet<string> = new Set(['pop', 'popf', 'ret', 'leave', 'enter']);

/** An instruction that TypeScript carries out; bytes that are none raise #UD, or #GP when there are too many. */
export function* executeWork(vcpu: Vcpu, work: HostWork): Path<Outcome> {
  if (!('fault' in work)) {
    const outcome = yield* executeHostOp(vcpu, work);
    if (outcome === OUTCOME_OK) vcpu.retire(1);
    return outcome;
  }
  if (work.fault === 'toolong') return vcpu.raise(VECTOR_GP, 0);
  vcpu.countUndefined(work.name);
  return vcpu.raise(VECTOR_UD);
}
