/**
 * A vCPU's life: into guest mode, out with a reason, the reason dealt with, and in again.
 *
 * One generator path for all engines. In the parallel engine the core runs until something happens; an explorer gives
 * it slices and takes a point before each.
 *
 * @source arch/x86/kvm/x86.c: vcpu_run, vcpu_enter_guest, kvm_vcpu_halt
 */
import {
  ACCESS_X,
  EXIT_BLOCK,
  EXIT_EXCEPTION,
  EXIT_HOST,
  EXIT_HOT,
  EXIT_MEMORY,
  EXIT_STEP,
} from '../../shared/layout/cpu.ts';
import { VCPU_HALTED, VCPU_RUNNING } from '../../shared/layout/vcpu.ts';
import { type Path, stepping } from '../../shared/sync/point.ts';
import {
  VECTOR_AC,
  VECTOR_DF,
  VECTOR_GP,
  VECTOR_NP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_TS,
} from '../../shared/x86/vectors.ts';
import type { InjectedException } from '../introspector/intercepts.ts';
import { singlestepEvent, trapEvent } from '../introspector/vcpu-events.ts';
import { endTurn } from '../mmu/requests.ts';
import { BLOCK_INSNS_MAX, type HostWork } from './block-cache.ts';
import { emulateInstruction, executeWork, raiseExit } from './emulate.ts';
import { enterGuest, exitGuest, sleepHalted } from './entry.ts';
import { deliver } from './exceptions.ts';
import { executeLight, isLight } from './host-ops.ts';
import { UOP } from './isa/uop.ts';
import { crossesPage } from './linear-address.ts';
import type { Platform } from './platform/platform.ts';
import { handleMiss } from './tlb-fill.ts';
import { OUTCOME_DEAD, OUTCOME_FAULT, OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';
import { watchedInsn } from './watched-access.ts';

/** Instructions the core may run before it looks outside, when nothing asks for it earlier. */
const SLICE = 1 << 20;

export interface RunLimits {
  /** Stop when this many instructions have retired. */
  readonly instructions?: bigint;
  /** Instructions between two scheduling points. */
  readonly slice?: number;
}

/** Why the core was not even entered, beside the EXIT_* kinds, which begin at 1. */
const NO_BLOCK = 0;
const SINGLE_STEP = -1;
const INTERRUPTED = -2;

/**
 * Runs the vCPU until it must stop; VCPU.STATE says why: exited, crashed, or stopped (told to, or a limit).
 *
 * @locking begins and ends outside kvm.srcu
 */
export function* runVcpu(vcpu: Vcpu, limits: RunLimits = {}): Path<void> {
  const { mem, vm } = vcpu;
  const state = vcpu.word('STATE');
  mem.store(state, VCPU_RUNNING);
  yield* vcpu.enterSrcu();
  while (yield* turn(vcpu, limits)) {
    // Once more.
  }
  yield* endTurn(vcpu.actor, vm, vcpu.index);
  yield* vcpu.leaveSrcu();
  vcpu.settleFlags();
  const left = mem.load(state);
  if (left === VCPU_RUNNING || left === VCPU_HALTED) {
    mem.store(state, vcpu.endState);
  }
}

/** One entry, one exit, and what the exit asks for. False when the vCPU must stop. */
function* turn(vcpu: Vcpu, limits: RunLimits): Path<boolean> {
  const { platform } = vcpu;
  if (platform !== null) yield* platform.tick();
  if (platform?.waitsForStart === true) vcpu.mem.store(vcpu.word('STATE'), VCPU_HALTED);
  if (vcpu.mem.load(vcpu.word('STATE')) === VCPU_HALTED) {
    if (platform === null || platform.waitsForStart || !platform.wakes) return yield* sleepHalted(vcpu);
    vcpu.mem.store(vcpu.word('STATE'), VCPU_RUNNING);
  }
  let budget = limits.slice ?? platform?.slice ?? SLICE;
  if (limits.instructions !== undefined) {
    const left = limits.instructions - vcpu.get64('RETIRED');
    if (left <= 0n) return false;
    if (left < budget) budget = Number(left);
  }
  if (!(yield* enterGuest(vcpu))) return false;
  const { intercepts } = vcpu;
  if (intercepts.injection !== null) {
    yield* exitGuest(vcpu);
    return (yield* inject(vcpu, intercepts.injection)) !== OUTCOME_DEAD;
  }
  // Looked at in guest mode: whoever posts one from now on finds a request word that the core sees.
  const interrupted = platform?.interrupted === true;
  if (interrupted && platform?.inShadow === false) {
    yield* exitGuest(vcpu);
    return (yield* interrupt(vcpu, platform)) !== OUTCOME_DEAD;
  }
  // A block is executed whole or not at all, so what does not fill one is single-stepped; so is an instruction that an
  // interrupt waits behind.
  const whole = budget >= BLOCK_INSNS_MAX && !intercepts.singleStep && !interrupted;
  const exit = whole ? yield* runGuest(vcpu, budget) : SINGLE_STEP;
  yield* exitGuest(vcpu);
  let outcome = yield* handleExit(vcpu, exit);
  if (outcome === OUTCOME_FAULT) outcome = yield* takeFault(vcpu);
  if (exit === SINGLE_STEP && outcome === OUTCOME_OK) yield* singlestepEvent(vcpu);
  return outcome !== OUTCOME_DEAD;
}

/** The guest takes an interrupt. A RETRY on the way to the handler: the same vector once more. */
function* interrupt(vcpu: Vcpu, platform: Platform): Path<Outcome> {
  const vector = yield* platform.takeInterrupt();
  if (vector === null) return OUTCOME_RETRY;
  vcpu.raise(vector);
  const outcome = yield* deliver(vcpu, { source: 'external' });
  if (outcome !== OUTCOME_RETRY) platform.interruptTaken();
  return outcome;
}

/** The guest takes what the instruction has raised. */
function* takeFault(vcpu: Vcpu): Path<Outcome> {
  const { vector, errorCode, address } = vcpu.fault;
  const cr2 = vector === VECTOR_PF ? address : vcpu.get64('CR2');
  const told = yield* trapEvent(vcpu, { nr: vector, errorCode: Math.max(errorCode, 0), address: cr2 });
  if (told === 'retry') return OUTCOME_RETRY;
  vcpu.raise(vector, errorCode, address);
  return yield* deliver(vcpu);
}

const WITH_ERROR_CODE: readonly number[] = [
  VECTOR_DF,
  VECTOR_TS,
  VECTOR_NP,
  VECTOR_SS,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_AC,
];

/** The guest takes what the tool wants it to take, between two instructions. */
function* inject(vcpu: Vcpu, injection: InjectedException): Path<Outcome> {
  const { nr, errorCode, address } = injection;
  if ((yield* trapEvent(vcpu, injection)) === 'retry') return OUTCOME_RETRY;
  const pushed = nr === VECTOR_DF ? 0 : errorCode;
  vcpu.raise(nr, WITH_ERROR_CODE.includes(nr) ? pushed : -1, address);
  const outcome = yield* deliver(vcpu);
  // A RETRY on the way to the handler: once more, and the tool need not hear of it again.
  if (outcome !== OUTCOME_RETRY) vcpu.intercepts.injection = null;
  return outcome;
}

/** In guest mode: block after block, until something has to be done outside. */
function* runGuest(vcpu: Vcpu, budget: number): Path<number> {
  const { mem, core, blocks, cpu, platform } = vcpu;
  vcpu.set32('BUDGET', budget);
  let exit = NO_BLOCK;
  let link = 0;
  for (;;) {
    const record = blocks.find();
    if (record === 0) {
      exit = NO_BLOCK;
      break;
    }
    blocks.link(link, record);
    yield stepping(vcpu.index);
    core.run(record, cpu);
    exit = vcpu.get32('EXIT_KIND');
    while (exit === EXIT_MEMORY) {
      const done = yield* watchedInsn(vcpu);
      if (done) goOn(vcpu);
      exit = vcpu.get32('EXIT_KIND');
      if (!done) break;
    }
    if (exit === EXIT_HOST && platform !== null) {
      const left = vcpu.get32('BUDGET') + mem.u8[vcpu.get32('EXIT_UOP') + UOP.at.REMAIN]!;
      vcpu.retire(budget - left);
      budget = left;
      if (!lightWork(vcpu, blocks.work(vcpu.get32('EXIT_UOP')))) break;
      budget -= 1;
      exit = INTERRUPTED;
      if (platform.interrupted) break;
      link = 0;
      continue;
    }
    if (exit !== EXIT_BLOCK) break;
    link = vcpu.get32('EXIT_LINK');
    // POPF may have let an interrupt in that waited.
    if (link === 0 && platform?.interrupted === true) {
      exit = INTERRUPTED;
      break;
    }
    blocks.noteJump(link);
  }
  // A block is paid for when it is entered: what was not executed is given back.
  let left = vcpu.get32('BUDGET');
  if (exit > NO_BLOCK) left += mem.u8[vcpu.get32('EXIT_UOP') + UOP.at.REMAIN]!;
  vcpu.retire(budget - left);
  return exit;
}

/**
 * A host operation that concerns nobody but this vCPU's registers, done without leaving guest mode: Linux on a PC does
 * millions of them. False: it has not been done, or would fault.
 */
function lightWork(vcpu: Vcpu, work: HostWork): boolean {
  if ('fault' in work || !isLight(work)) return false;
  if (executeLight(vcpu, work) !== OUTCOME_OK) return false;
  vcpu.set64('RIP', BigInt.asUintN(64, work.rip + BigInt(work.length)));
  vcpu.retire(1);
  return true;
}

/** On with the block after an instruction that was carried out by itself. */
function goOn(vcpu: Vcpu): void {
  const { mem, cpu, core } = vcpu;
  const done = vcpu.get32('EXIT_UOP');
  const pc = mem.u64[(done + UOP.at.PC) / 8]!;
  const rip = vcpu.get64('RIP');
  const remain = mem.u8[done + UOP.at.REMAIN]!;
  const next = BigInt.asUintN(64, pc + BigInt(mem.u8[done + UOP.at.LENGTH]!));
  // The core looks at requests at block starts only; here they are seen after every watched instruction.
  if (remain > 1 && rip === next && vcpu.get32('REQUESTS') === 0) {
    core.run(done + UOP.bytes, cpu);
    return;
  }
  // The end of the block, a request, or an iteration of a REP, which has stayed. What is left of the block was paid for.
  const left = remain - (rip === pc ? 0 : 1);
  vcpu.set32('BUDGET', vcpu.get32('BUDGET') + left);
  vcpu.set32('EXIT_LINK', 0);
  vcpu.set32('EXIT_KIND', EXIT_BLOCK);
}

function* handleExit(vcpu: Vcpu, exit: number): Path<Outcome> {
  switch (exit) {
    case NO_BLOCK:
      return yield* findBlock(vcpu);
    case EXIT_MEMORY: {
      const gva = vcpu.get64('EXIT_GVA');
      if (crossesPage(gva, vcpu.get32('EXIT_SIZE'))) return yield* emulateInstruction(vcpu);
      return yield* missed(vcpu, gva, vcpu.get32('EXIT_ACCESS'));
    }
    case EXIT_HOST:
      vcpu.intercepts.insn.begin();
      return yield* executeWork(vcpu, vcpu.blocks.work(vcpu.get32('EXIT_UOP')));
    case EXIT_EXCEPTION:
      return raiseExit(vcpu);
    case EXIT_HOT:
      vcpu.heated();
      return OUTCOME_OK;
    case EXIT_STEP:
    case SINGLE_STEP:
      return yield* emulateInstruction(vcpu);
    default:
      return OUTCOME_OK;
  }
}

/** Fetch translation, then decoding; one of them at a time, since each may have let others in. */
function* findBlock(vcpu: Vcpu): Path<Outcome> {
  const rip = vcpu.get64('RIP');
  if (!vcpu.blocks.canFetch(rip)) return yield* missed(vcpu, rip, ACCESS_X);
  if ((yield* vcpu.blocks.build()) === 'built') return OUTCOME_OK;
  return yield* missed(vcpu, BigInt.asUintN(64, (rip | 0xfffn) + 1n), ACCESS_X);
}

function* missed(vcpu: Vcpu, gva: bigint, access: number): Path<Outcome> {
  if (vcpu.missesAgain()) return yield* emulateInstruction(vcpu);
  switch (yield* handleMiss(vcpu, gva, access)) {
    case 'emulate':
      return yield* emulateInstruction(vcpu);
    case 'fault':
      return OUTCOME_FAULT;
    default:
      return OUTCOME_OK;
  }
}
