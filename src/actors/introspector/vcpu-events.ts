/**
 * Events of instructions that the tool wants to know of: each is one question to it, asked if the vCPU has the event
 * enabled (and, where the tool chooses registers, the register armed).
 *
 * @source arch/x86/kvm/kvmi.c: kvmi_arch_breakpoint_event, kvmi_cr_event, kvmi_msr_event, kvmi_descriptor_event,
 *         kvmi_arch_hypercall, kvmi_xsetbv_event, kvmi_singlestep_done
 */
import { STOP_NOW } from '../../shared/layout/vm.ts';
import type { Path } from '../../shared/sync/point.ts';
import { EINTR } from '../mmu/errno.ts';
import { kvmiGet, kvmiPut } from '../mmu/kvmi-ref.ts';
import type { InjectedException } from './intercepts.ts';
import {
  KVMI_DESC_GDTR,
  KVMI_DESC_IDTR,
  KVMI_DESC_LDTR,
  KVMI_DESC_TR,
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
  KVMI_VCPU_EVENT_BREAKPOINT,
  KVMI_VCPU_EVENT_CR,
  KVMI_VCPU_EVENT_DESCRIPTOR,
  KVMI_VCPU_EVENT_HYPERCALL,
  KVMI_VCPU_EVENT_MSR,
  KVMI_VCPU_EVENT_SINGLESTEP,
  KVMI_VCPU_EVENT_TRAP,
  KVMI_VCPU_EVENT_XSETBV,
} from './kvmi/constants.ts';
import { ONLY_7_EVENT_CPUID } from './kvmi/machine-ids.ts';
import { vcpuEventBit } from './kvmi/messages.ts';
import {
  kvmi_vcpu_event_breakpoint,
  kvmi_vcpu_event_cr,
  kvmi_vcpu_event_descriptor,
  kvmi_vcpu_event_msr,
  kvmi_vcpu_event_singlestep,
  kvmi_vcpu_event_trap,
  kvmi_vcpu_event_xsetbv,
} from './kvmi/protocol.ts';
import { kvmi_event_cpuid } from './kvmi/protocol-7.ts';
import { wireOf } from './kvmi/wires.ts';
import { handleCommonEventActions, type IntrospectedVcpu, sendVcpuEvent } from './vcpu-side.ts';

/** What becomes of the instruction. */
export type EventVerdict =
  /** Nobody was asked, or nobody answered: as without a tool. */
  | 'not asked'
  | 'continue'
  /** Back to RIP, which the tool may have changed. */
  | 'retry';

/** INT3, before #BP. @param insnBytes  1, or 2 for INT 3 written in two bytes */
export function* breakpointEvent(vcpu: IntrospectedVcpu, rip: bigint, insnBytes: number): Path<EventVerdict> {
  if (!enabled(vcpu, KVMI_VCPU_EVENT_BREAKPOINT)) return 'not asked';
  const gpa = yield* vcpu.translate(rip);
  const data = kvmi_vcpu_event_breakpoint.encode({ gpa, insn_len: insnBytes });
  return yield* ask(vcpu, KVMI_VCPU_EVENT_BREAKPOINT, data);
}

export type DescriptorRegister = 'idtr' | 'gdtr' | 'ldtr' | 'tr';
const DESCRIPTORS: Readonly<Record<DescriptorRegister, number>> = {
  idtr: KVMI_DESC_IDTR,
  gdtr: KVMI_DESC_GDTR,
  ldtr: KVMI_DESC_LDTR,
  tr: KVMI_DESC_TR,
};

/** A descriptor-table register is about to be stored or loaded. */
export function* descriptorEvent(
  vcpu: IntrospectedVcpu,
  descriptor: DescriptorRegister,
  write: boolean,
): Path<EventVerdict> {
  if (!enabled(vcpu, KVMI_VCPU_EVENT_DESCRIPTOR)) return 'not asked';
  const data = kvmi_vcpu_event_descriptor.encode({
    descriptor: DESCRIPTORS[descriptor],
    write: write ? 1 : 0,
  });
  return yield* ask(vcpu, KVMI_VCPU_EVENT_DESCRIPTOR, data);
}

/** CPUID, before it is carried out. */
export function* cpuidEvent(
  vcpu: IntrospectedVcpu,
  leaf: number,
  subleaf: number,
  insnBytes: number,
): Path<EventVerdict> {
  if (!enabled(vcpu, ONLY_7_EVENT_CPUID)) return 'not asked';
  const data = kvmi_event_cpuid.encode({ function: leaf, index: subleaf, insn_length: insnBytes });
  return yield* ask(vcpu, ONLY_7_EVENT_CPUID, data);
}

/** The guest calls the tool. */
export function* hypercallEvent(vcpu: IntrospectedVcpu): Path<EventVerdict> {
  if (!enabled(vcpu, KVMI_VCPU_EVENT_HYPERCALL)) return 'not asked';
  return yield* ask(vcpu, KVMI_VCPU_EVENT_HYPERCALL, NOTHING);
}

