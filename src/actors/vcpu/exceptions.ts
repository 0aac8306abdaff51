/**
 * Exceptions and software interrupts, delivered through the IDT in 64-bit mode.
 *
 * The frame that a handler finds, from its RSP up; RSP was rounded down to 16 bytes before the first push:
 *
 *   [error code]  RIP  CS  RFLAGS  RSP  SS
 *
 * Registers change only when the whole frame is stored. A RETRY on the way leaves them alone, so that the instruction
 * faults again; a fault on the way becomes the next event, or #DF, or the end of the machine:
 *
 *   first event     second: benign   contributory   page fault
 *   ──────────────  ───────────────  ─────────────  ───────────
 *   benign          serially         serially       serially
 *   contributory    serially         #DF            serially
 *   page fault      serially         #DF            #DF
 *   #DF             serially         shutdown       shutdown
 *
 * @source Intel SDM vol. 3A, "Exception and Interrupt Handling in 64-Bit Mode", "Interrupt 8—Double Fault Exception
 *         (#DF)", "Error Code"; vol. 2A, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure"
 */
import { VCPU_CRASHED } from '../../shared/layout/vcpu.ts';
import { type Path, updating, writing } from '../../shared/sync/point.ts';
import { TRACE_EXCEPTION } from '../../shared/trace/kinds.ts';
import {
  DESC_DPL_SHIFT,
  DESC_P,
  DESC_TYPE_SHIFT,
  SEG_CS,
  SEG_SS,
  SEG_TR,
  TSS_IST1,
  TSS_RSP0,
  TYPE_INTERRUPT_GATE,
  TYPE_TRAP_GATE,
} from '../../shared/x86/descriptors.ts';
import { RSP } from '../../shared/x86/registers.ts';
import { RFLAGS_IF, RFLAGS_NT, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM } from '../../shared/x86/rflags.ts';
import {
  ERROR_EXT,
  ERROR_IDT,
  VECTOR_BP,
  VECTOR_CP,
  VECTOR_DB,
  VECTOR_DE,
  VECTOR_DF,
  VECTOR_GP,
  VECTOR_MC,
  VECTOR_NMI,
  VECTOR_NP,
  VECTOR_OF,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_TS,
  VECTOR_VE,
} from '../../shared/x86/vectors.ts';
import type { Vm } from '../mmu/vm.ts';
import { declareDead } from '../mmu/vm-dead.ts';
import { isCanonical } from './canonical.ts';
import {
  type CodeSegment,
  codeSegment,
  isNull,
  markAccessed,
  readDescriptor,
  selectorError,
} from './descriptors.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { setPrivilegeLevel } from './privilege.ts';
import { OUTCOME_DEAD, OUTCOME_FAULT, OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

export interface DeliverOptions {
  /**
   * Where the event comes from. 'int' (INT n, INT3) needs a gate whose DPL admits the caller; 'int1' (INT1) and
   * 'exception', the default, do not. 'external' is an interrupt.
   */
  readonly source?: EventSource;
  /** What the handler returns to; RIP when absent, as for a fault. A trap or INT n gives the next instruction. */
  readonly returnRip?: bigint;
}

export type EventSource = 'exception' | 'int' | 'int1' | 'external';

interface Event {
  readonly vector: number;
  /** −1 when the vector pushes none. */
  readonly errorCode: number;
  readonly source: EventSource;
  readonly returnRip: bigint;
}

const SYSTEM = { system: true, own: true };
const IDT_ENTRY_BYTES = 16;

/**
 * Takes `vcpu.fault` to its handler.
 *
 * @returns OUTCOME_OK at the handler's first instruction; OUTCOME_RETRY with no register changed; OUTCOME_DEAD after a
 *          triple fault, which ends the VM
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* deliver(vcpu: Vcpu, options: DeliverOptions = {}): Path<Outcome> {
  const { source = 'exception', returnRip = vcpu.get64('RIP') } = options;
  const first = vcpu.fault.vector;
  let event: Event = { vector: first, errorCode: vcpu.fault.errorCode, source, returnRip };
  let cr2 = faultAddress(vcpu, event);
  for (;;) {
    const outcome = yield* enterHandler(vcpu, event);
    if (outcome === OUTCOME_OK) {
      if (cr2 !== null) vcpu.set64('CR2', cr2);
      vcpu.count('GUEST_EXCEPTIONS');
      vcpu.actor.tracer?.instant(TRACE_EXCEPTION, event.vector, event.errorCode, 0, 0, cr2 ?? 0n);
      return OUTCOME_OK;
    }
    if (outcome !== OUTCOME_FAULT) return outcome;
    const combined = combine(event, vcpu.fault.vector);
    if (combined === 'shutdown') {
      const last = vcpu.fault.vector === VECTOR_PF ? vcpu.fault.address : cr2;
      if (last !== null) vcpu.set64('CR2', last);
      return yield* tripleFault(vcpu, first);
    }
    // The second fault is one of the instruction that was being executed: it returns to its start.
    const faulted: Event = {
      vector: vcpu.fault.vector,
      errorCode: withExternalBit(vcpu.fault.vector, vcpu.fault.errorCode, event),
      source: 'exception',
      returnRip: vcpu.get64('RIP'),
    };
    cr2 = faultAddress(vcpu, faulted) ?? cr2;
    event = combined === 'serially' ? faulted : { ...faulted, vector: VECTOR_DF, errorCode: 0 };
  }
}

/** CR2 follows every page fault, also one that ends in #DF. */
function faultAddress(vcpu: Vcpu, event: Event): bigint | null {
  return event.source === 'exception' && event.vector === VECTOR_PF ? vcpu.fault.address : null;
}

/** EXT says that the fault came up while something external to the program was delivered, which INT n is not. */
function withExternalBit(vector: number, errorCode: number, during: Event): number {
  if (errorCode < 0 || vector === VECTOR_PF || during.source === 'int') return errorCode;
  return errorCode | ERROR_EXT;
}

const CONTRIBUTORY: readonly number[] = [VECTOR_DE, VECTOR_TS, VECTOR_NP, VECTOR_SS, VECTOR_GP, VECTOR_CP];
const PAGE_FAULTS: readonly number[] = [VECTOR_PF, VECTOR_VE];

/** @source Intel SDM vol. 3A, "Conditions for Generating a Double Fault" */
function combine(first: Event, second: number): 'serially' | 'double' | 'shutdown' {
  const contributory = CONTRIBUTORY.includes(second);
  const page = PAGE_FAULTS.includes(second);
  // An interrupt is benign, whatever its number.
  if (first.source !== 'exception' || !(contributory || page)) return 'serially';
  if (first.vector === VECTOR_DF) return 'shutdown';
  if (PAGE_FAULTS.includes(first.vector)) return 'double';
  return contributory && CONTRIBUTORY.includes(first.vector) ? 'double' : 'serially';
}

/** A gate of the IDT: 16 bytes. */
interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  /** 0 for none. */
  readonly ist: number;
  readonly interrupt: boolean;
}

