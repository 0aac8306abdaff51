/**
 * Commands that a vCPU carries out for the tool, in its own thread: from what follows the kvmi_vcpu_hdr to an error
 * number and what follows the kvmi_error_code.
 *
 * @source virt/kvm/introspection/kvmi_msg.c, arch/x86/kvm/kvmi_msg.c: handle_vcpu_*
 */
import type { Path } from '../../shared/sync/point.ts';
import { EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from '../mmu/errno.ts';
import { eventAllowed } from './hook.ts';
import {
  KVMI_MAX_MSG_SIZE,
  KVMI_VCPU_CONTROL_CR,
  KVMI_VCPU_CONTROL_MSR,
  KVMI_VCPU_CONTROL_SINGLESTEP,
  KVMI_VCPU_EVENT_SINGLESTEP,
  KVMI_VCPU_EVENT_TRAP,
  KVMI_VCPU_GET_CPUID,
  KVMI_VCPU_GET_INFO,
  KVMI_VCPU_GET_MTRR_TYPE,
  KVMI_VCPU_GET_REGISTERS,
  KVMI_VCPU_GET_XCR,
  KVMI_VCPU_GET_XSAVE,
  KVMI_VCPU_INJECT_EXCEPTION,
  KVMI_VCPU_SET_XSAVE,
  KVMI_VCPU_TRANSLATE_GVA,
} from './kvmi/constants.ts';
import { KVM_MAX_EPT_VIEWS } from './kvmi/constants-7.ts';
import {
  ONLY_7_CONTROL_EPT_VIEW,
  ONLY_7_DISABLE_VE,
  ONLY_7_GET_EPT_VIEW,
  ONLY_7_SWITCH_EPT_VIEW,
} from './kvmi/machine-ids.ts';
import {
  kvm_msr_entry,
  kvm_xsave,
  kvmi_error_code,
  kvmi_vcpu_control_cr,
  kvmi_vcpu_control_msr,
  kvmi_vcpu_control_singlestep,
  kvmi_vcpu_get_cpuid,
  kvmi_vcpu_get_cpuid_reply,
  kvmi_vcpu_get_info_reply,
  kvmi_vcpu_get_mtrr_type,
  kvmi_vcpu_get_mtrr_type_reply,
  kvmi_vcpu_get_registers,
  kvmi_vcpu_get_registers_reply,
  kvmi_vcpu_get_xcr,
  kvmi_vcpu_get_xcr_reply,
  kvmi_vcpu_inject_exception,
  kvmi_vcpu_translate_gva,
  kvmi_vcpu_translate_gva_reply,
} from './kvmi/protocol.ts';
import { kvmi_control_cr, kvmi_control_ept_view, kvmi_ept_view } from './kvmi/protocol-7.ts';
import { type WireRules, wireOf } from './kvmi/wires.ts';
import type { IntrospectedVcpu } from './vcpu-side.ts';
import { MODE_LONG, readKvmRegs, readKvmSregs } from './vcpu-state.ts';

export interface Answered {
  /** 0, or a negative errno. */
  readonly error: number;
  /** If there was none. */
  readonly data?: Uint8Array;
}

const DONE: Answered = { error: 0 };
const REFUSED: Answered = { error: -EINVAL };

/** Carries out a command that only concerns this vCPU. @throws never for anything a tool can send */
export function* vcpuCommand(vcpu: IntrospectedVcpu, kind: number, payload: Uint8Array): Path<Answered> {
  switch (kind) {
    case KVMI_VCPU_GET_INFO:
      return { error: 0, data: kvmi_vcpu_get_info_reply.encode({ tsc_speed: vcpu.tscHz }) };
    case KVMI_VCPU_GET_REGISTERS:
      return getRegisters(vcpu, payload);
    case KVMI_VCPU_GET_CPUID:
      return getCpuid(vcpu, payload);
    case KVMI_VCPU_CONTROL_CR:
      return controlCr(vcpu, payload);
    case KVMI_VCPU_CONTROL_MSR:
      return controlMsr(vcpu, payload);
    case KVMI_VCPU_CONTROL_SINGLESTEP:
      return controlSinglestep(vcpu, payload);
    case KVMI_VCPU_INJECT_EXCEPTION:
      return injectException(vcpu, payload);
    case KVMI_VCPU_GET_XCR:
      return getXcr(vcpu, payload);
    case KVMI_VCPU_GET_XSAVE:
      return { error: 0, data: kvm_xsave.encode({ region: vcpu.readXsave() }) };
    case KVMI_VCPU_SET_XSAVE:
      return setXsave(vcpu, payload);
    case KVMI_VCPU_GET_MTRR_TYPE:
      return getMtrrType(vcpu, payload);
    case KVMI_VCPU_TRANSLATE_GVA: {
      const { gva } = kvmi_vcpu_translate_gva.decode(payload);
      const gpa = yield* vcpu.translate(gva);
      return { error: 0, data: kvmi_vcpu_translate_gva_reply.encode({ gpa }) };
    }
    default:
      return viewCommand(kind, payload);
  }
}

/** Commands about EPT views, of which there is one, and about #VE, which there is not. Wire-7. */
function viewCommand(kind: number, payload: Uint8Array): Answered {
  switch (kind) {
    case ONLY_7_GET_EPT_VIEW:
      return { error: 0, data: kvmi_ept_view.encode({ view: 0 }) };
    case ONLY_7_SWITCH_EPT_VIEW:
    case ONLY_7_CONTROL_EPT_VIEW: {
      const request = kind === ONLY_7_SWITCH_EPT_VIEW ? kvmi_ept_view : kvmi_control_ept_view;
      const { view } = kvmi_ept_view.decode(payload);
      if (!request.clean(payload) || view >= KVM_MAX_EPT_VIEWS) return REFUSED;
      return view === 0 ? DONE : { error: -EOPNOTSUPP };
    }
    case ONLY_7_DISABLE_VE:
      return DONE;
    default:
      // SET_VE_INFO_PAGE among them, as on a processor without #VE.
      return REFUSED;
  }
}

function getRegisters(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { rules } = wireOf(vcpu.vm);
  const { nmsrs } = kvmi_vcpu_get_registers.decode(payload);
  const reply = kvmi_vcpu_get_registers_reply;
  if (!kvmi_vcpu_get_registers.clean(payload)) return REFUSED;
  if (kvmi_vcpu_get_registers.bytes + 4 * nmsrs > payload.length) return REFUSED;
  const bytes = reply.bytes + kvm_msr_entry.bytes * nmsrs;
  if (kvmi_error_code.bytes + bytes > KVMI_MAX_MSG_SIZE) return { error: rules.tooManyMsrs };
  const data = new Uint8Array(bytes);
  let known = true;
  const numbers = new DataView(payload.buffer, payload.byteOffset + kvmi_vcpu_get_registers.bytes);
  for (let i = 0; i < nmsrs; i++) {
    const index = numbers.getUint32(4 * i, true);
    const value: bigint | null = known ? vcpu.readMsr(index) : null;
    if (value === null && rules.unknownMsrRefused) return REFUSED;
    known &&= value !== null;
    data.set(kvm_msr_entry.encode({ index, data: value ?? 0n }), reply.bytes + kvm_msr_entry.bytes * i);
  }
  const regs = readKvmRegs(vcpu.vm, vcpu.index, vcpu.flags.rflags());
  data.set(reply.encode({ mode: MODE_LONG, regs, sregs: readKvmSregs(vcpu.vm, vcpu.index), nmsrs }));
  return { error: 0, data };
}

function getCpuid(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { function: leaf, index } = kvmi_vcpu_get_cpuid.decode(payload);
  const result = vcpu.cpuid(leaf, index);
  return result === null
    ? { error: -ENOENT }
    : { error: 0, data: kvmi_vcpu_get_cpuid_reply.encode({ ...result }) };
}

function controlCr(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { version, rules } = wireOf(vcpu.vm);
  const request = version === 7 ? kvmi_control_cr : kvmi_vcpu_control_cr;
  const { cr, enable } = request.decode(payload);
  if (!request.clean(payload) || !isFlag(rules, enable)) return REFUSED;
  if (cr !== 0 && cr !== 3 && cr !== 4) return REFUSED;
  toggle(vcpu.intercepts.crs, cr, enable);
  return DONE;
}

function controlMsr(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { rules } = wireOf(vcpu.vm);
  const { msr, enable } = kvmi_vcpu_control_msr.decode(payload);
  if (!kvmi_vcpu_control_msr.clean(payload) || !isFlag(rules, enable)) return REFUSED;
  if (!rules.msrRanges.some(([first, last]) => msr >= first && msr <= last)) return REFUSED;
  toggle(vcpu.intercepts.msrs, msr, enable);
  return DONE;
}

function isFlag(rules: WireRules, value: number): boolean {
  return value <= 1 || !rules.flagsAreBits;
}

function toggle(set: Set<number>, what: number, enable: number): void {
  if (enable !== 0) set.add(what);
  else set.delete(what);
}

function controlSinglestep(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { rules } = wireOf(vcpu.vm);
  if (rules.commandsNeedEvents && !eventAllowed(vcpu.vm, KVMI_VCPU_EVENT_SINGLESTEP))
    return { error: -EPERM };
  const { enable } = kvmi_vcpu_control_singlestep.decode(payload);
  if (!kvmi_vcpu_control_singlestep.clean(payload) || !isFlag(rules, enable)) return REFUSED;
  vcpu.intercepts.singleStep = enable !== 0;
  return DONE;
}

function injectException(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { intercepts } = vcpu;
  const { rules } = wireOf(vcpu.vm);
  if (rules.commandsNeedEvents && !eventAllowed(vcpu.vm, KVMI_VCPU_EVENT_TRAP)) return { error: -EPERM };
  const { nr, error_code: errorCode, address } = kvmi_vcpu_inject_exception.decode(payload);
  if (!kvmi_vcpu_inject_exception.clean(payload)) return REFUSED;
  if (intercepts.injection !== null || intercepts.singleStep) return { error: -EBUSY };
  intercepts.injection = { nr, errorCode, address };
  intercepts.reported = false;
  return DONE;
}

function getXcr(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { xcr } = kvmi_vcpu_get_xcr.decode(payload);
  const clean = wireOf(vcpu.vm).version === 7 || kvmi_vcpu_get_xcr.clean(payload);
  if (!clean || xcr !== 0) return REFUSED;
  return { error: 0, data: kvmi_vcpu_get_xcr_reply.encode({ value: vcpu.xcr0 }) };
}

function getMtrrType(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  const { gpa } = kvmi_vcpu_get_mtrr_type.decode(payload);
  return { error: 0, data: kvmi_vcpu_get_mtrr_type_reply.encode({ type: vcpu.memoryType(gpa) }) };
}

function setXsave(vcpu: IntrospectedVcpu, payload: Uint8Array): Answered {
  // v7 takes less, with zeros behind it, and not more; v12 the other way round.
  const wrong = wireOf(vcpu.vm).rules.wholeStructs
    ? payload.length < kvm_xsave.bytes
    : payload.length > kvm_xsave.bytes;
  if (wrong) return REFUSED;
  const area = new Uint8Array(kvm_xsave.bytes);
  area.set(payload.subarray(0, area.length));
  return vcpu.writeXsave(area) ? DONE : REFUSED;
}