/** @returns the value that the control register gets; −1 to start the instruction again */
export function* crEvent(vcpu: IntrospectedVcpu, cr: number, old: bigint, value: bigint): Path<bigint> {
  const armed = vcpu.intercepts.crs.has(cr) && old !== value;
  if (!armed || !enabled(vcpu, KVMI_VCPU_EVENT_CR)) return value;
  const data = kvmi_vcpu_event_cr.encode({ cr, old_value: old, new_value: value });
  return replacement(vcpu, yield* ask(vcpu, KVMI_VCPU_EVENT_CR, data), value);
}

/** @returns the value that the MSR gets; −1 to start the instruction again */
export function* msrEvent(vcpu: IntrospectedVcpu, msr: number, value: bigint): Path<bigint> {
  if (!vcpu.intercepts.msrs.has(msr) || !enabled(vcpu, KVMI_VCPU_EVENT_MSR)) return value;
  const old = vcpu.readMsr(msr);
  if (old === null || old === value) return value;
  const data = kvmi_vcpu_event_msr.encode({ msr, old_value: old, new_value: value });
  return replacement(vcpu, yield* ask(vcpu, KVMI_VCPU_EVENT_MSR, data), value);
}

/** XSETBV has changed XCR0. Wire-7 says no more than that. */
export function* xsetbvEvent(vcpu: IntrospectedVcpu, old: bigint, value: bigint): Path<EventVerdict> {
  if (old === value || !enabled(vcpu, KVMI_VCPU_EVENT_XSETBV)) return 'not asked';
  const told = wireOf(vcpu.vm).eventOf.get(KVMI_VCPU_EVENT_XSETBV)!.data !== null;
  const data = told ? kvmi_vcpu_event_xsetbv.encode({ xcr: 0, old_value: old, new_value: value }) : NOTHING;
  return yield* ask(vcpu, KVMI_VCPU_EVENT_XSETBV, data);
}

/** An instruction is complete, and the tool wants to see each. On wire-12 the command alone brings the events. */
export function* singlestepEvent(vcpu: IntrospectedVcpu): Path<void> {
  if (!vcpu.intercepts.singleStep) return;
  if (wireOf(vcpu.vm).rules.singlestepEnabled && !enabled(vcpu, KVMI_VCPU_EVENT_SINGLESTEP)) return;
  yield* ask(vcpu, KVMI_VCPU_EVENT_SINGLESTEP, kvmi_vcpu_event_singlestep.encode({ failed: 0 }));
}

/**
 * kvmi_send_pending_event: the guest is about to take an exception. If the tool has injected one, it hears what it
 * really is: its own, or one that was in its way, and then its own is dropped. Needs no enabling.
 */
export function* trapEvent(vcpu: IntrospectedVcpu, exception: InjectedException): Path<EventVerdict> {
  const { intercepts } = vcpu;
  if (intercepts.injection === null || intercepts.reported) return 'not asked';
  intercepts.reported = true;
  const { nr, errorCode, address } = exception;
  const data = kvmi_vcpu_event_trap.encode({ nr, error_code: errorCode, address });
  if (intercepts.injection !== exception) intercepts.injection = null;
  return yield* ask(vcpu, KVMI_VCPU_EVENT_TRAP, data);
}

const NOTHING = new Uint8Array(0);

function enabled(vcpu: IntrospectedVcpu, event: number): boolean {
  // SHARED: no other thread writes it while the block exists.
  return (vcpu.vm.mem.load(vcpu.vm.vcpuWord(vcpu.index, 'EVENTS')) & vcpuEventBit(event)) !== 0;
}

function replacement(vcpu: IntrospectedVcpu, verdict: EventVerdict, value: bigint): bigint {
  if (verdict === 'retry') return -1n;
  if (verdict === 'not asked') return value;
  return BigInt.asUintN(64, vcpu.vm.mem.load64(vcpu.vm.vcpuWord(vcpu.index, 'REPLY_VALUE')));
}

/** @locking takes a KVMI reference for the whole call; sleeps for the reply, outside kvm.srcu */
function* ask(vcpu: IntrospectedVcpu, event: number, data: Uint8Array): Path<EventVerdict> {
  const { vm, actor } = vcpu;
  if (!(yield* kvmiGet(actor, vm))) return 'not asked';
  const action = yield* sendVcpuEvent(vcpu, event, data);
  let verdict: EventVerdict = 'not asked';
  if (action === -EINTR) {
    // The machine ends: no instruction comes after this one.
    if (vm.mem.load(vm.word('DEAD')) !== 0 || vm.mem.load(vm.word('STOP')) === STOP_NOW) verdict = 'retry';
  } else if (wireOf(vm).eventOf.get(event)?.actions.includes(action) !== true) {
    yield* handleCommonEventActions(vcpu, -1);
  } else if (action === KVMI_EVENT_ACTION_CRASH) {
    yield* handleCommonEventActions(vcpu, action);
    verdict = 'retry';
  } else if (action === KVMI_EVENT_ACTION_RETRY) verdict = 'retry';
  else if (action === KVMI_EVENT_ACTION_CONTINUE) verdict = 'continue';
  yield* kvmiPut(actor, vm);
  return verdict;
}