/** From gate to handler. Faults are raised without EXT. */
function* enterHandler(vcpu: Vcpu, event: Event): Path<Outcome> {
  const gateOutcome = yield* readGate(vcpu, event);
  if (gateOutcome !== OUTCOME_OK) return gateOutcome;
  const gate = parseGate(vcpu.value);

  if (isNull(gate.selector)) return vcpu.raise(VECTOR_GP, 0);
  const read = yield* readDescriptor(vcpu, gate.selector);
  if (read !== OUTCOME_OK) return read;
  const descriptor = vcpu.value;
  const segment = codeSegment(descriptor);
  const cpl = vcpu.get32('CPL');
  const error = selectorError(gate.selector);
  if (segment === null || segment.dpl > cpl) return vcpu.raise(VECTOR_GP, error);
  if (!segment.present) return vcpu.raise(VECTOR_NP, error);
  if (!isCanonical(gate.offset)) return vcpu.raise(VECTOR_GP, 0);
  const newCpl = levelOf(segment, cpl);

  const stackOutcome = yield* handlerStack(vcpu, gate, newCpl);
  if (stackOutcome !== OUTCOME_OK) return stackOutcome;
  const flags = Number(vcpu.flags.rflags());
  let rsp = vcpu.value & ~0xfn;
  const frame = [
    BigInt(vcpu.selector(SEG_SS)),
    vcpu.gpr(RSP),
    BigInt(isFault(event) ? flags | RFLAGS_RF : flags),
    BigInt(vcpu.selector(SEG_CS)),
    event.returnRip,
  ];
  if (event.errorCode >= 0) frame.push(BigInt(event.errorCode));
  for (const word of frame) {
    rsp = BigInt.asUintN(64, rsp - 8n);
    const pushed = yield* writeLinear(vcpu, rsp, 8, word, { stack: true, system: newCpl !== 3, own: true });
    if (pushed !== OUTCOME_OK) return pushed;
  }
  const marked = yield* markAccessed(vcpu, gate.selector, descriptor);
  if (marked !== OUTCOME_OK) return marked;

  const cleared = RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | (gate.interrupt ? RFLAGS_IF : 0);
  vcpu.flags.setRflags(BigInt(flags & ~cleared));
  vcpu.setSelector(SEG_CS, error | newCpl);
  // 64-bit mode: a change of level loads SS with null, the new level as its RPL.
  if (newCpl !== cpl) {
    vcpu.setSelector(SEG_SS, newCpl);
    vcpu.setSegmentDpl(SEG_SS, newCpl);
  }
  vcpu.setGpr(RSP, rsp);
  vcpu.set64('RIP', gate.offset);
  setPrivilegeLevel(vcpu, newCpl);
  return OUTCOME_OK;
}

/** Reads and checks the gate of an event; it is in `vcpu.value` after OUTCOME_OK. */
function* readGate(vcpu: Vcpu, event: Event): Path<Outcome> {
  const error = event.vector * 8 + ERROR_IDT;
  const offset = event.vector * IDT_ENTRY_BYTES;
  if (offset + IDT_ENTRY_BYTES - 1 > vcpu.get32('IDTR_LIMIT') >>> 0) return vcpu.raise(VECTOR_GP, error);
  const address = BigInt.asUintN(64, vcpu.get64('IDTR_BASE') + BigInt(offset));
  const read = yield* readLinear(vcpu, address, IDT_ENTRY_BYTES, SYSTEM);
  if (read !== OUTCOME_OK) return read;
  const gate = vcpu.value;
  const type = Number((gate >> DESC_TYPE_SHIFT) & 0x1fn);
  if (type !== TYPE_INTERRUPT_GATE && type !== TYPE_TRAP_GATE) return vcpu.raise(VECTOR_GP, error);
  const dpl = Number((gate >> DESC_DPL_SHIFT) & 3n);
  if (event.source === 'int' && dpl < vcpu.get32('CPL')) return vcpu.raise(VECTOR_GP, error);
  return (gate & DESC_P) === 0n ? vcpu.raise(VECTOR_NP, error) : OUTCOME_OK;
}

function parseGate(gate: bigint): Gate {
  return {
    selector: Number((gate >> 16n) & 0xffffn),
    offset: (gate & 0xffffn) | ((gate >> 32n) & 0xffff_0000n) | (((gate >> 64n) & 0xffff_ffffn) << 32n),
    ist: Number((gate >> 32n) & 7n),
    interrupt: Number((gate >> DESC_TYPE_SHIFT) & 0xfn) === TYPE_INTERRUPT_GATE,
  };
}

function levelOf(segment: CodeSegment, cpl: number): number {
  return segment.conforming ? cpl : segment.dpl;
}

/** RSP of the handler before alignment, into `vcpu.value`: from the IST, from RSPn, or as it is. */
function* handlerStack(vcpu: Vcpu, gate: Gate, newCpl: number): Path<Outcome> {
  let offset: number;
  if (gate.ist !== 0) offset = TSS_IST1 + (gate.ist - 1) * 8;
  else if (newCpl !== vcpu.get32('CPL')) offset = TSS_RSP0 + newCpl * 8;
  else {
    vcpu.value = vcpu.gpr(RSP);
    return OUTCOME_OK;
  }
  if (offset + 7 > vcpu.get32('TR_LIMIT') >>> 0) {
    return vcpu.raise(VECTOR_TS, selectorError(vcpu.selector(SEG_TR)));
  }
  return yield* readLinear(vcpu, BigInt.asUintN(64, vcpu.get64('TR_BASE') + BigInt(offset)), 8, SYSTEM);
}

const NO_FAULTS: readonly number[] = [VECTOR_DB, VECTOR_NMI, VECTOR_BP, VECTOR_OF, VECTOR_DF, VECTOR_MC];

/** A fault is pushed with RF, so that the instruction it returns to is not stopped by a breakpoint a second time. */
function isFault(event: Event): boolean {
  return event.source === 'exception' && event.vector < 32 && !NO_FAULTS.includes(event.vector);
}

/**
 * Shutdown: nothing is left that could run. The machine stops, as a real one would be reset, and GUEST_CRASH says whom
 * it happened to and which event began it; registers still show the instruction.
 */
function* tripleFault(vcpu: Vcpu, vector: number): Path<Outcome> {
  const { vm, mem, index } = vcpu;
  yield updating(vm.word('GUEST_CRASH'));
  mem.cas(vm.word('GUEST_CRASH'), 0, ((index + 1) << 8) | vector);
  yield writing(vcpu.word('STATE'));
  mem.store(vcpu.word('STATE'), VCPU_CRASHED);
  yield* declareDead(vcpu.actor, vm, index);
  return OUTCOME_DEAD;
}

/** The first triple fault of a VM; null when there was none. */
export function readGuestCrash(vm: Vm): { vcpu: number; vector: number } | null {
  const word = vm.mem.load(vm.word('GUEST_CRASH'));
  return word === 0 ? null : { vcpu: (word >>> 8) - 1, vector: word & 0xff };
}
